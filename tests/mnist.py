"""MNIST idx files for tests, written byte by byte."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

PREFIX = {"train": "train", "test": "t10k"}


def write_idx(path: Path, magic: int, array: np.ndarray) -> Path:
    """An idx file of uint8; compressed if its name ends in ``.gz``."""
    data = struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_split(folder: Path, split: str, number: int, packed: bool = False) -> np.ndarray:
    """Both files of a split with ``number`` random blots, labelled 0 to 9 in turn; the images."""
    rng = np.random.default_rng(number)
    images = np.zeros((number, 28, 28), np.uint8)
    for image in images:
        y, x = rng.integers(0, 18, 2)
        h, w = rng.integers(2, 10, 2)
        image[y : y + h, x : x + w] = rng.integers(0, 2, (h, w)) * rng.integers(1, 200, (h, w))
        image[y, x] = 201
    labels = np.arange(number, dtype=np.uint8) % 10
    end = ".gz" if packed else ""
    write_idx(folder / f"{PREFIX[split]}-images-idx3-ubyte{end}", 0x803, images)
    write_idx(folder / f"{PREFIX[split]}-labels-idx1-ubyte{end}", 0x801, labels)
    return images
