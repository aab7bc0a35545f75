"""Footage in slow motion: the frames between two frames, drawn along the optical flow.

A camera of 10 frames a second shows people jump from frame to frame and pass each other in a few;
one of 25, or a street seen from nearby, shows them glide. Flow is found between neighbouring frames
only, so what is drawn is right where motion is a few pixels and a little blurred where it is not.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

STILL = 0.3  # pixels between two frames; less is drawn first, so that what moves is in front


def slow_down(
    frames: np.ndarray, boxes: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A clip at other times than those of its frames.

    Args:
        frames: ``(T, 3, H, W)`` uint8.
        boxes: ``(T, 4)`` xywh pixels.
        times: ``(L,)`` from 0 to ``T - 1`` in any order, in frames.

    Returns:
        ``(L, 3, H, W)`` uint8 and ``(L, 4)`` boxes, the latter linear between frames.
    """
    early = np.minimum(times.astype(int), max(len(frames) - 2, 0))
    late = np.minimum(early + 1, len(frames) - 1)
    parts = times - early
    images = [cv2.merge(list(frame)) for frame in frames]
    slowed = np.empty((len(times), *frames.shape[1:]), np.uint8)
    known, motion = -1, None
    for out, first, second, part in zip(slowed, early, late, parts, strict=True):
        if part < 0.01 or part > 0.99:
            out[:] = frames[first if part < 0.5 else second]
            continue
        if first != known:
            known, motion = first, flow(images[first], images[second])
        cv2.split(between(images[first], images[second], motion, float(part)), list(out))
    return slowed, boxes[early] + (boxes[late] - boxes[early]) * parts[:, None]


def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where each pixel of ``first (H, W, 3)`` uint8 is in ``second``.

    Returns:
        ``(H / 2, W / 2, 2)`` float32 (x, y) in pixels of the frames, of every second pixel.
    """
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (first, second)]
    return np.ascontiguousarray(finder.calc(*grey, None)[::2, ::2])


def between(first: np.ndarray, second: np.ndarray, motion: np.ndarray, part: float) -> np.ndarray:
    """The picture at a ``part`` of the way between two frames.

    Args:
        first, second: ``(H, W, 3)`` uint8.
        motion: ``(H / 2, W / 2, 2)`` pixels, from ``flow``.
        part: between 0 and 1.

    Returns:
        ``(H, W, 3)`` uint8: both frames moved to that time, each as visible as it is near.
    """
    height, width = first.shape[:2]
    place = pixels(height, width)
    carried = cv2.resize(_carry(motion, part), (width, height), interpolation=cv2.INTER_NEAREST)
    pictures = []
    for image, share in ((first, -part), (second, 1 - part)):
        grid = cv2.scaleAdd(carried, share, place)
        pictures.append(cv2.remap(image, grid, None, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE))
    return cv2.addWeighted(pictures[0], 1 - part, pictures[1], part, 0)


@functools.lru_cache(maxsize=4)
def pixels(height: int, width: int) -> np.ndarray:
    """``(height, width, 2)`` float32 (x, y) of each pixel, read-only."""
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    grid.flags.writeable = False
    return grid


def _carry(motion: np.ndarray, part: float) -> np.ndarray:
    """The motion ``(h, w, 2)`` of what is at each second pixel at a ``part`` of the time."""
    height, width = motion.shape[:2]
    carried = motion.copy()  # where nothing arrives: as it was
    speed = np.abs(motion).max(-1)
    rows, columns = np.nonzero(speed > STILL)
    carried[rows, columns] = 0  # what has moved away shows what stands still behind it
    order = np.argsort(speed[rows, columns])
    rows, columns = rows[order], columns[order]
    moved = motion[rows, columns]
    target = np.rint(np.stack((columns, rows), -1) + moved * (part / 2)).astype(int)
    x, y = np.clip(target, 0, (width - 1, height - 1)).T
    carried[y, x] = moved
    return carried
