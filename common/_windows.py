"""Which pixels each box of ``common.glimpse`` reads, and reading them without copying a frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from common._kernel import tent_width

# Numbers that a chunk's regions may hold: few enough for the cache, enough to share fixed costs.
CHUNK = 1 << 21

# Boxes from here on, in pixels, are not left to grid_sample, whose integers overflow.
FAR = 1e6

# A box from which nothing can be seen, in any coordinates.
ASIDE = (-9.0, -9.0, -1.0, -1.0)


class Chunk(NamedTuple):
    """Boxes that are resampled together, from regions of one shape.

    Attributes:
        boxes: which of the ``(M, 4)`` boxes, ``m`` of them.
        scale: ``(m, 4)``; ``boxes * scale + shift`` is in coordinates of the box's region: those of
            ``grid_sample``, [-1, 1] from edge to edge, where nothing shrinks, otherwise its pixels.
        shift: ``(m, 4)``, see ``scale``.
        regions: frame, top and left of each region, ``g`` of them with ``m / g`` boxes in each.
        shape: height and width of the regions, ``(P, Q)``.
        taps: the most pixels that a sample reads along an axis: 2 where nothing is averaged.
        antialias: whether samples may be averages.
    """

    boxes: Sequence[int]
    scale: Tensor
    shift: Tensor
    regions: list[tuple[int, int, int]]
    shape: tuple[int, int]
    taps: int
    antialias: bool


class _Window(NamedTuple):
    """The pixels that a box reads inside its frame; zero by zero when there are none."""

    frame: int
    top: int
    left: int
    height: int
    width: int
    reach: float  # half-width of the wider kernel, in pixels


def plan(
    rows: list[Sequence[float]],
    frames: Sequence[int],
    size: tuple[int, int],
    like: Tensor,
    antialias: bool,
) -> list[Chunk]:
    """Cut ``M`` boxes over frames of shape ``(F, C, H, W)``, ``M / F`` each, into chunks.

    Large windows go apart from small ones, which they would make as costly as themselves; frames
    are read whole where windows cover more than half of them.

    Args:
        rows: the boxes as finite numbers.
        frames: the frames' shape.
        size: height and width of a glimpse.
        like: gives dtype and device of the chunks' tensors.
        antialias: average where boxes shrink.
    """
    count, channels, height, width = frames
    share = len(rows) // count
    windows = [
        _window(box, i // share, (height, width), size, antialias) for i, box in enumerate(rows)
    ]
    areas = [window.height * window.width for window in windows]
    if 2 * sum(areas) > len(rows) * height * width:
        many = share * max(1, CHUNK // (channels * width * (height + share * size[0])))
        groups = [range(i, min(i + many, len(rows))) for i in range(0, len(rows), many)]
        return [_chunk(group, windows, (height, width), share, like, antialias) for group in groups]
    if len(rows) * channels * max(areas) <= CHUNK:
        return [_chunk(range(len(rows)), windows, (height, width), 0, like, antialias)]
    order = sorted(range(len(rows)), key=areas.__getitem__, reverse=True)
    chunks = []
    while order:
        many = max(1, CHUNK // max(1, channels * areas[order[0]]))
        chunks.append(_chunk(order[:many], windows, (height, width), 0, like, antialias))
        order = order[many:]
    return chunks


def _window(
    box: Sequence[float],
    frame: int,
    limits: tuple[int, int],
    size: tuple[int, int],
    antialias: bool,
) -> _Window:
    x, y, w, h = box
    top, bottom, above = _span(y, h, size[0], limits[0], antialias)
    left, right, across = _span(x, w, size[1], limits[1], antialias)
    if top < bottom and left < right:
        return _Window(frame, top, left, bottom - top, right - left, max(above, across))
    return _Window(frame, 0, 0, 0, 0, 1.0)


def _span(
    start: float, extent: float, samples: int, length: int, antialias: bool
) -> tuple[int, int, float]:
    """First pixel that an axis of a box reads, one past the last, and its kernel's half-width."""
    step = abs(extent) / samples
    reach = 1.0 + (tent_width(max(step, 1.0)) if antialias else 0.0)
    if abs(extent) > FAR:
        reach = max(reach, 1.5)  # a pixel more than grid_sample reads, which is not for these
    middle, half = start + extent / 2, (abs(extent) - step) / 2 + reach - 0.5
    return max(0, math.floor(middle - half)), min(length, math.ceil(middle + half)), reach


def _chunk(
    group: Sequence[int],
    windows: list[_Window],
    limits: tuple[int, int],
    share: int,
    like: Tensor,
    antialias: bool,
) -> Chunk:
    """A group of windows as a chunk: of whole frames of ``share`` boxes, or (0) of the windows."""
    chosen = [windows[i] for i in group]
    height = limits[0] if share else max(1, max(window.height for window in chosen))
    width = limits[1] if share else max(1, max(window.width for window in chosen))
    regions = [
        (window.frame, min(window.top, limits[0] - height), min(window.left, limits[1] - width))
        for window in chosen[:: share or 1]
    ]
    taps = math.ceil(2 * min(max(window.reach for window in chosen), height + width))
    x, y, edge = (2 / width, 2 / height, -1.0) if taps == 2 else (1.0, 1.0, 0.0)
    scale, shift = [], []
    for i, window in enumerate(chosen):
        _, top, left = regions[i // (share or 1)]
        seen = window.height > 0
        scale.append((x, y, x, y) if seen else (0.0,) * 4)
        shift.append((edge - left * x, edge - top * y, 0.0, 0.0) if seen else ASIDE)
    options = {"dtype": like.dtype, "device": like.device}
    scale, shift = torch.tensor(scale, **options), torch.tensor(shift, **options)
    return Chunk(group, scale, shift, regions, (height, width), taps, antialias)


def views(frames: Tensor, chunk: Chunk) -> list[Tensor]:
    """The chunk's regions as views ``(., P, C, Q)`` of ``(..., C, H, W)`` frames of any strides."""
    starts = [frames.storage_offset()]
    for length, stride in zip(frames.shape[:-3], frames.stride()[:-3], strict=True):
        starts = [start + i * stride for start in starts for i in range(length)]
    channel, row, column = frames.stride()[-3:]
    offsets = [starts[frame] + top * row + left * column for frame, top, left in chunk.regions]
    shape, strides = (chunk.shape[0], frames.shape[-3], chunk.shape[1]), (row, channel, column)
    gaps = {after - before for before, after in pairwise(offsets)}
    if chunk.shape == frames.shape[-2:] and len(gaps) == 1 and gaps != {0}:  # one view does it
        return [frames.as_strided((len(offsets), *shape), (*gaps, *strides), offsets[0])]
    return [frames.as_strided((1, *shape), (0, *strides), offset) for offset in offsets]


def read(frames: Tensor, chunk: Chunk, dtype: torch.dtype) -> Tensor:
    """The pixels of the chunk's regions, ``(g, P, C, Q)``: a row holds all channels."""
    regions = views(frames, chunk)
    return (regions[0] if len(regions) == 1 else torch.cat(regions)).to(dtype)
