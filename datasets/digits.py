"""Digits to put into generated clips: MNIST's, from a folder, or drawn ones.

What comes out is as the moving-MNIST process wants its templates: stretched to the full range of
grey values and cropped to the tight box of the ink (SQAIR's data).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from datasets import mnist_files, strokes

SIDE = mnist_files.SIDE


class Digits(NamedTuple):
    """``M`` digits, each cropped to its tight box and moved to the top-left corner."""

    images: Tensor  # (M, 28, 28) uint8, 0 outside the tight box; the brightest pixel is 255
    sizes: Tensor  # (M, 2) int64, height and width of the tight box
    labels: Tensor  # (M,) int64, 0 to 9


def load(
    folder: str | Path | None, split: Literal["train", "test"], limit: int | None = None
) -> Digits:
    """Digits of MNIST idx files in ``folder``, or drawn ones where it is None.

    Args:
        folder: holds ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, or ``t10k-*`` for
            the split "test", plain or with ``.gz``; any number of digits.
        split: "train" or "test"; drawn ones differ in both.
        limit: take the first so many only.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not what its name says, an unknown split, or a limit below 1.
    """
    if split not in mnist_files.PREFIXES:
        raise ValueError(f"digits: split {split!r}, expected 'train' or 'test'")
    if limit is not None and limit < 1:
        raise ValueError(f"digits: limit {limit}, expected 1 or more")
    if folder is None:
        images, labels = strokes.draw(split)
    else:
        images, labels = mnist_files.read(Path(folder), split)
    try:
        return tight(torch.from_numpy(images[:limit]), torch.from_numpy(labels[:limit]).long())
    except ValueError as error:
        raise ValueError(f"{folder}, split {split!r}: {error}") from error


def tight(images: Tensor, labels: Tensor) -> Digits:
    """Stretch ``images (M, 28, 28)`` uint8 to 0..255 and crop them to their ink.

    Raises:
        ValueError: an image without any ink.
    """
    lowest = images.amin((1, 2), keepdim=True)
    span = images.amax((1, 2), keepdim=True) - lowest
    blank = (span == 0).flatten().nonzero()
    if len(blank):
        raise ValueError(f"image {int(blank[0])} holds no ink, expected a digit")
    images = ((images - lowest).float() * (255 / span.float()) + 0.5).to(torch.uint8)
    ends = [extent(images.amax(2 - axis) > 0) for axis in (0, 1)]  # of rows, of columns
    rows, columns = (_from(start, images.shape[1]) for start, _ in ends)
    corner = images.gather(1, rows[:, :, None].expand_as(images))
    corner = corner.gather(2, columns[:, None, :].expand_as(images))
    return Digits(corner, torch.stack([stop - start for start, stop in ends], 1), labels)


def extent(ink: Tensor) -> tuple[Tensor, Tensor]:
    """First position with ink, and one past the last, of ``ink (M, L)`` bool; ``(M,)`` each."""
    length = ink.shape[1]
    marks = ink.to(torch.uint8)
    return marks.argmax(1), length - marks.flip(1).argmax(1)


def _from(start: Tensor, length: int) -> Tensor:
    """``start (M,)`` and what follows it, around the end (where a digit has no ink); (M, L)."""
    return (start[:, None] + torch.arange(length)) % length
