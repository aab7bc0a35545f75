"""Where an object is: from the latent ``where`` to the pixel box of its window."""

from __future__ import annotations

import torch
from torch import Tensor


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
    scale = torch.sigmoid(where[..., :2])
    scale = scale + (scale.detach().clamp_min(least_scale) - scale.detach())
    side = scale * ((size - 1) * glimpse / (glimpse - 1))
    centre = (torch.tanh(where[..., 2:]) + 1) * ((size - 1) / 2) + 0.5
    return torch.cat((centre - side / 2, side), -1)


def where_of(boxes: Tensor, size: int, glimpse: int, margin: float = 1e-4) -> Tensor:
    """The inverse of :func:`windows`, of boxes ``(..., 4)``; ``margin`` off the limits at least."""
    scale = boxes[..., 2:] / ((size - 1) * glimpse / (glimpse - 1))
    shift = (boxes[..., :2] + boxes[..., 2:] / 2 - 0.5) / ((size - 1) / 2) - 1
    scale, shift = scale.clamp(margin, 1 - margin), shift.clamp(margin - 1, 1 - margin)
    return torch.cat((torch.logit(scale), torch.atanh(shift)), -1)
