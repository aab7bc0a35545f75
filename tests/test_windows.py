"""Training batches: a step is a pure function of its number, shared over processes."""

from __future__ import annotations

import pytest
import torch

from common.curriculum import Stage
from common.tracks import empty
from datasets.windows import TrackingWindows, WindowsConfig
from tests.film import Film

STAGE = Stage("test", 5)


def test_a_step_is_a_pure_function_of_its_number() -> None:
    config = WindowsConfig(batch=4, side=64, pool=3, fresh=0.5)
    one, two = (TrackingWindows([Film()], config, seed=1) for _ in range(2))
    first = [one(step, STAGE) for step in range(8)]
    for step in (7, 2, 5):  # in another order, as after a resume
        for a, b in zip(first[step], two(step, STAGE), strict=True):
            assert torch.equal(a, b)
    distinct = {batch.frames.sum().item() for batch in first}
    assert 3 <= len(distinct) < 8  # some are seen again
    other = TrackingWindows([Film()], config, seed=2)
    assert not torch.equal(first[0].frames, other(0, STAGE).frames)


def test_processes_share_the_joint_batch() -> None:
    config = WindowsConfig(batch=4, side=64)
    joint = TrackingWindows([Film()], config)(3, STAGE)
    parts = [TrackingWindows([Film()], config)(3, STAGE, rank, 2) for rank in range(2)]
    for field in ("frames", "boxes", "presence"):
        whole = getattr(joint, field)
        assert torch.equal(whole[:, 0::2], getattr(parts[0], field))
        assert torch.equal(whole[:, 1::2], getattr(parts[1], field))


def test_without_footage_there_are_only_sprites() -> None:
    batch = TrackingWindows([], WindowsConfig(batch=3, side=64))(0, STAGE)
    assert batch.frames.shape == (5, 3, 3, 64, 64) and batch.frames.dtype == torch.uint8
    assert batch.presence[0].all() and (batch.boxes[0, ..., 2:] > 0).all()


def test_short_tracks_repeat_their_last_frame() -> None:
    film = Film(3)
    batch = TrackingWindows([film], WindowsConfig(batch=6, side=64, sprites=0.0))(0, STAGE)
    assert batch.frames.shape[0] == 5
    assert batch.presence[0].all()


def test_slow_clips_move_less_from_frame_to_frame() -> None:
    moved = []
    for slow in (0.0, 1.0):
        settings = {"sprites": 0.0, "occluded": 0.0, "worse": 0.0, "shake": 0.0, "strides": (1,)}
        config = WindowsConfig(batch=16, side=64, slow=slow, slowest=5.0, **settings)
        boxes = TrackingWindows([Film()], config)(0, STAGE).boxes[:, :, 0]
        way = (boxes[1:, :, :2] - boxes[:-1, :, :2]).norm(dim=-1) / boxes[1:, :, 2:].mean(-1)
        moved.append(way.median())
    assert moved[1] < 0.75 * moved[0]


@pytest.mark.parametrize("wrong", [{"side": 8}, {"slowest": 0.5}])
def test_sizes_that_do_not_work_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WindowsConfig(**wrong)


def test_footage_without_tracks_is_refused() -> None:
    film = Film()
    film.tracks = empty()
    with pytest.raises(ValueError, match="film: no object is annotated"):
        TrackingWindows([film], WindowsConfig())
