"""Given boxes and a tracker, followed through frames that come one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from common.stream import Stream
    from hart.state import Step


class Start(NamedTuple):
    """An object to follow: its box in the frame where it begins."""

    frame: int  # from 0
    id: int
    box: tuple[float, float, float, float]  # xywh pixels
    origin: str  # what said so, for messages


class Seen(NamedTuple):
    """A frame and the objects followed in it."""

    number: int  # of the frame, from 0
    frame: Tensor  # (3, H, W) uint8 RGB
    ids: list[int]
    boxes: np.ndarray  # (N, 4) xywh pixels
    lost: list[int]  # ids that were lost in this frame and are followed no more
    step: Step | None = None  # HART's, of the first objects: not of those that begin here
    windows: np.ndarray | None = None  # xywh pixels, where the model looked, of the same objects


class Plan:
    """Which objects begin when: those given, each in its own frame."""

    def __init__(self, starts: Sequence[Start]) -> None:
        self.first = min(start.frame for start in starts)  # frame from 0 where following begins
        self._due: dict[int, list[Start]] = {}
        for start in starts:
            self._due.setdefault(start.frame, []).append(start)

    def due(self, number: int, ids: Sequence[int], boxes: np.ndarray) -> list[Start]:
        """The objects to begin with in a frame.

        Args:
            number: of the frame, from 0; every one from ``first`` on is asked for, in order.
            ids: of the objects that are followed into it.
            boxes: ``(N, 4)`` xywh pixels, theirs.
        """
        return self._due.get(number, [])


@contextmanager
def option(name: str) -> Iterator[None]:
    """Within, whatever is wrong with a file or a value is said of the option ``name``."""
    try:
        yield
    except (OSError, ValueError, IndexError) as error:
        raise ValueError(f"{name}: {error}") from error


def open_source(source: str) -> Stream:
    """The video of ``--source``; raises ValueError when it cannot be opened."""
    from common.stream import Stream

    with option("--source"):
        return Stream(source.removeprefix("video:"))


def load_tracker(weights: str, device: str) -> Any:
    """A ``hart.Tracker``, as ``--weights`` and ``--device`` say.

    Args:
        weights: weight file, run folder, or ``default:NAME``.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ValueError: no such weights or device; the message names the option.
    """
    from common.distributed import choose_device
    from experiments.evaluate import load_weights
    from hart.tracker import Tracker

    with option("--device"):
        chosen = choose_device(device)
    return Tracker(load_weights(weights, "--weights")[0], chosen)


def read_starts(given: Sequence[Sequence[str]], file: Path | None, first: int) -> list[Start]:
    """The objects of ``--box`` (``given``, as typed) or of the ``--boxes`` file.

    Args:
        given: per ``--box``, its values ``x,y,w,h``; these objects begin in frame ``first``.
        file: lines ``x,y,w,h``, likewise; or MOTChallenge rows (frames and pixels from 1), where
            each object begins in its first row from frame ``first`` on and later rows are not used.
        first: frame from 0 where following begins.

    Raises:
        ValueError: not exactly one of both, a box that is none, or a file without any.
    """
    values = [value for values in given for value in values]
    if bool(values) == (file is not None):
        raise ValueError("give the objects by --box x,y,w,h ... or by --boxes FILE (one of both)")
    if file is None:
        return [
            Start(first, number, _parse_box(value), f"--box {value}")
            for number, value in enumerate(values, 1)
        ]
    with option("--boxes"):
        return _read_file(file, first)


def follow(
    tracker: Any, frames: Iterable[Tensor], starts: Sequence[Start] | Plan, steps: bool = False
) -> Iterator[Seen]:
    """Follow objects through frames, each from its own start; lost ones are let go.

    Args:
        tracker: a ``hart.Tracker``.
        frames: ``(3, H, W)`` uint8 RGB, from the source's first; those before the first start are
            passed over.
        starts: where each object begins.
        steps: give the tracker's whole ``Step`` (windows, masks, glimpses) as well.

    Raises:
        ValueError: a box lies outside its frame.
    """
    plan, active = starts if isinstance(starts, Plan) else Plan(starts), False
    for number, frame in enumerate(frames):
        if number < plan.first:
            continue
        step, lost = None, []
        if active:
            found = tracker.update(frame, return_glimpses=steps)
            step = found if steps else None
            step, lost = _let_go(tracker, step)
            active = bool(tracker.ids)
        begun = plan.due(number, *_followed(tracker, active))
        if begun:
            boxes, ids = _checked(begun, frame), [start.id for start in begun]
            if active:
                tracker.add(boxes, ids)
            else:
                opening = tracker.init(frame, boxes, ids)
                step = opening if steps else None
            active = True
        windows = None if step is None else step.windows.numpy()
        yield Seen(number, frame, *_followed(tracker, active), lost, step, windows)


def _followed(tracker: Any, active: bool) -> tuple[list[int], np.ndarray]:
    """Ids and boxes; none before the tracker has begun with this video."""
    import numpy as np

    return (list(tracker.ids), tracker.boxes.numpy()) if active else ([], np.zeros((0, 4)))


def _let_go(tracker: Any, step: Step | None) -> tuple[Step | None, list[int]]:
    """Drop what was lost; the step of the others, and the ids of the lost."""
    gone = tracker.lost
    lost = [name for name, is_gone in zip(tracker.ids, gone.tolist()) if is_gone]
    if not lost:
        return step, lost
    tracker.drop(lost)
    if step is not None:
        extras = {name: value[~gone] for name, value in step.extras.items()}
        step = type(step)(*(field[~gone] for field in step[:4]), extras)
    return step, lost


def _checked(starts: Sequence[Start], frame: Tensor) -> list[tuple[float, ...]]:
    height, width = frame.shape[-2:]
    for start in starts:
        x, y, w, h = start.box
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise ValueError(f"{start.origin}: the box is outside the {width} x {height} frame")
    return [start.box for start in starts]


def _parse_box(text: str) -> tuple[float, float, float, float]:
    from math import isfinite

    try:
        box = tuple(float(part) for part in text.split(","))
    except ValueError:
        box = ()
    if len(box) != 4 or not all(map(isfinite, box)) or min(box[2:]) <= 0:
        raise ValueError(f"--box {text}: expected x,y,w,h in pixels, with w and h above 0")
    return box


def _read_file(path: Path, first: int) -> list[Start]:
    import numpy as np

    from common import text, tracks

    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    lines = [line for line in text.read(path).splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path}: empty, expected boxes")
    if len(lines[0].replace(",", " ").split()) == 4:
        table = text.read_table(path, "x y w h", 4)
        small = np.flatnonzero((table.numbers[:, 2:] <= 0).any(1))
        if len(small):
            line = table.lines[small[0]]
            raise ValueError(f"{path}, line {line}: expected x,y,w,h with w and h above 0")
        rows = zip(table.lines, table.numbers.tolist())
        return [
            Start(first, number, tuple(box), f"--boxes {path}, line {line}")
            for number, (line, box) in enumerate(rows, 1)
        ]
    found: Mapping[int, tracks.Tracks] = tracks.by_id(tracks.read_mot_ground_truth(path))
    starts = []
    for name, track in found.items():
        row = int(np.searchsorted(track.frame, first))
        if row < len(track.frame):
            number, box = int(track.frame[row]), tuple(track.box[row].tolist())
            origin = f"--boxes {path}, frame {number + 1}, id {name}"
            starts.append(Start(number, name, box, origin))
    if not starts:
        raise ValueError(f"{path}: no box in frame {first + 1} or later")
    return starts
