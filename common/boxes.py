"""Boxes: float ``xywh`` in pixels, ``(x, y)`` the top-left corner.

Pixel ``i`` covers ``[i, i + 1)``, so ``(0, 0, W, H)`` is the whole frame. Every function takes
leading ``...`` dimensions, keeps gradients and never changes its arguments.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-9


def to_corners(boxes: Tensor) -> Tensor:
    """``(..., 4)`` xywh to ``(x0, y0, x1, y1)``."""
    return torch.cat((boxes[..., :2], boxes[..., :2] + boxes[..., 2:]), -1)


def from_corners(corners: Tensor) -> Tensor:
    """``(..., 4)`` ``(x0, y0, x1, y1)`` to xywh."""
    return torch.cat((corners[..., :2], corners[..., 2:] - corners[..., :2]), -1)


def to_centre(boxes: Tensor) -> Tensor:
    """``(..., 4)`` xywh to ``(cx, cy, w, h)``."""
    return torch.cat((boxes[..., :2] + boxes[..., 2:] / 2, boxes[..., 2:]), -1)


def from_centre(centred: Tensor) -> Tensor:
    """``(..., 4)`` ``(cx, cy, w, h)`` to xywh."""
    return torch.cat((centred[..., :2] - centred[..., 2:] / 2, centred[..., 2:]), -1)


def area(boxes: Tensor) -> Tensor:
    """Area in square pixels, ``(...)``; a box with a negative side has none."""
    return boxes[..., 2].clamp_min(0) * boxes[..., 3].clamp_min(0)


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """Area shared by ``a`` and ``b``, broadcast over ``(..., 4)``; ``(...)`` square pixels."""
    a, b = to_corners(a), to_corners(b)
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    return sides.clamp_min(0).prod(-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of ``(..., 4)`` boxes, in ``[0, 1]``; 0 for empty boxes."""
    shared = intersection(a, b)
    return shared / (area(a) + area(b) - shared).clamp_min(EPSILON)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU in ``[-1, 1]`` (Rezatofighi et al. 2019): it pulls without overlap, too."""
    shared = intersection(a, b)
    union = area(a) + area(b) - shared
    a, b = to_corners(a), to_corners(b)
    sides = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    hull = sides.clamp_min(0).prod(-1).clamp_min(EPSILON)
    return shared / union.clamp_min(EPSILON) - (hull - union) / hull


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of each box of ``a (..., N, 4)`` with each of ``b (..., M, 4)``: ``(..., N, M)``."""
    return iou(a.unsqueeze(-2), b.unsqueeze(-3))


def clip(boxes: Tensor, height: float, width: float) -> Tensor:
    """The part of each ``(..., 4)`` box inside a frame; a box outside it gets a side of zero."""
    low = torch.zeros(2, dtype=boxes.dtype, device=boxes.device)
    high = torch.tensor([width, height], dtype=boxes.dtype, device=boxes.device)
    corners = to_corners(boxes)
    start = torch.minimum(torch.maximum(corners[..., :2], low), high)
    end = torch.minimum(torch.maximum(corners[..., 2:], start), high)
    return torch.cat((start, end - start), -1)
