"""Any video onto the model's square canvas of grey pixels, and boxes from there back onto it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common import boxes as box_ops
from common import glimpse

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, of red, green, blue
ROUNDING = 1e-3  # by which pixels of another resampling may leave their range


class Fitted(NamedTuple):
    """Video on the canvas."""

    pixels: Tensor  # (T, B, 1, S, S) float32 in [0, 1]
    view: tuple[float, float, float]  # x, y, side of the canvas in pixels of the frames
    frame: tuple[int, int]  # (H, W) of the frames


def fit(frames: Tensor | np.ndarray, size: int, resize: bool = False) -> Fitted:
    """Frames as a model sees them.

    Args:
        frames: ``(T, B, C, H, W)``, uint8 or float in [0, 1]; RGB becomes grey.
        size: S, side of the canvas.
        resize: bring frames of another size onto the canvas, as large as they fit without changing
            their proportions, in the middle of black; shrinking averages.

    Raises:
        ValueError: another shape, type, range, or (without ``resize``) size.
    """
    frames = torch.as_tensor(frames)
    if frames.dim() != 5 or frames.shape[2] not in (1, 3) or 0 in frames.shape:
        raise ValueError(
            "frames must be (T, C, H, W) or (T, B, C, H, W), grey or RGB (C 1 or 3), "
            f"got {tuple(frames.shape)}"
        )
    if frames.dtype != torch.uint8 and not frames.is_floating_point():
        raise ValueError(f"frames must be uint8, or float in [0, 1], got {frames.dtype}")
    height, width = frames.shape[-2:]
    if (height, width) != (size, size) and not resize:
        raise ValueError(
            f"frames are {width} x {height} pixels, the model sees {size} x {size}: "
            "cut them, or say resize=True"
        )
    side = max(height, width)
    view = ((width - side) / 2, (height - side) / 2, float(side))
    # Frame by frame, as a large video would not fit into memory as floats.
    pixels = torch.stack([_place(_grey(frame), view, size) for frame in frames])
    return Fitted(pixels, view, (height, width))


def to_frame(boxes: Tensor, fitted: Fitted) -> Tensor:
    """Boxes ``(..., 4)`` xywh on the canvas in pixels of the frames, clipped to these."""
    x, y, side = fitted.view
    scaled = boxes * (side / fitted.pixels.shape[-1])
    shift = torch.tensor((x, y, 0.0, 0.0), device=boxes.device)
    return box_ops.clip(scaled + shift, *fitted.frame)


def _grey(frame: Tensor) -> Tensor:
    """``(B, 1, H, W)`` in [0, 1] from ``(B, C, H, W)``."""
    pixels = frame.float() if frame.is_floating_point() else frame.float() / 255
    low, high = pixels.aminmax()
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # refuses NaN, too
        raise ValueError(f"float frames must be in [0, 1], got {float(low):g} to {float(high):g}")
    if pixels.shape[1] == 1:
        return pixels
    return torch.einsum("bchw,c->bhw", pixels, pixels.new_tensor(LUMA)).unsqueeze(1)


def _place(pixels: Tensor, view: tuple[float, float, float], size: int) -> Tensor:
    """``(B, 1, S, S)``: what is seen of ``(B, 1, H, W)`` in the square ``view``."""
    if pixels.shape[-2:] == (size, size):
        return pixels
    x, y, side = view
    box = pixels.new_tensor((x, y, side, side)).expand(len(pixels), 1, 4)
    return glimpse.extract(pixels, box, size).squeeze(1).clamp(0, 1)
