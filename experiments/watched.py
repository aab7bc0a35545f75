"""Videos to go on from: the beginning of a file, or generated digits."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from common.stream import Stream
from common.video import VideoError

RATE = 6.0  # frames per second of what has no frame rate of its own


class Source(NamedTuple):
    """Frames, and how fast they are shown."""

    frames: Tensor  # (T, C, H, W) uint8
    rate: float  # frames per second


def video(source: str, frames: int, least: int) -> Source:
    """The first ``frames`` of a video, or as many as there are.

    Args:
        source: as for ``common.stream.Stream``.
        least: how many there must be.

    Raises:
        FileNotFoundError, ValueError: it cannot be read, or is too short.
    """
    with Stream(source) as stream:
        found = list(islice(stream, frames))
    if len(found) < least:
        raise VideoError(f"{source}: {len(found)} frames, expected at least {least} (--after)")
    return Source(torch.stack(found), stream.frame_rate)


def digits(folder: Path | None, size: int, frames: int, seed: int) -> Source:
    """Two digits that move over a canvas of ``size``.

    Args:
        folder: of MNIST's files, ``t10k-*``; None: drawn ones.

    Raises:
        FileNotFoundError, ValueError: the files cannot be read, or a digit does not fit.
    """
    from datasets.digits import load
    from datasets.moving_mnist import MovingMnist, MovingMnistConfig

    data = MovingMnist(MovingMnistConfig(size, counts=(2,)), load(folder, "test"))
    return Source(data.batch(seed, 1, frames).frames[:, 0], RATE)
