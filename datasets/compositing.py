"""Laying textured polygons over frames: exact boxes, soft edges, occlusion, what a camera adds.

Pixel ``i`` covers ``[i, i + 1)``. A layer's box is the bound of its vertices as they are drawn,
whole even where the object is hidden or outside; its alpha is the share of each pixel that the
polygons cover, by supersampling.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from datasets.silhouettes import Silhouette

SHIFT = 4  # fractional bits of polygon vertices


class Look(NamedTuple):
    """One object's appearance."""

    texture: np.ndarray  # (h, w, 3) uint8, spans the unit square
    outline: Silhouette
    softness: int = 1  # odd width of the edge's box filter, pixels
    opacity: float = 1.0


class Layer(NamedTuple):
    """One object over a clip, all that depends on its motion worked out beforehand."""

    boxes: np.ndarray  # (T, 4) xywh pixels, the whole silhouette
    places: list[list[int]]  # T times x0, y0, x1, y1: the pixels to touch, empty outside the frame
    polygons: list[
        np.ndarray
    ]  # per part (T, V, 2) int32, supersampled fixed-point pixels of the place
    maps: np.ndarray  # (T, 2, 3) from pixels of the place to pixels of the texture
    textures: list[np.ndarray]  # the texture, halved again and again
    levels: list[int]  # T indices into textures
    blurs: list[tuple[int, int]]  # T odd widths of the motion's box filter, (x, y)
    sampling: int  # mask pixels per pixel and axis
    look: Look


def layer(
    look: Look, linear: np.ndarray, centre: np.ndarray, size: tuple[int, int], shutter: float
) -> Layer:
    """Place a look in every frame of a clip.

    Args:
        look: appearance.
        linear: ``(T, 2, 2)`` unit square to pixels.
        centre: ``(T, 2)`` pixels.
        size: ``(H, W)`` of the frames.
        shutter: share of the time between frames in which the shutter is open (motion blur).
    """
    vertices = joined(look.outline, len(centre)) @ linear.swapaxes(-1, -2) + centre[:, None]
    low, high = vertices.min(1), vertices.max(1)
    smear = smears(centre, shutter)
    margin = smear + look.softness // 2
    limit = np.array(size[::-1], float)
    first = np.minimum(np.maximum(np.floor(low - margin), 0), limit)
    last = np.minimum(np.maximum(np.ceil(high + margin), 0), limit)
    sampling = 4 if (last - first).max() <= 96 else 2
    bleed = 0.5 / sampling  # OpenCV fills every mask pixel that the outline touches
    fine = (vertices - first[:, None]) * (sampling * 2**SHIFT) - 2 ** (SHIFT - 1)
    textures, levels = pyramid(look.texture, linear)
    return Layer(
        boxes=np.concatenate((low - bleed, high - low + 2 * bleed), -1),
        places=np.concatenate((first, last), -1).astype(int).tolist(),
        polygons=parted(np.rint(fine).astype(np.int32), look.outline),
        maps=texture_maps(textures, levels, linear, centre - first),
        textures=textures,
        levels=levels.tolist(),
        blurs=[(2 * x + 1, 2 * y + 1) for x, y in smear.tolist()],
        sampling=sampling,
        look=look,
    )


def joined(outline: Silhouette, length: int) -> np.ndarray:
    """All vertices of a silhouette, ``(T or 1, V, 2)``."""
    if len(outline) == 1:
        return outline[0]
    return np.concatenate([np.broadcast_to(part, (length, *part.shape[1:])) for part in outline], 1)


def parted(vertices: np.ndarray, outline: Silhouette) -> list[np.ndarray]:
    """``(T, V, 2)`` vertices by the parts of the silhouette that they were joined from."""
    parts, start = [], 0
    for part in outline:
        parts.append(vertices[:, start : start + part.shape[1]])
        start += part.shape[1]
    return parts


def smears(centre: np.ndarray, shutter: float) -> np.ndarray:
    """``(T, 2)`` pixels to either side over which motion blurs an object at ``centre (T, 2)``."""
    if not shutter:
        return np.zeros(centre.shape, int)
    steps = np.abs(np.diff(centre, axis=0, prepend=centre[:1])) * shutter
    steps[0] = steps[min(1, len(steps) - 1)]
    return np.minimum((steps / 2 + 0.25).astype(int), 7)


def pyramid(texture: np.ndarray, linear: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """A texture halved until no finer than its smallest picture, and the level for each frame."""
    tall = np.sqrt((linear[:, :, 1] ** 2).sum(-1))
    wide = np.sqrt((linear[:, :, 0] ** 2).sum(-1))
    finer = np.minimum(texture.shape[0] / tall, texture.shape[1] / wide)
    levels = np.clip(np.log2(np.maximum(finer, 1)) + 0.3, 0, 6).astype(int)
    textures = [texture]
    for _ in range(levels.max()):
        height, width = textures[-1].shape[:2]
        half = (max(1, width // 2), max(1, height // 2))
        textures.append(cv2.resize(textures[-1], half, interpolation=cv2.INTER_AREA))
    return textures, levels


def texture_maps(
    textures: list[np.ndarray], levels: np.ndarray, linear: np.ndarray, centre: np.ndarray
) -> np.ndarray:
    """``(T, 2, 3)`` maps to each frame's texture, pixel centres at integers, for ``cv2``."""
    sides = np.array([texture.shape[1::-1] for texture in textures], float)[levels]
    a, b, c, d = linear.reshape(-1, 4).T
    inverse = np.stack((d, -b, -c, a), -1).reshape(-1, 2, 2) / (a * d - b * c)[:, None, None]
    inverse = sides[..., None] * inverse
    offset = (inverse @ (0.5 - centre)[..., None])[..., 0] + sides / 2 - 0.5
    return np.concatenate((inverse, offset[..., None]), -1)


def coverage(item: Layer, frame: int) -> np.ndarray:
    """``(h, w)`` uint8: 255 times the share of each pixel of the place that the object covers."""
    x0, y0, x1, y1 = item.places[frame]
    height, width, factor = y1 - y0, x1 - x0, item.sampling
    mask = np.zeros((height * factor, width * factor), np.uint8)
    for polygon in item.polygons:
        cv2.fillPoly(mask, [polygon[frame]], 255, cv2.LINE_8, SHIFT)
    while factor > 1:
        factor //= 2
        mask = cv2.resize(mask, (width * factor, height * factor), interpolation=cv2.INTER_AREA)
    return mask


def draw(item: Layer, image: np.ndarray, frame: int) -> np.ndarray | None:
    """Composite one layer into ``image (H, W, 3)`` in place.

    Returns:
        Its sharp coverage as ``coverage`` gives it, or None where it is outside the frame.
    """
    x0, y0, x1, y1 = item.places[frame]
    if x1 <= x0 or y1 <= y0:
        return None
    sharp = alpha = coverage(item, frame)
    texture = cv2.warpAffine(
        item.textures[item.levels[frame]],
        item.maps[frame],
        (x1 - x0, y1 - y0),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if item.blurs[frame] != (1, 1):
        alpha, texture = cv2.blur(alpha, item.blurs[frame]), cv2.blur(texture, item.blurs[frame])
    if item.look.softness > 1:
        alpha = cv2.blur(alpha, (item.look.softness, item.look.softness))
    if item.look.opacity < 1:
        alpha = cv2.convertScaleAbs(alpha, alpha=item.look.opacity)
    below = image[y0:y1, x0:x1]
    weight = cv2.merge((alpha, alpha, alpha))
    under = cv2.multiply(below, cv2.bitwise_not(weight), scale=1 / 255)
    cv2.add(cv2.multiply(texture, weight, scale=1 / 255), under, dst=below)
    return sharp


def mark(item: Layer, labels: np.ndarray, frame: int, label: int, sharp: np.ndarray) -> int:
    """Write ``label`` into ``labels (H, W)`` uint8 where the layer covers over half a pixel.

    Labels must grow from back to front; label 0 leaves no trace (shadows).

    Returns:
        Number of those pixels, whoever is drawn over them later.
    """
    x0, y0, x1, y1 = item.places[frame]
    region = labels[y0:y1, x0:x1]
    solid = sharp > 127
    np.maximum(region, solid * np.uint8(label), out=region)
    return cv2.countNonZero(solid.view(np.uint8))


class Degradation(NamedTuple):
    """What light, lens, sensor and compression do to a clip."""

    gain: np.ndarray  # (T,) brightness factor
    shade: np.ndarray | None  # (H, W, 3) uint8 light and shadow that stay in place
    blur: int  # odd width of the lens's Gaussian, 1 = sharp
    grain: np.ndarray | None  # half-normal noise, larger than a frame, (..., 3) uint8
    quality: int  # JPEG quality, 0 = uncompressed
    grey: bool


def degrade(effects: Degradation, image: np.ndarray, frame: int) -> np.ndarray:
    """One finished frame ``(H, W, 3)`` uint8."""
    if effects.shade is not None:
        image = cv2.multiply(image, effects.shade, scale=1 / 255)
    if effects.gain[frame] != 1:
        image = cv2.convertScaleAbs(image, alpha=effects.gain[frame])
    if effects.blur > 1:
        image = cv2.GaussianBlur(image, (effects.blur, effects.blur), 0)
    if effects.grain is not None:
        height, width = image.shape[:2]
        slack = np.array(effects.grain.shape[:2]) - (height, width) + 1
        for work, step in ((cv2.add, (37, 41)), (cv2.subtract, (31, 43))):
            y, x = np.multiply(frame + 1, step) % slack
            image = work(image, effects.grain[y : y + height, x : x + width])
    if effects.grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if effects.quality:
        coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, effects.quality])[1]
        image = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return image
