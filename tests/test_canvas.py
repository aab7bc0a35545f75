"""Any video on the model's canvas, and boxes from there back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sqair.canvas import fit, to_frame


def test_frames_of_the_models_size_are_taken_as_they_are() -> None:
    frames = torch.randint(0, 256, (3, 2, 1, 10, 10), dtype=torch.uint8)
    fitted = fit(frames, 10)
    torch.testing.assert_close(fitted.pixels, frames / 255)
    assert (fitted.view, fitted.frame) == ((0, 0, 10), (10, 10))
    torch.testing.assert_close(fit(frames / 255, 10, resize=True).pixels, fitted.pixels)
    torch.testing.assert_close(fit(frames.numpy(), 10).pixels, fitted.pixels)
    boxes = torch.tensor([[1.0, 2, 3, 4]])
    torch.testing.assert_close(to_frame(boxes, fitted), boxes)


def test_colours_become_grey() -> None:
    frames = torch.zeros(3, 1, 3, 4, 4)
    for t in range(3):
        frames[t, :, t] = 1
    grey = fit(frames, 4).pixels
    for t, share in enumerate((0.299, 0.587, 0.114)):
        torch.testing.assert_close(grey[t], torch.full((1, 1, 4, 4), share))


@pytest.mark.parametrize("shape", [(30, 60), (60, 30), (60, 60)])
def test_larger_ones_are_averaged_in_the_middle_of_black(shape: tuple[int, int]) -> None:
    frames = torch.rand(2, 1, 1, *shape, generator=torch.Generator().manual_seed(0))
    top, left = (60 - shape[0]) // 2, (60 - shape[1]) // 2
    padded = F.pad(frames[:, 0], (left, left, top, top))
    resized = F.interpolate(padded, (15, 15), mode="bilinear", antialias=True)
    pixels = fit(frames, 15, resize=True).pixels
    assert pixels.shape == (2, 1, 1, 15, 15)
    inner = (..., slice(2, -2), slice(2, -2))  # at its edges PyTorch leaves out what is outside
    torch.testing.assert_close(pixels[:, 0][inner], resized[inner], atol=2e-3, rtol=0)


def test_smaller_ones_are_enlarged() -> None:
    frames = torch.zeros(1, 1, 1, 6, 9)
    frames[..., 2:4, 3:6] = 1  # in the middle
    pixels = fit(frames, 18, resize=True).pixels[0, 0, 0]
    torch.testing.assert_close(pixels, pixels.flip(0))
    torch.testing.assert_close(pixels, pixels.flip(1))
    rows, columns = (pixels > 0.5).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 10, 6, 11)


def test_boxes_go_back_to_where_the_object_is() -> None:
    """A bright block, found again by what is bright on the canvas."""
    frames = torch.zeros(1, 1, 3, 120, 200, dtype=torch.uint8)
    frames[..., 40:64, 120:152] = 255
    fitted = fit(frames, 50, resize=True)
    rows, columns = (fitted.pixels[0, 0, 0] > 0.5).nonzero().T
    start = torch.stack((columns.min(), rows.min()))
    sides = torch.stack((columns.max(), rows.max())) + 1 - start
    box = to_frame(torch.cat((start, sides)).float(), fitted)
    np.testing.assert_allclose(box, (120, 40, 32, 24), atol=2)  # half of a pixel of 4
    # The canvas above and below the frame is none of it.
    clipped = to_frame(torch.tensor([[0.0, 5, 10, 10], [0, 0, 9, 9]]), fitted)
    np.testing.assert_allclose(clipped, [(0, 0, 40, 20), (0, 0, 36, 0)])


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.zeros(3, 2, 10, 10), r"frames must be .* got \(3, 2, 10, 10\)"),
        (torch.zeros(3, 1, 2, 10, 10), r"C 1 or 3"),
        (torch.zeros(0, 1, 1, 10, 10), "got .0, 1, 1, 10, 10"),
        (torch.zeros(3, 1, 1, 10, 12), "12 x 10 pixels, the model sees 10 x 10: .*resize=True"),
        (torch.zeros(3, 1, 1, 10, 10, dtype=torch.int64), "uint8, or float in .0, 1., got .*int64"),
        (torch.full((1, 1, 1, 10, 10), 255.0), r"float frames must be in \[0, 1\], got 255 to 255"),
        (torch.full((1, 1, 1, 10, 10), torch.nan), r"must be in \[0, 1\], got nan to nan"),
    ],
)
def test_what_is_no_video_is_refused(frames: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(frames, 10)
