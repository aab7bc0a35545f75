"""What a tracker saw and said, drawn: boxes, windows and ways on frames, masks over glimpses.

All are arrays ``(h, w, 3)`` RGB uint8; an object has the colour of its id, in videos and in figures
alike. Arguments never change.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from common.overlay import colour, draw_boxes
from common.writer import as_image

SHIFT = 4  # OpenCV draws to 1/16 of a pixel


def annotate(
    frame: np.ndarray,
    boxes: np.ndarray,
    ids: Sequence[int],
    windows: np.ndarray | None = None,
    trails: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """A copy of the frame with each object's box and id, and where it came from.

    Args:
        frame: ``(H, W, 3)`` array or ``(3, H, W)`` tensor, uint8 RGB.
        boxes: ``(N, 4)`` xywh pixels, which may reach outside the frame.
        ids: ``N`` integers, which also choose the colours.
        windows: ``(N, 4)`` xywh pixels, drawn as thin corners.
        trails: per object ``(L, 2)`` pixels, where its centre has been, oldest first.

    Raises:
        ValueError: the frame is not RGB uint8, or there is not one id for each box.
    """
    image = as_image(frame).copy()
    for trail, name in zip(trails or (), ids):
        _polyline(image, np.asarray(trail, float), colour(name))
    for window, name in zip(windows if windows is not None else (), ids):
        for corner in _corners(np.asarray(window, float)):
            _polyline(image, corner, colour(name))
    return draw_boxes(image, boxes, ids, thickness=max(1, round(min(image.shape[:2]) / 160)))


def mask_over(
    glimpse: np.ndarray, mask: np.ndarray, tint: Sequence[int] = (255, 220, 60)
) -> np.ndarray:
    """A glimpse with the mask laid over it: tinted where the object is, grey elsewhere.

    Args:
        glimpse: ``(C, g, g)`` in 0..1, 1 or 3 channels.
        mask: ``(h, w)`` logits.
        tint: RGB, 0..255.

    Returns:
        ``(g, g, 3)`` uint8 RGB.
    """
    image = to_image(glimpse).astype(np.float32)
    height, width = image.shape[:2]
    share = 1 / (1 + np.exp(-np.clip(np.asarray(mask, np.float32), -30, 30)))
    share = cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    inside = 0.55 * image + 0.45 * np.asarray(tint, np.float32)
    outside = 0.6 * image.mean(2, keepdims=True)
    return (share * inside + (1 - share) * outside).round().astype(np.uint8)


def to_image(glimpse: np.ndarray) -> np.ndarray:
    """``(C, h, w)`` in 0..1, of 1 or 3 channels, to ``(h, w, 3)`` uint8."""
    glimpse = np.asarray(glimpse, np.float32)
    if glimpse.shape[0] == 1:
        glimpse = glimpse.repeat(3, 0)
    return (np.clip(glimpse, 0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)


def _outline(box: np.ndarray) -> np.ndarray:
    x, y, w, h = box
    return np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])


def _corners(box: np.ndarray) -> list[np.ndarray]:
    """Four right angles at the box's corners, each arm a sixth of a side."""
    points = _outline(box)
    return [
        np.stack((here + (before - here) / 6, here, here + (after - here) / 6))
        for before, here, after in zip(np.roll(points, 1, 0), points, np.roll(points, -1, 0))
    ]


def _polyline(image: np.ndarray, points: np.ndarray, rgb: tuple[int, int, int]) -> None:
    """Draw a thin line with a dark rim, so that it is seen on any ground; in place."""
    if len(points) < 2 or not np.isfinite(points).all():
        return
    far = 4 * max(image.shape[:2])
    fixed = np.clip(points - 0.5, -far, far) * 2**SHIFT  # OpenCV's pixel i is centred at i
    fixed = fixed.round().astype(np.int32).reshape(-1, 1, 2)
    for ink, width in (((0, 0, 0), 2), (rgb, 1)):
        cv2.polylines(image, [fixed], False, ink, width, cv2.LINE_AA, SHIFT)
