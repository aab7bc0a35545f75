"""Digits on canvases against NumPy that pastes them one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets import pasting


def blots(batch: int, number: int, height: int, width: int) -> Tensor:
    """Sparse templates (B, N, h, w): boxes of cut ones are much smaller; the last has no ink."""
    generator = torch.Generator().manual_seed(height)
    shape = (batch, number, height, width)
    ink = torch.rand(shape, generator=generator) < 0.06
    values = torch.randint(1, 256, shape, generator=generator)
    templates = (values * ink).to(torch.uint8)
    templates[-1, -1] = 0
    return templates


def alone(template: Tensor, corner: Tensor, size: int) -> np.ndarray:
    """One template on a black canvas."""
    canvas = np.zeros((size + 40, size + 40), np.uint8)
    (y, x), (h, w) = corner.tolist(), template.shape
    canvas[y : y + h, x : x + w] = template.numpy()
    return canvas[:size, :size]


@pytest.mark.parametrize(("size", "height", "width"), [(50, 20, 17), (31, 9, 28)])
def test_canvases_boxes_and_shares(size: int, height: int, width: int) -> None:
    T, B, N = 7, 5, 3
    templates = blots(B, N, height, width)
    corners = torch.randint(0, size + 1, (T, B, N, 2))
    corners[0, 0], corners[1, 0] = size, 0
    frames = pasting.paste(templates, corners, size)
    boxes, visible = pasting.on_canvas(templates, corners, size)
    assert frames.shape == (T, B, size, size) and frames.dtype == torch.uint8
    assert boxes.dtype == visible.dtype == torch.float32 and frames.is_contiguous()
    cut = 0
    for t, b in np.ndindex(T, B):
        single = [alone(templates[b, n], corners[t, b, n], size) for n in range(N)]
        np.testing.assert_array_equal(frames[t, b], np.max(single, 0))
        for n, canvas in enumerate(single):
            y, x = np.nonzero(canvas)
            box = [0, 0, 0, 0]
            if len(y):
                box = [x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()]
            assert boxes[t, b, n].tolist() == box
            total = max(1, int(templates[b, n].sum()))
            assert abs(float(visible[t, b, n]) - canvas.sum() / total) < 1e-6
            cut += 0 < float(visible[t, b, n]) < 1
    assert cut > 10


def test_texture_is_faint_and_smooth_and_moves() -> None:
    canvas = pasting.texture(20, 16, 50, torch.Generator().manual_seed(0)).int()
    assert canvas.shape == (20, 16, 50, 50)
    assert canvas.min() + 10 > 5 and canvas.max() <= 102
    contrast = canvas.amax((0, 2, 3)) - canvas.amin((0, 2, 3))
    assert contrast.min() > 10 and contrast.max() <= 82
    for axis in (2, 3):
        assert canvas.diff(dim=axis).abs().max() <= 12
    assert (canvas[0] - canvas[10]).abs().amax((1, 2)).min() > 3
    assert (canvas[:, 0] - canvas[:, 1]).abs().max() > 10


def test_texture_drifts_as_a_whole() -> None:
    """Some shift of at most 2 pixels a frame takes the first frame to the fifth, up to rounding."""
    canvas = pasting.texture(5, 8, 60, torch.Generator().manual_seed(1)).float()
    for clip in canvas.unbind(1):
        errors = [
            (clip[0, 8:52, 8:52] - clip[4, 8 + y : 52 + y, 8 + x : 52 + x]).abs().mean()
            for y in range(-8, 9)
            for x in range(-8, 9)
        ]
        assert min(errors) < 2.5 < max(errors)


def test_noise_is_gaussian_and_clipped() -> None:
    frames = torch.tensor([0, 128, 255], dtype=torch.uint8)[:, None].repeat(1, 40000)
    noisy = pasting.add_noise(frames, 0.1, torch.Generator().manual_seed(0)).double()
    assert noisy.min() == 0 and noisy.max() == 255
    assert abs(noisy[1].mean() - 128) < 0.5 and abs(noisy[1].std() - 25.5) < 0.4
    assert abs((noisy[0] == 0).double().mean() - 0.508) < 0.01  # below half a grey value
    assert abs((noisy[2] == 255).double().mean() - 0.508) < 0.01
