"""Digits drawn by code in the manner of handwriting: what stands in for MNIST on a bare machine.

A glyph is a handful of points and the strokes that a pen makes through them. Every digit drawn
moves the points, leans, turns and stretches the whole, and takes a pen of another width.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

SIDE = 28  # pixels
INNER = 20  # MNIST's digits fill a box of so many pixels
FINE = 4  # a drawing has so many pixels per pixel, each way
COUNTS = {"train": 4000, "test": 1000}
SEEDS = {"train": 28_001, "test": 28_002}
STEPS = 6  # points of a curve between two of its glyph's
FAINT = 24  # grey values up to it become black
SHIFT = 4  # binary places of OpenCV's coordinates
PEN = (2.4, 0.22, 1.4, 3.6)  # width in pixels: median, spread of its logarithm, least, most


class Glyph(NamedTuple):
    """One way to write a digit, in a box of height 1."""

    label: int
    weight: float  # share of the digit's writers
    width: float  # relative to the height
    points: tuple[tuple[float, float], ...]  # (x, y) from 0 to 1, y down
    strokes: tuple[tuple[int, ...], ...]  # numbers of points; corners are where two meet


ROUND = ((0.5, 0), (0.2, 0.1), (0.02, 0.5), (0.18, 0.9), (0.5, 1), (0.83, 0.88), (0.98, 0.5))
GLYPHS = (
    Glyph(0, 0.7, 0.75, (*ROUND, (0.8, 0.1)), ((0, 1, 2, 3, 4, 5, 6, 7, 0),)),
    Glyph(0, 0.3, 0.7, (*ROUND, (0.85, 0.15), (0.4, 0.06)), ((0, 1, 2, 3, 4, 5, 6, 7, 8),)),
    Glyph(1, 0.85, 0.05, ((0.5, 0), (0.5, 0.5), (0.5, 1)), ((0, 1, 2),)),
    Glyph(1, 0.15, 0.3, ((0, 0.22), (0.8, 0), (0.8, 0.5), (0.8, 1)), ((0, 1), (1, 2, 3))),
    Glyph(
        *(2, 0.55, 0.75),
        ((0.05, 0.2), (0.4, 0), (0.82, 0.15), (0.7, 0.5), (0.3, 0.82), (0, 1), (0.5, 0.97), (1, 1)),
        ((0, 1, 2, 3, 4, 5), (5, 6, 7)),
    ),
    Glyph(
        *(2, 0.45, 0.8),
        (
            *((0.1, 0.2), (0.42, 0), (0.78, 0.2), (0.55, 0.62), (0.15, 0.95), (0, 0.85)),
            *((0.2, 0.74), (0.55, 0.9), (1, 0.93)),
        ),
        ((0, 1, 2, 3, 4, 5, 6, 7, 8),),
    ),
    Glyph(
        *(3, 1.0, 0.7),
        (
            *((0.05, 0.12), (0.45, 0), (0.85, 0.18), (0.7, 0.4), (0.3, 0.48)),
            *((0.8, 0.56), (0.98, 0.78), (0.6, 0.99), (0, 0.92)),
        ),
        ((0, 1, 2, 3, 4), (4, 5, 6, 7, 8)),
    ),
    Glyph(
        *(4, 0.6, 0.75),
        (
            *((0.12, 0), (0.02, 0.3), (0.08, 0.55), (0.5, 0.57), (0.95, 0.5)),
            *((0.85, 0), (0.78, 0.5), (0.72, 1)),
        ),
        ((0, 1, 2), (2, 3, 4), (5, 6, 7)),
    ),
    Glyph(
        *(4, 0.4, 0.75),
        ((0.7, 0), (0.35, 0.32), (0, 0.64), (0.5, 0.66), (1, 0.62), (0.68, 0.5), (0.66, 1)),
        ((0, 1, 2), (2, 3, 4), (0, 5, 6)),
    ),
    Glyph(
        *(5, 1.0, 0.75),
        (
            *((1, 0), (0.6, 0.02), (0.22, 0.04), (0.18, 0.22), (0.12, 0.42)),
            *((0.5, 0.36), (0.9, 0.55), (0.8, 0.87), (0.4, 1), (0, 0.92)),
        ),
        ((0, 1, 2), (2, 3, 4), (4, 5, 6, 7, 8, 9)),
    ),
    Glyph(
        *(6, 1.0, 0.65),
        (
            *((0.75, 0), (0.35, 0.22), (0.05, 0.58), (0.12, 0.88), (0.5, 1), (0.9, 0.86)),
            *((0.88, 0.62), (0.5, 0.54), (0.1, 0.74)),
        ),
        ((0, 1, 2, 3, 4, 5, 6, 7, 8),),
    ),
    Glyph(
        *(7, 0.75, 0.7),
        ((0, 0.08), (0.5, 0.04), (1, 0.03), (0.75, 0.35), (0.55, 0.68), (0.45, 1)),
        ((0, 1, 2), (2, 3, 4, 5)),
    ),
    Glyph(
        *(7, 0.25, 0.7),
        (
            *((0, 0.08), (0.5, 0.04), (1, 0.03), (0.75, 0.35), (0.55, 0.68), (0.45, 1)),
            *((0.25, 0.52), (0.6, 0.5), (0.98, 0.46)),
        ),
        ((0, 1, 2), (2, 3, 4, 5), (6, 7, 8)),
    ),
    Glyph(
        *(8, 1.0, 0.65),
        (
            *((0.85, 0.1), (0.45, 0), (0.15, 0.18), (0.4, 0.42), (0.75, 0.62), (0.82, 0.86)),
            *((0.45, 1), (0.1, 0.86), (0.2, 0.62), (0.6, 0.42), (0.92, 0.18)),
        ),
        ((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0),),
    ),
    Glyph(
        *(9, 0.7, 0.65),
        ((0.9, 0.16), (0.5, 0), (0.05, 0.22), (0.25, 0.46), (0.7, 0.4), (0.84, 0.6), (0.7, 1)),
        ((0, 1, 2, 3, 4, 0), (0, 5, 6)),
    ),
    Glyph(
        *(9, 0.3, 0.7),
        (
            *((0.88, 0.16), (0.5, 0), (0.08, 0.22), (0.3, 0.46), (0.72, 0.38)),
            *((0.92, 0.55), (0.75, 0.92), (0.3, 1)),
        ),
        ((0, 1, 2, 3, 4, 0), (0, 5, 6, 7)),
    ),
)


def draw(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The fixed set of drawn digits of a split, "train" (4,000) or "test" (1,000).

    Returns:
        images (M, 28, 28) uint8; labels (M,) uint8
    """
    rng = np.random.default_rng(SEEDS[split])
    weights = np.array([glyph.weight for glyph in GLYPHS])
    choice = rng.choice(len(GLYPHS), COUNTS[split], p=weights / weights.sum())
    images = np.empty((len(choice), SIDE, SIDE), np.uint8)
    for number, glyph in enumerate(GLYPHS):
        (mine,) = np.nonzero(choice == number)
        paths = vary(glyph, len(mine), rng)
        median, spread, least, most = PEN
        pens = np.exp(rng.normal(np.log(median), spread, len(mine))).clip(least, most)
        paths, pens = fit(paths, pens, rng)
        for place, path, pen in zip(mine, paths, pens):
            images[place] = ink(np.split(path, stroke_ends(glyph)), pen)
    return images, np.array([glyph.label for glyph in GLYPHS], np.uint8)[choice]


def vary(glyph: Glyph, number: int, rng: np.random.Generator) -> np.ndarray:
    """The points of all strokes, one after another, of ``number`` digits; (number, L, 2) (x, y)."""
    points = np.array(glyph.points) + rng.normal(0, 0.05, (number, len(glyph.points), 2))
    points = (points - 0.5) * (glyph.width, 1)
    points[..., 0] *= rng.normal(1, 0.16, (number, 1)).clip(0.6, 1.6)
    slant = rng.normal(0.2, 0.22, number).clip(-0.4, 0.8)
    turn = rng.normal(0, 0.08, number)
    cosine, sine, one = np.cos(turn), np.sin(turn), np.ones(number)
    lean = np.stack((one, -slant, 0 * one, one), 1).reshape(-1, 2, 2)
    spin = np.stack((cosine, -sine, sine, cosine), 1).reshape(-1, 2, 2)
    points = points @ (spin @ lean).swapaxes(1, 2)
    curves = [spline(len(stroke)) @ points[:, list(stroke)] for stroke in glyph.strokes]
    return np.concatenate(curves, 1)


def stroke_ends(glyph: Glyph) -> np.ndarray:
    """Where the strokes of :func:`vary` are to be split."""
    lengths = [len(spline(len(stroke))) for stroke in glyph.strokes]
    return np.cumsum(lengths)[:-1]


def spline(number: int) -> np.ndarray:
    """Weights (L, number) that make a Catmull-Rom curve through ``number`` points of them."""
    padded = np.zeros((number + 2, number))
    padded[1:-1] = np.eye(number)
    padded[0, :2], padded[-1, -2:] = (2, -1), (-1, 2)  # go on straight at both ends
    time = np.arange(STEPS)[:, None] / STEPS
    powers = time ** np.arange(4)
    basis = 0.5 * np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])
    parts = [powers @ basis @ padded[k : k + 4] for k in range(number - 1)]
    return np.concatenate([*parts, padded[-2:-1]])


def fit(
    paths: np.ndarray, pens: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Scale ``paths (M, L, 2)`` so that, drawn with their pens, they fill MNIST's box or nearly.

    Returns:
        paths in pixels of a 28 x 28 image, centred to within half a pixel; the widths of the pens
    """
    low, high = paths.min(1, keepdims=True), paths.max(1, keepdims=True)
    side = INNER * rng.uniform(0.85, 0.97, len(paths))
    scale = (side - pens) / (high - low).max((1, 2))
    centre = SIDE / 2 + rng.uniform(-0.5, 0.5, (len(paths), 1, 2))
    return (paths - (low + high) / 2) * scale[:, None, None] + centre, pens


def ink(strokes: list[np.ndarray], pen: float) -> np.ndarray:
    """(28, 28) uint8: the strokes, each (L, 2) (x, y) pixels, by a pen of that width in pixels."""
    sheet = np.zeros((SIDE * FINE, SIDE * FINE), np.uint8)
    fine = [np.rint((s * FINE - 0.5) * 2**SHIFT).astype(np.int32) for s in strokes]
    cv2.polylines(sheet, fine, False, 255, max(1, round(pen * FINE)), cv2.LINE_AA, SHIFT)
    image = cv2.resize(sheet, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (3, 3), 0.45)
    return cv2.convertScaleAbs(cv2.subtract(image, FAINT), alpha=255 / (255 - FAINT))
