"""Painted backgrounds of generated clips, and the light and the noise that fall over them."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from datasets import textures


def scene(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """``(height, width, 3)`` uint8: ground and wall, patchwork or one surface, with clutter."""
    palette = textures.colours(rng, 6)
    image = textures.pattern(rng, height, width, textures.near(rng, palette[:1].repeat(3, 0), 25))
    kind, horizon, clutter, busy = rng.random(4)
    if kind < 0.5:
        row = int(height * (0.15 + 0.5 * horizon))
        image[:row] = textures.pattern(
            rng, row, width, textures.near(rng, palette[1:2].repeat(3, 0), 30)
        )
        facades(rng, image[:row], palette)
    elif kind < 0.65:
        image = textures.pattern(rng, height, width, palette[:3])
    for _ in range(int(3 * clutter)):
        patch(rng, image, palette)
    if busy < 0.7:
        textures.scatter(
            rng, image, int(1 + 20 * busy), textures.near(rng, palette, 15), 0.1 + 0.3 * horizon
        )
    return textures.grained(rng, image, 0.4 * clutter)


def facades(rng: np.random.Generator, image: np.ndarray, palette: np.ndarray) -> None:
    """Draw up to three buildings with rows of windows into ``image`` in place."""
    height, width = image.shape[:2]
    for left, breadth, top, step, shade in rng.random((int(4 * rng.random()), 5)):
        x0, x1 = int(left * width), int((left + 0.1 + 0.4 * breadth) * width)
        y0, pitch = int(0.6 * top * height), 5 + int(20 * step)
        image[y0:, x0:x1] = palette[int(shade * len(palette))]
        window = textures.near(rng, palette[-1:], 30)[0]
        for y in range(pitch // 3, pitch // 3 + max(2, pitch // 2)):
            image[y0 + y :: pitch, x0 + 2 : x1][:, :: 1 + int(2 * step)] = window


def patch(rng: np.random.Generator, image: np.ndarray, palette: np.ndarray) -> None:
    """Lay one patterned polygon (a lawn, a road, a sign) over ``image`` in place."""
    height, width = image.shape[:2]
    corners = (rng.normal(0.5, 0.4, 2) + rng.normal(0, 0.3, (5, 2))) * (width, height)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(corners.astype(np.int32)), 255)
    cv2.copyTo(
        textures.pattern(rng, height, width, textures.near(rng, palette[2:4], 10)), mask, image
    )


def shading(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """``(height, width, 3)`` uint8 factors (255 = 1) of light: a soft-edged shadow on some part."""
    corners = (rng.random(2) + rng.normal(0, 0.4, (4, 2))) * (width, height)
    light = np.full((height, width), 255, np.uint8)
    cv2.fillConvexPoly(light, cv2.convexHull(corners.astype(np.int32)), int(rng.integers(90, 200)))
    wide = 2 * int(rng.integers(1, max(3, min(height, width) // 12))) + 1
    light = cv2.blur(light, (wide, wide))
    return cv2.merge((light, light, light))


@functools.lru_cache(maxsize=1)
def grain_bank() -> np.ndarray:
    """``(256, 256, 3)`` uint8 absolute values of white noise, standard deviation 64, read-only."""
    values = np.random.default_rng(20181).standard_normal((256, 256, 3)) * 64
    bank = np.clip(np.abs(values), 0, 255).astype(np.uint8)
    bank.flags.writeable = False
    return bank


def grain(rng: np.random.Generator, size: tuple[int, int], strength: float) -> np.ndarray:
    """Half-normal noise somewhat larger than a frame of ``size (H, W)``, coloured or grey."""
    bank = grain_bank()
    tiles = [-(-(side + 48) // 256) for side in size]
    field = np.tile(bank, (*tiles, 1)) if max(tiles) > 1 else bank
    field = cv2.convertScaleAbs(field[: size[0] + 48, : size[1] + 48], alpha=strength / 64)
    return cv2.merge([field[..., 0]] * 3) if rng.random() < 0.5 else field
