"""Rectangles instead of digits, each in a lane of its own, and a model that reads them off."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor

from datasets.moving_mnist import MnistBatch
from sqair.state import Slots, Unrolled

SIDE, WIDE, HIGH = 50, 8, 10
LEVELS = (90, 210)  # brightness, by which the model tells one from the other
FINE, POOR = -10.0, -1000.0  # log weight of a frame, of a good and of a bad particle


class Rendered(NamedTuple):
    glimpses: Tensor
    canvases: Tensor


class Lanes:
    """``0, 1, 2`` rectangles in turn, moving to the right: out of the canvas, if long enough."""

    def batch(self, seed: int, batch: int, length: int) -> MnistBatch:
        generator = torch.Generator().manual_seed(seed)
        start = torch.randint(0, 20, (batch, 2), generator=generator)
        speed = torch.randint(2, 6, (batch, 2), generator=generator)
        left = start + speed * torch.arange(length)[:, None, None]
        exists = torch.arange(2) < torch.arange(batch)[:, None] % 3
        width = (SIDE - left).clamp(0, WIDE) * exists
        frames = torch.zeros(length, batch, 1, SIDE, SIDE, dtype=torch.uint8)
        boxes, places = torch.zeros(2, length, batch, 2, 4)
        for t, b, n in (width > 0).nonzero().tolist():
            x, w, y = int(left[t, b, n]), int(width[t, b, n]), 5 + 25 * n
            frames[t, b, 0, y : y + HIGH, x : x + w] = LEVELS[n]
            boxes[t, b, n] = torch.tensor([x, y, w, HIGH])
        for t, b, n in exists.expand(width.shape).nonzero().tolist():
            places[t, b, n] = torch.tensor([int(left[t, b, n]), 5 + 25 * n, WIDE, HIGH])
        ids = torch.arange(2).where(exists, -1)
        labels = torch.randint(0, 10, (batch, 2), generator=generator).where(exists, -1)
        share, presence = width / float(WIDE), exists.repeat(length, 1, 1)
        return MnistBatch(frames, boxes, presence, ids, share, labels, places)


class Reader(torch.nn.Module):
    """Finds each rectangle by its brightness; its last particle sees nothing, and weighs nothing.

    Args:
        swap: frame from which on two objects have each other's id.
        late: frame in which every object gets a new id.
        blind: sees no more than the first so many objects.
        shift: pixels by which it paints beside the object.
    """

    def __init__(
        self,
        swap: int | None = None,
        late: int | None = None,
        blind: int = 2,
        shift: float = 0,
        objects: bool = True,
    ) -> None:
        super().__init__()
        self.swap, self.late, self.blind, self.shift, self.objects = (
            *(swap, late, blind, shift, objects),
        )
        self.config = SimpleNamespace(size=SIDE)
        self.rows: list[int] = []  # frames of all particles and sequences, at each call

    def unroll(self, frames: Tensor, particles: int) -> Unrolled:
        assert frames.dtype == torch.uint8 and not torch.is_grad_enabled()
        T, B = frames.shape[:2]
        self.rows.append(T * B * particles)
        seen = torch.stack([frames[:, :, 0] == level for level in LEVELS], 2)  # T B K H W
        where = torch.zeros(T, B, 2, 4)
        for t, b, k in seen.flatten(3).any(-1).nonzero().tolist():
            y, x = seen[t, b, k].nonzero().unbind(-1)
            corner, end = torch.stack((x.min(), y.min())), torch.stack((x.max(), y.max())) + 1
            where[t, b, k] = torch.cat((corner + self.shift, end - corner))
        exists = seen.flatten(3).any(-1).any(0) & (torch.arange(2) < self.blind)
        ids = torch.arange(2).where(exists, -1).expand(T, B, 2).clone()
        if self.swap is not None:
            ids[self.swap :] = torch.where(exists.all(-1, True), ids.flip(-1), ids)[self.swap :]
        if self.late is not None:
            ids[self.late :] += 2 * (ids[self.late :] >= 0)
        level = torch.tensor(LEVELS).expand(T, B, 2)[..., None] / 255
        one = Slots(level, where, (ids >= 0).float(), ids)
        slots = Slots(*(v[:, None].repeat(1, particles, *(1,) * (v.dim() - 1)) for v in one))
        log_weight = torch.full((T, particles, B), FINE)
        if particles > 1:
            slots.presence[:, -1], slots.id[:, -1] = 0, -1
            log_weight[:, -1] = POOR
        features = (slots.what * slots.presence[..., None]).flatten(3)
        return Unrolled(log_weight, log_weight + 3, slots if self.objects else None, features)

    def decode(self, slots: Slots) -> Rendered:
        place = torch.arange(SIDE) + 0.5
        x, y, w, h = slots.where[..., None].unbind(-2)
        row = (place > y) & (place < y + h)
        column = (place > x) & (place < x + w)
        ink = row[..., :, None] & column[..., None, :]
        ink = ink * (slots.what * slots.presence[..., None])[..., None]
        glimpses = slots.what[..., None, None].expand(*slots.what.shape, 4, 4)
        return Rendered(glimpses, ink.unsqueeze(-3))
