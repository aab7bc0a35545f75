"""``sqair.follower``: objects of a video found part by part; ids, hand-over, looking anew."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common.boxes import area, clip, to_corners
from sqair import follower as module
from sqair.air import Air, AirConfig
from sqair.config import SqairConfig
from sqair.follower import OVERLAP, Follower, Found
from sqair.geometry import windows
from sqair.inference import Inference
from sqair.model import Sqair
from sqair.state import Slots

SIZE, SLOTS = 8, 2
SMALL = SqairConfig(size=SIZE, slots=SLOTS, what=3, glimpse=4, hidden=8, scale_prior=-0.5)
# Everything is found in the first frame and kept for ever.
STEADY = replace(SMALL, discovery_bias=50.0, propagation_bias=50.0, survival_bias=50.0)


def ready(config: SqairConfig, seed: int = 0) -> Inference:
    """An untrained model that paints something."""
    torch.manual_seed(seed)
    return Inference((Air if isinstance(config, AirConfig) else Sqair)(config))


def video(length: int, seed: int = 1) -> Tensor:
    """``(T, 1, S, S)`` uint8 noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (length, 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)


def together(follower: Follower, frames: Tensor, parts: int) -> Found:
    """What is found in all parts of a video of this many frames each."""
    found = [follower.update(part) for part in frames.split(parts)]
    return Found(*(torch.cat(fields) for fields in zip(*found)))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Slots]:
    """The slots ``(T, P, B, K, ...)`` of every run of a guide, as they come."""
    seen: list[Slots] = []

    def spied(*args: Any, **options: Any) -> Any:
        both = traces(*args, **options)
        seen.append(both[1].nodes["_RETURN"]["value"].slots)
        return both

    traces: Callable = module.traces
    monkeypatch.setattr(module, "traces", spied)
    return seen


def test_one_part_is_inferred_as_any_video() -> None:
    inference, frames = ready(SMALL, seed=2), video(6)
    found = Follower(inference, particles=4, seed=3).update(frames)
    known = inference.infer(frames, particles=4, seed=3)
    assert len(known.tracks.id) > 5
    there = (found.boxes[..., 2:] > 0).all(-1)
    torch.testing.assert_close(found.boxes, known.boxes)
    assert found.ids[there].tolist() == known.tracks.id.tolist()
    assert (found.ids.dtype, found.boxes.dtype) == (torch.int64, torch.float32)


@pytest.mark.parametrize("parts", [6, 2])
def test_objects_keep_their_ids_from_part_to_part(parts: int) -> None:
    found = together(Follower(ready(STEADY), particles=2), video(8), parts)
    assert found.ids.tolist() == [[0, 1]] * 8
    assert found.boxes.shape == found.windows.shape == (8, SLOTS, 4)


@pytest.mark.parametrize(("first", "again"), [(7, OVERLAP), (3, 3)])
def test_the_next_part_goes_on_from_what_was_drawn(
    runs: list[Slots], first: int, again: int
) -> None:
    config = replace(SMALL, discovery_bias=1.0, propagation_bias=1.0)
    follower, frames = Follower(ready(config, seed=5), particles=3, seed=1), video(first + 4)
    before = follower.update(frames[:first])
    follower.update(frames[first:])
    looks = windows(runs[0].where, SIZE, 4, config.least_scale) * runs[0].presence[..., None]
    shown = (looks[:, :, 0] - before.windows[:, None]).abs().amax((0, 2, 3)) < 1e-4
    best = int(shown.nonzero().squeeze())  # which particle was given
    old = Slots(*(part[first - again :, best, 0] for part in runs[0]))
    new = Slots(*(part[:again, :, 0] for part in runs[1]))
    assert len(runs[1].id) == again + 4
    assert old.presence.any()
    for particle in range(3):
        there = old.presence > 0
        assert torch.equal(new.presence[:, particle], old.presence)
        assert torch.equal(new.where[:, particle][there], old.where[there])
        assert torch.equal(new.what[:, particle][there], old.what[there])


def test_results_follow_from_the_seed_alone() -> None:
    inference, frames = ready(SMALL), video(4)
    torch.manual_seed(1)
    first, state = together(Follower(inference, seed=4), frames, 2), torch.get_rng_state()
    torch.manual_seed(2)
    again = together(Follower(inference, seed=4), frames, 2)
    other = together(Follower(inference, seed=5), frames, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first.windows, other.windows)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


class Flat(nn.Module):
    """Paints a glimpse of one colour."""

    def forward(self, what: Tensor) -> Tensor:
        return torch.full((len(what), 1, 4, 4), 0.7)


class Scripted(Follower):
    """Explains parts as it is told: each time ``(going on, anew)``, as ids, places and a score."""

    def __init__(self, script: list[Any]) -> None:
        super().__init__(ready(SMALL))
        self.model.decoder = Flat()
        self.script = script

    def _explain(self, pixels: Tensor, again: int = 0, values: Any = None) -> module._Account:
        anew = not again and self._parts > 0
        ids, places, score = self.script[self._parts][anew]
        length = len(pixels)
        where = torch.tensor([[-1.0, -1.0, x, y] for x, y in places])
        slots = Slots(torch.zeros(2, 3), where, torch.ones(2), torch.tensor(ids))
        slots = Slots(*(part.expand(length, *part.shape) for part in slots))
        drawn = {f"{name}_{t}": torch.zeros(1, 1) for t in range(length) for name in module.SITES}
        return module._Account(pixels, again, slots, drawn, score)


LEFT, RIGHT, BELOW = (-0.5, 0.0), (0.5, 0.0), (0.0, 0.8)


@pytest.mark.parametrize(
    ("score", "ids", "places"),
    [
        (99.0, [[0, 1], [0, 1]], (LEFT, RIGHT)),  # not clearly better
        (101.0, [[2, 0], [2, 0]], (BELOW, LEFT)),  # what was on the left still has its id
    ],
)
def test_a_clearly_better_look_is_taken(score: float, ids: list, places: tuple) -> None:
    follower = Scripted(
        [
            [([0, 1], (LEFT, RIGHT), 0.0)],
            [([0, 1], (LEFT, RIGHT), 0.0), ([0, 1], (BELOW, LEFT), score)],
        ]
    )
    follower.update(video(3))
    found = follower.update(video(2))
    assert found.ids.tolist() == ids
    centres = (found.windows[0, :, :2] + found.windows[0, :, 2:] / 2 - 0.5) / 3.5 - 1
    torch.testing.assert_close(torch.atanh(centres), torch.tensor(places), atol=1e-4, rtol=0)


def test_places_are_those_of_the_video() -> None:
    follower = Scripted(
        [[([0, 1], ((0.0, 0.0), (3.0, 0.0)), 0.0)]]
    )  # in the middle; partly outside
    found = follower.update(torch.zeros(1, 3, 24, 32, dtype=torch.uint8))
    side = 7 / (1 + math.e) * 4 / 3 * 4  # scale, from sample to sample, their number, enlarged
    middle, right = 16.0, 16 + 14 * math.tanh(3)
    expected = [[x - side / 2, 12 - side / 2, side, side] for x in (middle, right)]
    torch.testing.assert_close(found.windows[0], torch.tensor(expected))
    inside = clip(found.windows[0], 24, 32)
    # Whole pixels of the canvas, 4 wide in the video.
    assert (to_corners(found.boxes[0]) - to_corners(inside)).abs().max() < 4
    assert (to_corners(found.boxes[0]) % 4 == 0).all()
    assert float(found.boxes[0, 1, [0, 2]].sum()) == 32
    share = area(inside) / area(found.windows[0])
    assert float(share[0]) == pytest.approx(1) and 0.6 < share[1] < 0.8
    assert found.visible[0].tolist() == pytest.approx(
        [1, 0.75]
    )  # three of four columns of a glimpse


def test_air_gives_new_ids_in_every_frame(runs: list[Slots]) -> None:
    config = AirConfig(size=SIZE, slots=SLOTS, what=3, glimpse=4, hidden=8, discovery_bias=50.0)
    found = together(Follower(ready(config)), video(7), 3)
    assert found.ids.tolist() == [[2 * t, 2 * t + 1] for t in range(7)]
    assert [len(run.id) for run in runs] == [3, 3, 1]  # nothing is seen again


def test_wrong_use_is_said() -> None:
    with pytest.raises(ValueError, match="particles 0: expected 1 or more"):
        Follower(ready(SMALL), particles=0)
    with pytest.raises(ValueError, match="frames must be"):
        Follower(ready(SMALL)).update(torch.zeros(3, SIZE, SIZE))
