"""Training clips for tracking one object: windows cut from annotated video, and sprites in between.

A clip follows one annotated object for ``T`` frames through a square view that a camera might have had:
standing still, following, shaking, nearer or farther. What batch a step gets is a pure function of
(seed, step, stage, process), so that training resumes exactly and processes share the work.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from common.tracks import runs
from datasets.clip import Batch
from datasets.sprites import SpritesConfig, make_clip


FILM = 12  # frames of footage behind generated objects; longer clips run it to and fro


@dataclass(frozen=True)
class WindowsConfig:
    """How clips are cut, moved, coloured and mixed."""

    batch: int = 32
    side: int = 160  # of the square view, pixels
    object_size: tuple[float, float] = (
        14.0,
        60.0,
    )  # sqrt(w h) in the first frame, pixels, log-uniform
    stretch: float = 0.2  # largest |log| change of each axis' scale
    strides: tuple[int, ...] = (1, 1, 2, 3)  # time strides, drawn evenly
    sprites: float = 0.35  # share of clips that are generated
    footage: float = 0.6  # share of the generated clips that borrow their pixels from the sequences
    occluded: float = 0.35  # share of the clips of footage in which something passes in front
    shake: float = 0.15  # share of clips whose view shakes and drifts
    visible: float = 0.25  # an object counts as present while this share of its box is in view
    colour: float = 0.4  # share of clips with changed gain, gamma and channels
    pool: int = 16  # batches kept for reuse; 0 draws every batch anew
    fresh: float = 0.5  # share of steps that draw a new batch once the pool is full


class Run(NamedTuple):
    """One object in consecutive frames of a sequence: ``frames (L,)``, ``boxes (L, 4)`` xywh pixels."""

    sequence: int
    frames: np.ndarray
    boxes: np.ndarray


class TrackingWindows:
    """Batches of training clips, by step.

    Args:
        sequences: annotated videos (``datasets.clip.Sequence``); none means sprites only.
        shares: how often each is drawn, relative to the others; evenly by default.
        config: see ``WindowsConfig``.
        seed: of everything drawn.

    Raises:
        ValueError: a sequence has no object that stays for two frames.
    """

    def __init__(
        self,
        sequences: Sequence[Any],
        config: WindowsConfig,
        seed: int = 0,
        shares: Sequence[float] | None = None,
    ) -> None:
        self.sequences, self.config, self.seed = list(sequences), config, seed
        self.shares = np.asarray(
            shares if shares is not None else [1.0] * len(self.sequences), float
        )
        self.runs: list[list[Run]] = []
        for number, sequence in enumerate(self.sequences):
            found = [
                Run(number, track.frame, track.box)
                for track in runs(sequence.tracks)
                if len(track.frame) > 1
            ]
            if not found:
                raise ValueError(
                    f"{sequence.name}: no object is annotated in two consecutive frames"
                )
            self.runs.append(found)
        self._pool: OrderedDict[tuple, Batch] = OrderedDict()

    def __call__(self, step: int, stage: Any, rank: int = 0, world: int = 1) -> Batch:
        """The batch of one process (every ``world``-th clip of the joint batch) at one step."""
        draw = self._draw(step)
        key = (draw, stage.length, rank, world)
        if key not in self._pool:
            self._pool[key] = self._make(draw, stage.length, rank, world)
            while len(self._pool) > max(self.config.pool, 1):
                self._pool.popitem(last=False)
        return self._pool[key]

    def _draw(self, step: int) -> int:
        """Which draw a step uses: a new one, or one of the last ``pool`` again."""
        config = self.config
        newest = int(step * config.fresh) if config.pool else step
        if not config.pool or step == 0 or newest != int((step - 1) * config.fresh):
            return newest
        back = np.random.default_rng((self.seed, 7, step)).integers(config.pool)
        return max(newest - int(back), 0)

    def _make(self, draw: int, length: int, rank: int, world: int) -> Batch:
        rows = range(rank, self.config.batch, world)
        clips = [self._clip(np.random.default_rng((self.seed, draw, row)), length) for row in rows]
        frames, boxes, presence = (np.stack(parts, 1) for parts in zip(*clips, strict=True))
        present = torch.from_numpy(presence).unsqueeze(2)
        return Batch(
            torch.from_numpy(frames),
            torch.from_numpy(boxes.astype(np.float32)).unsqueeze(2),
            present,
            torch.ones(present.shape[:2], dtype=torch.bool),
            torch.zeros(len(clips), 1, dtype=torch.int64),
        )

    def _clip(self, rng: np.random.Generator, length: int) -> tuple[np.ndarray, ...]:
        """``(T, 3, S, S)`` uint8 frames, ``(T, 4)`` boxes, ``(T,)`` presence of one clip."""
        if not self.sequences or rng.random() < self.config.sprites:
            clip = self._sprite(rng, length)
        else:
            clip = self._window(rng, length)
        frames, boxes, presence = clip
        if rng.random() < 0.5:
            frames = np.ascontiguousarray(frames[..., ::-1])
            boxes = boxes.copy()
            boxes[:, 0] = self.config.side - boxes[:, 0] - boxes[:, 2]
        if rng.random() < self.config.colour:
            frames = recolour(frames, rng)
        return frames, boxes, presence

    def _sprite(self, rng: np.random.Generator, length: int) -> tuple[np.ndarray, ...]:
        """A generated clip; some of them over footage, with what it shows as textures."""
        config = self.config
        footage = bool(self.sequences) and rng.random() < config.footage
        sprites = SpritesConfig(
            size=(config.side, config.side),
            length=length,
            object_size=config.object_size,
            objects=(1, 4),
            distractors=(0, 4),
            growth=3.0,
        )
        clip = make_clip(
            sprites,
            int(rng.integers(2**62)),
            backgrounds=self._film if footage else None,
            patches=self._object if footage else None,
        )
        which = int(rng.choice(np.flatnonzero(clip.presence[0].numpy())))
        return clip.frames.numpy(), clip.boxes[:, which].numpy(), clip.presence[:, which].numpy()

    def _patch(self, rng: np.random.Generator) -> np.ndarray:
        """An arbitrary piece of an arbitrary frame: ``(h, w, 3)`` uint8."""
        sequence = self.sequences[rng.integers(len(self.sequences))]
        frame = sequence.read([int(rng.integers(len(sequence)))])[0].numpy()
        height, width = frame.shape[1:]
        h, w = (int(side * np.exp(rng.uniform(np.log(0.15), 0))) for side in (height, width))
        y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
        return np.ascontiguousarray(frame[:, y : y + h, x : x + w].transpose(1, 2, 0))

    def _film(self, rng: np.random.Generator) -> np.ndarray:
        """A still camera's view of a few consecutive frames: ``(T', S, S, 3)`` uint8."""
        sequence = self.sequences[rng.integers(len(self.sequences))]
        span = min(FILM, len(sequence))
        first = int(rng.integers(len(sequence) - span + 1))
        frames = sequence.read(range(first, first + span)).numpy()
        side, (height, width) = self.config.side, frames.shape[2:]
        extent = int(min(height, width) * np.exp(rng.uniform(np.log(0.3), 0)))
        x, y = rng.integers(width - extent + 1), rng.integers(height - extent + 1)
        views = np.zeros((span, 3, side, side), np.uint8)
        for view, frame in zip(views, frames, strict=True):
            _look(frame, x, y, (extent, extent), view)
        return np.ascontiguousarray(views.transpose(0, 2, 3, 1))

    def _object(self, rng: np.random.Generator) -> np.ndarray:
        """What an annotated box shows, or at times anything: ``(h, w, 3)`` uint8."""
        if rng.random() < 0.3:
            return self._patch(rng)
        number = rng.integers(len(self.sequences))
        run = self.runs[number][rng.integers(len(self.runs[number]))]
        which = rng.integers(len(run.frames))
        frame = self.sequences[number].read([int(run.frames[which])])[0].numpy()
        x, y, w, h = run.boxes[which].round().astype(int)
        part = frame[:, max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)]
        if min(part.shape[1:]) < 4:
            return self._patch(rng)
        return np.ascontiguousarray(part.transpose(1, 2, 0))

    def _window(self, rng: np.random.Generator, length: int) -> tuple[np.ndarray, ...]:
        """A piece of an annotated track, seen through a moving view."""
        share = self.shares / self.shares.sum()
        options = self.runs[rng.choice(len(share), p=share)]
        stride = int(rng.choice(self.config.strides))
        for _ in range(20):
            run = options[rng.integers(len(options))]
            if len(run.frames) > (length - 1) * stride:
                break
        else:
            stride = 1
            run = max(options, key=lambda run: len(run.frames))
        span = min(length, (len(run.frames) - 1) // stride + 1)
        first = int(rng.integers(len(run.frames) - (span - 1) * stride))
        chosen = first + stride * np.minimum(np.arange(length), span - 1)
        if rng.random() < 0.5:
            chosen = chosen[::-1]
        frames = self.sequences[run.sequence].read(run.frames[chosen].tolist()).numpy()
        views, boxes, presence = cut(frames, run.boxes[chosen], self.config, rng)
        if rng.random() < self.config.occluded:
            pass_in_front(views, boxes, self._object(rng), rng)
        return views, boxes, presence


def cut(
    frames: np.ndarray, boxes: np.ndarray, config: WindowsConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See an object through a square view with its own zoom, place and movement.

    Args:
        frames: ``(T, 3, H, W)`` uint8; boxes: ``(T, 4)`` xywh pixels of the object.

    Returns:
        ``(T, 3, S, S)`` uint8, ``(T, 4)`` boxes in the view's pixels, ``(T,)`` presence.
    """
    side, length = config.side, len(frames)
    low, high = np.log(config.object_size)
    wanted = np.exp(rng.uniform(low, high))
    scale = wanted / np.sqrt(max(boxes[0, 2] * boxes[0, 3], 1.0))
    scale = np.clip(scale, wanted / 160, 3.0)  # enlarging more shows nothing new
    scales = scale * np.exp(rng.uniform(-config.stretch, config.stretch, 2))
    extent = np.maximum(np.round(side / scales), 8).astype(int)  # of the view, source pixels (x, y)
    scales = side / extent
    corner = _camera(boxes, extent, rng, rng.random() < config.shake)
    corner = np.round(corner).astype(int)  # (T, 2)
    views = np.zeros((length, 3, side, side), np.uint8)
    for view, frame, (x, y) in zip(views, frames, corner, strict=True):
        _look(frame, x, y, extent, view)
    seen = np.concatenate(((boxes[:, :2] - corner) * scales, boxes[:, 2:] * scales), 1)
    inside = np.clip(seen[:, :2] + seen[:, 2:], 0, side) - np.clip(seen[:, :2], 0, side)
    presence = inside.prod(1) >= config.visible * np.maximum(seen[:, 2:].prod(1), 1e-6)
    return views, seen, presence


def _camera(
    boxes: np.ndarray, extent: np.ndarray, rng: np.random.Generator, shaken: bool
) -> np.ndarray:
    """``(T, 2)`` top-left corners of the view: between standing still and following, or shaken."""
    centre = boxes[:, :2] + boxes[:, 2:] / 2
    follow = rng.choice((0.0, 0.0, rng.uniform(), 1.0))
    room = np.maximum(extent - boxes[0, 2:], 0) / 2 * 0.7
    place = rng.uniform(-1, 1, 2) * room
    path = follow * centre + (1 - follow) * centre[0]
    if shaken:
        shake = rng.normal(size=(len(boxes), 2)) * extent * rng.uniform(0, 0.01)
        drift = np.cumsum(rng.normal(size=(len(boxes), 2)) * 0.3 + rng.normal(size=2), 0)
        path = path + shake + (drift - drift[0]) * extent * rng.uniform(0, 0.02)
    return path + place - extent / 2


def _look(frame: np.ndarray, x: int, y: int, extent: Any, view: np.ndarray) -> None:
    """Resize the part of ``frame (3, H, W)`` under the view into ``view (3, S, S)``; zero outside."""
    width, height = (int(e) for e in extent)
    full_height, full_width = frame.shape[1:]
    left, top = max(-x, 0), max(-y, 0)
    right, bottom = max(x + width - full_width, 0), max(y + height - full_height, 0)
    how = cv2.INTER_AREA if min(width, height) > view.shape[-1] else cv2.INTER_LINEAR
    if left + right >= width or top + bottom >= height:
        return
    for plane, out in zip(frame, view, strict=True):
        part = plane[y + top : y + height - bottom, x + left : x + width - right]
        if left or right or top or bottom:
            part = cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
        cv2.resize(part, out.shape[::-1], dst=out, interpolation=how)


def pass_in_front(
    frames: np.ndarray, boxes: np.ndarray, picture: np.ndarray, rng: np.random.Generator
) -> None:
    """Let a picture cross the object's way at some time, in place: what hides also moves.

    Args:
        frames: ``(T, 3, S, S)`` uint8, drawn upon.
        boxes: ``(T, 4)`` xywh pixels of the object.
        picture: ``(h, w, 3)`` uint8; drawn about as large as the object, with a soft round outline.
    """
    length, side = len(frames), frames.shape[-1]
    when = int(rng.integers(length // 3, length)) if length > 1 else 0
    size = boxes[when, 2:] * np.exp(rng.normal(size=2) * 0.25)
    width, height = np.clip(np.round(size), 4, side).astype(int)
    picture = cv2.resize(picture, (int(width), int(height)), interpolation=cv2.INTER_AREA)
    x, y = (np.abs(np.linspace(-1, 1, extent)) for extent in (width, height))
    power = rng.choice((2.0, 4.0, 8.0))  # from an ellipse to nearly a box
    alpha = np.clip((1 - x[None] ** power - y[:, None] ** power) * 6, 0, 1)[None]
    drawn = picture.transpose(2, 0, 1).astype(np.float32)
    slowest = min(0.7 / max(when, 1), 0.3)  # the object is to be seen in the first frame
    speed = rng.choice((-1, 1)) * np.exp(rng.uniform(np.log(slowest), np.log(0.5)))
    step = np.array([speed, speed * rng.normal() * 0.2]) * boxes[when, 2]
    centre = boxes[:, :2] + boxes[:, 2:] / 2 + rng.normal(size=2) * boxes[when, 2:] * 0.1
    path = centre[when] + step * (np.arange(length)[:, None] - when)
    if rng.random() < 0.4:  # keeping pace with the object, so that they part slowly
        path += centre - centre[when]
    for frame, corner in zip(frames, np.round(path - size / 2).astype(int), strict=True):
        left, top = np.maximum(corner, 0)
        right, bottom = np.minimum(corner + (width, height), side)
        if left >= right or top >= bottom:
            continue
        here = (slice(None), slice(top, bottom), slice(left, right))
        there = (slice(None), slice(top - corner[1], bottom - corner[1]),
                 slice(left - corner[0], right - corner[0]))  # fmt: skip
        frame[here] = frame[here] + alpha[there] * (drawn[there] - frame[here])


def recolour(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another camera: gain, offset and gamma per channel, channels swapped, or grey.

    Args:
        frames: ``(T, 3, H, W)`` uint8.
    """
    ramp = np.arange(256) / 255
    joint = rng.normal(size=1) * 0.25
    curves = []
    for _ in range(3):
        gamma = np.exp(joint + rng.normal() * 0.08)
        gain, offset = np.exp(rng.normal() * 0.12), rng.normal() * 0.04
        curves.append(np.clip((ramp**gamma * gain + offset) * 255, 0, 255).astype(np.uint8))
    order = rng.permutation(3) if rng.random() < 0.25 else np.arange(3)
    changed = np.stack([curve[frames[:, c]] for curve, c in zip(curves, order, strict=True)], 1)
    if rng.random() < 0.15:
        changed[:] = changed.mean(1, keepdims=True, dtype=np.float32).astype(np.uint8)
    return changed
