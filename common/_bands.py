"""Which pixels the samples of boxes read, along each axis, and with which weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from common import _kernel
from common._kernel import constant

# A box narrower than this many pixels draws nothing when it is pasted.
NARROWEST = 1e-6

# Every coordinate of a box that sees nothing, whatever it is a box of.
OUTSIDE = -9.0


class Reading(NamedTuple):
    """What is read, and how; the same for all boxes of a call.

    Attributes:
        size: rows and columns of samples in a box, ``(h, w)``.
        lengths: rows and columns of pixels, ``(P, Q)``.
        taps: the most pixels that a sample reads along an axis; None if nothing is known about the
            boxes, which may then be other than finite, too.
        averaged: whether any samples are averages.
    """

    size: tuple[int, int]
    lengths: tuple[int, int]
    taps: int | None
    averaged: bool

    @property
    def checked(self) -> bool:
        """Whether boxes are finite."""
        return self.taps is not None

    @property
    def everything(self) -> bool:
        """Whether samples read all pixels."""
        return not self.checked or self.taps >= min(self.lengths)

    @property
    def most(self) -> int:
        """How many pixels a sample reads along an axis, the longer one where it reads all."""
        return max(self.lengths) if self.everything else self.taps


def nearby(places: Tensor, reading: Reading) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Of rows, then of columns: which pixels, and their weights, both ``(m, taps, s)``.

    Args:
        places: boxes ``(m, 4)`` in pixels.
        reading: what is read, not everything.
    """
    down, across, rows, columns = _Weights.apply(places, reading, False)
    return (rows, down), (columns, across)


def matrices(places: Tensor, reading: Reading) -> tuple[Tensor, Tensor]:
    """The weight of every pixel in every sample, ``(m, P, h)`` and ``(m, Q, w)``."""
    return _Weights.apply(places, reading, True)


def inverse(boxes: Tensor, size: Sequence[int], canvas: Sequence[int]) -> Tensor:
    """The canvas, of a height and a width, as a box ``(..., 4)`` of each glimpse of that ``size``.

    What it reads off the glimpse is what the canvas shows where ``boxes (..., 4)`` put that. It is
    outside where they are narrower than ``NARROWEST``, and has no gradient where they are not
    finite.
    """
    return _Inverse.apply(boxes, tuple(size[::-1]), tuple(canvas[::-1]))


def axes(places: Tensor, size: tuple[int, int], averaged: bool) -> tuple[Tensor, Tensor | None]:
    """Places, from the centre of pixel 0, and tents of all rows and then all columns of samples.

    Each is ``(m, h + w)`` pixels; where nothing is averaged there are no tents. Never by a matrix
    product: those may be of low precision.
    """
    height, width = size
    x, y, w, h = places.split(1, -1)
    rows = torch.addcmul(y, h, _shares(height, places.dtype, places.device))
    columns = torch.addcmul(x, w, _shares(width, places.dtype, places.device))
    centres = torch.cat((rows, columns), -1) - 0.5
    if not averaged:
        return centres, None
    down = _kernel.tent_width((h / height).abs().clamp_min(1)).expand(-1, height)
    across = _kernel.tent_width((w / width).abs().clamp_min(1)).expand(-1, width)
    return centres, torch.cat((down, across), -1)


class _Inverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, boxes: Tensor, size: tuple[int, int], canvas: tuple[int, int]) -> Tensor:
        start, side = boxes.split(2, -1)
        hidden = (side.abs() < NARROWEST).any(-1, keepdim=True)
        scale = constant(size, boxes.dtype, boxes.device) / side
        ctx.canvas = constant(canvas, boxes.dtype, boxes.device)
        ctx.save_for_backward(start, side, scale, hidden)
        return torch.cat((-start * scale, ctx.canvas * scale), -1).masked_fill_(hidden, OUTSIDE)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        start, side, scale, hidden = ctx.saved_tensors
        to_start, to_side = grad.split(2, -1)
        to_scale = to_side * ctx.canvas - to_start * start
        found = torch.cat((-scale * to_start, -scale / side * to_scale), -1)
        drawn = (start + side).isfinite().all(-1, keepdim=True) & ~hidden
        return found.where(drawn, 0), None, None


def _spoilt(places: Tensor) -> Tensor:
    """Boxes that are NaN altogether where they are not finite."""
    return places + (places * 0).sum(-1, keepdim=True)


@functools.cache
def _shares(samples: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Where the samples are in a box of length 1."""
    with torch.inference_mode(False):  # else what is made first under it can never get a gradient
        index = torch.arange(samples, dtype=torch.float64, device=device)
        return ((index + 0.5) / samples).to(dtype)


def _lines(places: Tensor, reading: Reading) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """First pixels that samples read, places from there, and tents; None without any."""
    places = places if reading.checked else _spoilt(places)
    centres, tents = axes(places, reading.size, reading.averaged)
    if reading.everything:
        return None, centres, tents
    first = (centres.floor() if tents is None else (centres - tents).floor_()).nan_to_num_(0)
    # A kernel that meets an edge reads other pixels instead of those beyond it, with weight zero.
    for line, length in zip(first.split(reading.size, -1), reading.lengths, strict=True):
        line.clamp_(0, length - reading.taps)
    return first, centres.sub_(first), tents


def _pixels(first: Tensor, reading: Reading) -> Sequence[Tensor]:
    """Which pixels rows and columns of samples read, each ``(m, taps, s)``."""
    taps = _kernel.numbers(reading.taps, torch.long, first.device)
    return (first.long()[:, None] + taps).split(reading.size, -1)


class _Weights(torch.autograd.Function):
    """Of the pixels nearby, or (``full``) of all, in one step of autograd instead of dozens."""

    @staticmethod
    def forward(ctx, places: Tensor, reading: Reading, full: bool) -> tuple[Tensor, ...]:
        first, lines, tents = _lines(places, reading)
        ctx.save_for_backward(places, first, lines, tents)
        ctx.reading, ctx.full = reading, full
        bands = _kernel.weights(lines, tents, reading.most).split(reading.size, -1)
        lengths = reading.lengths
        if first is None:
            return tuple(band[:, :n].contiguous() for band, n in zip(bands, lengths, strict=True))
        read = _pixels(first, reading)
        if not full:
            ctx.mark_non_differentiable(*read)
            return *bands, *read
        return tuple(
            band.new_zeros(len(band), n, band.shape[2]).scatter_(1, pixels, band)
            for band, n, pixels in zip(bands, lengths, read, strict=True)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None, None]:
        places, first, lines, tents = ctx.saved_tensors
        reading = ctx.reading
        if first is None:
            grads = [pad(grad, (0, 0, 0, reading.most - grad.shape[1])) for grad in grads]
        elif ctx.full:
            read = zip(grads, _pixels(first, reading), strict=True)
            grads = [grad.gather(1, pixels) for grad, pixels in read]
        grad = torch.cat(list(grads[:2]), -1)
        to_lines, to_tents = _kernel.slopes(lines, tents, reading.most)
        to_lines = to_lines.mul_(grad).sum(1)
        to_tents = None if to_tents is None else to_tents.mul_(grad).sum(1)
        to_places = _to_places(places, to_lines, to_tents, reading.size)
        if not reading.checked:
            to_places = to_places.where(places.isfinite().all(-1, keepdim=True), 0)
        return to_places, None, None


def _to_places(
    places: Tensor, to_lines: Tensor, to_tents: Tensor | None, size: tuple[int, int]
) -> Tensor:
    """The gradient of boxes ``(m, 4)`` from those of what ``axes`` makes of them."""
    parts = to_lines.split(size, -1)
    starts = [part.sum(-1) for part in parts]
    sides = [
        (part * _shares(n, part.dtype, part.device)).sum(-1)
        for part, n in zip(parts, size, strict=True)
    ]
    if to_tents is not None:
        for i, part in enumerate(to_tents.split(size, -1)):
            side = places[:, 3 - i]
            step = (side / size[i]).abs().clamp_min_(1)
            change = (1 + 2 * step**-3) * side.sign() * (step > 1) / size[i]
            sides[i] = torch.addcmul(sides[i], change, part.sum(-1))
    return torch.stack((starts[1], starts[0], sides[1], sides[0]), -1)


def inside(
    boxes: Tensor, size: tuple[int, int], limits: Sequence[int], averaged: bool = True
) -> Tensor:
    """``(m, h, w)``: share of each sample's weight inside a frame of height, width ``limits``."""
    centres, tents = axes(_spoilt(boxes), size, averaged)
    tents = torch.zeros_like(centres) if tents is None else tents
    rows = _share(centres[:, : size[0]], tents[:, : size[0]], limits[0])
    columns = _share(centres[:, size[0] :], tents[:, size[0] :], limits[1])
    return rows[..., None] * columns[:, None]


def _share(centres: Tensor, tents: Tensor, length: int) -> Tensor:
    """The share of each sample's weight along an axis that is on pixels 0 to ``length``."""
    tents = tents.clamp_min(_kernel.TINY)

    def beyond(edge: Tensor) -> Tensor:  # the share past an edge so far behind, less a half
        near, far = ((1 - (edge + side).abs() / tents).clamp_min(0) ** 3 for side in (0.5, -0.5))
        return edge.clamp(-0.5, 0.5) + (near - far) * (tents / 6)

    return (beyond(centres + 0.5) + beyond(length - 0.5 - centres)).clamp(0, 1)
