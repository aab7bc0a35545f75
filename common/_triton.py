"""The Triton kernels of ``common._fused``.

A program makes ``BLOCK`` numbers of ``CHANNELS`` channels each, and reads only the pixels near its
samples. Tiles are ``(BLOCK, CHANNELS)``: then a thread has all channels of its numbers. The bounds
of every loop come from the box inside, so nothing waits for the host, and every sum has one order,
so results do not depend on timing.

Of the arguments ``frames`` are ``(F, C, P, Q)``, with ``share = m / F`` boxes each and strides
``s0`` to ``s3``, and ``grads``, the gradients of glimpses, ``(m, C, h, w)``, with strides ``g0`` to
``g3``. ``found`` is contiguous.
"""

from __future__ import annotations

import triton
import triton.language as tl

from common._taps import load_box, readers, reads, slopes, steps, to_side, weigh

BROAD: tl.constexpr = tl.constexpr(16)  # columns of a tile of pixels

# Sizes and strides are of any value: a kernel for each would be compiled again and again.
SIZES = ("share", "channels", "rows", "columns", "height", "width")
STRIDES = ("s0", "s1", "s2", "s3", "g0", "g1", "g2", "g3", "box_stride", "number_stride")
plain = triton.jit(do_not_specialize=("frames", "boxes", "grads", "found", *SIZES, *STRIDES))


@triton.jit
def _program(channels, many, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """This program's item, its channels, and its block of ``many`` numbers."""
    program, blocks, groups = tl.program_id(0), tl.cdiv(many, BLOCK), tl.cdiv(channels, CHANNELS)
    rest = program // blocks
    channel = rest % groups * CHANNELS + tl.arange(0, CHANNELS)
    return rest // groups, channel.to(tl.int64)[None, :], program % blocks


@triton.jit
def _sums(
    frame, seen, row, row_place, down_tent, row_taps, rows, s2,
    column, column_place, across_tent, column_taps, columns, s3, total, AVERAGED: tl.constexpr,
):  # fmt: skip
    """``total``, and what the samples read of ``frame``."""
    for p in range(0, row_taps, 2):
        for q in range(0, column_taps, 2):
            for i in tl.static_range(2):
                line = frame + ((row + p + i).to(tl.int64) * s2)[:, None]
                within = seen & (row + p + i < rows)[:, None]
                weight = weigh(p + i - row_place, down_tent, AVERAGED)
                for j in tl.static_range(2):
                    pixel = line + ((column + q + j).to(tl.int64) * s3)[:, None]
                    inside = within & (column + q + j < columns)[:, None]
                    pixels = tl.load(pixel, mask=inside, other=0).to(total.dtype)
                    product = weight * weigh(q + j - column_place, across_tent, AVERAGED)
                    total += pixels * product[:, None]
    return total


@plain
def glimpses(
    frames, boxes, found, share, channels, rows, columns, height, width,
    s0, s1, s2, s3, box_stride, number_stride,
    ANTIALIAS: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Makes ``found (m, C, h, w)``."""
    box, channel, block = _program(channels, height * width, CHANNELS, BLOCK)
    index = block * BLOCK + tl.arange(0, BLOCK)
    x, y, w, h, finite = load_box(boxes, box, box_stride, number_stride)
    down, down_tent = steps(h, height, ANTIALIAS)
    across, across_tent = steps(w, width, ANTIALIAS)
    row, row_place, row_taps = reads(y, down, down_tent, index // width, rows)
    column, column_place, column_taps = reads(x, across, across_tent, index % width, columns)
    seen = (index < height * width)[:, None] & (channel < channels)
    frame = frames + (box // share).to(tl.int64) * s0 + channel * s1
    total = tl.zeros((BLOCK, CHANNELS), x.dtype)
    if (down_tent > 0) | (across_tent > 0):
        total = _sums(
            frame, seen, row, row_place, down_tent, row_taps, rows, s2,
            column, column_place, across_tent, column_taps, columns, s3, total, True,
        )  # fmt: skip
    else:
        total = _sums(
            frame, seen, row, row_place, down_tent, 2, rows, s2,
            column, column_place, across_tent, 2, columns, s3, total, False,
        )  # fmt: skip
    at = (box.to(tl.int64) * channels + channel) * (height * width) + index[:, None]
    tl.store(found + at, tl.where(finite, total, float("nan")), mask=seen)


@triton.jit
def _changes(
    frame, seen, row, row_place, down_tent, row_taps, rows, s2,
    column, column_place, across_tent, column_taps, columns, s3, grad,
    ASIDE: tl.constexpr, AVERAGED: tl.constexpr,
):  # fmt: skip
    """Gradients of the samples' places and tents: x, y, then x, y again."""
    to_x = tl.zeros_like(row_place)
    to_y, to_across, to_down = to_x, to_x, to_x
    for p in range(0, row_taps, 2):
        for q in range(0, column_taps, 2):
            for i in tl.static_range(2):
                line = frame + ((row + p + i).to(tl.int64) * s2)[:, None]
                within = seen & (row + p + i < rows)[:, None]
                weight, slope, change = slopes(p + i - row_place - ASIDE, down_tent, AVERAGED)
                for j in tl.static_range(2):
                    pixel = line + ((column + q + j).to(tl.int64) * s3)[:, None]
                    inside = within & (column + q + j < columns)[:, None]
                    pixels = tl.load(pixel, mask=inside, other=0).to(grad.dtype)
                    product = tl.sum(pixels * grad, 1)
                    offset = q + j - column_place - ASIDE
                    other, bend, spread = slopes(offset, across_tent, AVERAGED)
                    to_x += product * weight * bend
                    to_y += product * slope * other
                    to_across += product * weight * spread
                    to_down += product * change * other
    return to_x, to_y, to_across, to_down


@plain
def to_boxes(
    frames, boxes, grads, found, share, channels, rows, columns, height, width,
    s0, s1, s2, s3, g0, g1, g2, g3, box_stride, number_stride,
    ASIDE: tl.constexpr, ANTIALIAS: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Makes ``found (m, programs of a box, 4)``, parts of the gradients of boxes."""
    box, channel, block = _program(channels, height * width, CHANNELS, BLOCK)
    index = block * BLOCK + tl.arange(0, BLOCK)
    x, y, w, h, finite = load_box(boxes, box, box_stride, number_stride)
    down, down_tent = steps(h, height, ANTIALIAS)
    across, across_tent = steps(w, width, ANTIALIAS)
    row, row_place, row_taps = reads(y, down, down_tent, index // width, rows)
    column, column_place, column_taps = reads(x, across, across_tent, index % width, columns)
    seen = (index < height * width)[:, None] & (channel < channels)
    at = grads + box.to(tl.int64) * g0 + channel * g1
    at += ((index // width).to(tl.int64) * g2 + (index % width).to(tl.int64) * g3)[:, None]
    grad = tl.load(at, mask=seen, other=0).to(x.dtype)
    frame = frames + (box // share).to(tl.int64) * s0 + channel * s1
    if (down_tent > 0) | (across_tent > 0):
        to_x, to_y, to_across, to_down = _changes(
            frame, seen, row, row_place, down_tent, row_taps, rows, s2,
            column, column_place, across_tent, column_taps, columns, s3, grad, ASIDE, True,
        )  # fmt: skip
    else:
        to_x, to_y, to_across, to_down = _changes(
            frame, seen, row, row_place, down_tent, 2, rows, s2,
            column, column_place, across_tent, 2, columns, s3, grad, ASIDE, False,
        )  # fmt: skip
    at = found + tl.program_id(0).to(tl.int64) * 4
    to_w = to_side(to_x, to_across, index % width, across, width)
    to_h = to_side(to_y, to_down, index // width, down, height)
    tl.store(at, tl.where(finite, tl.sum(to_x, 0), 0.0))
    tl.store(at + 1, tl.where(finite, tl.sum(to_y, 0), 0.0))
    tl.store(at + 2, tl.where(finite, to_w, 0.0))
    tl.store(at + 3, tl.where(finite, to_h, 0.0))


@triton.jit
def _spread(
    grads, first, many, y, down, down_tent, row, g2,
    start, most, x, across, across_tent, column, g3, seen, total, AVERAGED: tl.constexpr,
):  # fmt: skip
    """``total``, and the gradients of pixels by ``many`` rows of ``most`` samples of a box."""
    for p in range(many):
        i = first + p
        place = y + (i.to(y.dtype) + 0.5) * down - 0.5
        weight = weigh(row - place, down_tent, AVERAGED)
        line = grads + (i.to(tl.int64) * g2)[:, None]
        for q in range(most):
            j = start + q
            place = x + (j.to(x.dtype) + 0.5) * across - 0.5
            sample = line + (j.to(tl.int64) * g3)[:, None]
            grad = tl.load(sample, mask=seen, other=0).to(total.dtype)
            total += grad * (weight * weigh(column - place, across_tent, AVERAGED))[:, None]
    return total


@plain
def to_frames(
    boxes, grads, found, share, channels, rows, columns, height, width,
    g0, g1, g2, g3, box_stride, number_stride,
    ANTIALIAS: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Makes ``found (F, C, P, Q)``, the gradients of frames."""
    tall: tl.constexpr = BLOCK // BROAD
    tiles = tl.cdiv(columns, BROAD)
    frame, channel, tile = _program(channels, tl.cdiv(rows, tall) * tiles * BLOCK, CHANNELS, BLOCK)
    lane = tl.arange(0, BLOCK)
    top, left = tile // tiles * tall, tile % tiles * BROAD
    row, column = top + lane // BROAD, left + lane % BROAD
    total = tl.zeros((BLOCK, CHANNELS), boxes.dtype.element_ty)
    for n in range(share):
        box = frame * share + n
        x, y, w, h, finite = load_box(boxes, box, box_stride, number_stride)
        down, down_tent = steps(h, height, ANTIALIAS)
        across, across_tent = steps(w, width, ANTIALIAS)
        up, aside = tl.floor(y), tl.floor(x)  # pixels are counted from the box, as in reads
        y, x, line, pillar = y - up, x - aside, row - up, column - aside
        first, many, near = readers(y, down, down_tent, line, top - up, tall, height)
        start, most, close = readers(x, across, across_tent, pillar, left - aside, BROAD, width)
        at = grads + box.to(tl.int64) * g0 + channel * g1
        many = tl.where(near & close & finite, many, 0)
        if (down_tent > 0) | (across_tent > 0):
            total = _spread(
                at, first, many, y, down, down_tent, line, g2,
                start, most, x, across, across_tent, pillar, g3, channel < channels, total, True,
            )  # fmt: skip
        else:
            total = _spread(
                at, first, many, y, down, down_tent, line, g2,
                start, most, x, across, across_tent, pillar, g3, channel < channels, total, False,
            )  # fmt: skip
    seen = ((row < rows) & (column < columns))[:, None] & (channel < channels)
    at = (frame.to(tl.int64) * channels + channel) * (rows * columns)
    at += (row.to(tl.int64) * columns + column)[:, None]
    tl.store(found + at, total.to(found.dtype.element_ty), mask=seen)
