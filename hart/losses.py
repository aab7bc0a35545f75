"""Losses of the default tracker: pure functions of (output, target); means over what is present.

All take ``(T, B, N)`` leading dimensions and a boolean mask of the objects to score, and return a scalar.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from common import boxes as box_ops
from hart.matching import cell_coverage

FAINTEST = 0.05  # IoU below which -log IoU stops growing: GIoU carries the gradient there


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` (same shape); 0 when nothing is."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp_min(1)


def relative_error(boxes: Tensor, target: Tensor) -> Tensor:
    """``(..., 4)`` centre error in the target's sides, and the difference of log sides."""
    ours, theirs = box_ops.to_centre(boxes), box_ops.to_centre(target)
    size = theirs[..., 2:].clamp_min(1)
    growth = ours[..., 2:].clamp_min(1e-3).log() - size.log()
    return torch.cat(((ours[..., :2] - theirs[..., :2]) / size, growth), -1)


def box_loss(boxes: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """``1 - GIoU - ln(IoU) / 2 + smooth-L1`` of the relative error: overlap, with a pull without it."""
    overlap = box_ops.iou(boxes, target).clamp_min(FAINTEST)
    error = relative_error(boxes, target).clamp(-8, 8)
    near = functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.2, reduction="none")
    values = 1 - box_ops.giou(boxes, target) - 0.5 * overlap.log() + near.sum(-1)
    return masked_mean(values, mask)


def mask_loss(logits: Tensor, windows: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the appearance mask with the box's exact share of each cell.

    Cells in and out of the box weigh the same in all (HART's class balancing, without its special cases).

    Args:
        logits: ``(T, B, N, rows, columns)``; windows, target: ``(T, B, N, 4)`` xywh pixels.
    """
    truth = cell_coverage(target, windows.detach(), tuple(logits.shape[-2:]))
    inside = truth.mean((-2, -1), keepdim=True).clamp(0.02, 0.98)
    weight = (truth / inside + (1 - truth) / (1 - inside)) / 2
    values = functional.binary_cross_entropy_with_logits(logits, truth, weight, reduction="none")
    return masked_mean(values.mean((-2, -1)), mask)


def response_loss(response: Tensor, displacement: Tensor, scale: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the template's scale and displacement with the true ones, spread over neighbours.

    Args:
        response: ``(..., Z, D, D)`` logits, rows are dy.
        displacement: ``(..., 2)`` (x, y) of the true centre in cells; out of reach is not scored.
        scale: ``(...)`` true size in steps of the template's scales, beyond the ends counts as the ends.
        mask: ``(...)``.
    """
    scales, width = response.shape[-3], response.shape[-1]
    place = displacement.detach() + (width - 1) / 2
    reachable = ((place >= 0) & (place <= width - 1)).all(-1) & mask
    across = _tents(place, width)  # (..., 2, D)
    depth = _tents(scale.detach().clamp(-(scales // 2), scales // 2) + scales // 2, scales)
    truth = depth[..., None, None] * (across[..., 1, :, None] * across[..., 0, None, :]).unsqueeze(
        -3
    )
    logs = response.flatten(-3).log_softmax(-1)
    return masked_mean(-(truth.flatten(-3) * logs).sum(-1), reachable)


def _tents(place: Tensor, bins: int) -> Tensor:
    """Each ``place (...)`` shared between its two neighbours of ``bins`` whole numbers: ``(..., bins)``."""
    whole = torch.arange(bins, dtype=place.dtype, device=place.device)
    return (1 - (place.unsqueeze(-1) - whole).abs()).clamp_min(0)


def window_loss(windows: Tensor, ideal: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """A window must contain the object with a margin, and lie near the one made around the truth."""
    need = box_ops.to_centre(target)
    need = box_ops.to_corners(
        box_ops.from_centre(torch.cat((need[..., :2], 1.2 * need[..., 2:]), -1))
    )
    have = box_ops.to_corners(windows)
    size = target[..., 2:].clamp_min(1)
    short = torch.cat(((have - need)[..., :2] / size, (need - have)[..., 2:] / size), -1).clamp_min(
        0
    )
    error = relative_error(windows, ideal).clamp(-8, 8)
    near = functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.2, reduction="none")
    return masked_mean(short.clamp_max(8).sum(-1) + near.sum(-1), mask)
