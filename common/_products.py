"""Resampling by products with the weights of all pixels: for small frames, and for static shapes.

Sampling is separable, ``D X A^T`` with a band of weights ``D`` for the rows and ``A`` for the
columns. Most of the weights are zero, but products of small matrices are what a CPU and a GPU do
best, and neither direction of them ever adds in an order that depends on timing.
"""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from common import _bands, _kernel
from common._bands import Reading


def resample(
    frames: Tensor, boxes: Tensor, size: tuple[int, int], antialias: bool, bilinear: bool = False
) -> Tensor:
    """Glimpses ``(m, C, h, w)`` of boxes ``(m, 4)`` of frames ``(F, C, H, W)``, ``m / F`` each.

    Those of a box that is not finite are NaN. ``bilinear``: all are, and none shrinks to averages.
    """
    broken, reading = None, Reading(size, tuple(frames.shape[-2:]), 2, False)
    if not bilinear:
        boxes, broken, reading = _looked_at(boxes, size, reading.lengths, antialias)
    glimpses = multiply(frames.to(boxes.dtype).transpose(1, 2), boxes, reading)
    return glimpses if broken is None else glimpses.masked_fill(broken[..., None, None], math.nan)


def draw(glimpses: Tensor, boxes: Tensor, canvas: tuple[int, int], antialias: bool) -> Tensor:
    """Sums over ``N`` of what canvases read off glimpses ``(F, N, C, h, w)``: ``(F, C, H, W)``.

    One product for each canvas, of its glimpses' factors side by side.

    Args:
        glimpses: of any dtype.
        boxes: ``(F, N, 4)``, the canvas as a box of each glimpse.
        canvas: height and width.
        antialias: average where boxes shrink.
    """
    canvases, share, channels, rows, columns = glimpses.shape
    places, broken, reading = _looked_at(boxes.reshape(-1, 4), canvas, (rows, columns), antialias)
    down, across = _bands.matrices(places, reading)
    table = glimpses.to(boxes.dtype).transpose(2, 3).reshape(-1, rows * channels, columns)
    table = _Product.apply(table, across).view(canvases, share * rows, -1)
    drawn = _Product.apply(down.view(canvases, share * rows, -1).mT, table)
    drawn = drawn.view(canvases, -1, channels, canvas[1]).transpose(1, 2).contiguous()
    if broken is None:
        return drawn
    return drawn.masked_fill(broken.view(canvases, share).any(1)[:, None, None, None], math.nan)


def multiply(pixels: Tensor, places: Tensor, reading: Reading) -> Tensor:
    """Glimpses ``(m, C, h, w)`` of boxes ``(m, 4)`` in regions ``(g, P, C, Q)``, ``m / g`` each."""
    regions, rows, channels, columns = pixels.shape
    count, (height, width) = len(places), reading.size
    down, across = _bands.matrices(places, reading)
    table = pixels.reshape(regions, rows, channels * columns)
    table = _Product.apply(down.mT.reshape(regions, -1, rows), table)
    glimpses = _Product.apply(table.view(count, -1, columns), across)
    return glimpses.view(count, height, channels, width).transpose(1, 2).contiguous()


def _looked_at(
    boxes: Tensor, size: tuple[int, int], lengths: tuple[int, int], antialias: bool
) -> tuple[Tensor, Tensor | None, Reading]:
    """Boxes ``(m, 4)`` of finite numbers, which were not ``(m, 1)``, and what their samples read.

    A GPU would have to be waited for: there the boxes stay as they are, and nothing is known.
    """
    if boxes.is_cuda:
        return boxes, None, Reading(size, lengths, None, antialias)
    broken = None
    if not boxes.isfinite().all():
        broken = ~boxes.isfinite().all(-1, keepdim=True)
        boxes = boxes.masked_fill(broken, 0)
    step = 1.0
    if antialias:
        across, down = boxes.detach()[:, 2:].abs().amax(0).tolist()
        step = max(step, down / size[0], across / size[1])
    taps = math.ceil(2 + 2 * _kernel.tent_width(step))
    return boxes, broken, Reading(size, lengths, taps, step > 1)


def full_precision(device: torch.device) -> contextlib.AbstractContextManager:
    """Autocast off: half precision cannot tell one pixel of a large frame from the next."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


class _Product(torch.autograd.Function):
    """A batch of matrix products in full precision, both ways."""

    @staticmethod
    def forward(ctx, one: Tensor, other: Tensor) -> Tensor:
        ctx.save_for_backward(one, other)
        with full_precision(one.device):
            return torch.bmm(one, other)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        one, other = ctx.saved_tensors
        with full_precision(grad.device):
            to_one = torch.bmm(grad, other.mT) if ctx.needs_input_grad[0] else None
            to_other = torch.bmm(one.mT, grad) if ctx.needs_input_grad[1] else None
        return to_one, to_other
