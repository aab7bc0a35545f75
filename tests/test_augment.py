"""What a camera does to a clip: boxes stay on the object, the order of time is kept."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.augment import cut, pass_in_front, recolour, resize_part, worsen
from datasets.windows_config import WindowsConfig
from tests.film import Film


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


def test_a_part_is_shown_as_it_is_and_zero_outside_the_frame() -> None:
    frame = np.random.default_rng(0).integers(1, 256, (3, 10, 12), dtype=np.uint8)
    expected = np.zeros((3, 8, 8), np.uint8)
    expected[:, 3:, 2:] = frame[:, :5, :6]
    view = np.zeros((3, 8, 8), np.uint8)
    resize_part(frame, (-2, -3), (8, 8), view)
    np.testing.assert_array_equal(view, expected)
    view[:] = 0
    resize_part(frame, (4, 2), (4, 4), view)  # twice as large
    assert abs(view.mean() - frame[:, 2:6, 4:8].mean()) < 2
    for corner in ((-8, 0), (0, -20), (12, 0), (3, 10)):
        view[:] = 0
        resize_part(frame, corner, (8, 8), view)
        assert not view.any()


def test_recolouring_keeps_the_shape_and_the_order_of_time() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    changed = recolour(frames, np.random.default_rng(1))
    assert changed.shape == frames.shape and changed.dtype == np.uint8
    assert not np.array_equal(changed, frames)
    same = recolour(np.broadcast_to(frames[:1], frames.shape), np.random.default_rng(1))
    assert np.array_equal(same[0], same[2])


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


def test_worsening_keeps_what_is_seen() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, 6, 6), dtype=np.uint8)
    frames = frames.repeat(8, 2).repeat(8, 3)
    differ = 0
    for seed in range(8):
        changed = worsen(frames, np.random.default_rng(seed))
        differ += not np.array_equal(changed, frames)
        assert changed.shape == frames.shape and changed.dtype == np.uint8
        seen = np.corrcoef(frames.ravel(), changed.ravel())[0, 1]
        assert seen > 0.8, seed
    assert differ >= 6


def test_what_is_in_front_early_hides_the_first_frames() -> None:
    boxes, shares = np.tile([30.0, 20.0, 16.0, 32.0], (20, 1)), []
    for early in (0.0, 1.0):
        hidden, first = [], []
        for seed in range(40):
            frames = np.zeros((20, 3, 80, 80), np.uint8)
            rng = np.random.default_rng(seed)
            pass_in_front(frames, boxes, np.full((10, 5, 3), 200, np.uint8), rng, early)
            seen = frames[:5, 0, 20:52, 30:46] > 100
            hidden.append(seen.mean())
            first.append(seen[0].mean())
        shares.append(np.mean(hidden))
    assert shares[1] > 2 * shares[0]
    assert max(first) > 0.9 and np.mean(np.array(first) < 0.5) > 0.3  # all of it, or a part
