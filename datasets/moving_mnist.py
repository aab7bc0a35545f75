"""Moving multi-MNIST, made on the fly: digits that bounce over a canvas, with their ground truth.

The process of SQAIR's training data (Kosiorek et al. 2018; its released code), which is the
default: up to two digits on 50 x 50 pixels whose top-left corners stay in [0, 50], so that they
leave the canvas to the right and below, and come back. A batch is a pure function of a seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from common import tracks
from common.tracks import Tracks
from datasets import bouncing
from datasets.digits import Digits
from datasets.pasting import add_noise, on_canvas, paste, texture

MOST = 6  # digits
JUDGED = 0.25  # share of a digit's ink from which on a tracker has to find it


@dataclass(frozen=True)
class MovingMnistConfig:
    """What the clips hold; the default is SQAIR's data."""

    size: int = 50  # side of the canvas, pixels
    counts: tuple[int, ...] = (0, 1, 2)  # digits in a sequence, each number equally likely
    inside: bool = False  # digits stay wholly on the canvas
    noise: float = 0.0  # standard deviation of what is added to every pixel, of a range of 1
    background: bool = False  # a faint, smooth texture that drifts

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"moving MNIST: size {self.size}, expected 1 or more")
        if not self.counts or not all(0 <= count <= MOST for count in self.counts):
            raise ValueError(
                f"moving MNIST: counts {self.counts}, expected numbers from 0 to {MOST}"
            )
        if not 0 <= self.noise <= 1:
            raise ValueError(f"moving MNIST: noise {self.noise}, expected 0 to 1")


class MnistBatch(NamedTuple):
    """Clips and their ground truth; N is the largest count, digits come first."""

    frames: Tensor  # (T, B, 1, H, W) uint8
    boxes: Tensor  # (T, B, N, 4) float32 xywh: tight box of the ink on the canvas; 0 where none is
    presence: Tensor  # (T, B, N) bool: the digit exists, even if it is out of sight
    ids: Tensor  # (B, N) int64; -1 none
    visible: Tensor  # (T, B, N) float32, share of the digit's own ink that is on the canvas
    labels: Tensor  # (B, N) int64; -1 none
    places: Tensor  # (T, B, N, 4) float32 xywh: tight box of all its ink, off the canvas, too


class MovingMnist:
    """Makes batches of clips of one configuration from one set of digits, on a device."""

    def __init__(
        self, config: MovingMnistConfig, digits: Digits, device: str | torch.device = "cpu"
    ) -> None:
        """Move the digits to the device.

        Raises:
            ValueError: a digit that is larger than the canvas, or fewer digits than in a clip.
        """
        self.config = config
        self.device = torch.device(device)
        self.slots = max(1, *config.counts)
        height, width = digits.sizes.amax(0).tolist()
        if max(height, width) > config.size:
            raise ValueError(
                f"moving MNIST: size {config.size}, expected at least {max(height, width)}, "
                "the side of the largest digit"
            )
        if len(digits.labels) < self.slots:
            raise ValueError(
                f"moving MNIST: {len(digits.labels)} digits to choose from, expected at least "
                f"{self.slots}"
            )
        self.sizes = digits.sizes.to(self.device)
        # The last one is what stands in for a digit that is not there: no ink.
        self.images = _with_last(digits.images[:, :height, :width].to(self.device), 0)
        self.labels = _with_last(digits.labels.to(self.device), -1)

    def batch(self, seed: int, batch: int, length: int) -> MnistBatch:
        """``batch`` clips of ``length`` frames; equal arguments give equal clips.

        Raises:
            ValueError: the digits do not fit beside one another; no clip or frame asked for.
        """
        if batch < 1 or length < 1:
            raise ValueError(
                f"moving MNIST: {batch} clips of {length} frames, expected 1 or more of both"
            )
        config, slots = self.config, self.slots
        generator = torch.Generator(self.device).manual_seed(seed)
        choice = torch.tensor(config.counts, device=self.device)
        drawn = torch.randint(len(choice), (batch,), generator=generator, device=self.device)
        counts = choice[drawn]
        placed = bouncing.place(self.sizes, counts, slots, config.size, generator)
        bound = torch.full_like(placed.corner, config.size)
        if config.inside:
            bound = bound - self.sizes[placed.index]
        state, changes = bouncing.launch(bound, length, generator)
        corners = bouncing.roam(placed.corner, state, changes, bound).round().long()

        exists = torch.arange(slots, device=self.device) < counts[:, None]
        index = placed.index.where(exists, len(self.sizes))
        templates = self.images[index]
        canvas = paste(templates, corners, config.size)
        boxes, visible = on_canvas(templates, corners, config.size)
        if config.background:
            canvas = canvas.maximum(texture(length, batch, config.size, generator))
        if config.noise:
            canvas = add_noise(canvas, config.noise, generator)
        return MnistBatch(
            frames=canvas[:, :, None],
            boxes=boxes,
            presence=exists.repeat(length, 1, 1),
            ids=torch.arange(slots, device=self.device).where(exists, -1),
            visible=visible,
            labels=self.labels[index],
            places=self._places(corners, index, exists),
        )

    def _places(self, corners: Tensor, index: Tensor, exists: Tensor) -> Tensor:
        """Whole digits' boxes ``(T, B, N, 4)``; top-left ``corners (T, B, N, 2)`` have y first."""
        sides = _with_last(self.sizes, 0)[index].flip(-1).expand_as(corners)
        return torch.cat((corners.flip(-1), sides), -1).float() * exists[..., None]


def truth(
    batch: MnistBatch, column: int, ignore: Literal["place", "ink"] = "place"
) -> tuple[Tracks, Tracks]:
    """What a tracker of clip ``column`` is scored on.

    Args:
        ignore: what stands for a digit that has less than a quarter of its ink on the canvas:
            "place", a box of its size where it would be if it were just inside; "ink", the tight
            box of the ink that can be seen, which may be a pixel wide, or nothing.

    Returns:
        objects with at least a quarter of their ink on the canvas; regions to ignore, the others
    """
    boxes, visible = batch.boxes[:, column].cpu(), batch.visible[:, column].cpu()
    ids = batch.ids[column].cpu().expand(visible.shape)
    frame = torch.arange(len(ids))[:, None].expand(visible.shape)
    judged = visible >= JUDGED
    ignored = batch.presence[:, column].cpu() & ~judged
    places = boxes
    if ignore == "ink":
        ignored &= visible > 0
    else:
        height, width = batch.frames.shape[-2:]
        place, room = batch.places[:, column].cpu(), torch.tensor([width, height])
        corner = torch.minimum(place[..., :2], room - place[..., 2:]).clamp_min(0)
        places = torch.cat((corner, place[..., 2:]), -1)
    objects, regions = (
        tracks.build(frame[rows].numpy(), ids[rows].numpy(), where[rows].numpy())
        for rows, where in ((judged, boxes), (ignored, places))
    )
    return objects, regions


def _with_last(values: Tensor, fill: int) -> Tensor:
    return torch.cat((values, torch.full_like(values[:1], fill)))
