"""Generated clips: textured objects that move, grow and hide one another over textured backgrounds.

The embedded default source of training and test data. Each clip is a pure function of a
configuration and a seed, its boxes are exact, and thousands of frames are made in a second. Real
footage can lend its pixels: ``backgrounds`` and ``patches`` put images from anywhere behind the
moving objects and onto them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from datasets.casting import Source
from datasets.clip import Batch, Clip
from datasets.compositing import degrade, draw, mark
from datasets.staging import Stage, stage


@dataclass(frozen=True)
class SpritesConfig:
    """What a generated clip may hold. Ranges are inclusive; shares are probabilities."""

    size: tuple[int, int] = (128, 128)  # (H, W) pixels
    length: int = 16  # frames
    frame_rate: float = 25.0  # frames per second, a label only
    objects: tuple[int, int] = (1, 3)  # annotated objects
    distractors: tuple[int, int] = (0, 2)  # moving objects without annotation
    occluders: tuple[int, int] = (0, 2)  # poles, walls and bushes in front of everything
    object_size: tuple[float, float] = (14.0, 56.0)  # sqrt(width x height) in frame 0, pixels
    aspect: tuple[float, float] = (0.4, 4.0)  # height / width
    speed: tuple[float, float] = (0.005, 0.35)  # per frame, as a share of the object's size
    growth: float = 4.0  # most that an object grows or shrinks over a clip
    bounce: float = 0.6  # share of objects that turn back at the frame's edge
    camera_motion: float = 0.6  # share of clips with a moving camera
    copies: float = 0.15  # share of further objects that look exactly like an earlier one
    lookalikes: float = 0.25  # share that have an earlier one's shape and colours
    degraded: float = 0.6  # share of clips with noise, blur, compression, shade or changing light
    grey: float = 0.1  # share of grey clips
    min_inside: float = 0.25  # an object is present while this share of its box is in the frame

    def __post_init__(self) -> None:
        for name in ("objects", "distractors", "occluders", "object_size", "aspect", "speed"):
            low, high = getattr(self, name)
            least = 0 if name in ("distractors", "occluders") else 1 if name == "objects" else 1e-9
            if not least <= low <= high:
                raise ValueError(
                    f"sprites: {name} must be a range from {least} up, got ({low}, {high})"
                )
        for name in (
            "bounce",
            "camera_motion",
            "copies",
            "lookalikes",
            "degraded",
            "grey",
            "min_inside",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"sprites: {name} must lie in [0, 1], got {getattr(self, name)}")
        if min(self.size) < 16 or self.length < 1 or self.growth < 1:
            raise ValueError(
                "sprites: size must be at least (16, 16), length and growth at least 1, "
                f"got {self.size}, {self.length}, {self.growth}"
            )
        if self.objects[1] + self.distractors[1] + self.occluders[1] > 254:
            raise ValueError("sprites: at most 254 objects, distractors and occluders together")


class SpriteClip(NamedTuple):
    """A clip and what only its maker knows."""

    clip: Clip
    visible: Tensor  # (T, N) float32: share of the object that is in the frame and not hidden
    labels: Tensor  # (T, H, W) uint8: n + 1 where object n is seen, 0 elsewhere


def make_clip(
    config: SpritesConfig,
    seed: int,
    backgrounds: Source | None = None,
    patches: Source | None = None,
) -> Clip:
    """One generated clip, a pure function of its arguments; see ``make_sprite_clip``."""
    frames = np.empty((config.length, 3, *config.size), np.uint8)
    scene = stage(config, generator(seed), backgrounds, patches)
    film(scene, frames)
    return annotated(config, seed, scene, frames)


def make_sprite_clip(
    config: SpritesConfig,
    seed: int,
    backgrounds: Source | None = None,
    patches: Source | None = None,
) -> SpriteClip:
    """One generated clip and how much of its objects is seen, a pure function of its arguments.

    Every object is present and hardly hidden in frame 0. There are as many as could be placed so,
    at least one and at most ``config.objects[1]``.

    Args:
        config: what the clip may hold.
        seed: at least 0.
        backgrounds: called with the clip's generator; returns an image ``(H', W', 3)`` or a film
            ``(T', H', W', 3)`` uint8 RGB to stand behind the objects, or None for a painted one.
            A film that is shorter than the clip runs to and fro.
        patches: called likewise per object; returns its texture ``(h, w, 3)`` uint8 RGB, whose
            aspect the object takes over and which is cut to a generated outline, or
            ``(h, w, 4)`` with its own outline as alpha, or None for a painted one.

    Raises:
        ValueError: a negative seed, or an image of another shape or type.
    """
    scene = stage(config, generator(seed), backgrounds, patches)
    frames = np.empty((config.length, 3, *config.size), np.uint8)
    labels = np.zeros((config.length, *config.size), np.uint8)
    drawn, seen = film(scene, frames, labels)
    depths = scene.depths[: scene.objects]
    names = np.zeros(256, np.uint8)
    names[[scene.labels[depth] for depth in depths]] = np.arange(scene.objects) + 1
    labels = cv2.LUT(labels.reshape(-1, config.size[1]), names).reshape(labels.shape)
    visible = inside(scene, config.size) * seen[:, depths] / np.maximum(drawn[:, depths], 1)
    clip = annotated(config, seed, scene, frames)
    return SpriteClip(clip, torch.from_numpy(visible), torch.from_numpy(labels))


def sprites(
    config: SpritesConfig,
    first_seed: int,
    count: int,
    backgrounds: Source | None = None,
    patches: Source | None = None,
) -> Iterator[Clip]:
    """Clips of seeds ``first_seed .. first_seed + count - 1``, one at a time."""
    for seed in range(first_seed, first_seed + count):
        yield make_clip(config, seed, backgrounds, patches)


def batch(
    config: SpritesConfig,
    seeds: Sequence[int],
    backgrounds: Source | None = None,
    patches: Source | None = None,
) -> Batch:
    """The clips of ``seeds`` as one batch, drawn into its memory; equal to collating them."""
    if not seeds:
        raise ValueError("sprites: a batch needs at least one seed")
    frames = np.empty((config.length, len(seeds), 3, *config.size), np.uint8)
    clips = []
    for column, seed in enumerate(seeds):
        scene = stage(config, generator(seed), backgrounds, patches)
        film(scene, frames[:, column])
        clips.append(annotated(config, seed, scene, frames[:, column]))
    most = max(len(clip.ids) for clip in clips)
    shape = (config.length, len(seeds), most)
    boxes, presence = torch.zeros(*shape, 4), torch.zeros(shape, dtype=torch.bool)
    ids = torch.full((len(seeds), most), -1, dtype=torch.int64)
    for column, clip in enumerate(clips):
        boxes[:, column, : len(clip.ids)] = clip.boxes
        presence[:, column, : len(clip.ids)] = clip.presence
        ids[column, : len(clip.ids)] = clip.ids
    mask = torch.ones(shape[:2], dtype=torch.bool)
    return Batch(torch.from_numpy(frames), boxes, presence, mask, ids)


def generator(seed: int) -> np.random.Generator:
    """The generator that decides a clip."""
    if seed < 0:
        raise ValueError(f"sprites: seeds start at 0, got {seed}")
    return np.random.default_rng(seed)


def film(
    scene: Stage, frames: np.ndarray, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw every frame of a stage into ``frames (T, 3, H, W)`` uint8.

    Args:
        scene: what to draw.
        frames: written.
        labels: ``(T, H, W)`` uint8 zeros; each pixel gets the label of the layer seen there.

    Returns:
        Number of pixels that each layer would cover alone, and that are seen of it: ``(T, L)``
        float32 both, zeros without ``labels``.
    """
    drawn, seen = np.zeros((2, len(frames), len(scene.layers)), np.float32)
    for time, channels in enumerate(frames):
        image = scene.backdrop.frame(time)
        for depth, item in enumerate(scene.layers):
            sharp = draw(item, image, time)
            if labels is not None and sharp is not None:
                drawn[time, depth] = mark(item, labels[time], time, scene.labels[depth], sharp)
        if labels is not None:
            seen[time] = np.bincount(labels[time].ravel(), minlength=256)[scene.labels]
        cv2.split(degrade(scene.effects, image, time), list(channels))
    return drawn, seen


def object_boxes(scene: Stage) -> np.ndarray:
    """``(T, N, 4)`` xywh pixels of the whole objects, in the frame or not."""
    return np.stack([scene.layers[depth].boxes for depth in scene.depths[: scene.objects]], 1)


def inside(scene: Stage, size: tuple[int, int]) -> np.ndarray:
    """``(T, N)`` float32 share of each object's box that lies in the frame ``(H, W)``."""
    boxes = object_boxes(scene)
    low, high = boxes[..., :2], boxes[..., :2] + boxes[..., 2:]
    sides = np.minimum(high, size[::-1]) - np.maximum(low, 0)
    return (np.maximum(sides, 0).prod(-1) / boxes[..., 2:].prod(-1)).astype(np.float32)


def annotated(config: SpritesConfig, seed: int, scene: Stage, frames: np.ndarray) -> Clip:
    """The clip of a stage that was drawn into ``frames (T, 3, H, W)``."""
    share = inside(scene, config.size)
    presence = (share >= config.min_inside) & (share > 0)
    return Clip(
        frames=torch.from_numpy(frames),
        boxes=torch.from_numpy((object_boxes(scene) * presence[..., None]).astype(np.float32)),
        presence=torch.from_numpy(presence),
        ids=torch.arange(scene.objects),
        frame_rate=config.frame_rate,
        name=f"sprites-{seed}",
    )
