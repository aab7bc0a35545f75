"""Painted surfaces for generated clips: uint8 RGB images drawn from a generator, in many families.

A surface is a scalar field (noise, stripes, checks, gradients, rings) seen through a colour ramp,
or a drawing (shapes, clothes, cars). The fields of noise come from a bank that is computed once per
process from a fixed seed, so every surface is a pure function of the generator's state and costs
tens of microseconds.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

BANK_FIELDS, BANK_SIDE = 32, 320


@functools.lru_cache(maxsize=1)
def noise_bank() -> np.ndarray:
    """``(32, 320, 320)`` uint8 multi-octave noise, uniformly distributed values, read-only.

    Spectral slope, direction and ridging differ from field to field: clouds, grass, bark, marble.
    """
    rng = np.random.default_rng(20180)
    fields = np.empty((BANK_FIELDS, BANK_SIDE, BANK_SIDE), np.uint8)
    for field in fields:
        slope, stretch = rng.uniform(0.3, 1.3), 2 ** rng.normal(0, 0.8)
        total = np.zeros((BANK_SIDE, BANK_SIDE), np.float32)
        for octave in range(2, 9):
            across = int(np.clip(2**octave * stretch, 2, BANK_SIDE))
            grid = rng.standard_normal((2**octave, across)).astype(np.float32)
            layer = cv2.resize(grid, (BANK_SIDE, BANK_SIDE), interpolation=cv2.INTER_CUBIC)
            total += 2.0 ** (-octave * slope) * layer
        if rng.random() < 0.3:
            total = np.abs(total)
        field[:] = cv2.equalizeHist(
            cv2.normalize(total, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
        )
    fields.flags.writeable = False
    return fields


def colours(rng: np.random.Generator, count: int) -> np.ndarray:
    """``(count, 3)`` uint8 RGB, mostly muted as in real footage, an eighth of the calls vivid."""
    drawn = rng.random((count, 3))
    vivid = rng.random() < 0.12
    hsv = np.empty((1, count, 3), np.uint8)
    hsv[0, :, 0] = drawn[:, 0] * 180
    hsv[0, :, 1] = 255 * (drawn[:, 1] if vivid else drawn[:, 1] ** 2 * 0.6)
    hsv[0, :, 2] = 20 + 235 * drawn[:, 2]
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0]


def near(rng: np.random.Generator, palette: np.ndarray, spread: float) -> np.ndarray:
    """Colours about a ``(k, 3)`` palette, ``spread`` grey levels away on average."""
    return np.clip(palette + rng.normal(0, spread, palette.shape), 0, 255).astype(np.uint8)


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """``(height, width)`` uint8 piece of a noise field at a random place, scale and orientation."""
    draw = rng.random(6)
    field = noise_bank()[int(draw[0] * BANK_FIELDS)]
    scale = max(2 ** (2.5 * draw[1] - 1.5), max(height, width) / BANK_SIDE)
    rows, columns = max(2, int(height / scale)), max(2, int(width / scale))
    rows, columns = min(rows, BANK_SIDE), min(columns, BANK_SIDE)
    top, left = int(draw[2] * (BANK_SIDE - rows + 1)), int(draw[3] * (BANK_SIDE - columns + 1))
    piece = field[top : top + rows, left : left + columns]
    if draw[4] < 0.5:
        piece = piece[:, ::-1]
    if draw[5] < 0.5:
        piece = piece[::-1]
    return cv2.resize(piece, (width, height), interpolation=cv2.INTER_LINEAR)


def waves(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """``(height, width)`` uint8 field: stripes, checks, rings or a gradient, some bent by noise."""
    kind, angle, period, phase, bend = rng.random(5)
    angle = angle * np.pi if angle < 0.5 else np.round(angle * 4) * np.pi / 2
    side = max(4.0, float(np.hypot(height, width)))
    step = 256 / np.exp(np.log(3) + period * np.log(side / 3))
    across = (np.arange(width) - phase * width)[None] * np.float32(step)
    down = (np.arange(height) - phase * height)[:, None] * np.float32(step)
    if kind < 0.45:
        field = across * np.cos(angle) + down * np.sin(angle)
    elif kind < 0.6:
        field = np.sqrt(across**2 + down**2)
    elif kind < 0.8:
        cells = ((across.astype(np.int32) & 128) ^ (down.astype(np.int32) & 128)) + np.zeros(
            (height, width)
        )
        field = cells + 64
    else:
        field = (across * np.cos(angle) + down * np.sin(angle)) * (0.6 * 256 / (step * side))
        return np.clip(field + 128, 0, 255).astype(np.uint8)
    if bend < 0.35:
        field = field + noise(rng, height, width) * np.float32(1.5 * bend)
    return field.astype(np.int32).astype(np.uint8)


def ramp(rng: np.random.Generator, palette: np.ndarray) -> np.ndarray:
    """``(256, 1, 3)`` uint8 colour ramp through a ``(k, 3)`` palette, smooth or in soft steps."""
    colour = palette[:, None]
    if rng.random() < 0.4:
        colour = cv2.resize(
            colour, (1, int(4 + 20 * rng.random())), interpolation=cv2.INTER_NEAREST
        )
    return cv2.resize(colour, (1, 256), interpolation=cv2.INTER_LINEAR)


def pattern(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """``(height, width, 3)`` uint8: a field through a ramp of the palette."""
    field = (noise if rng.random() < 0.55 else waves)(rng, height, width)
    return cv2.applyColorMap(field, ramp(rng, palette))


def drawing(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """``(height, width, 3)`` uint8: polygons, strokes and discs over a quiet ground."""
    image = grained(rng, np.full((height, width, 3), palette[0], np.uint8), 0.3)
    scatter(rng, image, int(3 + 6 * rng.random()), palette, 0.5)
    return image


def scatter(
    rng: np.random.Generator, image: np.ndarray, count: int, palette: np.ndarray, size: float
) -> None:
    """Draw polygons, strokes, discs and bars, of at most ``size`` of its sides, into ``image``."""
    height, width = image.shape[:2]
    draw = rng.random((count, 12))
    reach = np.array([width, height]) * size
    points = (draw[:, :2] * (width, height))[:, None] + (
        draw[:, 2:10].reshape(-1, 4, 2) - 0.5
    ) * reach
    points = points.astype(np.int32)
    for place, (kind, shade) in zip(points, draw[:, 10:], strict=True):
        colour = palette[int(shade * len(palette))].tolist()
        thick = 1 + int(shade * 97 % 1 * 0.08 * min(height, width))
        if kind < 0.35:
            cv2.fillConvexPoly(image, cv2.convexHull(place), colour, cv2.LINE_AA)
        elif kind < 0.6:
            cv2.rectangle(image, place[0].tolist(), place[1].tolist(), colour, -1)
        elif kind < 0.8:
            cv2.polylines(image, [place], False, colour, thick, cv2.LINE_AA)
        else:
            cv2.circle(
                image,
                place[0].tolist(),
                1 + int(0.2 * size * kind * min(height, width)),
                colour,
                -1,
            )


def grained(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """``image`` shaded by noise (folds, dirt) that takes at most a share of ``strength``."""
    shade = cv2.convertScaleAbs(
        noise(rng, *image.shape[:2]), alpha=strength, beta=255 * (1 - strength)
    )
    return cv2.multiply(image, cv2.merge((shade, shade, shade)), scale=1 / 255)


def clothes(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """``(height, width, 3)`` uint8 person: hair, face, upper and lower garment, shoes, a bag."""
    draw = rng.random(10)
    image = np.empty((height, width, 3), np.uint8)
    neck, waist, ankle = (int(height * share) for share in (0.15, 0.42 + 0.16 * draw[0], 0.93))
    tone = np.array((224, 172, 140)) * (0.35 + 0.65 * draw[1])
    image[:neck] = palette[2] if draw[2] < 0.3 else tone
    image[: int(neck * (0.3 + 0.4 * draw[3]))] = np.array((90, 65, 45)) * 2.2 * draw[4] ** 2
    image[neck:waist] = palette[0]
    image[waist:ankle] = palette[1]
    image[ankle:] = palette[2] // 2
    if draw[5] < 0.3 and waist - neck > 3:
        image[neck:waist] = pattern(rng, waist - neck, width, palette)
    if draw[6] < 0.3:
        left = int(width * 0.6 * draw[7])
        image[
            int(0.2 * height) : int((0.3 + 0.2 * draw[8]) * height), left : left + width // 3 + 1
        ] = palette[2]
    if draw[9] < 0.3:
        middle = int(width * (0.4 + 0.2 * draw[8]))
        image[neck:waist, middle : middle + max(1, width // 8)] = near(rng, palette[:1], 40)[0]
    return grained(rng, image, 0.25 + 0.4 * draw[7])


def vehicle(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """``(height, width, 3)`` uint8 car or van: body, windows, wheels, lights, a dark underside."""
    draw = rng.random(8)
    body = palette[0].astype(np.float32)
    down = np.linspace(1.15, 0.6 + 0.3 * draw[0], height, dtype=np.float32)[:, None, None]
    image = np.clip(body * down, 0, 255).astype(np.uint8).repeat(width, 1)
    glass = np.clip((20, 26, 32) + palette[2] * (0.5 * draw[1]), 0, 255).tolist()
    top, sill = int(height * (0.06 + 0.08 * draw[2])), int(height * (0.35 + 0.15 * draw[2]))
    posts = np.linspace(0.14 + 0.1 * draw[3], 0.86, 2 + int(3 * draw[4])) * width
    gap = max(1, int(0.03 * width))
    for left, right in zip(posts[:-1], posts[1:], strict=True):
        cv2.rectangle(image, (int(left), top), (int(right) - gap, sill), glass, -1)
    cv2.line(image, (0, int(0.62 * height)), (width, int(0.62 * height)), (body * 0.6).tolist(), 1)
    image[int(0.88 * height) :] = 25
    radius = max(1, int(min(0.2 * height, 0.16 * width)))
    for centre in (0.2, 0.8):
        cv2.circle(image, (int(centre * width), height - radius), radius, (22, 22, 24), -1)
        cv2.circle(image, (int(centre * width), height - radius), radius // 2, (120, 120, 125), -1)
    lamp = (200, 40, 40) if draw[5] < 0.5 else (240, 235, 210)
    side, tall = max(1, int(0.1 * width)), max(1, int(0.1 * height))
    for left in (0, width - side):
        cv2.rectangle(
            image, (left, int(0.5 * height)), (left + side, int(0.5 * height) + tall), lamp, -1
        )
    return grained(rng, image, 0.15 + 0.35 * draw[6])


def surface(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """``(height, width, 3)`` uint8 of any family that suits any shape."""
    choice = rng.random()
    if choice < 0.5:
        image = pattern(rng, height, width, palette)
    elif choice < 0.75:
        image = drawing(rng, height, width, palette)
    else:
        image = (clothes if choice < 0.9 else vehicle)(rng, height, width, palette)
    return grained(rng, image, 0.5 * rng.random())
