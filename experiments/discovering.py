"""Objects that SQAIR finds by itself: followed by it, or handed to HART."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from experiments.following import Plan, Seen, Start, option

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from sqair.follower import Follower

CHUNK = 10  # frames that are held and inferred at a time: as many as models are trained on
WELL = 0.9  # share of an object on the canvas from which on it is well visible
SAME = 0.2  # IoU of boxes from which on they are taken for those of one object


class Sighting(NamedTuple):
    """An object in a frame, as SQAIR has seen it."""

    frame: int  # from 0
    id: int  # SQAIR's
    box: tuple[float, float, float, float]  # xywh pixels of the video
    visible: float  # share of the object on the canvas


class _View(NamedTuple):
    """A frame and the N objects that paint something in it."""

    number: int  # from 0
    frame: Tensor  # (3, H, W) uint8 RGB
    ids: list[int]  # SQAIR's
    boxes: np.ndarray  # (N, 4) xywh pixels of the video, as are
    windows: np.ndarray  # (N, 4)
    visible: np.ndarray  # (N,) share of the object on the canvas


class Handover(Plan):
    """What SQAIR saw, as objects to begin with; ids from 1 in the order in which they begin.

    An object begins where it is first well visible, and again where it is and was lost. What lies
    over an object that is being followed is that object, whatever SQAIR's id.

    Args:
        sightings: of the whole video.
        first: frame from 0 where following begins, with or without an object.
        persistence: frames that an object must have been seen in.
    """

    def __init__(self, sightings: Sequence[Sighting], first: int, persistence: int) -> None:
        self.first = first
        self._names: dict[int, int] = {}  # by SQAIR's id
        self._due: dict[int, list[Start]] = {}
        seen, best = Counter(one.id for one in sightings), _best(sightings)
        for one in sightings:
            if seen[one.id] >= persistence and one.visible >= min(WELL, best[one.id]):
                start = Start(one.frame, one.id, one.box, f"--discover, object {one.id}")
                self._due.setdefault(one.frame, []).append(start)

    def due(self, number: int, ids: Sequence[int], boxes: np.ndarray) -> list[Start]:
        """As a plan says: what is seen in the frame and not followed yet."""
        begun: list[Start] = []
        for start in self._due.get(number, []):
            taken = [*boxes.tolist(), *(other.box for other in begun)]
            if self._names.get(start.id) in ids or _covered(start.box, taken):
                continue
            name = self._names.setdefault(start.id, len(self._names) + 1)
            begun.append(start._replace(id=name))
        return begun


def load(weights: str, name: str, device: str, particles: int, seed: int) -> Follower:
    """What finds the objects: SQAIR's or AIR's weights, given as the option ``name``.

    Args:
        weights: weight file, run folder, or ``default:NAME``.
        device: ``auto``, ``cpu`` or ``cuda``.
        particles, seed: as ``sqair.follower.Follower`` says.

    Raises:
        ValueError: no such weights or device, or weights of another model; the message names the
            option.
    """
    from common.distributed import choose_device
    from experiments import runs
    from sqair.follower import Follower
    from sqair.inference import Inference
    from sqair.pretrained import load_model

    shipped = weights.partition(":")[0] == "default"
    with option("--device"):
        chosen = choose_device(device)
    with option(name):
        model = load_model(weights if shipped else runs.find_checkpoint(weights))[0]
        return Follower(Inference(model, chosen), particles, seed)


def find(
    follower: Follower, frames: Iterable[Tensor], first: int, last: int | None, windows: bool
) -> Iterator[Seen]:
    """Find and follow objects through frames; ids from 1 in the order in which they are found.

    Args:
        follower: new.
        frames: ``(3, H, W)`` uint8 RGB, from the source's first.
        first: frame from 0 where to begin.
        last: number of the last frame, from 1; None: with the source.
        windows: give where the model looked, too.
    """
    for view in _views(follower, frames, first, last):
        looks = view.windows if windows else None
        yield Seen(view.number, view.frame, [n + 1 for n in view.ids], view.boxes, [], None, looks)


def discover(
    follower: Follower, frames: Iterable[Tensor], first: int, last: int | None, persistence: int
) -> Handover:
    """Let SQAIR see a whole video, with a progress bar.

    Args:
        follower: new.
        frames, first, last: as for ``find``.
        persistence: frames that an object must have been seen in.
    """
    from tqdm import tqdm

    found = []
    views = _views(follower, frames, first, last)
    for view in tqdm(views, "discover", disable=None, leave=False, unit=" frames"):
        rows = zip(view.ids, view.boxes.tolist(), view.visible.tolist())
        found += [Sighting(view.number, name, tuple(box), share) for name, box, share in rows]
    return Handover(found, first, persistence)


def _views(
    follower: Follower, frames: Iterable[Tensor], first: int, last: int | None
) -> Iterator[_View]:
    """What is found in each frame; some frames are held at a time."""
    import torch

    wanted = enumerate(islice(frames, last))
    wanted = (pair for pair in wanted if pair[0] >= first)
    while chunk := list(islice(wanted, CHUNK)):
        found = follower.update(torch.stack([frame for _, frame in chunk]))
        for row, (number, frame) in enumerate(chunk):
            there = (found.boxes[row, :, 2:] > 0).all(-1)
            parts = (part[row, there].numpy() for part in found[1:])
            yield _View(number, frame, found.ids[row, there].tolist(), *parts)


def _best(sightings: Sequence[Sighting]) -> Mapping[int, float]:
    """By id, the largest share of it that is ever seen."""
    best: dict[int, float] = {}
    for one in sightings:
        best[one.id] = max(best.get(one.id, 0.0), one.visible)
    return best


def _covered(box: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
    """Whether a box is that of one of the others."""
    import torch

    from common.boxes import iou

    return bool(others) and bool((iou(torch.tensor(box), torch.tensor(others)) >= SAME).any())
