"""How samples of boxes are taken from regions of pixels, for ``common.glimpse``.

A sample is the frame, interpolated bilinearly and zero outside, averaged under a tent of half-width
``a = d - 1 / d^2`` pixels for ``d`` pixels per sample: none at all up to ``d = 1``; beyond, the two
together are close in shape to a tent of half-width ``d``. Averaging the interpolated frame and not
its pixels keeps ramps exact whatever ``d`` is. The average is separable, and the weight of a pixel
in it has a closed form.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

# The narrowest tent that is told from none, in pixels; keeps divisions finite.
TINY = 1e-12


def sample(pixels: Tensor, places: Tensor, size: tuple[int, int], taps: int | None) -> Tensor:
    """Glimpses ``(m, C, h, w)`` of boxes ``(m, 4)`` in regions ``(g, P, C, Q)``, the fast way."""
    if taps == 2:
        return interpolate(pixels.transpose(1, 2), places, size).flatten(0, 1)
    if taps is None or taps > min(pixels.shape[1], pixels.shape[3]):
        return _average_all(pixels, places, size)
    return _average(pixels, places, size, taps)


def interpolate(pixels: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """Where no box shrinks: bilinear, the boxes of a region stacked into one tall grid.

    Args:
        pixels: ``(g, C, P, Q)``.
        places: ``(m, 4)`` boxes in ``grid_sample``'s coordinates, ``m / g`` of each region.
        size: height and width of a glimpse.

    Returns:
        ``(g, m / g, C, h, w)``, of any strides.
    """
    height, width = size
    points = (places[:, None] * basis(size, places.dtype.to_complex(), places.device)).sum(-1)
    grid = torch.view_as_real(points[:, None, height:] + points[:, :height, None])
    grid = grid.view(pixels.shape[0], -1, width, 2)
    glimpses = torch.grid_sampler(pixels, grid, 0, 0, False)  # bilinear, zeros, no aligned corners
    if grid.shape[1] == height:
        return glimpses[:, None]
    return glimpses.unflatten(2, (-1, height)).transpose(1, 2)


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


def tent_width(step: float | Tensor) -> float | Tensor:
    """Half-width of the averaging tent for 1 or more pixels per sample, in pixels."""
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
        for samples, part in ((rows, weights[:rows, 3]), (columns, weights[rows:, 2])):
            index = torch.arange(samples, dtype=torch.float64, device=device)
            part.copy_((index + 0.5) / samples)
        if dtype.is_complex:
            weights[:rows] *= 1j
    return weights


def axes(places: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Centres and tents of all rows and then all columns of samples, each ``(m, h + w)`` pixels."""
    height, width = size
    centres = (places[:, None] * basis(size, places.dtype, places.device)).sum(-1)
    down = tent_width((places[:, 3:] / height).abs().clamp_min(1)).expand(-1, height)
    across = tent_width((places[:, 2:3] / width).abs().clamp_min(1)).expand(-1, width)
    return centres, torch.cat((down, across), 1)


def inside(boxes: Tensor, size: tuple[int, int], limits: Sequence[int]) -> Tensor:
    """``(m, h, w)``: share of each sample's weight inside a frame of height, width ``limits``."""
    centres, tents = axes(boxes, size)
    rows = _share(centres[:, : size[0]], tents[:, : size[0]], limits[0])
    columns = _share(centres[:, size[0] :], tents[:, size[0] :], limits[1])
    return rows[..., None] * columns[:, None]


def _share(centres: Tensor, tents: Tensor, length: int) -> Tensor:
    """The share of each sample's weight along an axis that is on pixels 0 to ``length``."""
    tents = tents.clamp_min(TINY)

    def beyond(edge: Tensor) -> Tensor:  # the share past an edge so far behind, less a half
        near, far = ((1 - (edge + side).abs() / tents).clamp_min(0) ** 3 for side in (0.5, -0.5))
        return edge.clamp(-0.5, 0.5) + (near - far) * (tents / 6)

    return (beyond(centres) + beyond(length - centres)).clamp(0, 1)


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
