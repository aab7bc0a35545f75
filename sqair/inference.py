"""A trained model put to use: objects and tracks of a video, new videos, futures of a video."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from common.tracks import Tracks
from sqair import painted, sample
from sqair.canvas import Fitted, fit, to_frame
from sqair.model import Sqair
from sqair.scene import Rendered
from sqair.state import Slots


class Inferred(NamedTuple):
    """What was found in a video; ``...`` is T, or T and B where there was a batch.

    Tracks are in pixels of the given frames, all else in those of the model's canvas.
    """

    tracks: Tracks | tuple[Tracks, ...]  # one for each sequence where there was a batch
    slots: Slots  # (..., K, ...)
    rendered: Rendered  # (..., K, ...)
    boxes: Tensor  # (..., K, 4) xywh pixels, around what a slot paints; zeros where nothing


class Videos(NamedTuple):
    """N videos; ``...`` is T and N, or T, N and B where there was a batch.

    Tracks are in pixels of the frames that were given, all else in those of the model's canvas.
    """

    frames: Tensor  # (..., 1, S, S) in [0, 1]: those given, then means of what is imagined
    tracks: tuple[Tracks, ...] | tuple[tuple[Tracks, ...], ...]  # by video; then by sequence
    slots: Slots  # (..., K, ...)
    rendered: Rendered  # (..., K, ...)
    boxes: Tensor  # (..., K, 4) xywh pixels, around what a slot paints; zeros where nothing


class Inference:
    """A trained SQAIR or AIR, ready for use.

    Every method is a function of its arguments and a seed: it neither reads nor changes the state
    of global random numbers. Results are on the CPU.

    Args:
        model: trained.
        device: where to compute.

    Raises:
        ValueError: another kind of model.
    """

    def __init__(self, model: nn.Module, device: str | torch.device = "cpu") -> None:
        if not isinstance(model, Sqair):
            kind = type(model).__name__
            raise ValueError(f"a {kind} knows no objects; expected the weights of SQAIR or AIR")
        self.model = model.to(device).eval()
        self.device = torch.device(device)

    @torch.no_grad()
    def infer(
        self,
        frames: Tensor | np.ndarray,
        particles: int = 5,
        seed: int = 0,
        *,
        resize: bool = False,
    ) -> Inferred:
        """Find and follow the objects of a video.

        Args:
            frames: ``(T, C, H, W)`` or ``(T, B, C, H, W)``, uint8 or float in [0, 1]; RGB becomes
                grey.
            particles: explanations to draw of each sequence, of which the one of the highest weight
                is given.
            seed: of the drawing.
            resize: take frames of another size than the model's, see ``sqair.canvas.fit``.

        Raises:
            ValueError: frames that do not fit, or no particles.
        """
        if particles < 1:
            raise ValueError(f"particles {particles}: expected 1 or more")
        fitted, single = self._fit(frames, resize)
        with sample.seeded(seed, self.device):
            run = self.model.unroll(fitted.pixels, particles)
        best = run.log_weight.sum(0).argmax(0)
        rows = torch.arange(len(best), device=best.device)
        slots, rendered, boxes = self._paint(Slots(*(part[:, best, rows] for part in run.slots)))
        found = tuple(painted.tracks(slots.id, to_frame(boxes, fitted)))
        if not single:
            return Inferred(found, slots, rendered, boxes)
        return Inferred(found[0], _drop(slots, 1), _drop(rendered, 1), boxes.squeeze(1))

    @torch.no_grad()
    def sample(self, frames: int = 20, count: int = 8, seed: int = 0) -> Videos:
        """``count`` videos of so many ``frames`` from the prior.

        Raises:
            ValueError: one of both is below 1.
        """
        if frames < 1:
            raise ValueError(f"frames {frames}: expected 1 or more")
        return self._videos(sample.imagine(self.model, frames, count, seed), None, single=True)

    @torch.no_grad()
    def predict(
        self,
        frames: Tensor | np.ndarray,
        steps: int = 15,
        count: int = 4,
        seed: int = 0,
        *,
        particles: int = 20,
        resize: bool = False,
    ) -> Videos:
        """``count`` futures of a video, which they begin with.

        Args:
            frames: as for ``infer``, n of them.
            steps: frames to imagine; T is n more.
            count: N.
            seed: of the drawing.
            particles: explanations to draw of what was seen; each future goes on from one of them,
                drawn by weight.
            resize: as for ``infer``.

        Raises:
            ValueError: frames that do not fit, or a number below 1.
        """
        fitted, single = self._fit(frames, resize)
        imagined = sample.futures(self.model, fitted.pixels, steps, count, seed, particles)
        return self._videos(imagined, fitted, single)

    def _fit(self, frames: Tensor | np.ndarray, resize: bool) -> tuple[Fitted, bool]:
        """Frames on the canvas, and whether they had no batch."""
        frames = torch.as_tensor(frames)
        single = frames.dim() == 4
        fitted = fit(frames.unsqueeze(1) if single else frames, self.model.config.size, resize)
        return fitted._replace(pixels=fitted.pixels.to(self.device)), single

    def _paint(self, slots: Slots) -> tuple[Slots, Rendered, Tensor]:
        """Slots, what they paint, and the boxes of that, on the CPU."""
        rendered = self.model.decode(slots)
        boxes = painted.boxes(slots, rendered.glimpses, rendered.canvases)
        slots = Slots(*(part.cpu() for part in slots))
        return slots, Rendered(*(part.cpu() for part in rendered)), boxes.cpu()

    def _videos(self, imagined: sample.Imagined, fitted: Fitted | None, single: bool) -> Videos:
        slots, rendered, boxes = self._paint(imagined.slots)
        placed = boxes if fitted is None else to_frame(boxes, fitted)
        tracks = tuple(
            tuple(painted.tracks(slots.id[:, n], placed[:, n])) for n in range(boxes.shape[1])
        )
        frames = imagined.frames.cpu()
        if not single:
            return Videos(frames, tracks, slots, rendered, boxes)
        tracks = tuple(found for (found,) in tracks)
        slots, rendered = _drop(slots, 2), _drop(rendered, 2)
        return Videos(frames.squeeze(2), tracks, slots, rendered, boxes.squeeze(2))


def _drop(parts: NamedTuple, dim: int) -> NamedTuple:
    """The same NamedTuple of tensors without their dimension ``dim`` of size 1."""
    return type(parts)(*(part.squeeze(dim) for part in parts))
