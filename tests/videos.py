"""Generated films whose frames tell their own number, to check that the right one came out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from common.writer import write_video

BITS = 12
SIZE = (32, 16 * BITS // 2)  # (H, W): two rows of six blocks, 16 x 16 pixels each


def coded(number: int) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB: the number in black and white blocks, lowest bit first."""
    bits = np.array([number >> k & 1 for k in range(BITS)], np.uint8).reshape(2, -1)
    return np.kron(bits * 255, np.ones((16, 16), np.uint8))[..., None].repeat(3, -1)


def decoded(frames: Tensor) -> list[int]:
    """The numbers that ``(T, C, H, W)`` frames show."""
    blocks = frames.float().mean(1).reshape(-1, 2, 16, BITS // 2, 16).mean((2, 4)).flatten(1)
    return [sum(2**k for k, lit in enumerate(row) if lit) for row in (blocks > 127).tolist()]


def write_coded(path: Path, count: int, frame_rate: float = 25.0) -> Path:
    """A video of ``count`` frames that show 0, 1, 2..."""
    assert write_video(path, (coded(number) for number in range(count)), frame_rate) == count
    return path
