"""Outlines of generated objects: polygons that may move over time, so that boxes are exact.

A silhouette is a list of parts, each ``(T or 1, V, 2)`` vertices ``(x, y)`` in the object's own
frame, where the unit square about the origin is the object's nominal extent (y points down). The
object is the union of its parts.
"""

from __future__ import annotations

import cv2
import numpy as np

Silhouette = list[np.ndarray]
CIRCLE = np.linspace(0, 2 * np.pi, 24, endpoint=False)
DISC = np.stack((np.cos(CIRCLE), np.sin(CIRCLE)), -1)
CAR_SIDE = np.array(
    [
        (-0.5, 0.38),
        (-0.49, 0.05),
        (-0.33, -0.03),
        (-0.2, -0.46),
        (-0.1, -0.5),
        (0.14, -0.5),
        (0.3, -0.08),
    ]
    + [(0.48, 0.02), (0.5, 0.38), (0.4, 0.38), (0.36, 0.5), (0.22, 0.5), (0.18, 0.38), (-0.2, 0.38)]
    + [(-0.24, 0.5), (-0.38, 0.5), (-0.42, 0.38)]
)
CAR_FRONT = np.array(
    [
        (-0.5, 0.5),
        (-0.5, 0.0),
        (-0.46, -0.1),
        (-0.36, -0.44),
        (-0.28, -0.5),
        (0.28, -0.5),
        (0.36, -0.44),
    ]
    + [(0.46, -0.1), (0.5, 0.0), (0.5, 0.5), (0.34, 0.5), (0.32, 0.4), (-0.32, 0.4), (-0.34, 0.5)]
)
VAN = np.array(
    [(-0.5, 0.5), (-0.5, -0.4), (-0.44, -0.5), (0.36, -0.5), (0.44, -0.1), (0.5, 0.0), (0.5, 0.5)]
)


def fitted(vertices: np.ndarray) -> Silhouette:
    """One ``(..., V, 2)`` polygon as a silhouette that fills the unit square in its first frame."""
    vertices = vertices[None] if vertices.ndim == 2 else vertices
    low, high = vertices[0].min(0), vertices[0].max(0)
    return [(vertices - (low + high) / 2) / (high - low)]


def traced(alpha: np.ndarray) -> Silhouette:
    """The largest region of ``(h, w)`` uint8 with alpha of at least 128, as one polygon.

    Raises:
        ValueError: no such region.
    """
    finer = cv2.resize(np.pad(alpha, 1), None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    mask = (finer >= 128).view(np.uint8)
    contours = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    if not contours:
        raise ValueError("sprites: a patch with alpha must be opaque somewhere")
    largest = max(contours, key=cv2.contourArea)[:, 0]
    return [(((largest + 0.5) / 4 - 1) / alpha.shape[::-1] - 0.5)[None]]


def rectangle(rng: np.random.Generator, length: int) -> Silhouette:
    """An upright rectangle, at times cut to a trapezium."""
    narrow = 0.25 * max(0.0, rng.normal(-0.3))
    return [np.array([[(-0.5, 0.5), (-0.5 + narrow, -0.5), (0.5 - narrow, -0.5), (0.5, 0.5)]])]


def rounded(rng: np.random.Generator, length: int) -> Silhouette:
    """A superellipse: from an ellipse to a box with round corners."""
    power = 1.0 if rng.random() < 0.5 else rng.uniform(0.3, 1.0)
    x, y = np.cos(CIRCLE), np.sin(CIRCLE)
    return fitted(np.stack((np.sign(x) * np.abs(x) ** power, np.sign(y) * np.abs(y) ** power), -1))


def polygon(rng: np.random.Generator, length: int) -> Silhouette:
    """A random star-shaped polygon of 3 to 9 corners."""
    count = int(rng.integers(3, 10))
    angles = 2 * np.pi * (np.arange(count) + 0.7 * rng.random(count)) / count
    radius = rng.uniform(0.45, 1.0, count)
    return fitted(np.stack((radius * np.cos(angles), radius * np.sin(angles)), -1))


def blob(rng: np.random.Generator, length: int) -> Silhouette:
    """A smooth closed curve of a few harmonics; half of them wobble over time."""
    waves = np.arange(2, 6)
    size = rng.normal(0, 0.25, (4, 1)) / waves[:, None]
    drift = rng.normal(0, 0.25) if rng.random() < 0.5 else 0.0
    time = drift * np.arange(length)[:, None, None]
    turns = waves[:, None] * CIRCLE + rng.uniform(0, 2 * np.pi, (4, 1)) + time
    radius = 1 + (size * np.cos(turns)).sum(-2)
    return fitted(radius[..., None] * np.stack((np.cos(CIRCLE), np.sin(CIRCLE)), -1))


def vehicle(rng: np.random.Generator, length: int) -> Silhouette:
    """A car from the side (either way), from the front, or a van."""
    outline = (CAR_SIDE, CAR_FRONT, VAN)[int(rng.integers(3))] * (
        1 if rng.random() < 0.5 else -1,
        1,
    )
    return [outline[None]]


def person(rng: np.random.Generator, length: int) -> Silhouette:
    """A walker: head, torso, swinging legs and arms, in about the usual shares of body height."""
    draw = rng.random(8)
    stride = (0.1 + 0.35 * draw[0]) if draw[1] < 0.8 else 0.02
    phase = 2 * np.pi * draw[2] + (0.15 + 0.9 * draw[3]) * np.arange(length)
    swing = stride * np.sin(phase)
    shoulder, hip, waist = 0.26 + 0.16 * draw[4], 0.2 + 0.12 * draw[5], -0.01
    head = np.stack((0.17 * np.cos(CIRCLE[::2]), -0.425 + 0.075 * np.sin(CIRCLE[::2])), -1)
    torso = np.array([(-shoulder, -0.29), (-0.09, -0.36), (0.09, -0.36), (shoulder, -0.29)])
    torso = np.concatenate((torso, [(hip, 0.03), (-hip, 0.03)]))
    parts = [head[None], torso[None]]
    for side in (-1, 1):
        bend = np.maximum(-side * np.cos(phase), 0) * stride
        parts.append(
            limb((side * hip * 0.5, waist), side * swing, -0.8 * bend, (0.25, 0.26), hip * 0.5)
        )
        if draw[6] < 0.7:
            joint = (side * shoulder * 0.85, -0.29)
            parts.append(limb(joint, -0.8 * side * swing, 0.5 * stride, (0.16, 0.14), 0.07))
    if draw[7] < 0.2:
        parts.append(torso[None] * (1.1, 0.55) + ((draw[7] - 0.1) * 4, -0.05))
    facing = np.array((1 if rng.random() < 0.5 else -1, 1))
    return [part * facing for part in parts]


def limb(
    joint: tuple[float, float],
    swing: np.ndarray,
    bend: np.ndarray | float,
    lengths: tuple[float, float],
    half: float,
) -> np.ndarray:
    """``(T, 6, 2)`` two-segment limb hanging from ``joint``; angles ``(T,)`` in radians."""
    ratio = 2.6  # a person's unit of y, the height, is about 2.6 times that of x, the width
    x, y = joint
    outline = np.empty((len(swing), 6, 2))
    low = swing + bend
    knee = x + ratio * lengths[0] * np.sin(swing), y + lengths[0] * np.cos(swing)
    foot = knee[0] + ratio * lengths[1] * np.sin(low), knee[1] + lengths[1] * np.cos(low)
    joints = ((x, y), knee, foot)
    for row, ((across, down), share) in enumerate(zip(joints, (1.0, 0.8, 0.7))):
        outline[:, row, 0], outline[:, 5 - row, 0] = across - share * half, across + share * half
        outline[:, row, 1] = outline[:, 5 - row, 1] = down
    return outline
