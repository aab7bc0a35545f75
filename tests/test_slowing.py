"""Footage in slow motion."""

from __future__ import annotations

import numpy as np

from datasets.slowing import slow_down


def moving_square(steps: int, pace: float) -> tuple[np.ndarray, np.ndarray]:
    """A textured square that moves right by ``pace`` pixels a frame over a textured ground."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (3, 12, 12)).repeat(8, 1).repeat(8, 2)
    square = rng.integers(0, 255, (3, 6, 6)).repeat(4, 1).repeat(4, 2)
    frames = np.stack([ground] * steps).astype(np.uint8)
    boxes = np.array([(20 + pace * t, 30, 24, 24) for t in range(steps)], float)
    for frame, (x, y, w, h) in zip(frames, boxes.astype(int), strict=True):
        frame[:, y : y + h, x : x + w] = square
    return frames, boxes


def test_between_two_frames_things_are_halfway() -> None:
    frames, boxes = moving_square(3, 4)
    truth, places = moving_square(5, 2)
    slowed, found = slow_down(frames, boxes, np.arange(5) / 2)
    np.testing.assert_allclose(found, places)
    np.testing.assert_array_equal(slowed[::2], frames)
    blended = (frames[0].astype(float) + frames[1]) / 2
    wrong = np.abs(slowed[1].astype(float) - truth[1]).mean()
    assert wrong < 0.5 * np.abs(blended - truth[1]).mean()


def test_one_frame_lasts() -> None:
    frames, boxes = moving_square(1, 0)
    slowed, found = slow_down(frames, boxes, np.zeros(3))
    assert (slowed == frames).all() and (found == boxes).all()
