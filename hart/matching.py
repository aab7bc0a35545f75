"""Matching a glimpse with the first one, cell by cell: where did each part of the object go?

Every cell of a feature map has a unit-length key. Comparing all keys of the current glimpse with all of
the template's (the first frame's glimpse, whose box is known) gives two readings: what each cell now
shows (soft, per cell, tolerant of deformation), and how well the template fits as a whole at each
displacement (rigid, what localises: the fully-convolutional Siamese response of Bertinetto et al. 2016).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from common import boxes as box_ops
from common.glimpse import extract

SCALES = (-1, 0, 1)  # of the template, in steps of log size
SCALE_STEP = 0.15


class Template(NamedTuple):
    """What the first glimpse showed (``R`` objects, ``S`` cells in row order).

    Attributes:
        keys: ``(R, Z, K, S)`` unit-length; the object at each of the ``Z`` scales, the middle one as seen.
        weight: ``(R, Z, S)`` share of each cell in the rigid fit, sums to 1.
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
        inside = cell_coverage(box, window, (side, side))
        salient = inside * torch.sigmoid(self.salience(features).squeeze(1))
        keys = self.keys(features).unflatten(2, (side, side))
        centre = (box_ops.to_centre(box)[:, :2] - window[:, :2]) / window[:, 2:] * side
        looks = []
        for scale in SCALES:
            extent = torch.full_like(centre, side * math.exp(-scale * SCALE_STEP))
            looks.append(torch.cat((centre * (1 - extent / side), extent), 1))
        maps = torch.cat((keys, salient.unsqueeze(1)), 1)
        maps = extract(maps, torch.stack(looks, 1), side).flatten(3)  # (R, Z, K + 1, S)
        weight = maps[:, :, -1]
        weight = weight / weight.sum(2, keepdim=True).clamp_min(1e-4)
        keys = functional.normalize(maps[:, :, :-1], dim=2, eps=1e-4)
        return Template(keys, weight, _reading(inside.flatten(1), box, window, side))

    def compare(self, features: Tensor, template: Template) -> tuple[Tensor, Tensor]:
        """What a glimpse shows of the template, and where.

        Args:
            features: ``(R, C, s, s)`` of the glimpse.

        Returns:
            ``(R, 6, s, s)`` what each cell shows (the template's readings, softly chosen), and
            ``(R, Z, D, D)`` logits of the template's scale and displacement in cells: ``D = 2 reach + 1``,
            rows are dy, the centre is no displacement.
        """
        rows, scales, _, cells = template.keys.shape
        now = self.keys(features).transpose(1, 2)  # (R, S, K)
        then = template.keys.transpose(1, 2).flatten(2)  # (R, K, Z * S)
        similarity = torch.bmm(now, then).unflatten(2, (scales, cells))
        chosen = (similarity[:, :, scales // 2] * self.sharpness.exp()).softmax(2)
        shown = torch.bmm(chosen, template.reading).transpose(1, 2)
        fit = (similarity * template.weight.unsqueeze(1)).transpose(1, 2).flatten(0, 1)
        fit = diagonal_sums(fit, self.pairs, self.reach).unflatten(0, (rows, scales))
        return shown.unflatten(2, features.shape[2:]), fit * self.contrast.exp()


def _reading(inside: Tensor, box: Tensor, window: Tensor, side: int) -> Tensor:
    """``(R, S, 6)`` of a ``Template``, for ``inside (R, S)``."""
    centre = (torch.arange(side, dtype=box.dtype, device=box.device) + 0.5) / side
    where = window[:, None, :2] + window[:, None, 2:] * centre[None, :, None]  # (R, s, 2)
    place = box_ops.to_centre(box)
    offset = (where - place[:, None, :2]) / (place[:, None, 2:] / 2)  # (R, s, 2) in half sides
    dx = offset[:, None, :, 0].expand(-1, side, -1).flatten(1).clamp(-2, 2)
    dy = offset[:, :, None, 1].expand(-1, -1, side).flatten(1).clamp(-2, 2)
    return torch.stack(
        (inside, inside * dx, inside * dy, 1 - inside, inside * dx**2, inside * dy**2), -1
    )


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
