"""Setting a generated clip up: background, objects' looks, where they start, what hides them, what the lens does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from datasets import motion, silhouettes, textures
from datasets.compositing import Degradation, Layer, Look, layer

if TYPE_CHECKING:
    from datasets.sprites import SpritesConfig

Source = Callable[[np.random.Generator], np.ndarray | None]
SLACK = 0.15  # of the frame, painted beyond each edge for the camera to see
LARGEST_TEXTURE = 160  # pixels per side; larger objects are magnified
OUTLINES = {
    "person": silhouettes.person,
    "vehicle": silhouettes.vehicle,
    "rectangle": silhouettes.rectangle,
    "rounded": silhouettes.rounded,
    "polygon": silhouettes.polygon,
    "blob": silhouettes.blob,
}
SHADOW = Look(np.zeros((2, 2, 3), np.uint8), [0.5 * silhouettes.DISC[None]], 3, 0.4)
KINDS = np.array(list(OUTLINES))
KIND_SHARES = np.cumsum((0.34, 0.13, 0.13, 0.18, 0.11, 0.11))


class Backdrop(NamedTuple):
    """What is behind the objects: painted or filmed, and how the camera sees it."""

    images: np.ndarray  # (T', H', W', 3) uint8; shorter than the clip, it runs to and fro
    maps: np.ndarray | None  # (T, 2, 3) from screen to image pixels; None: the image is the screen
    size: tuple[int, int]  # (H, W) of the screen

    def frame(self, time: int) -> np.ndarray:
        """A fresh ``(H, W, 3)`` picture to draw upon."""
        last = len(self.images) - 1
        image = self.images[last - abs(time % (2 * last) - last)] if last else self.images[0]
        if self.maps is None:
            return image.copy()
        return cv2.warpAffine(
            image,
            self.maps[time],
            self.size[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )


class Actor(NamedTuple):
    """One moving object before it moves."""

    kind: str
    look: Look
    palette: np.ndarray  # (k, 3) uint8
    size: tuple[float, float]  # width, height, pixels


class Stage(NamedTuple):
    """All that is needed to draw a clip."""

    backdrop: Backdrop
    layers: list[Layer]  # back to front
    labels: list[int]  # per layer, growing from back to front; 0 leaves no trace
    depths: list[int]  # per annotated object, its place among the layers
    objects: int  # number of annotated objects
    effects: Degradation


def stage(
    config: SpritesConfig,
    rng: np.random.Generator,
    backgrounds: Source | None,
    patches: Source | None,
) -> Stage:
    """Decide everything about a clip but its pixels; see ``sprites.make_sprite_clip`` for the arguments."""
    view = motion.camera(rng, config)
    canvas = [int(np.ceil(side * (1 + 2 * SLACK))) if view.moves else side for side in config.size]
    images = scenery(rng, config.length, canvas, backgrounds)
    wanted = int(rng.integers(config.objects[0], config.objects[1] + 1))
    others = int(rng.integers(config.distractors[0], config.distractors[1] + 1))
    actors = cast(rng, config, wanted + others, images[0], patches)
    centres = place(rng, config, actors)
    kept = [number for number, centre in enumerate(centres) if centre is not None]
    actors, starts = [actors[number] for number in kept], starting(actors, centres, kept)
    objects = sum(number < wanted for number in kept)
    poses, view = motion.follow(rng, config, starts, view)
    shutter = rng.uniform(0.3, 1.0) if rng.random() < 0.3 else 0.0
    front = hides(rng, config, poses, starts, view)
    layers, labels, depths = [], [], [0] * len(actors)
    shaded = rng.random() < 0.25
    for depth, number in enumerate(rng.permutation(len(actors)).tolist()):
        linear, centre = poses.linear[:, number], poses.centre[:, number]
        if shaded and starts.upright[number]:
            flat, foot = linear * (1.15, 0.14), centre + linear @ np.array((0.05, 0.48))
            layers.append(layer(SHADOW, flat, foot, config.size, 0))
            labels.append(0)
        depths[number] = len(layers)
        layers.append(layer(actors[number].look, linear, centre, config.size, shutter))
        labels.append(depth + 1)
    for look, linear, centre in front:
        layers.append(layer(look, linear, centre, config.size, 0))
        labels.append(labels[-1] + 1)
    backdrop = Backdrop(images, background_maps(view, config.size, canvas), config.size)
    return Stage(backdrop, layers, labels, depths, objects, degradation(rng, config))


def scenery(
    rng: np.random.Generator, length: int, canvas: list[int], backgrounds: Source | None
) -> np.ndarray:
    """``(T', H', W', 3)`` uint8 of the canvas's size: a piece of the lent image or film, or a painted scene."""
    lent = None if backgrounds is None else backgrounds(rng)
    if lent is None:
        return textures.scene(rng, *canvas)[None]
    lent = checked(lent[None] if np.ndim(lent) == 3 else lent, 4, "backgrounds")[:length]
    size = np.array(lent.shape[1:3])
    most = (size / canvas).min()  # scale at which the canvas just fits into the image
    scale = motion.log_uniform(rng, (min(1.0, most), max(most, 1e-6) if most < 1 else most))
    taken = np.minimum(np.maximum((np.array(canvas) * scale).astype(int), 1), size)
    top, left = (rng.random(2) * (size - taken + 1)).astype(int)
    pieces = lent[:, top : top + taken[0], left : left + taken[1]]
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return np.stack([cv2.resize(piece, canvas[::-1], interpolation=how) for piece in pieces])


def checked(image: np.ndarray, dimensions: int, name: str) -> np.ndarray:
    """The lent image, if it is one."""
    image = np.asarray(image)
    if (
        image.dtype != np.uint8
        or image.ndim != dimensions
        or image.shape[-1] != 3
        or 0 in image.shape
    ):
        raise ValueError(
            f"sprites: {name} must return uint8 RGB (..., H, W, 3), got {image.dtype} {image.shape}"
        )
    return image


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
            actors.append(generated(rng, config, twin.kind, textures.near(rng, twin.palette, 6)))
        else:
            actors.append(newcomer(rng, config, scene, patches))
    return actors


def newcomer(
    rng: np.random.Generator, config: SpritesConfig, scene: np.ndarray, patches: Source | None
) -> Actor:
    """An object like no other: lent, generated, or generated in the colours of the background."""
    lent = None if patches is None else patches(rng)
    if lent is not None:
        lent = checked(lent, 3, "patches")
        aspect = lent.shape[0] / lent.shape[1] * np.exp(rng.normal(0, 0.1))
        kind = ("rectangle", "rounded", "person" if aspect > 1.8 else "blob")[int(rng.integers(3))]
        size = sized(rng, config, aspect)
        palette = cv2.resize(lent, (1, 3), interpolation=cv2.INTER_AREA)[:, 0]
        return Actor(kind, dressed(rng, config, kind, fitting(lent)), palette, size)
    kind = str(KINDS[int(np.searchsorted(KIND_SHARES, rng.random() * KIND_SHARES[-1]))])
    palette = textures.colours(rng, 3)
    if rng.random() < 0.2:  # camouflage
        rows, columns = (rng.random((2, 3)) * np.array(scene.shape[:2])[:, None]).astype(int)
        palette = textures.near(rng, scene[rows, columns], 10)
    return generated(rng, config, kind, palette)


def generated(
    rng: np.random.Generator, config: SpritesConfig, kind: str, palette: np.ndarray
) -> Actor:
    """An object of a kind in given colours."""
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
    return Actor(
        kind, dressed(rng, config, kind, paint(rng, rows, columns, palette)), palette, size
    )


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


def dressed(
    rng: np.random.Generator, config: SpritesConfig, kind: str, texture: np.ndarray
) -> Look:
    """A texture cut to an outline of a kind, with a hard or a soft edge."""
    return Look(texture, OUTLINES[kind](rng, config.length), 3 if rng.random() < 0.4 else 1)


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
    """``(n, m)`` shared area of corner boxes ``(n, 4)`` and ``(m, 4)`` as a share of the smaller one."""
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
        upright=np.array([actors[number].kind in ("person", "vehicle") for number in kept]),
    )


def hides(
    rng: np.random.Generator,
    config: SpritesConfig,
    poses: motion.Poses,
    starts: motion.Starts,
    view: motion.Camera,
) -> list[tuple[Look, np.ndarray, np.ndarray]]:
    """Poles, walls and bushes that stand in some object's later way but hide none in frame 0.

    Returns:
        Per occluder its look, ``(T, 2, 2)`` unit square to pixels and ``(T, 2)`` centre.
    """
    frame = np.array(config.size[::-1], float)
    taken = np.concatenate(
        (starts.centre - 0.55 * starts.size, starts.centre + 0.55 * starts.size), -1
    )
    found = []
    for _ in range(int(rng.integers(config.occluders[0], config.occluders[1] + 1))):
        kind, *share = rng.random(3)
        if kind < 0.5:
            size = frame * (0.02 + 0.08 * share[0], 2.5)
        else:
            size = frame * (0.1 + 0.25 * share[0], 0.15 + 0.6 * share[1])
        times = rng.integers(config.length, size=8)
        aims = poses.centre[times, rng.integers(len(starts.size), size=8)]
        aims = aims + rng.normal(0, 0.2, (8, 2)) * size * (1, kind >= 0.5)
        back = np.linalg.inv(view.linear[times])
        world = (back @ (aims - view.offset[times])[..., None])[..., 0]
        boxes = np.concatenate((world - size / 2, world + size / 2), -1)
        free = np.flatnonzero(overlap(boxes, taken).max(-1) <= 0.02)
        if len(free):
            outline = OUTLINES["blob" if kind > 0.8 else "rectangle"](rng, 1)
            palette = textures.colours(rng, 3)
            rows, columns = (int(np.clip(side, 4, LARGEST_TEXTURE)) for side in size[::-1])
            look = Look(
                textures.surface(rng, rows, columns, palette), outline, 1 + 2 * (share[1] < 0.4)
            )
            point = np.broadcast_to(world[free[0]], (config.length, 1, 2))
            found.append((look, view.linear * size, view(point)[:, 0]))
    return found


def background_maps(
    view: motion.Camera, size: tuple[int, int], canvas: list[int]
) -> np.ndarray | None:
    """``(T, 2, 3)`` maps from screen to canvas pixels (pixel centres at integers); None for a fixed camera."""
    if not view.moves:
        return None
    inverse = np.linalg.inv(view.linear)
    margin = (np.array(canvas) - size)[::-1] / 2
    offset = (inverse @ (0.5 - view.offset)[..., None])[..., 0] + margin - 0.5
    return np.concatenate((inverse, offset[..., None]), -1)


def degradation(rng: np.random.Generator, config: SpritesConfig) -> Degradation:
    """Light that drifts, a lens out of focus, sensor noise, compression, lost colour."""
    grey, degraded = rng.random() < config.grey, rng.random() < config.degraded
    draw = rng.random(7) if degraded else np.ones(7)
    gain = np.ones(config.length)
    if draw[6] < 0.5:
        gain = np.clip(1 + rng.normal(0, 0.15) * motion.walk(rng, config.length, (), 0.8), 0.5, 1.6)
    return Degradation(
        gain=gain,
        shade=textures.shading(rng, *config.size) if draw[0] < 0.3 else None,
        blur=3 + 2 * (draw[1] < 0.1) if draw[1] < 0.35 else 1,
        grain=textures.grain(rng, config.size, 1 + 12 * draw[3] ** 2) if draw[2] < 0.6 else None,
        quality=int(15 + 55 * draw[5]) if draw[4] < 0.25 else 0,
        grey=grey,
    )
