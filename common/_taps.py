"""What the Triton kernels compute of a box: its samples, their weights, and the slopes of these.

As ``common._kernel`` and ``common._bands`` have it, in registers.
"""

from __future__ import annotations

import triton
import triton.language as tl

TINY: tl.constexpr = tl.constexpr(1e-15)  # _kernel.TINY


@triton.jit
def _quotient(a, b):
    """Rounded correctly: a box as large as its glimpse is neither enlarged nor shrunk."""
    return tl.div_rn(a, b) if a.dtype == tl.float32 else a / b


@triton.jit
def load_box(boxes, box, box_stride, number_stride):
    """The numbers of a box, and whether they are finite; zero where they are not."""
    at = boxes + box.to(tl.int64) * box_stride
    x, y = tl.load(at), tl.load(at + number_stride)
    w, h = tl.load(at + 2 * number_stride), tl.load(at + 3 * number_stride)
    finite = x * 0 + y * 0 + w * 0 + h * 0 == 0
    x, y = tl.where(finite, x, 0.0), tl.where(finite, y, 0.0)
    return x, y, tl.where(finite, w, 0.0), tl.where(finite, h, 0.0), finite


@triton.jit
def steps(side, count, ANTIALIAS: tl.constexpr):
    """Pixels from a sample to the next, and the half-width of their tents."""
    step = _quotient(side, count.to(side.dtype))
    tent = tl.zeros((), step.dtype)
    if ANTIALIAS:
        wider = tl.maximum(tl.abs(step), 1.0)
        tent = wider - _quotient(tl.full((), 1.0, step.dtype), wider * wider)
    return step, tent


@triton.jit
def reads(start, step, tent, index, length):
    """First pixel that each sample reads, its place from there, and how many pixels all read.

    Places are counted from the box, so that they are as precise at the far end of a frame.
    """
    whole, length = tl.floor(start), length.to(start.dtype)
    place = start - whole + (index.to(start.dtype) + 0.5) * step - 0.5
    taps = tl.minimum(tl.ceil(2 + 2 * tent), length)
    first = tl.minimum(tl.maximum(tl.floor(place - tent) + whole, 0.0), length - taps)
    return first.to(tl.int32), place - (first - whole), taps.to(tl.int32)


@triton.jit
def readers(start, step, tent, pixel, least, pixels, count):
    """First sample that reads each pixel, how many may, and whether any reads any of them."""
    reach = 1 + tent
    sparse = tl.maximum(tl.abs(step), 1e-6)
    signed = tl.where(step < 0, -sparse, sparse)
    many = count.to(start.dtype)
    most = tl.minimum(tl.ceil(2 * reach / sparse) + 1, many)  # one more, as places are rounded
    first = tl.floor((pixel + 0.5 - start) / signed - 0.5 - reach / sparse)
    first = tl.minimum(tl.maximum(first, 0.0), many - most)
    one, other = start + 0.5 * step - 0.5, start + (many - 0.5) * step - 0.5
    low, high = tl.minimum(one, other) - reach, tl.maximum(one, other) + reach
    near = (least <= high) & (least + pixels - 1 >= low)
    return first.to(tl.int32), most.to(tl.int32), near


@triton.jit
def _kinks(offset, tent):
    """As ``_kernel._Kinks``, without the offset."""
    wide, narrow = tl.maximum(tent, 1.0), tl.minimum(tl.maximum(tent, TINY), 1.0)
    distance, sharp = tl.abs(offset), 1 / narrow
    past = distance - wide
    foot = tl.maximum(1 - tl.abs(past) * sharp, 0.0)
    peak = tl.maximum(1 - distance * sharp, 0.0)
    return past, foot, peak, wide, narrow


@triton.jit
def weigh(offset, tent, AVERAGED: tl.constexpr):
    """What a pixel, so far to the right of a sample, weighs in it."""
    weight = tl.maximum(1 - tl.abs(offset), 0.0)
    if AVERAGED:
        past, foot, peak, wide, narrow = _kinks(offset, tent)
        rounding = foot * foot * foot - 2 * (peak * peak * peak)
        weight = (tl.maximum(-past, 0.0) + rounding * (narrow / 6)) * (1 / (wide * wide))
    return weight


@triton.jit
def slopes(offset, tent, AVERAGED: tl.constexpr):
    """The weight, and how it changes with the sample's place and with the tent."""
    weight, zero = tl.maximum(1 - tl.abs(offset), 0.0), tl.zeros_like(offset)
    fall, to_tent = tl.where(weight > 0, zero + 1, zero), zero
    if AVERAGED:
        past, foot, peak, wide, narrow = _kinks(offset, tent)
        feet, peaks, scale = foot * foot, peak * peak, 1 / (wide * wide)
        fall = tl.where(past < 0, 1 - 0.5 * feet, tl.where(past > 0, 0.5 * feet, 0.0))
        rounding = foot * feet - 2 * (peak * peaks)
        weight = (tl.maximum(-past, 0.0) + rounding * (narrow / 6)) * scale
        wider = (fall + 2 / wide * (tl.minimum(past, 0.0) - rounding / 6)) * scale
        to_tent = tl.where(tent > 1, wider, 0.5 * feet - peaks - rounding / 3)
        fall = (fall - peaks) * scale
    to_place = tl.where(offset < 0, -fall, tl.where(offset > 0, fall, zero))
    return weight, to_place, to_tent


@triton.jit
def to_side(to_places, to_tents, index, step, count):
    """The gradient of a box's side, as ``_bands._to_places`` has it."""
    wider = tl.maximum(tl.abs(step), 1.0)
    change = tl.where(wider > 1, 1 + 2 / (wider * wider * wider), 0.0)
    change = tl.where(step < 0, -change, change)
    places = to_places * (index.to(step.dtype) + 0.5)
    return tl.sum(places + to_tents * change, 0) / count.to(step.dtype)
