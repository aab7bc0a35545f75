"""Where an object is: from the latent ``where`` to the pixel box of its window."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sqair.fused import constant


def windows(where: Tensor, size: int, glimpse: int, least_scale: float = 1e-4) -> Tensor:
    """Boxes of the windows that ``where`` looks through.

    The published window spans scale ``s = sigmoid(.)`` and shift ``t = tanh(.)`` of a canvas of
    ``L`` pixels from the centre of its first to the centre of its last of ``G`` samples. From edge
    to edge of these samples, which is how the project's boxes are given, that is
    ``s (L - 1) G / (G - 1)`` pixels.

    Args:
        where: ``(..., 4)`` logits of the scale and arctanh of the shift, ``sx, sy, tx, ty``.
        size: side of the canvas, pixels.
        glimpse: side of a glimpse, pixels.
        least_scale: floor of the scale; below it the gradient passes unchanged.

    Returns:
        ``(..., 4)`` xywh pixels.
    """
    shift, reach = (size - 1) / 2, (size - 1) * glimpse / (glimpse - 1)
    return _Windows.apply(where, shift, reach, least_scale)


class _Windows(torch.autograd.Function):
    """Few steps in place of the many that PyTorch would take; ``tanh(x) = 2 sigmoid(2 x) - 1``."""

    @staticmethod
    def forward(ctx, where: Tensor, shift: float, reach: float, least: float) -> Tensor:
        steep = constant((1, 1, 2, 2), where.dtype, where.device)
        shares = torch.sigmoid(where * steep)  # of the largest side, and of the way across
        ctx.save_for_backward(shares)
        ctx.sizes = (reach, reach, 2 * shift, 2 * shift)
        floor = constant((least, least, 0, 0), where.dtype, where.device)
        sizes = constant(ctx.sizes, where.dtype, where.device)
        side, centre = (torch.maximum(shares, floor) * sizes).split(2, -1)
        return torch.cat((torch.sub(centre + 0.5, side, alpha=0.5), side), -1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        (shares,) = ctx.saved_tensors
        corner, side = grad.split(2, -1)
        to_shares = torch.cat((torch.sub(side, corner, alpha=0.5), corner), -1)
        slopes = constant(
            tuple(s * k for s, k in zip(ctx.sizes, (1, 1, 2, 2))), grad.dtype, grad.device
        )
        return torch.ops.aten.sigmoid_backward(to_shares * slopes, shares), None, None, None


def where_of(boxes: Tensor, size: int, glimpse: int, margin: float = 1e-4) -> Tensor:
    """The inverse of :func:`windows`, of boxes ``(..., 4)``; ``margin`` off the limits at least."""
    scale = boxes[..., 2:] / ((size - 1) * glimpse / (glimpse - 1))
    shift = (boxes[..., :2] + boxes[..., 2:] / 2 - 0.5) / ((size - 1) / 2) - 1
    scale, shift = scale.clamp(margin, 1 - margin), shift.clamp(margin - 1, 1 - margin)
    return torch.cat((torch.logit(scale), torch.atanh(shift)), -1)
