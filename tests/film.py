"""A recording made up for tests: what it shows is known exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from common.tracks import build


class Film:
    """A white rectangle on black that walks (3, 1) pixels a frame: its pixels show its box."""

    name, frame_rate, size = "film", 10.0, (120, 160)

    def __init__(self, length: int = 30) -> None:
        self.boxes = np.array([[20.0 + 3 * t, 30 + t, 16, 24] for t in range(length)])
        self.tracks = build(np.arange(length), np.zeros(length, int), self.boxes)

    def __len__(self) -> int:
        return len(self.boxes)

    def read(self, indices: Sequence[int]) -> Tensor:
        frames = torch.zeros(len(indices), 3, *self.size, dtype=torch.uint8)
        for frame, index in zip(frames, indices, strict=True):
            x, y, w, h = self.boxes[index].astype(int)
            frame[:, y : y + h, x : x + w] = 255
        return frames
