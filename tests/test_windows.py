"""Training clips: boxes stay on the object whatever the camera does, and steps are reproducible."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.curriculum import Stage
from common.tracks import build, empty
from datasets.windows import TrackingWindows, WindowsConfig, cut, pass_in_front, recolour

STAGE = Stage("test", 5)


class Film:
    """A white rectangle on black that walks: a sequence whose pixels show its box."""

    name, frame_rate, size = "film", 10.0, (120, 160)

    def __init__(self, length: int = 30) -> None:
        self.boxes = np.array([[20.0 + 3 * t, 30 + t, 16, 24] for t in range(length)])
        self.tracks = build(np.arange(length), np.zeros(length, int), self.boxes)

    def __len__(self) -> int:
        return len(self.boxes)

    def read(self, indices) -> torch.Tensor:
        frames = torch.zeros(len(indices), 3, *self.size, dtype=torch.uint8)
        for frame, index in zip(frames, indices, strict=True):
            x, y, w, h = self.boxes[index].astype(int)
            frame[:, y : y + h, x : x + w] = 255
        return frames


def extent(mask: np.ndarray) -> tuple[int, int]:
    return int(np.flatnonzero(mask)[0]), int(np.flatnonzero(mask)[-1]) + 1


@pytest.mark.parametrize("seed", range(8))
def test_the_box_is_where_the_object_is_seen(seed: int) -> None:
    film, config = Film(), WindowsConfig(side=96, shake=1.0)
    frames = film.read(range(10)).numpy()
    views, boxes, presence = cut(frames, film.boxes[:10], config, np.random.default_rng(seed))
    checked = 0
    for view, (x, y, w, h), there in zip(views, boxes, presence, strict=True):
        whole = x >= 1 and y >= 1 and x + w <= 95 and y + h <= 95
        if whole:
            assert there
            left, right = extent(view[0].max(0) > 127)
            top, bottom = extent(view[0].max(1) > 127)
            assert [left, top, right, bottom] == pytest.approx([x, y, x + w, y + h], abs=1.0)
            checked += 1
        if x >= 96 or y >= 96 or x + w <= 0 or y + h <= 0:
            assert not there and view.max() == 0
    assert checked


def test_sizes_cover_the_range() -> None:
    film, config = Film(), WindowsConfig(side=96, object_size=(10.0, 40.0), stretch=0.0)
    frames = film.read(range(2)).numpy()
    sizes = []
    for seed in range(60):
        _, boxes, _ = cut(frames, film.boxes[:2], config, np.random.default_rng(seed))
        sizes.append(np.sqrt(boxes[0, 2] * boxes[0, 3]))
    assert 9 < min(sizes) < 14 and 32 < max(sizes) < 44


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


def test_recolouring_keeps_the_shape_and_the_order_of_time() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    changed = recolour(frames, np.random.default_rng(1))
    assert changed.shape == frames.shape and changed.dtype == np.uint8
    assert not np.array_equal(changed, frames)
    same = recolour(np.broadcast_to(frames[:1], frames.shape), np.random.default_rng(1))
    assert np.array_equal(same[0], same[2])


def test_footage_without_tracks_is_refused() -> None:
    film = Film()
    film.tracks = empty()
    with pytest.raises(ValueError, match="film: no object is annotated"):
        TrackingWindows([film], WindowsConfig())


def test_what_passes_in_front_hides_the_object_for_a_while() -> None:
    boxes = np.tile([30.0, 20.0, 16.0, 32.0], (20, 1))
    hidden = []
    for seed in range(12):
        frames = np.zeros((20, 3, 80, 80), np.uint8)
        picture = np.full((10, 5, 3), 200, np.uint8)
        pass_in_front(frames, boxes, picture, np.random.default_rng(seed))
        hidden.append((frames[:, 0, 20:52, 30:46] > 100).mean((1, 2)))
    most = np.max(hidden, 1)
    assert most.min() > 0.3 and most.mean() > 0.6  # it hides the object once
    assert np.mean(np.min(hidden, 1) < 0.05) > 0.5  # and mostly not all the time
