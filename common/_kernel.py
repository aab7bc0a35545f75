"""The weight that a sample gives to each pixel along an axis, for ``common.glimpse``.

A sample is the frame, interpolated bilinearly and zero outside, averaged under a tent of half-width
``a = d - 1 / d^2`` pixels for ``d`` pixels per sample: none at all up to ``d = 1``; beyond, the two
together are close in shape to a tent of half-width ``d``. Averaging the interpolated frame and not
its pixels keeps ramps exact whatever ``d`` is. The average is separable, and the weight of a pixel
in it has a closed form, a piecewise cubic, and so have its slopes.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

# The narrowest tent that is told from none, in pixels; keeps divisions finite.
TINY = 1e-15

# Slopes are those so many pixels to the right: without tents they jump at the centres of pixels,
# and a box that is aligned with the pixels must not be left without any.
ASIDE = {torch.float32: 2.0**-20, torch.float64: 2.0**-40}


def tent_width(step: float | Tensor) -> float | Tensor:
    """Half-width of the averaging tent for 1 or more pixels per sample, in pixels."""
    return step - step**-2


@functools.cache
def numbers(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``(count, 1)``: 0, 1, 2, ..."""
    with torch.inference_mode(False):  # else what is made first under it can never get a gradient
        return torch.arange(count, dtype=dtype, device=device)[:, None]


@functools.cache
def constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers for which a GPU is not waited, as it is for those that come from a list."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def weights(places: Tensor, tents: Tensor | None, taps: int) -> Tensor:
    """``(m, taps, s)``: what pixels 0 to ``taps`` weigh in samples.

    The interpolation's tent, of half-width 1, convolved with the averaging one: that is the wider
    of the two with its three kinks, two feet and a peak, rounded by the narrower.

    Args:
        places: ``(m, s)`` of the samples, in pixels from the centre of pixel 0.
        tents: half-widths, ``(m, s)``; None where there are no tents.
        taps: number of pixels.
    """
    if tents is None:
        return _offsets(places, taps).abs_().neg_().add_(1).relu_()
    kinks = _Kinks.of(places, tents, taps)
    rounding = kinks.foot.pow_(3).sub_(kinks.peak.pow_(3), alpha=2)
    tent = kinks.past.clamp_max_(0).neg_()
    return tent.addcmul_(rounding, kinks.narrow / 6).div_(kinks.wide.square())


def slopes(places: Tensor, tents: Tensor | None, taps: int) -> tuple[Tensor, Tensor | None]:
    """How the weights change with ``places`` and with ``tents``, each ``(m, taps, s)``."""
    places = places + ASIDE[places.dtype]
    if tents is None:
        offset = _offsets(places, taps)
        return offset.sign().mul_(offset.abs_().lt_(1)), None
    offset, past, foot, peak, wide, _ = _Kinks.of(places, tents, taps)
    feet, peaks = foot.square(), peak.square()
    fall = past.lt(0).to(past.dtype).addcmul_(past.sign(), feet, value=0.5)
    to_places = (fall - peaks).mul_(offset.sign_()).div_(wide.square())
    # As the tent widens where it is the wider of the two, and where it is the narrower.
    rounding = foot.mul_(feet).sub_(peak.mul_(peaks), alpha=2)
    past.clamp_max_(0).sub_(rounding, alpha=1 / 6)
    wider = fall.addcmul_(past, 1 / wide, value=2).div_(wide.square())
    narrower = feet.div_(2).sub_(peaks).sub_(rounding, alpha=1 / 3)
    return to_places, torch.where(tents[:, None] > 1, wider, narrower)


def _offsets(places: Tensor, taps: int) -> Tensor:
    """``(m, taps, s)``: from each sample to each pixel."""
    return numbers(taps, places.dtype, places.device) - places[:, None]


class _Kinks(NamedTuple):
    """What the weights and their slopes are made of; the last two ``(m, 1, s)``."""

    offset: Tensor
    past: Tensor  # the foot of the wider tent, by so many pixels
    foot: Tensor  # a tent of height 1 at the wider one's foot, as wide as the narrower
    peak: Tensor  # the same at its peak
    wide: Tensor
    narrow: Tensor

    @classmethod
    def of(cls, places: Tensor, tents: Tensor, taps: int) -> _Kinks:
        """Kinks of ``taps`` pixels."""
        tents = tents[:, None]
        wide, narrow = tents.clamp_min(1), tents.clamp(TINY, 1)
        offset = _offsets(places, taps)
        distance, one = offset.abs(), numbers(2, places.dtype, places.device)[1]
        past = distance - wide
        slope = narrow.reciprocal()
        foot = torch.addcmul(one, past.abs(), slope, value=-1).relu_()
        peak = torch.addcmul(one, distance, slope, value=-1).relu_()
        return cls(offset, past, foot, peak, wide, narrow)
