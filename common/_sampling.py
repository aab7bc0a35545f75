"""Ways of adding up the pixels that the samples of boxes read, for ``common.glimpse``."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from common import _bands, _products
from common._bands import Reading


def sample(
    pixels: Tensor, places: Tensor, size: tuple[int, int], taps: int, averaged: bool
) -> Tensor:
    """Glimpses ``(m, C, h, w)`` of boxes ``(m, 4)`` in regions ``(g, P, C, Q)``, the fast way."""
    if taps == 2:
        return interpolate(pixels.transpose(1, 2), places, size).flatten(0, 1)
    reading = Reading(size, (pixels.shape[1], pixels.shape[3]), taps, averaged)
    way = _products.multiply if reading.everything else gather
    return way(pixels, places, reading)


def interpolate(pixels: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """Without averaging: bilinear, the boxes of a region stacked into one tall grid.

    Args:
        pixels: ``(g, C, P, Q)``.
        places: ``(m, 4)`` boxes in ``grid_sample``'s coordinates, ``m / g`` of each region.
        size: height and width of a glimpse.

    Returns:
        ``(g, m / g, C, h, w)``, of any strides.
    """
    height, width = size
    points = (places[:, None] * _basis(size, places.dtype.to_complex(), places.device)).sum(-1)
    grid = torch.view_as_real(points[:, None, height:] + points[:, :height, None])
    grid = grid.view(pixels.shape[0], -1, width, 2)
    glimpses = torch.grid_sampler(pixels, grid, 0, 0, False)  # bilinear, zeros, no aligned corners
    if grid.shape[1] == height:
        return glimpses[:, None]
    return glimpses.unflatten(2, (-1, height)).transpose(1, 2)


@functools.cache
def _basis(size: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """``(h + w, 4)``: the centre of each row and then each column of samples, as a sum over xywh.

    Complex: the rows' are on the imaginary axis, so that a row and a column add to a point.
    """
    rows, columns = size
    with torch.inference_mode(False):  # else what is made first under it can never get a gradient
        weights = torch.zeros(rows + columns, 4, dtype=dtype, device=device)
        weights[:rows, 1] = weights[rows:, 0] = 1
        for samples, part in ((rows, weights[:rows, 3]), (columns, weights[rows:, 2])):
            index = torch.arange(samples, dtype=torch.float64, device=device)
            part.copy_((index + 0.5) / samples)
        weights[:rows] *= 1j
    return weights


def gather(pixels: Tensor, places: Tensor, reading: Reading) -> Tensor:
    """Rows, then columns, as weighted sums of the pixels nearest to each sample."""
    regions, rows, channels, columns = pixels.shape
    count, (height, width) = len(places), reading.size
    (down, weights), across = _bands.nearby(places, reading)
    table = pixels.reshape(regions * rows, channels * columns)
    table = _weighted_sums(_shifted(down, count // regions, rows), table, weights)
    table = table.view(count, height * channels, columns).mT.reshape(count * columns, -1)
    table = _weighted_sums(_shifted(across[0], 1, columns), table, across[1])
    return table.view(count, width, height, channels).permute(0, 3, 2, 1).contiguous()


def _shifted(pixels: Tensor, share: int, length: int) -> Tensor:
    """Pixels of boxes ``(m, ...)`` in a table of ``length`` for each ``share`` of the boxes."""
    if len(pixels) == share:
        return pixels
    table = torch.arange(len(pixels), device=pixels.device).div_(share, rounding_mode="floor")
    return pixels + table[:, None, None] * length


def _weighted_sums(index: Tensor, table: Tensor, weights: Tensor) -> Tensor:
    """``sum_k weights[i, k, j] * table[index[i, k, j]]``, without a copy of the rows it names."""
    index, weights = (x.mT.reshape(-1, x.shape[1]) for x in (index, weights))
    return embedding_bag(index, table, per_sample_weights=weights, mode="sum")
