"""Who appears in a generated clip: objects' looks and sizes, and where they stand in frame 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from datasets import motion, silhouettes, textures
from datasets.compositing import Look

if TYPE_CHECKING:
    from datasets.sprites import SpritesConfig

Source = Callable[[np.random.Generator], np.ndarray | None]
LARGEST_TEXTURE = 160  # pixels per side; larger objects are magnified
OUTLINES = {
    "person": silhouettes.person,
    "vehicle": silhouettes.vehicle,
    "rectangle": silhouettes.rectangle,
    "rounded": silhouettes.rounded,
    "polygon": silhouettes.polygon,
    "blob": silhouettes.blob,
}
KINDS = np.array(list(OUTLINES))
KIND_SHARES = np.cumsum((0.34, 0.13, 0.13, 0.18, 0.11, 0.11))


class Actor(NamedTuple):
    """One moving object before it moves."""

    kind: str
    look: Look
    palette: np.ndarray  # (k, 3) uint8
    size: tuple[float, float]  # width, height, pixels
    upright: bool  # never turns over


def cast(
    rng: np.random.Generator,
    config: SpritesConfig,
    count: int,
    scene: np.ndarray,
    patches: Source | None,
) -> list[Actor]:
    """``count`` objects; later ones may be copies of an earlier one, or look much like it."""
    actors: list[Actor] = []
    for number in range(count):
        draw, model = rng.random(2)
        twin = actors[int(model * number)] if number else None
        if twin and draw < config.copies:
            actors.append(twin)
        elif twin and draw < config.copies + config.lookalikes:
            actors.append(painted(rng, config, twin.kind, textures.near(rng, twin.palette, 6)))
        else:
            actors.append(newcomer(rng, config, scene, patches))
    return actors


def newcomer(
    rng: np.random.Generator, config: SpritesConfig, scene: np.ndarray, patches: Source | None
) -> Actor:
    """An object like no other: lent, painted, or painted in the colours of the background."""
    patch = None if patches is None else patches(rng)
    if patch is not None:
        return lent(rng, config, checked(patch, "patches", (3,), (3, 4)))
    kind = str(KINDS[int(np.searchsorted(KIND_SHARES, rng.random() * KIND_SHARES[-1]))])
    palette = textures.colours(rng, 3)
    if rng.random() < 0.2:  # camouflage
        rows, columns = (rng.random((2, 3)) * np.array(scene.shape[:2])[:, None]).astype(int)
        palette = textures.near(rng, scene[rows, columns], 10)
    return painted(rng, config, kind, palette)


def lent(rng: np.random.Generator, config: SpritesConfig, patch: np.ndarray) -> Actor:
    """An object that wears a patch ``(h, w, 3 or 4)``, in the patch's own outline if it has one."""
    patch = fitting(patch)
    texture = np.ascontiguousarray(patch[..., :3])
    palette = cv2.resize(texture, (1, 3), interpolation=cv2.INTER_AREA)[:, 0]
    aspect = patch.shape[0] / patch.shape[1] * np.exp(rng.normal(0, 0.1))
    kind = ("rectangle", "rounded", "person" if aspect > 1.8 else "blob")[int(rng.integers(3))]
    outline = OUTLINES[kind](rng, config.length)
    if patch.shape[-1] == 4:
        outline = silhouettes.traced(patch[..., 3])
    look = Look(texture, outline, softness(rng))
    return Actor(kind, look, palette, sized(rng, config, aspect), rng.random() < 0.9)


def painted(
    rng: np.random.Generator, config: SpritesConfig, kind: str, palette: np.ndarray
) -> Actor:
    """An object of a kind in colours of a palette."""
    upright = rng.random() < 0.4
    if kind == "person" or (kind != "vehicle" and upright):
        aspect = rng.uniform(2.0, 3.5)
    else:
        aspect = motion.log_uniform(rng, (0.4, 1.0) if kind == "vehicle" else config.aspect)
    width, height = size = sized(rng, config, aspect)
    rows, columns = (int(min(1.3 * side + 4, LARGEST_TEXTURE)) for side in (height, width))
    if kind in ("person", "vehicle") and rng.random() < 0.85:
        paint = textures.clothes if kind == "person" else textures.vehicle
    else:
        paint = textures.surface
    look = Look(
        paint(rng, rows, columns, palette), OUTLINES[kind](rng, config.length), softness(rng)
    )
    return Actor(kind, look, palette, size, kind in ("person", "vehicle"))


def sized(rng: np.random.Generator, config: SpritesConfig, aspect: float) -> tuple[float, float]:
    """Width and height in pixels for a ratio height / width, at most 85 % of the frame."""
    aspect = float(np.clip(aspect, *config.aspect))
    side = float(motion.log_uniform(rng, config.object_size))
    width, height = side / aspect**0.5, side * aspect**0.5
    fit = min(1.0, 0.85 * config.size[1] / width, 0.85 * config.size[0] / height)
    return width * fit, height * fit


def fitting(image: np.ndarray) -> np.ndarray:
    """``image`` with sides of at most ``LARGEST_TEXTURE`` pixels."""
    scale = LARGEST_TEXTURE / max(image.shape[:2])
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def softness(rng: np.random.Generator) -> int:
    """Width of an edge's filter: sharp or soft."""
    return 3 if rng.random() < 0.4 else 1


def place(
    rng: np.random.Generator, config: SpritesConfig, actors: list[Actor]
) -> list[np.ndarray | None]:
    """Centres in frame 0, ``(2,)`` pixels each, such that hardly any object hides another.

    The first is always placed; another that finds no room is None. Some stand partly outside.
    """
    frame = np.array(config.size[::-1], float)
    centres: list[np.ndarray | None] = []
    taken = np.empty((0, 4))
    for actor in actors:
        size = np.array(actor.size)
        edge = size * (0.3 if rng.random() < 0.15 else 0.52)
        tries = edge + rng.random((24, 2)) * (frame - 2 * edge)
        boxes = np.concatenate((tries - 0.55 * size, tries + 0.55 * size), -1)
        free = np.flatnonzero(overlap(boxes, taken).max(-1, initial=0) <= 0.08)
        if len(free) or not centres:
            pick = free[0] if len(free) else 0
            centres.append(tries[pick])
            taken = np.concatenate((taken, boxes[pick : pick + 1]))
        else:
            centres.append(None)
    return centres


def overlap(boxes: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """``(n, m)`` area shared by corner boxes ``(n, 4)`` and ``(m, 4)``, over the smaller's area."""
    low = np.maximum(boxes[:, None, :2], taken[:, :2])
    high = np.minimum(boxes[:, None, 2:], taken[:, 2:])
    areas = [(group[:, 2:] - group[:, :2]).prod(-1) for group in (boxes, taken)]
    return np.clip(high - low, 0, None).prod(-1) / np.minimum(areas[0][:, None], areas[1])


def starting(
    actors: list[Actor], centres: list[np.ndarray | None], kept: list[int]
) -> motion.Starts:
    """The placed objects as arrays."""
    return motion.Starts(
        centre=np.array([centres[number] for number in kept]),
        size=np.array([actors[number].size for number in kept]),
        upright=np.array([actors[number].upright for number in kept]),
    )


def checked(
    image: np.ndarray, name: str, dimensions: tuple[int, ...], channels: tuple[int, ...]
) -> np.ndarray:
    """The lent image or film, if it is one."""
    image = np.asarray(image)
    wrong = image.ndim not in dimensions or image.shape[-1] not in channels or 0 in image.shape
    if wrong or image.dtype != np.uint8:
        raise ValueError(
            f"sprites: {name} must return uint8 (..., H, W, {' or '.join(map(str, channels))}), "
            f"got {image.dtype} {image.shape}"
        )
    return image
