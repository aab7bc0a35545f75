"""Bent copies of digits: as many as asked for, still the same digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from datasets import digits
from datasets.digits import Digits
from datasets.variations import _stroke, vary


@pytest.fixture(scope="module")
def few() -> Digits:
    return Digits(*(part[:300] for part in digits.load(None, "train")))


def test_the_originals_come_first_then_copies_of_all(few: Digits) -> None:
    varied = vary(few, 2, seed=3)
    assert torch.equal(varied.labels, few.labels.repeat(3))
    assert all(torch.equal(a[:300], b) for a, b in zip(varied, few))
    again, other = vary(few, 2, seed=3), vary(few, 2, seed=4)
    assert torch.equal(varied.images, again.images)
    assert not torch.equal(varied.images[300:], other.images[300:])


def test_no_copies_are_the_digits_themselves(few: Digits) -> None:
    assert vary(few, 0) is few
    with pytest.raises(ValueError, match="-1, expected 0 or more"):
        vary(few, -1)


def test_a_copy_looks_like_its_own_digit(few: Digits) -> None:
    """Of a hundred digits, by correlation of what is in their tight boxes."""

    def looks(found: Digits, rows: slice) -> torch.Tensor:
        pictures = []
        for image, (height, width) in zip(found.images[rows], found.sizes[rows].tolist()):
            tight = image[:height, :width].float()[None, None]
            pictures.append(torch.nn.functional.interpolate(tight, (12, 12)).flatten())
        pictures = torch.stack(pictures)
        return torch.nn.functional.normalize(pictures - pictures.mean(1, keepdim=True))

    varied = vary(few, 1)
    likeness = looks(varied, slice(300, 400)) @ looks(varied, slice(0, 100)).T
    found = likeness.argmax(1)
    assert (found == torch.arange(100)).float().mean() > 0.3  # by chance .01
    assert (few.labels[found] == few.labels[:100]).float().mean() > 0.7  # by chance .1


def test_strokes_grow_and_shrink(few: Digits) -> None:
    images = few.images[:3].float()
    assert torch.equal(_stroke(images, torch.zeros(3)), images)
    wide, thin, half = _stroke(images[:1].expand(3, -1, -1), torch.tensor([1.0, -1.0, 0.5]))
    first = images[0].numpy()
    np.testing.assert_array_equal(wide, ndimage.grey_dilation(first, (3, 3), mode="nearest"))
    np.testing.assert_array_equal(thin, ndimage.grey_erosion(first, (3, 3), mode="nearest"))
    torch.testing.assert_close(half, (images[0] + wide) / 2)
