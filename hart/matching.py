"""Matching a glimpse with the first one, cell by cell: where did each part of the object go?

Every cell of a feature map has a unit-length key. Comparing all keys of the current glimpse with
all of the template's (the first frame's glimpse, whose box is known) gives two readings: what each
cell now shows (soft attention, per cell, tolerant of deformation), and how well the template fits
as a whole at each displacement (rigid, what localises: the fully-convolutional Siamese response of
Bertinetto et al. 2016, at a few scales).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from common import boxes as box_ops
from common.glimpse import extract

SCALES = (-1, 0, 1)  # at which the template is matched, in steps of log size
SCALE_STEP = 0.15  # of log size
LEAST = 1e-4  # keeps norms and sums of weights from zero


class Template(NamedTuple):
    """What the first glimpse showed (``R`` objects, ``Z`` scales, ``S`` cells in row order).

    Attributes:
        keys: ``(R, Z, K, S)`` unit-length, of the object at each scale; the middle one as seen.
        weight: ``(R, Z, S)`` share of each cell in the rigid fit; sums to 1 over ``S``, or to less
            where next to nothing of the box is in the window.
        values: ``(R, S, 6)`` what a cell stands for: its share ``i`` inside the box, ``i dx`` and
            ``i dy`` of its offset from the box's centre in half box sides, ``1 - i``, ``i dx^2``
            and ``i dy^2``.
    """

    keys: Tensor
    weight: Tensor
    values: Tensor


def cell_coverage(box: Tensor, window: Tensor, cells: tuple[int, int]) -> Tensor:
    """Share of each cell of a grid over ``window`` that ``box`` covers.

    Args:
        box: ``(..., 4)`` xywh pixels.
        window: ``(..., 4)`` xywh pixels, sides positive.
        cells: ``(rows, columns)`` of the grid.

    Returns:
        ``(..., rows, columns)`` in ``[0, 1]``: exact, the product of two one-dimensional overlaps.
    """
    overlaps = []
    for axis, count in ((1, cells[0]), (0, cells[1])):
        side = window[..., axis + 2]
        start = (box[..., axis] - window[..., axis]) / side * count  # in cells
        end = start + box[..., axis + 2] / side * count
        edge = torch.arange(count, dtype=box.dtype, device=box.device)
        low = torch.maximum(start.unsqueeze(-1), edge)
        high = torch.minimum(end.unsqueeze(-1), edge + 1)
        overlaps.append((high - low).clamp_min(0))
    return overlaps[0].unsqueeze(-1) * overlaps[1].unsqueeze(-2)


def covered_weight(covered: Tensor) -> Tensor:
    """``covered (..., S)`` divided by its sum: the weights of a mean over what is covered."""
    return covered / covered.sum(-1, keepdim=True).clamp_min(LEAST)


class Matcher(nn.Module):
    """Keys, the template made of them, and the comparison of a glimpse with it.

    Args:
        channels: channels ``C`` of the feature map.
        side: cells ``s`` on a side of the map; ``S = s^2``.
        keys: length ``K`` of a key.
        reach: farthest displacement tried, in cells; the response is ``D = 2 reach + 1`` wide.
    """

    VALUES = 6  # per cell, see ``Template``

    def __init__(self, channels: int, side: int, keys: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.key = nn.Conv2d(channels, keys, 1)
        self.salience = nn.Conv2d(channels, 1, 1)
        self.sharpness = nn.Parameter(torch.tensor(2.3))  # log, of the per-cell softmax: exp = 10
        self.register_buffer("pairs", displacement_index(side, reach), persistent=False)
        self.contrast = nn.Parameter(torch.tensor(3.0))  # log, of the response: exp = 20
        # Log prior of each scale: where fewer cells count, some of them fit better by chance.
        self.scale_bias = nn.Parameter(torch.zeros(len(SCALES), 1, 1))

    def keys(self, features: Tensor) -> Tensor:
        """Unit-length keys ``(R, K, S)`` of ``features (R, C, s, s)``."""
        return functional.normalize(self.key(features).flatten(2), dim=1, eps=LEAST)

    def template(self, features: Tensor, box: Tensor, window: Tensor) -> Template:
        """Remember the first glimpse.

        Args:
            features: ``(R, C, s, s)`` of the glimpse.
            box, window: ``(R, 4)`` xywh pixels.
        """
        side = features.shape[-1]
        inside = cell_coverage(box, window, (side, side))
        salient = inside * torch.sigmoid(self.salience(features).squeeze(1))
        keys = self.keys(features).unflatten(2, (side, side))
        maps = torch.cat((keys, salient.unsqueeze(1)), 1)
        # The object at another scale is the map seen through a smaller or larger window that leaves
        # the box's centre where it is.
        centre = (box_ops.to_centre(box)[:, :2] - window[:, :2]) / window[:, 2:] * side
        views = []
        for scale in SCALES:
            extent = torch.full_like(centre, side * math.exp(-scale * SCALE_STEP))
            views.append(torch.cat((centre * (1 - extent / side), extent), 1))
        maps = extract(maps, torch.stack(views, 1), side).flatten(3)  # (R, Z, K + 1, S)
        weight = covered_weight(maps[:, :, -1])
        keys = functional.normalize(maps[:, :, :-1], dim=2, eps=LEAST)
        return Template(keys, weight, _cell_values(inside.flatten(1), box, window, side))

    def compare(self, features: Tensor, template: Template) -> tuple[Tensor, Tensor]:
        """What each cell of a glimpse shows of the template, and where the template fits.

        Args:
            features: ``(R, C, s, s)`` of the glimpse.
            template: of the same ``R`` objects.

        Returns:
            ``(R, 6, s, s)``, the template's values read by soft attention from each cell, and
            ``(R, Z, D, D)`` logits of the template's scale and displacement in cells: rows are dy,
            the middle is no displacement.
        """
        rows, scales, _, cells = template.keys.shape
        now = self.keys(features).transpose(1, 2)  # (R, S, K)
        then = template.keys.transpose(1, 2).flatten(2)  # (R, K, Z * S)
        similarity = torch.bmm(now, then).unflatten(2, (scales, cells))
        attention = (similarity[:, :, scales // 2] * self.sharpness.exp()).softmax(2)
        shown = torch.bmm(attention, template.values).transpose(1, 2)
        weighted = similarity * template.weight.unsqueeze(1)  # (R, S, Z, S)
        weighted = weighted.transpose(1, 2).flatten(0, 1)  # (R * Z, S, S)
        response = diagonal_sums(weighted, self.pairs, self.reach).unflatten(0, (rows, scales))
        response = response * self.contrast.exp() + self.scale_bias
        return shown.unflatten(2, features.shape[2:]), response


def _cell_values(inside: Tensor, box: Tensor, window: Tensor, side: int) -> Tensor:
    """``(R, S, 6)`` values of a ``Template``, for ``inside (R, S)``."""
    centres = (torch.arange(side, dtype=box.dtype, device=box.device) + 0.5) / side
    centres = window[:, None, :2] + window[:, None, 2:] * centres[None, :, None]  # (R, s, 2)
    centred = box_ops.to_centre(box)
    offset = (centres - centred[:, None, :2]) / (centred[:, None, 2:] / 2)  # (R, s, 2) half sides
    dx = offset[:, None, :, 0].expand(-1, side, -1).flatten(1).clamp(-2, 2)
    dy = offset[:, :, None, 1].expand(-1, -1, side).flatten(1).clamp(-2, 2)
    return torch.stack(
        (inside, inside * dx, inside * dy, 1 - inside, inside * dx**2, inside * dy**2), -1
    )


def displacement_index(side: int, reach: int) -> Tensor:
    """Which displacement each pair of cells is, ``(side^4,)``: ``(dy + reach) D + dx + reach``.

    Pairs are ordered (now y, now x, then y, then x), as a product of maps gives them; those farther
    apart than ``reach`` share the index ``D^2``.
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
        index: ``(S^2,)`` from ``displacement_index``.
        reach: as given to ``displacement_index``.

    Returns:
        ``(R, D, D)``, ``D = 2 reach + 1``; cells displaced out of the map count as zero.
    """
    width = 2 * reach + 1
    sums = pairs.new_zeros(len(pairs), width**2 + 1).index_add(1, index, pairs.flatten(1))
    return sums[:, :-1].unflatten(1, (width, width))
