"""Boxes drawn on frames: one colour per id, always the same, with a label."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from common.writer import as_image

GOLDEN_ANGLE = (3 - 5**0.5) / 2  # of a turn: any number of consecutive ids get hues far apart


def colour(number: int) -> tuple[int, int, int]:
    """The RGB colour of an id, 0 to 255: bright, and far from those of neighbouring ids."""
    red, green, blue = colorsys.hsv_to_rgb((number * GOLDEN_ANGLE) % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_boxes(
    frame: Tensor | np.ndarray,
    boxes: Tensor | np.ndarray,
    ids: Sequence[int] | None = None,
    labels: Sequence[str] | None = None,
    thickness: int = 2,
) -> np.ndarray:
    """Draw boxes on a copy of a frame.

    Args:
        frame: ``(3, H, W)`` tensor or ``(H, W, 3)`` array, uint8 RGB.
        boxes: ``(N, 4)`` xywh pixels. Those without area, not finite or outside are not drawn.
        ids: N numbers that choose the colours; 0 .. N - 1 by default.
        labels: N texts; the ids by default, nothing where a text is empty.
        thickness: of the lines, pixels, drawn inside the box.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: another number of ids or labels than of boxes.
    """
    image = as_image(frame).copy()
    boxes = np.asarray(boxes.detach().cpu() if isinstance(boxes, Tensor) else boxes, dtype=float)
    boxes = boxes.reshape(-1, 4)
    ids = range(len(boxes)) if ids is None else [int(number) for number in ids]
    labels = [str(number) for number in ids] if labels is None else labels
    if not len(boxes) == len(ids) == len(labels):
        raise ValueError(f"{len(boxes)} boxes with {len(ids)} ids and {len(labels)} labels")
    for box, number, label in zip(boxes, ids, labels):
        if np.isfinite(box).all() and (box[2:] > 0).all():
            _draw(image, box, colour(number), label, thickness)
    return image


def _draw(image: np.ndarray, box: np.ndarray, rgb: tuple, label: str, thickness: int) -> None:
    height, width = image.shape[:2]
    # Far-away corners are brought near the frame: OpenCV's line drawing overflows beyond 2^15.
    low, high = -2.0 * thickness, np.array([width, height]) + 2.0 * thickness
    start = np.clip(box[:2], low, high).round().astype(int)
    stop = np.clip(box[:2] + box[2:], low, high).round().astype(int)
    if (stop <= 0).any() or (start >= (width, height)).any():
        return
    for line in range(thickness):
        (left, top), (right, bottom) = start + line, stop - 1 - line
        if left <= right and top <= bottom:
            cv2.rectangle(image, (int(left), int(top)), (int(right), int(bottom)), rgb, 1)
    if label:
        _write(image, label, int(start[0]), int(start[1]), rgb)


def _write(image: np.ndarray, text: str, x: int, y: int, rgb: tuple) -> None:
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.4
    (width, height), below = cv2.getTextSize(text, font, size, 1)
    x = max(min(x, image.shape[1] - width - 2), 0)
    y = max(y, height + below + 1)  # baseline inside the frame
    cv2.rectangle(image, (x, y - height - below), (x + width + 1, y - 1), rgb, cv2.FILLED)
    dark = 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2] > 110
    ink = (0, 0, 0) if dark else (255, 255, 255)
    cv2.putText(image, text, (x + 1, y - below), font, size, ink, 1, cv2.LINE_AA)
