"""Losses of the default tracker: pure functions of (output, target, mask).

All take ``(T, B, N)`` leading dimensions and a boolean mask of the objects to score, and return the
mean over those, a scalar. Boxes are xywh pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from common import boxes as box_ops
from common.distributed import mean_count
from hart.matching import cell_coverage

MIN_IOU = 0.05  # below it -ln IoU stops growing: GIoU carries the gradient there
MAX_ERROR = 8.0  # box sides; what is farther off pulls no harder
MARGIN = 1.2  # a window must contain the box enlarged by this factor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` (same shape), over all processes; 0 when nothing is."""
    count = mean_count(mask.sum())
    return torch.where(mask, values, 0).sum() / torch.where(count > 0, count, 1)


def relative_error(boxes: Tensor, target: Tensor) -> Tensor:
    """``(..., 4)``: error of the centre in the target's sides (2), of the log sides (2)."""
    ours, theirs = box_ops.to_centre(boxes), box_ops.to_centre(target)
    sides = theirs[..., 2:].clamp_min(1)
    growth = ours[..., 2:].clamp_min(1e-3).log() - sides.log()
    return torch.cat(((ours[..., :2] - theirs[..., :2]) / sides, growth), -1)


def box_loss(boxes: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """``1 - GIoU - ln(IoU) / 2`` plus the smooth-L1 norm of the relative error.

    HART's own loss, ``-ln IoU`` (sec. 3.4), has no gradient without overlap; GIoU (Rezatofighi et
    al. 2019) and the relative error have.

    Args:
        boxes, target: ``(T, B, N, 4)``; mask: ``(T, B, N)``.
    """
    overlap = box_ops.iou(boxes, target).clamp_min(MIN_IOU)
    distance = _smooth_distance(boxes, target)
    values = 1 - box_ops.giou(boxes, target) - 0.5 * overlap.log() + distance
    return masked_mean(values, mask)


def mask_loss(logits: Tensor, windows: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the appearance mask with the box's exact share of each cell.

    Cells in and out of the box weigh the same in all: HART's class balancing (sec. 3.4) without its
    special cases.

    Args:
        logits: ``(T, B, N, rows, columns)``.
        windows: ``(T, B, N, 4)`` over which the mask lies; gets no gradient.
        target: ``(T, B, N, 4)``; mask: ``(T, B, N)``.
    """
    truth = cell_coverage(target, windows.detach(), tuple(logits.shape[-2:]))
    inside = truth.mean((-2, -1), keepdim=True).clamp(0.02, 0.98)
    weight = (truth / inside + (1 - truth) / (1 - inside)) / 2
    values = functional.binary_cross_entropy_with_logits(logits, truth, weight, reduction="none")
    return masked_mean(values.mean((-2, -1)), mask)


def response_loss(response: Tensor, displacement: Tensor, scale: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the template's scale and displacement with the true ones.

    A true value between two bins is shared between them.

    Args:
        response: ``(..., Z, D, D)`` logits, rows are dy.
        displacement: ``(..., 2)`` (x, y) of the true centre in cells; out of reach is not scored.
        scale: ``(...)`` true size in steps of the template's scales; beyond the ends counts as the
            ends. Neither target gets a gradient.
        mask: ``(...)``.
    """
    scales, width = response.shape[-3], response.shape[-1]
    place = displacement.detach() + (width - 1) / 2
    reachable = ((place >= 0) & (place <= width - 1)).all(-1) & mask
    across = _shared_bins(place, width)  # (..., 2, D)
    middle = scales // 2
    depth = _shared_bins(scale.detach().clamp(-middle, middle) + middle, scales)  # (..., Z)
    plane = across[..., 1, :, None] * across[..., 0, None, :]  # (..., D, D)
    truth = depth[..., None, None] * plane.unsqueeze(-3)
    logs = response.flatten(-3).log_softmax(-1)
    return masked_mean(-(truth.flatten(-3) * logs).sum(-1), reachable)


def window_loss(windows: Tensor, ideal: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """A window must contain the object with a margin, and lie near the one made around the truth.

    Args:
        windows, ideal, target: ``(T, B, N, 4)``; mask: ``(T, B, N)``.
    """
    centred = box_ops.to_centre(target)
    need = box_ops.from_centre(torch.cat((centred[..., :2], MARGIN * centred[..., 2:]), -1))
    need, have = box_ops.to_corners(need), box_ops.to_corners(windows)
    sides = target[..., 2:].clamp_min(1)
    short = torch.cat(((have - need)[..., :2] / sides, (need - have)[..., 2:] / sides), -1)
    missing = short.clamp_min(0).clamp_max(MAX_ERROR).sum(-1)
    return masked_mean(missing + _smooth_distance(windows, ideal), mask)


def _smooth_distance(boxes: Tensor, target: Tensor) -> Tensor:
    """``(...)`` smooth-L1 norm of the relative error of ``boxes (..., 4)``."""
    error = relative_error(boxes, target).clamp(-MAX_ERROR, MAX_ERROR)
    zero = torch.zeros_like(error)
    return functional.smooth_l1_loss(error, zero, beta=0.2, reduction="none").sum(-1)


def _shared_bins(place: Tensor, bins: int) -> Tensor:
    """Each ``place (...)`` shared linearly between its two nearest of ``bins``: ``(..., bins)``."""
    centres = torch.arange(bins, dtype=place.dtype, device=place.device)
    return (1 - (place.unsqueeze(-1) - centres).abs()).clamp_min(0)
