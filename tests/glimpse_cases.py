"""Boxes, images and ways of computing that the tests of the glimpse core share."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from common import _products, _resample
from common._bands import Reading

DOUBLE = torch.float64
# Across a 13 x 17 frame with 6 x 5 samples: what an axis of a box can do.
BOXES = {
    "enlarges": (4.3, 3.1, 3.7, 4.9),
    "as large as the glimpse": (3.0, 2.0, 5.0, 6.0),
    "shrinks a little": (2.6, 2.2, 6.0, 7.4),
    "shrinks": (1.2, 0.7, 13.9, 11.1),
    "shrinks one axis": (2.4, 5.5, 13.0, 2.5),
    "reaches out": (-3.3, 8.2, 11.0, 9.0),
    "around the frame": (-20.0, -31.0, 70.0, 64.0),
    "mirrors": (12.0, 9.5, -8.5, -3.5),
    "is a point": (7.3, 6.6, 0.0, 0.0),
    "outside": (40.0, 3.0, 5.0, 5.0),
    "far outside": (1e30, -1e30, 5.0, 9.0),
}


def image(height: int = 13, width: int = 17, channels: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(channels, height, width, dtype=DOUBLE, generator=generator)


WAYS = ("products", "static", "nearby")


def take(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the core resample in one way, whatever the sizes.

    By products with the weights of all pixels, by those without a look at the boxes, as on a GPU,
    or from the pixels nearby.
    """
    limits = (0, -math.inf if way == "nearby" else math.inf)
    monkeypatch.setattr(_resample, "BILINEAR", limits)
    monkeypatch.setattr(_resample, "AVERAGED", limits)
    if way == "static":
        monkeypatch.setattr(_resample, "_bilinear", lambda *_: False)
        monkeypatch.setattr(_products, "_looked_at", unseen)


def unseen(
    boxes: Tensor, size: tuple[int, int], lengths: tuple[int, int], antialias: bool
) -> tuple[Tensor, None, Reading]:
    """What is known about boxes on a GPU."""
    return boxes, None, Reading(size, lengths, None, antialias)
