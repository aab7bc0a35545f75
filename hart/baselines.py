"""Trivial trackers, the floor for every table: the box stands still, or moves on as it began to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class StaticBox:
    """Every box stays where it was given. Same interface as ``hart.Tracker``."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._next = 0
        self._boxes = torch.zeros(0, 4)

    @property
    def boxes(self) -> Tensor:
        """``(N, 4)`` xywh pixels in the order of ``ids``."""
        return self._boxes.clone()

    @property
    def lost(self) -> Tensor:
        """``(N,)`` bool: a trivial tracker does not know."""
        return torch.zeros(len(self.ids), dtype=torch.bool)

    def init(self, frame: Any, boxes: Any, ids: Sequence[int] | None = None) -> None:
        """Begin anew with ``boxes (N, 4)`` xywh pixels; the frame is not looked at."""
        self.drop(self.ids)
        self._next = 0
        self.add(boxes, ids)

    def add(self, boxes: Any, ids: Sequence[int] | None = None) -> list[int]:
        """More boxes; returns their ids."""
        boxes = torch.as_tensor(np.asarray(boxes), dtype=torch.float32).reshape(-1, 4)
        fresh = range(self._next, self._next + len(boxes))
        names = [int(name) for name in (fresh if ids is None else ids)]
        if len(names) != len(boxes) or len({*names, *self.ids}) < len(names) + len(self.ids):
            raise ValueError(
                f"one new id for each of {len(boxes)} boxes, got {names}; in use: {self.ids}"
            )
        self.ids = self.ids + names
        self._next = max([self._next - 1, *names]) + 1
        self._boxes = torch.cat((self._boxes, boxes))
        return names

    def drop(self, ids: Sequence[int]) -> None:
        """Forget objects."""
        self._keep([n for n, name in enumerate(self.ids) if name not in set(ids)])

    def update(self, frame: Any) -> Tensor:
        """``(N, 4)`` xywh pixels in the order of ``ids``; the frame is not looked at."""
        return self.boxes

    def _keep(self, rows: list[int]) -> None:
        self.ids = [self.ids[n] for n in rows]
        self._boxes = self._boxes[rows]


class ConstantVelocity(StaticBox):
    """Every box keeps its size and goes on with the velocity it was given.

    The velocity is what a second ground-truth box would tell (the star in tables), so it is no
    tracker that could be used, but a strong measure of how far the motion alone carries.
    """

    def __init__(self) -> None:
        super().__init__()
        self._velocity = torch.zeros(0, 2)

    def init(
        self, frame: Any, boxes: Any, ids: Sequence[int] | None = None, *, velocity: Any
    ) -> None:
        """Begin anew; ``velocity (N, 2)`` is each centre's way in pixels a frame (x, y)."""
        self.drop(self.ids)
        self._next = 0
        self.add(boxes, ids, velocity=velocity)

    def add(self, boxes: Any, ids: Sequence[int] | None = None, *, velocity: Any) -> list[int]:
        """More boxes, each with its ``velocity (N, 2)``; returns their ids."""
        velocity = torch.as_tensor(np.asarray(velocity), dtype=torch.float32).reshape(-1, 2)
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        if len(velocity) != len(boxes):
            raise ValueError(f"{len(velocity)} velocities for {len(boxes)} boxes")
        names = super().add(boxes, ids)
        self._velocity = torch.cat((self._velocity, velocity))
        return names

    def update(self, frame: Any) -> Tensor:
        """Move every box one frame on."""
        self._boxes = torch.cat((self._boxes[:, :2] + self._velocity, self._boxes[:, 2:]), 1)
        return self.boxes

    def _keep(self, rows: list[int]) -> None:
        super()._keep(rows)
        self._velocity = self._velocity[rows]
