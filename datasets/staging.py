"""Setting a generated clip up: what is behind and before the objects, what the lens does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from datasets import motion, scenes, silhouettes, textures
from datasets.casting import (
    LARGEST_TEXTURE,
    OUTLINES,
    Source,
    cast,
    checked,
    overlap,
    place,
    starting,
)
from datasets.compositing import Degradation, Layer, Look, layer

if TYPE_CHECKING:
    from datasets.sprites import SpritesConfig

SLACK = 0.15  # of the frame, painted beyond each edge for the camera to see
SHADOW = Look(np.zeros((2, 2, 3), np.uint8), [0.5 * silhouettes.DISC[None]], 3, 0.4)


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
    """Decide everything about a clip but its pixels; arguments as ``sprites.make_sprite_clip``."""
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
    """``(T', H', W', 3)`` uint8 as large as the canvas: a piece of what is lent, or painted."""
    lent = None if backgrounds is None else backgrounds(rng)
    if lent is None:
        return scenes.scene(rng, *canvas)[None]
    lent = checked(lent, "backgrounds", (3, 4), (3,))
    lent = (lent[None] if lent.ndim == 3 else lent)[:length]
    size = np.array(lent.shape[1:3])
    most = (size / canvas).min()  # scale at which the canvas just fits into the image
    scale = motion.log_uniform(rng, (min(1.0, most), most))
    taken = np.minimum(np.maximum((np.array(canvas) * scale).astype(int), 1), size)
    top, left = (rng.random(2) * (size - taken + 1)).astype(int)
    pieces = lent[:, top : top + taken[0], left : left + taken[1]]
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return np.stack([cv2.resize(piece, canvas[::-1], interpolation=how) for piece in pieces])


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
    """``(T, 2, 3)`` maps from screen to canvas pixels for ``cv2``; None for a fixed camera."""
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
        gain = np.clip(1 + rng.normal(0, 0.15) * motion.walk(rng, config.length), 0.5, 1.6)
    return Degradation(
        gain=gain,
        shade=scenes.shading(rng, *config.size) if draw[0] < 0.3 else None,
        blur=3 + 2 * (draw[1] < 0.1) if draw[1] < 0.35 else 1,
        grain=scenes.grain(rng, config.size, 1 + 12 * draw[3] ** 2) if draw[2] < 0.6 else None,
        quality=int(15 + 55 * draw[5]) if draw[4] < 0.25 else 0,
        grey=grey,
    )
