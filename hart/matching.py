"""Matching a glimpse with the first one, cell by cell: where did each part of the object go?

Every cell of a feature map has a unit-length key. Comparing all keys of the current glimpse with all of
the template's (the first frame's glimpse, whose box is known) gives two readings: what each cell now
shows (soft, per cell, tolerant of deformation), and how well the template fits as a whole at each
displacement (rigid, what localises: the fully-convolutional Siamese response of Bertinetto et al. 2016).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from common import boxes as box_ops


class Template(NamedTuple):
    """What the first glimpse showed (``R`` objects, ``S`` cells in row order).

    Attributes:
        keys: ``(R, K, S)`` unit-length.
        weight: ``(R, S)`` share of each cell in the rigid fit, sums to 1.
        reading: ``(R, S, 6)`` what a cell stands for: inside the box, its offset from the box's centre
            (x, y, in half box sides), outside, and the squared offsets, all weighted by inside.
    """

    keys: Tensor
    weight: Tensor
    reading: Tensor


def cell_coverage(box: Tensor, window: Tensor, cells: tuple[int, int]) -> Tensor:
    """Share of each cell of a grid over ``window`` that ``box`` covers.

    Args:
        box: ``(..., 4)`` xywh pixels.
        window: ``(..., 4)`` xywh pixels, sides positive.
        cells: ``(rows, columns)`` of the grid.

    Returns:
        ``(..., rows, columns)`` in ``[0, 1]``: exact, the product of two one-dimensional overlaps.
    """
    count = box.new_tensor(cells).flip(0)  # (x, y)
    start = (box[..., :2] - window[..., :2]) / window[..., 2:] * count
    end = start + box[..., 2:] / window[..., 2:] * count
    along = []
    for axis, extent in ((1, cells[0]), (0, cells[1])):
        edge = torch.arange(extent, dtype=box.dtype, device=box.device)
        low = torch.maximum(start[..., axis, None], edge)
        high = torch.minimum(end[..., axis, None], edge + 1)
        along.append((high - low).clamp_min(0))
    return along[0].unsqueeze(-1) * along[1].unsqueeze(-2)


class Matcher(nn.Module):
    """Keys, the template made of them, and the comparison of a glimpse with it.

    Args:
        channels: channels of the feature map.
        side: cells on a side of the map.
        keys: length of a key.
        reach: farthest displacement tried, in cells; the response is ``(2 reach + 1)^2``.
    """

    READINGS = 6

    def __init__(self, channels: int, side: int, keys: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.key = nn.Conv2d(channels, keys, 1)
        self.salience = nn.Conv2d(channels, 1, 1)
        self.sharpness = nn.Parameter(torch.tensor(2.3))  # log, of the per-cell softmax: exp = 10
        self.register_buffer("pairs", displacement_index(side, reach), persistent=False)
        self.contrast = nn.Parameter(torch.tensor(3.0))  # log, of the response: exp = 20

    def keys(self, features: Tensor) -> Tensor:
        """Unit-length keys ``(R, K, S)`` of ``features (R, C, s, s)``."""
        return functional.normalize(self.key(features).flatten(2), dim=1, eps=1e-4)

    def template(self, features: Tensor, box: Tensor, window: Tensor) -> Template:
        """Remember the first glimpse: ``features (R, C, s, s)``, its ``box`` and ``window (R, 4)``."""
        side = features.shape[-1]
        inside = cell_coverage(box, window, (side, side)).flatten(1)  # (R, S)
        centre = (torch.arange(side, dtype=box.dtype, device=box.device) + 0.5) / side
        where = window[:, None, :2] + window[:, None, 2:] * centre[None, :, None]  # (R, s, 2)
        place = box_ops.to_centre(box)
        offset = (where - place[:, None, :2]) / (place[:, None, 2:] / 2)  # (R, s, 2) in half sides
        dx = offset[:, None, :, 0].expand(-1, side, -1).flatten(1)
        dy = offset[:, :, None, 1].expand(-1, -1, side).flatten(1)
        dx, dy = dx.clamp(-2, 2), dy.clamp(-2, 2)
        reading = torch.stack(
            (inside, inside * dx, inside * dy, 1 - inside, inside * dx**2, inside * dy**2), -1
        )
        weight = inside * torch.sigmoid(self.salience(features).flatten(1))
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-4)
        return Template(self.keys(features), weight, reading)

    def forward(self, features: Tensor, template: Template) -> tuple[Tensor, Tensor]:
        """Compare a glimpse's ``features (R, C, s, s)`` with the template.

        Returns:
            ``(R, 6, s, s)`` what each cell shows, and ``(R, D, D)`` logits of the displacement of the
            template in cells, ``D = 2 reach + 1``, rows are dy, the centre is no displacement.
        """
        rows, _, side, _ = features.shape
        similarity = torch.bmm(self.keys(features).transpose(1, 2), template.keys)  # (R, now, then)
        shown = torch.bmm((similarity * self.sharpness.exp()).softmax(2), template.reading)
        shown = shown.transpose(1, 2).reshape(rows, self.READINGS, side, side)
        fit = diagonal_sums(similarity * template.weight.unsqueeze(1), self.pairs, self.reach)
        return shown, fit * self.contrast.exp()


def displacement_index(side: int, reach: int) -> Tensor:
    """Which displacement each pair of cells is, ``(side ** 4,)``: ``(dy + reach) D + dx + reach``.

    Pairs are ordered (now y, now x, then y, then x), as a product of maps gives them; those farther
    apart than ``reach`` share the index ``D ** 2``.
    """
    cell = torch.arange(side)
    apart = cell[:, None] - cell[None, :]  # (now, then)
    dy = apart[:, None, :, None].expand(side, side, side, side)
    dx = apart[None, :, None, :].expand(side, side, side, side)
    width = 2 * reach + 1
    index = (dy + reach) * width + dx + reach
    far = (dy.abs() > reach) | (dx.abs() > reach)
    return index.masked_fill(far, width**2).flatten()


def diagonal_sums(pairs: Tensor, index: Tensor, reach: int) -> Tensor:
    """Sum ``pairs[:, v + d, v]`` over the cells ``v`` for every displacement ``d`` within reach.

    Args:
        pairs: ``(R, S, S)`` a value for each (cell now, cell then).
        index: from ``displacement_index``.

    Returns:
        ``(R, 2 reach + 1, 2 reach + 1)``; cells displaced out of the map count as zero.
    """
    width = 2 * reach + 1
    sums = pairs.new_zeros(len(pairs), width**2 + 1).index_add(1, index, pairs.flatten(1))
    return sums[:, :-1].unflatten(1, (width, width))
