"""Glimpses: look at a frame through boxes (``extract``) and put what was seen back (``paste``).

A glimpse pixel is the frame, interpolated bilinearly and zero outside, averaged under a tent whose
half-width grows with the shrink factor ``d`` (window pixels per glimpse pixel): no tent at all where
the window enlarges (``d <= 1``), so plain bilinear sampling there, and no aliasing where it shrinks.
The average is exact, by one weight per pixel, row and column: ``glimpse = rows @ frame @ columns^T``.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The narrowest tent worth telling from none, in pixels; keeps divisions finite.
TINY = 1e-9


def extract(
    frames: Tensor, boxes: Tensor, size: int | tuple[int, int], *, return_validity: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """What each box of each frame shows, resampled to ``size``; differentiable in both.

    Args:
        frames: ``(..., C, H, W)`` uint8 or float.
        boxes: ``(..., N, 4)`` xywh pixels; a negative size mirrors, NaN gives NaN.
        size: height and width of a glimpse in pixels, one number for a square.
        return_validity: also return the share of each sample's weight that lies inside the frame.

    Returns:
        ``(..., N, C, h, w)`` in the frame's own units, zero where the frame ends, and with
        ``return_validity`` also ``(..., N, 1, h, w)`` in ``[0, 1]``.
    """
    height, width = (size, size) if isinstance(size, int) else size
    dtype = torch.float64 if torch.float64 in (frames.dtype, boxes.dtype) else torch.float32
    boxes = boxes.to(dtype)
    with torch.autocast(frames.device.type, enabled=False):
        rows = _weights(boxes[..., 1], boxes[..., 3], height, frames.shape[-2])
        columns = _weights(boxes[..., 0], boxes[..., 2], width, frames.shape[-1])
        pixels = frames.to(dtype).unsqueeze(-4)
        glimpses = rows.unsqueeze(-3) @ pixels @ columns.unsqueeze(-3).mT
    if not return_validity:
        return glimpses
    validity = rows.sum(-1).unsqueeze(-1) * columns.sum(-1).unsqueeze(-2)
    return glimpses, validity.unsqueeze(-3)


def paste(glimpses: Tensor, boxes: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Each glimpse drawn where its box is: the inverse map of ``extract``, zero elsewhere.

    Args:
        glimpses: ``(..., N, C, h, w)``.
        boxes: ``(..., N, 4)`` xywh pixels of the canvas.
        canvas: its height and width.

    Returns:
        ``(..., N, C, H, W)``, one canvas per glimpse.
    """
    (height, width), (h, w) = canvas, glimpses.shape[-2:]
    x, y, box_w, box_h = boxes.unbind(-1)
    scale_x, scale_y = w / box_w, h / box_h
    seen = torch.stack((-x * scale_x, -y * scale_y, width * scale_x, height * scale_y), -1)
    return extract(glimpses, seen.unsqueeze(-2), (height, width)).squeeze(-4)


def _weights(start: Tensor, extent: Tensor, samples: int, length: int) -> Tensor:
    """``(..., samples, length)``: the weight of each pixel of an axis in each sample."""
    like = {"dtype": start.dtype, "device": start.device}
    step = (extent / samples)[..., None, None]
    fractions = (torch.arange(samples, **like) + 0.5) / samples
    centres = start[..., None] + fractions * extent[..., None]
    distance = (torch.arange(length, **like) + 0.5 - centres[..., None]).abs().clamp_max(1e6)
    shrink = step.abs().clamp_min(1)
    tent = (shrink - shrink**-2).clamp_min(TINY)  # half-width of the tent, in pixels
    wide, narrow = tent.clamp_min(1), tent.clamp_max(1)
    # The interpolation's own tent (half-width 1) convolved with that one, in closed form: the wider
    # of the two with its kinks at 0 and at its foot rounded by the narrower.
    foot = (1 - (distance - wide).abs() / narrow).clamp_min(0) ** 3
    peak = (1 - distance / narrow).clamp_min(0) ** 3
    slope = (1 - distance / wide).clamp_min(0)
    return (slope + narrow / wide * (foot - 2 * peak) / 6) / wide
