"""Losses of the published tracker (HART sec. 3.4, and what its code adds): pure functions.

Boxes lead with ``(T, B, N)`` unless said otherwise, and ``scored (T, B, N)`` bool says which count.
Overlap losses have no gradient where there is no overlap; that is as published.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from common import boxes as box_ops

LOG_EPSILON = 1e-8  # below it the logarithm is shifted: no loss exceeds 18.42
OVERSIZE = 10.0  # largest weight of a window that exceeds the frame


def negative_log(values: Tensor) -> Tensor:
    """``-ln z``, elementwise; ``-ln(z + 1e-8)`` where ``z`` is at most 1e-8."""
    return -torch.where(values > LOG_EPSILON, values, values + LOG_EPSILON).log()


def average(values: Tensor, scored: Tensor) -> Tensor:
    """Mean over what is scored in each frame, then over the frames that score something.

    ``values`` and ``scored``: ``(T, B, N)``. A scalar, 0 when nothing is scored.
    """
    count = scored.sum((1, 2))
    # not a product: what is not scored may be no number
    total = torch.where(scored, values, torch.zeros_like(values)).sum((1, 2))
    return (total / count.clamp_min(1)).sum() / (count > 0).sum().clamp_min(1)


def box_loss(boxes: Tensor, target: Tensor, scored: Tensor) -> Tensor:
    """``-ln IoU`` of predicted and true boxes, a scalar."""
    return average(negative_log(_overlap(boxes, target, scored)), scored)


def attention_loss(
    windows: Tensor, target: Tensor, scored: Tensor, size: tuple[int, int]
) -> Tensor:
    """A window must contain the object, and be small against the frame of ``size (H, W)``.

    The paper has the window's IoU with the frame; its code the share of the frame's area, and a
    weight of up to 10 that alone has a gradient once the window exceeds the frame.
    """
    height, width = size
    inside = box_ops.intersection(windows, target) / box_ops.area(target).clamp_min(LOG_EPSILON)
    inside = torch.where(scored, inside, torch.ones_like(inside))
    share = windows[..., 2] * windows[..., 3] / (height * width)
    small = share.clamp(1, OVERSIZE) * negative_log(1 - share.clamp(0, 1))
    return average(negative_log(inside), scored) + average(small, scored)


def mask_target(windows: Tensor, target: Tensor, side: int) -> Tensor:
    """Where the true box is in the window, drawn at pixel resolution and then shrunk.

    The box's part in the window is ones on a grid of the window's rounded size; the grid is resized
    by TensorFlow's bilinear rule (output ``i`` reads source ``i * size / side``, without the half
    pixel, without smoothing). Along each axis the grid is an interval, so that only two of its
    pixels need looking at per output. A window that rounds to nothing has an empty mask.

    Args:
        windows: ``(..., 4)`` xywh pixels.
        target: ``(..., 4)`` xywh pixels.
        side: of the mask.

    Returns:
        ``(..., side, side)`` in ``[0, 1]``, without gradient.
    """
    with torch.no_grad():
        outer, inner = box_ops.to_corners(windows), box_ops.to_corners(target)
        start = torch.maximum(outer[..., :2], inner[..., :2])
        length = (torch.minimum(outer[..., 2:], inner[..., 2:]) - start).clamp_min(0)
        size = torch.round(windows[..., 2:]).unsqueeze(-1)  # (..., 2, 1)
        first = torch.round(start - outer[..., :2]).unsqueeze(-1)
        end = first + torch.round(length).unsqueeze(-1)
        steps = torch.arange(side, dtype=size.dtype, device=size.device)
        source = steps * (size / side)  # (..., 2, side)
        low = source.floor()
        high = torch.minimum(low + 1, size - 1)
        rest = source - low
        below = ((low >= first) & (low < end)).to(size.dtype)
        above = ((high >= first) & (high < end)).to(size.dtype)
        profile = torch.where(size > 0, below * (1 - rest) + above * rest, torch.zeros_like(rest))
        columns, rows = profile.unbind(-2)
        return rows.unsqueeze(-1) * columns.unsqueeze(-2)


def mask_loss(logits: Tensor, target: Tensor, scored: Tensor) -> Tensor:
    """Cross-entropy per cell, object and background weighing the same in each mask.

    Args:
        logits: ``(T, B, N, s, s)``.
        target: ``(T, B, N, s, s)`` in ``[0, 1]``; cells above 0 belong to the object.
        scored: ``(T, B, N)``.

    Returns:
        Mean over all cells of all scored masks; a cell weighs one over its class's share, which is
        the target's mean for the object.
    """
    share = target.mean((-2, -1), keepdim=True)
    weight = torch.where(target > 0, share, 1 - share)
    weight = torch.where(weight > 0, weight, torch.ones_like(weight)).reciprocal()
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    loss = (loss * weight).mean((-2, -1))
    total = torch.where(scored, loss, torch.zeros_like(loss)).sum()
    return total / scored.sum().clamp_min(1)


def weight_norm(module: nn.Module) -> Tensor:
    """Half the squared norm of all matrices and kernels; biases, gains and norms are free."""
    norms = [weight.square().sum() for weight in module.parameters() if weight.ndim > 1]
    return torch.stack(norms).sum() / 2


def filter_norm(norms: Tensor, counted: Tensor) -> Tensor:
    """Half the mean squared norm of the dynamic filters, over the ``counted`` of ``(T, B, N)``."""
    total = torch.where(counted, norms, torch.zeros_like(norms)).sum()
    return total / counted.sum().clamp_min(1) / 2


def loss_weights(roots: Tensor) -> Tensor:
    """``w = v^2 + 1e-8`` of the learned ``v (L,)``: always positive."""
    return roots.square() + LOG_EPSILON


def weighted_sum(losses: Sequence[Tensor] | Tensor, weights: Tensor) -> Tensor:
    """``sum_i w_i L_i - ln w_i`` (Kendall et al. 2018 with ``w = 1 / sigma^2``), a scalar."""
    if not isinstance(losses, Tensor):
        losses = torch.stack(tuple(losses))
    return (weights * losses - weights.log()).sum()


def _overlap(boxes: Tensor, target: Tensor, scored: Tensor) -> Tensor:
    """IoU where scored, else 1, so that no gradient comes from what is not there."""
    overlap = box_ops.iou(boxes, target)
    return torch.where(scored, overlap, torch.ones_like(overlap))
