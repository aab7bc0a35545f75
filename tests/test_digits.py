"""Digits: stretched, cropped, of the right split; and those drawn by code look like handwriting."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mnist import write_split
from torch.nn.functional import avg_pool2d, normalize

from datasets import digits
from datasets.digits import Digits


@pytest.fixture(scope="module")
def drawn() -> tuple[Digits, Digits]:
    """Drawn digits, for training and test."""
    return digits.load(None, "train"), digits.load(None, "test")


def cropped(image: np.ndarray) -> np.ndarray:
    """What SciPy's ``imresize`` to the same size made of an image, cut to its ink."""
    grey = image.astype(np.float64)
    grey = (grey - grey.min()) * 255.0 / (grey.max() - grey.min())
    stretched = np.floor(grey + 0.5).astype(np.uint8)
    rows, columns = np.nonzero(stretched)
    return stretched[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def check_tight(found: Digits) -> None:
    """Every digit touches all four sides of its box, and there is nothing beyond it."""
    rows, columns = (found.images.numpy().any(axis) for axis in (2, 1))
    for ink, sizes in ((rows, found.sizes[:, 0]), (columns, found.sizes[:, 1])):
        assert ink[:, 0].all() and ink[np.arange(len(ink)), sizes - 1].all()
        assert not (ink & (np.arange(28) >= sizes.numpy()[:, None])).any()
    assert (found.images.numpy().max((1, 2)) == 255).all()


def neighbours(learnt: Digits, asked: Digits) -> float:
    """Share of ``asked`` whose nearest neighbour in ``learnt``, by angle, has the same label."""
    a, b = (
        normalize(avg_pool2d(d.images[:, None, :22, :22].float(), 2).flatten(1))
        for d in (learnt, asked)
    )
    return float((learnt.labels[(b @ a.T).argmax(1)] == asked.labels).float().mean())


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("split", ["train", "test"])
def test_digits_of_a_folder(tmp_path: Path, split: str, packed: bool) -> None:
    images = write_split(tmp_path, split, 37, packed)
    found = digits.load(tmp_path, split)
    assert found.images.shape == (37, 28, 28) and found.images.dtype == torch.uint8
    assert found.labels.tolist() == [k % 10 for k in range(37)]
    for k in range(37):
        expected = cropped(images[k])
        assert tuple(found.sizes[k].tolist()) == expected.shape
        height, width = expected.shape
        np.testing.assert_array_equal(found.images[k, :height, :width], expected)
    check_tight(found)
    few = digits.load(str(tmp_path), split, limit=5)
    assert all(torch.equal(a, b[:5]) for a, b in zip(few, found))
    assert len(digits.load(tmp_path, split, limit=100).labels) == 37


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    images = write_split(tmp_path, "train", 3)
    with pytest.raises(FileNotFoundError, match="t10k-images-idx3-ubyte: not found, plain or"):
        digits.load(tmp_path, "test")
    with pytest.raises(ValueError, match="split 'valid', expected 'train' or 'test'"):
        digits.load(tmp_path, "valid")
    with pytest.raises(ValueError, match="limit 0, expected 1 or more"):
        digits.load(None, "train", limit=0)
    path = tmp_path / "train-images-idx3-ubyte"
    images[1] = 0
    path.write_bytes(path.read_bytes()[:16] + images.tobytes())
    with pytest.raises(ValueError, match=r"split 'train': image 1 holds no ink"):
        digits.load(tmp_path, "train")


def test_drawn_digits(drawn: tuple[Digits, Digits]) -> None:
    train, test = drawn
    assert len(train.labels) == 4000 and len(test.labels) == 1000
    for found in (train, test):
        check_tight(found)
        ink = (found.images.double() / 255).square().sum((1, 2))
        assert 65 < ink.mean() < 100 and ink.std() > 15
        assert torch.bincount(found.labels).min() > 0.07 * len(found.labels)
        height, width = found.sizes.double().mean(0).tolist()
        assert 18 < height < 21 and 13 < width < 17 and found.sizes.max() <= 22
    started = time.process_time()
    again = digits.load(None, "train", limit=50)
    assert time.process_time() - started < 3  # half a second on an idle core
    assert all(torch.equal(a, b[:50]) for a, b in zip(again, train))
    both = torch.cat((train.images, test.images)).flatten(1)
    assert len(both.unique(dim=0)) == 5000


def test_drawn_digits_can_be_told_apart(drawn: tuple[Digits, Digits]) -> None:
    assert neighbours(*drawn) > 0.97


def test_drawn_digits_are_like_real_ones(data_dir: Path, drawn: tuple[Digits, Digits]) -> None:
    real = digits.load(data_dir / "mnist", "test")
    assert neighbours(drawn[0], real) > 0.82
    height, width = real.sizes.double().mean(0).tolist()
    assert 19 < height < 20 and 14 < width < 17 and real.sizes.max() == 20
    check_tight(real)
