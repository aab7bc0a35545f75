"""Anti-aliased resampling of boxes of frames: the arithmetic of ``common.glimpse``.

A sample is the frame, interpolated bilinearly and zero outside, averaged under a tent of half-width
``a = d - 1 / d^2`` pixels for ``d`` pixels per sample: none at all up to ``d = 1``; beyond, the two
together are close in shape to a tent of half-width ``d``. Averaging the interpolated frame and not
its pixels keeps ramps exact whatever ``d`` is. The average is separable, and the weight of a pixel
in it has a closed form.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from common import _windows
from common._windows import Chunk

# The narrowest tent that is told from none, in pixels; keeps divisions finite.
TINY = 1e-12


def resample(frames: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Glimpses ``(..., N, C, h, w)`` of boxes ``(..., N, 4)``, in their dtype, of frames.

    Frames are ``(..., C, H, W)`` of any dtype. A box that is not finite gives NaN and gets no
    gradient. Only windows are copied, never a frame per box, and what is kept for the backward pass
    is bounded: more than a chunk is computed again.
    """
    flat = boxes.reshape(-1, 4)
    shape = (math.prod(frames.shape[:-3]), *frames.shape[-3:])
    if not len(flat):
        return boxes.new_zeros(*boxes.shape[:-1], shape[1], *size) * boxes.sum()
    if flat.is_cuda and len(flat) * size[0] * math.prod(shape[1:]) <= _windows.STATIC:
        glimpses = _apply(frames, flat, [_windows.whole(flat, shape)], size)
        return glimpses.view(*boxes.shape[:-1], shape[1], *size)
    rows = flat.tolist()
    broken = [i for i, row in enumerate(rows) if not math.isfinite(sum(row))]
    for i in broken:
        rows[i] = _windows.ASIDE
    which = torch.tensor(broken, dtype=torch.long, device=flat.device)
    if broken:
        flat = flat.index_fill(0, which, 0)
    glimpses = _apply(frames, flat, _windows.plan(rows, shape, size, flat), size)
    if broken:
        glimpses = glimpses.index_fill(0, which, math.nan)
    return glimpses.view(*boxes.shape[:-1], shape[1], *size)


def full_precision(device: torch.device) -> contextlib.AbstractContextManager:
    """Autocast off: half precision cannot tell one pixel of a large frame from the next."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


def tent_width(extent: Tensor, samples: int) -> Tensor:
    """Half-width of the averaging tent in pixels, of a box's extent and samples; 0 up to d = 1."""
    step = (extent / samples).abs().clamp_min(1)
    return step - step**-2


@functools.lru_cache(maxsize=64)
def basis(size: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """``(h + w, 4)``: the centre of each row and then each column of samples, as a sum over xywh.

    A complex dtype has the rows' on the imaginary axis, so that a row and a column add to a point.
    """
    rows, columns = size
    with torch.inference_mode(False):  # else what is made first under it can never get a gradient
        weights = torch.zeros(rows + columns, 4, dtype=dtype, device=device)
        weights[:rows, 1] = weights[rows:, 0] = 1
        weights[:rows, 3] = (torch.arange(rows, dtype=torch.float64, device=device) + 0.5) / rows
        weights[rows:, 2] = (
            torch.arange(columns, dtype=torch.float64, device=device) + 0.5
        ) / columns
        if dtype.is_complex:
            weights[:rows] *= 1j
    return weights


def _apply(frames: Tensor, boxes: Tensor, chunks: list[Chunk], size: tuple[int, int]) -> Tensor:
    with full_precision(frames.device):
        numbers = sum(len(chunk.regions) * math.prod(chunk.shape) for chunk in chunks)
        if len(chunks) > 1 or frames.requires_grad or numbers * frames.shape[-3] > _windows.CHUNK:
            return _Recomputed.apply(frames, boxes, chunks, size)
        (chunk,) = chunks
        return _sample(_windows.read(frames, chunk, boxes.dtype), boxes, chunk, size)


class _Recomputed(torch.autograd.Function):
    """Chunk by chunk, keeping nothing but the frames and the boxes for the backward pass."""

    @staticmethod
    def forward(
        ctx, frames: Tensor, boxes: Tensor, chunks: list[Chunk], size: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(frames, boxes)
        ctx.chunks, ctx.size = chunks, size
        glimpses = boxes.new_empty(len(boxes), frames.shape[-3], *size)
        for chunk in chunks:
            pixels = _windows.read(frames, chunk, boxes.dtype)
            glimpses[chunk.boxes] = _sample(pixels, boxes[chunk.boxes], chunk, size)
        return glimpses

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        frames, boxes = ctx.saved_tensors
        wants_pixels, wants_boxes = ctx.needs_input_grad[:2]
        to_boxes = torch.zeros_like(boxes)
        to_frames = boxes.new_zeros(frames.shape) if wants_pixels else None
        for chunk in ctx.chunks:
            pixels = _windows.read(frames, chunk, boxes.dtype).detach()
            inputs = [boxes[chunk.boxes].detach().requires_grad_(), pixels]
            with torch.enable_grad(), full_precision(frames.device):
                glimpses = _sample(pixels.requires_grad_(wants_pixels), inputs[0], chunk, ctx.size)
                found = torch.autograd.grad(glimpses, inputs[: 1 + wants_pixels], grad[chunk.boxes])
            to_boxes[chunk.boxes] = found[0]
            if to_frames is not None:
                regions = _windows.views(to_frames, chunk)
                for region, part in zip(regions, found[1].chunk(len(regions)), strict=True):
                    region.add_(part)
        to_frames = to_frames.to(frames.dtype) if to_frames is not None else None
        return to_frames, to_boxes if wants_boxes else None, None, None


def _sample(pixels: Tensor, boxes: Tensor, chunk: Chunk, size: tuple[int, int]) -> Tensor:
    """Glimpses ``(m, C, h, w)`` of boxes ``(m, 4)`` in regions ``(g, P, C, Q)``, the fast way."""
    places = torch.addcmul(chunk.shift, boxes, chunk.scale)
    if chunk.taps == 2:
        return _interpolate(pixels, places, size)
    if chunk.taps is None or chunk.taps > min(chunk.shape):
        return _average_all(pixels, places, size)
    return _average(pixels, places, size, chunk.taps)


def _interpolate(pixels: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """Where no box shrinks: bilinear, the boxes of a region stacked into one tall grid."""
    regions, (height, width), count = len(pixels), size, len(places)
    points = (places[:, None] * basis(size, places.dtype.to_complex(), places.device)).sum(-1)
    grid = torch.view_as_real(points[:, None, height:] + points[:, :height, None])
    grid = grid.view(regions, -1, width, 2)
    glimpses = torch.grid_sampler(pixels.transpose(1, 2), grid, 0, 0, False)
    if regions == count:
        return glimpses
    glimpses = glimpses.view(regions, -1, count // regions, height, width)
    return glimpses.transpose(1, 2).reshape(count, -1, height, width)


def _average(pixels: Tensor, places: Tensor, size: tuple[int, int], taps: int) -> Tensor:
    """Rows, then columns, as weighted sums of the ``taps`` pixels nearest to each sample."""
    regions, rows, channels, columns = pixels.shape
    count, (height, width) = len(places), size
    centres, tents = axes(places, size)
    first = (centres - tents - 0.5).detach().floor_()
    # A kernel that meets an edge reads other pixels instead of those beyond it, with weight zero.
    first[:, :height].clamp_(0, rows - taps)
    first[:, height:].clamp_(0, columns - taps)
    pixel = first[..., None] + torch.arange(taps, dtype=first.dtype, device=first.device)
    weights = _weights(pixel + 0.5 - centres[..., None], tents[..., None])
    pixel = pixel.long()
    down, across = pixel[:, :height].reshape(regions, -1, taps), pixel[:, height:]
    down = down + torch.arange(regions, device=pixel.device)[:, None, None] * rows
    across = across + torch.arange(count, device=pixel.device)[:, None, None] * columns
    table = pixels.reshape(regions * rows, channels * columns)
    table = _weighted_sums(down.reshape(-1, taps), table, weights[:, :height])
    table = table.view(count, height * channels, columns).mT.reshape(count * columns, -1)
    table = _weighted_sums(across.reshape(-1, taps), table, weights[:, height:])
    return table.view(count, width, height, channels).permute(0, 3, 2, 1).contiguous()


def _weighted_sums(index: Tensor, table: Tensor, weights: Tensor) -> Tensor:
    """``sum_k weights[i, k] * table[index[i, k]]``, without a copy of the rows it names."""
    return embedding_bag(index, table, per_sample_weights=weights.reshape(index.shape), mode="sum")


def _average_all(pixels: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """The same by products with every pixel's weight: for small regions and static shapes."""
    regions, rows, channels, columns = pixels.shape
    count, (height, width) = len(places), size
    centres, tents = axes(places, size)
    pixel = torch.arange(max(rows, columns), dtype=centres.dtype, device=centres.device)
    weights = _weights(pixel + 0.5 - centres[..., None], tents[..., None])
    down, across = weights[:, :height, :rows], weights[:, height:, :columns]
    table = pixels.reshape(regions, rows, channels * columns)
    table = (down.reshape(regions, -1, rows) @ table).view(count, height * channels, columns)
    return (table @ across.mT).view(count, height, channels, width).transpose(1, 2).contiguous()


def axes(places: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Centres and tents of all rows and then all columns of samples, each ``(m, h + w)`` pixels."""
    height, width = size
    centres = (places[:, None] * basis(size, places.dtype, places.device)).sum(-1)
    across = tent_width(places[:, 2:3], width).expand(-1, width)
    down = tent_width(places[:, 3:4], height).expand(-1, height)
    return centres, torch.cat((down, across), 1)


def inside(boxes: Tensor, size: tuple[int, int], limits: Sequence[int]) -> Tensor:
    """``(m, h, w)``: share of each sample's weight inside a frame of height, width ``limits``."""
    centres, tents = axes(boxes, size)
    tents = tents.clamp_min(TINY)
    length = centres.new_tensor([limits[0]] * size[0] + [limits[1]] * size[1])

    def above(offset: Tensor) -> Tensor:  # weight beyond an edge, less a half
        near, far = ((1 - (offset + side).abs() / tents).clamp_min(0) ** 3 for side in (0.5, -0.5))
        return offset.clamp(-0.5, 0.5) + (near - far) * (tents / 6)

    share = (above(centres) + above(length - centres)).clamp(0, 1)
    return share[:, : size[0], None] * share[:, None, size[0] :]


def _weights(offset: Tensor, tent: Tensor) -> Tensor:
    """The weight of a pixel at ``offset`` pixels from a sample: the interpolation's tent, of
    half-width 1, convolved with the averaging one.

    That is the wider of the two with its three kinks rounded by the narrower.
    """
    distance = offset.abs()
    wide, narrow = tent.clamp_min(1), tent.clamp(TINY, 1)
    foot = (1 - (distance - wide).abs() / narrow).clamp_min(0)
    peak = (1 - distance / narrow).clamp_min(0)
    slope = (1 - distance / wide).clamp_min(0)
    return (slope + (foot**3 - 2 * peak**3) * (narrow / wide / 6)) / wide
