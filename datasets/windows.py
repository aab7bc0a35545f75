"""Training clips for tracking one object: windows cut from annotated video, sprites in between.

A clip follows one annotated object for ``T`` frames through a square view that a camera might have
had: standing still, following, shaking, nearer or farther. What batch a step gets is a pure
function of (seed, step, stage, process), so that training resumes exactly and processes share the
work.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from common.tracks import runs
from datasets.augment import cut, pass_in_front, recolour, resize_part, worsen
from datasets.clip import Batch
from datasets.slowing import slow_down
from datasets.sprites import SpritesConfig, make_clip
from datasets.windows_config import WindowsConfig

FILM_FRAMES = 12  # of footage behind generated objects; longer clips run it to and fro
SLOW = (0.003, 0.08)  # speeds of generated objects in clips where all glide
REUSE = 7  # the random stream that decides which batch is used again, beside those of the clips


class Run(NamedTuple):
    """One object in consecutive frames of a sequence."""

    sequence: int  # index of the sequence
    frames: np.ndarray  # (L,) int64, numbers of the frames
    boxes: np.ndarray  # (L, 4) float64 xywh pixels


class TrackingWindows:
    """Batches of training clips, by step: one object (``N = 1``) in a square view.

    Args:
        sequences: annotated videos (``datasets.clip.Sequence``); none means sprites only.
        config: see ``WindowsConfig``.
        seed: of everything drawn.
        shares: how often each sequence is drawn, relative to the others; evenly by default.

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
        shares = [1.0] * len(self.sequences) if shares is None else shares
        self.shares = np.asarray(shares, float)
        self.runs: list[list[Run]] = []  # by sequence
        for number, sequence in enumerate(self.sequences):
            tracks = [track for track in runs(sequence.tracks) if len(track.frame) > 1]
            if not tracks:
                name = sequence.name
                raise ValueError(f"{name}: no object is annotated in two consecutive frames")
            self.runs.append([Run(number, track.frame, track.box) for track in tracks])
        self._pool: OrderedDict[tuple, Batch] = OrderedDict()

    def __call__(self, step: int, stage: Any, rank: int = 0, world: int = 1) -> Batch:
        """One process's share of the joint batch at one step: every ``world``-th clip.

        Args:
            step: from 0.
            stage: of the curriculum, gives the clips' length ``T``.
            rank, world: number of the process, and of all processes.

        Returns:
            Frames ``(T, B, 3, S, S)`` uint8, boxes ``(T, B, 1, 4)``, presence ``(T, B, 1)``, and a
            mask that is true; the object may be seen in part, or leave and return.

        Raises:
            ValueError: more processes than clips in a batch.
        """
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
        back = np.random.default_rng((self.seed, REUSE, step)).integers(config.pool)
        return max(newest - int(back), 0)

    def _make(self, draw: int, length: int, rank: int, world: int) -> Batch:
        """The clips of a draw, each from a generator of its own."""
        rows = range(rank, self.config.batch, world)
        if not rows:
            raise ValueError(f"a batch of {self.config.batch} clips for {world} processes")
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
            speed=SLOW if rng.random() < config.glide else SpritesConfig.speed,
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
        span = min(FILM_FRAMES, len(sequence))
        first = int(rng.integers(len(sequence) - span + 1))
        frames = sequence.read(range(first, first + span)).numpy()
        side, (height, width) = self.config.side, frames.shape[2:]
        extent = int(min(height, width) * np.exp(rng.uniform(np.log(0.3), 0)))
        x, y = rng.integers(width - extent + 1), rng.integers(height - extent + 1)
        views = np.zeros((span, 3, side, side), np.uint8)
        for view, frame in zip(views, frames, strict=True):
            resize_part(frame, (x, y), (extent, extent), view)
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
        if rng.random() < self.config.slow:  # as many frames from fewer
            pace = np.exp(-rng.uniform(0, np.log(self.config.slowest)))
            times = np.arange(length) * pace
            run, chosen = self._piece(rng, options, int(np.ceil(times[-1])) + 1, 1)
        else:
            stride = int(rng.choice(self.config.strides))
            run, chosen = self._piece(rng, options, length, stride)
            times = None
        frames = self.sequences[run.sequence].read(run.frames[chosen].tolist()).numpy()
        views, boxes, presence = cut(frames, run.boxes[chosen], self.config, rng)
        if times is not None:
            views, boxes = slow_down(views, boxes, times)
            presence = presence[np.rint(times).astype(int)]
        if rng.random() < self.config.occluded:
            for _ in range(1 + (rng.random() < self.config.twice)):
                pass_in_front(views, boxes, self._object(rng), rng, self.config.early)
        if rng.random() < self.config.worse:
            views = worsen(views, rng)
        return views, boxes, presence

    def _piece(
        self, rng: np.random.Generator, options: list[Run], length: int, stride: int
    ) -> tuple[Run, np.ndarray]:
        """A run of an object and which ``(length,)`` of its frames, at a stride, either way."""
        for _ in range(20):  # a long enough run, most often; drawn evenly, whatever its length
            run = options[rng.integers(len(options))]
            if len(run.frames) > (length - 1) * stride:
                break
        else:  # the longest; where it is too short, its last frame is repeated
            stride = 1
            run = max(options, key=lambda run: len(run.frames))
        span = min(length, (len(run.frames) - 1) // stride + 1)
        first = int(rng.integers(len(run.frames) - (span - 1) * stride))
        chosen = first + stride * np.minimum(np.arange(length), span - 1)
        return run, chosen[::-1] if rng.random() < 0.5 else chosen
