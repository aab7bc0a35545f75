"""Resampling any number of boxes of any number of frames, within bounds of time and memory.

The arithmetic under ``common.glimpse``: ``common._windows`` says which pixels are read together,
``common._sampling`` what is made of them.
"""

from __future__ import annotations

import contextlib
import functools
import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from common import _sampling, _windows
from common._windows import Chunk

# Numbers that the regions of a call may hold to be kept for its backward pass, not read again.
KEPT = 1 << 23

# Samples that are taken from frames at a time, for the same reason as ``_windows.CHUNK``.
SAMPLES = 1 << 18

# Boxes from here on, in pixels, are not left to grid_sample, whose integers overflow.
FAR = 1e6


def resample(frames: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Glimpses ``(..., N, C, h, w)`` of boxes ``(..., N, 4)``, in their dtype, of frames.

    Frames are ``(..., C, H, W)`` of any dtype. A box that is not finite gives NaN and gets no
    gradient. Nothing is copied where float frames are enlarged; otherwise windows are, never a
    frame for each box, and of those no more is kept for the backward pass than ``KEPT``.
    """
    if not boxes.numel():
        return boxes.new_zeros(*boxes.shape[:-1], frames.shape[-3], *size) * boxes.sum()
    flat = boxes.reshape(-1, 4)
    shape = (math.prod(frames.shape[:-3]), *frames.shape[-3:])
    if boxes.is_cuda and len(flat) * size[0] * math.prod(shape[1:]) <= _windows.STATIC:
        glimpses = _apply(frames, flat, [_windows.whole(flat, shape)], size)
    elif frames.dtype == boxes.dtype and _viewable(frames) and _enlarges(flat, size):
        glimpses = _enlarged(frames.view(shape), flat, size)
    else:
        glimpses = _planned(frames, flat, shape, size)
    return glimpses.view(*boxes.shape[:-1], shape[1], *size)


def _viewable(frames: Tensor) -> bool:
    """Whether the leading dimensions are one in memory; an expanded one, say, is not."""
    lead = zip(frames.shape[:-3], frames.stride()[:-3], strict=True)
    return all(outer[1] == inner[0] * inner[1] for outer, inner in pairwise(lead))


def _enlarges(boxes: Tensor, size: tuple[int, int]) -> bool:
    """Whether no box shrinks and none is far away or not finite."""
    largest = _largest(size, boxes.dtype, boxes.device)
    return bool((boxes.detach().abs() <= largest).all())


@functools.lru_cache(maxsize=64)
def _largest(size: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor((FAR, FAR, size[1], size[0]), dtype=dtype, device=device)


@functools.lru_cache(maxsize=64)
def _units(
    height: int, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Scale and shift that take a box to ``grid_sample``'s coordinates, [-1, 1] over a frame."""
    with torch.inference_mode(False):
        scale = torch.tensor((2 / width, 2 / height) * 2, dtype=dtype, device=device)
        return scale, torch.tensor((-1, -1, 0, 0), dtype=dtype, device=device)


def _enlarged(frames: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """By ``grid_sample`` on the frames ``(F, C, H, W)`` as they are, few enough for the cache."""
    scale, shift = _units(frames.shape[-2], frames.shape[-1], boxes.dtype, boxes.device)
    share = len(boxes) // len(frames)
    many = max(1, SAMPLES // (share * size[0] * size[1]))
    with full_precision(frames.device):
        places = torch.addcmul(shift, boxes, scale)
        if many >= len(frames):
            return _sampling.interpolate(frames, places, size).contiguous()
        parts = zip(frames.split(many), places.split(many * share), strict=True)
        return torch.cat([_sampling.interpolate(*part, size) for part in parts])


def _planned(
    frames: Tensor, boxes: Tensor, shape: tuple[int, ...], size: tuple[int, int]
) -> Tensor:
    """By the windows of the boxes, in chunks."""
    rows = boxes.tolist()
    broken = [i for i, row in enumerate(rows) if not math.isfinite(sum(row))]
    if broken:
        which = torch.tensor(broken, device=boxes.device)
        boxes = boxes.index_fill(0, which, 0)
        for i in broken:
            rows[i] = _windows.ASIDE
    glimpses = _apply(frames, boxes, _windows.plan(rows, shape, size, boxes), size)
    return glimpses.index_fill(0, which, math.nan) if broken else glimpses


def full_precision(device: torch.device) -> contextlib.AbstractContextManager:
    """Autocast off: half precision cannot tell one pixel of a large frame from the next."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


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
    return _sampling.sample(pixels, places, size, chunk.taps)


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
