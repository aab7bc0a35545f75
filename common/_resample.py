"""Resampling any number of boxes of any number of frames, within bounds of time and memory.

The choice of arithmetic under ``common.glimpse``. On a GPU with Triton it is ``common._fused``.
Otherwise small frames go to ``common._products``; of large ones, ``common._windows`` says which
pixels are read together, ``common._sampling`` adds them up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from common import _fused, _products, _sampling, _windows
from common._kernel import constant
from common._products import full_precision
from common._windows import Chunk

# Numbers that the regions of a call may hold to be kept for its backward pass, not read again.
KEPT = 1 << 23

# Samples that are taken from frames at a time, for the same reason as ``_windows.CHUNK``.
SAMPLES = 1 << 18

# On a CPU, products with the weights of all pixels are faster for a box than grid_sample, and where
# samples are averages than sums of the pixels nearby, up to so many multiply-adds: the first for
# each number in its glimpse, plus the second. Measured; grid_sample has the lower fixed cost.
BILINEAR, AVERAGED = (66, -72_000), (90, 130_000)

# Multiply-adds up to which a GPU weights whole frames sooner than it waits for boxes to be read.
STATIC = 1 << 33


def resample(
    frames: Tensor, boxes: Tensor, size: tuple[int, int], antialias: bool = True
) -> Tensor:
    """Glimpses ``(..., N, C, h, w)`` of boxes ``(..., N, 4)``, in their dtype, of frames.

    Frames are ``(..., C, H, W)`` of any dtype. A box that is not finite gives NaN and gets no
    gradient. Small frames may be copied. Of large ones nothing is where float frames are enlarged;
    otherwise windows are, never a frame for each box, and of those no more is kept for the backward
    pass than ``KEPT``.
    """
    if not boxes.numel():
        return boxes.new_zeros(*boxes.shape[:-1], frames.shape[-3], *size) * boxes.sum()
    kernels = _fused.kernels(boxes.device)
    if kernels is not None and frames.device == boxes.device and frames.shape[-3]:
        return _fused.resample(frames, boxes, size, antialias, kernels)
    flat = boxes.reshape(-1, 4)
    shape = (math.prod(frames.shape[:-3]), *frames.shape[-3:])
    bilinear = not boxes.is_cuda and _bilinear(flat, size, antialias)
    if _by_products(flat, shape, size, bilinear):
        glimpses = _products.resample(frames.reshape(shape), flat, size, antialias, bilinear)
    elif bilinear and frames.dtype == boxes.dtype and _viewable(frames):
        glimpses = _interpolated(frames.view(shape), flat, size)
    else:
        glimpses = _planned(frames, flat, shape, size, antialias)
    return glimpses.view(*boxes.shape[:-1], shape[1], *size)


def _by_products(
    boxes: Tensor, frames: Sequence[int], size: tuple[int, int], bilinear: bool
) -> bool:
    """Whether products with the weights of all pixels are the fastest way."""
    _, channels, rows, columns = frames
    multiplied = channels * size[0] * columns * (rows + size[1])
    if boxes.is_cuda:
        return len(boxes) * multiplied <= STATIC
    each, fixed = BILINEAR if bilinear else AVERAGED
    return multiplied <= channels * size[0] * size[1] * each + fixed


def _viewable(frames: Tensor) -> bool:
    """Whether the leading dimensions are one in memory; an expanded one, say, is not."""
    lead = zip(frames.shape[:-3], frames.stride()[:-3], strict=True)
    return all(outer[1] == inner[0] * inner[1] for outer, inner in pairwise(lead))


def _bilinear(boxes: Tensor, size: tuple[int, int], antialias: bool) -> bool:
    """Whether nothing is averaged and no box is far away or not finite."""
    far = _windows.FAR
    largest = (far, far, size[1], size[0]) if antialias else (far,) * 4
    largest = constant(largest, boxes.dtype, boxes.device)
    return bool((boxes.detach().abs() <= largest).all())


def _interpolated(frames: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """By ``grid_sample`` on the frames ``(F, C, H, W)`` as they are, few enough for the cache."""
    height, width = frames.shape[-2:]  # grid_sample's coordinates are [-1, 1] over a frame
    scale = constant((2 / width, 2 / height) * 2, boxes.dtype, boxes.device)
    shift = constant((-1, -1, 0, 0), boxes.dtype, boxes.device)
    share = len(boxes) // len(frames)
    many = max(1, SAMPLES // (share * size[0] * size[1]))
    with full_precision(frames.device):
        places = torch.addcmul(shift, boxes, scale)
        if many >= len(frames):
            return _sampling.interpolate(frames, places, size).contiguous()
        parts = zip(frames.split(many), places.split(many * share), strict=True)
        return torch.cat([_sampling.interpolate(*part, size) for part in parts])


def _planned(
    frames: Tensor, boxes: Tensor, shape: tuple[int, ...], size: tuple[int, int], antialias: bool
) -> Tensor:
    """By the windows of the boxes, in chunks."""
    rows = boxes.tolist()
    broken = [i for i, row in enumerate(rows) if not math.isfinite(sum(row))]
    if broken:
        which = torch.tensor(broken, device=boxes.device)
        boxes = boxes.index_fill(0, which, 0)
        for i in broken:
            rows[i] = _windows.ASIDE
    glimpses = _apply(frames, boxes, _windows.plan(rows, shape, size, boxes, antialias), size)
    return glimpses.index_fill(0, which, math.nan) if broken else glimpses


def _apply(frames: Tensor, boxes: Tensor, chunks: list[Chunk], size: tuple[int, int]) -> Tensor:
    channels = frames.shape[-3]
    numbers = sum(len(chunk.regions) * chunk.shape[0] * chunk.shape[1] for chunk in chunks)
    keep = numbers * channels <= KEPT
    if len(chunks) > 1 or frames.requires_grad or not keep:
        return _Chunked.apply(frames, boxes, chunks, size, keep)
    with full_precision(frames.device):
        return _sample(_windows.read(frames, chunks[0], boxes.dtype), boxes, chunks[0], size)


def _sample(pixels: Tensor, boxes: Tensor, chunk: Chunk, size: tuple[int, int]) -> Tensor:
    places = torch.addcmul(chunk.shift, boxes, chunk.scale)
    return _sampling.sample(pixels, places, size, chunk.taps, chunk.antialias)


class _Part(NamedTuple):
    """Glimpses of a chunk, at ``index``, and the boxes and pixels that they are a function of."""

    index: Tensor
    glimpses: Tensor
    boxes: Tensor
    pixels: Tensor


def _part(
    frames: Tensor, boxes: Tensor, chunk: Chunk, size: tuple[int, int], wanted: tuple[bool, bool]
) -> _Part:
    """Glimpses of a chunk, with gradients as ``wanted``: to its pixels, to its boxes."""
    if isinstance(chunk.boxes, range):  # numbers from a list would be waited for by a GPU
        index = torch.arange(chunk.boxes.start, chunk.boxes.stop, device=boxes.device)
    else:
        index = torch.tensor(chunk.boxes, device=boxes.device)
    with full_precision(frames.device), torch.set_grad_enabled(any(wanted)):
        pixels = _windows.read(frames.detach(), chunk, boxes.dtype).requires_grad_(wanted[0])
        boxes = boxes.detach().index_select(0, index).requires_grad_(wanted[1])
        return _Part(index, _sample(pixels, boxes, chunk, size), boxes, pixels)


class _Chunked(torch.autograd.Function):
    """Chunk by chunk; what its backward pass needs is kept, or, where it is much, made again."""

    @staticmethod
    def forward(
        ctx, frames: Tensor, boxes: Tensor, chunks: list[Chunk], size: tuple[int, int], keep: bool
    ) -> Tensor:
        ctx.save_for_backward(frames, boxes)
        ctx.chunks, ctx.size, ctx.parts = chunks, size, []
        wanted = ctx.needs_input_grad[:2] if keep else (False, False)
        glimpses = boxes.new_empty(len(boxes), frames.shape[-3], *size)
        for chunk in chunks:
            part = _part(frames, boxes, chunk, size, wanted)
            glimpses.index_copy_(0, part.index, part.glimpses.detach())
            if any(wanted):
                ctx.parts.append(part)
        return glimpses

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        frames, boxes = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        to_frames = boxes.new_zeros(frames.shape) if wanted[0] else None
        to_boxes = torch.empty_like(boxes) if wanted[1] else None
        for i, chunk in enumerate(ctx.chunks):
            part = ctx.parts[i] if ctx.parts else _part(frames, boxes, chunk, ctx.size, wanted)
            inputs = [x for x in (part.boxes, part.pixels) if x.requires_grad]
            to_part = grad.index_select(0, part.index)
            found = torch.autograd.grad(part.glimpses, inputs, to_part, retain_graph=True)
            if to_boxes is not None:
                to_boxes.index_copy_(0, part.index, found[0])
            if to_frames is not None:
                regions = _windows.views(to_frames, chunk)
                for region, pixels in zip(regions, found[-1].chunk(len(regions)), strict=True):
                    region.add_(pixels)
        to_frames = to_frames.to(frames.dtype) if to_frames is not None else None
        return to_frames, to_boxes, None, None, None
