"""The glimpse core's values and gradients: a slow reference, closed forms, no aliasing."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from common.glimpse import extract, paste
from tests.glimpse_cases import BOXES, DOUBLE, WAYS, image, take


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    take(request.param, monkeypatch)
    return request.param


def weight(offset: float, step: float) -> float:
    """The kernel by its definition, integrated piecewise: the hat averaged under a tent."""
    a = step - step**-2 if step > 1 else 0.0
    if a == 0:
        return max(0.0, 1 - abs(offset))
    kinks = sorted({min(max(k, -a), a) for k in (-a, 0.0, a, offset - 1, offset, offset + 1)})
    nodes, gauss = np.polynomial.legendre.leggauss(3)
    total = 0.0
    for low, high in pairwise(kinks):
        x = (low + high) / 2 + (high - low) / 2 * nodes
        values = np.maximum(0, 1 - abs(offset - x)) * (1 - abs(x) / a) / a
        total += (high - low) / 2 * float(gauss @ values)
    return total


def reference(image: np.ndarray, box: tuple[float, ...], size: tuple[int, int]) -> np.ndarray:
    """One glimpse ``(h, w)`` of one ``(H, W)`` image, pixel by pixel and weight by weight."""
    x, y, w, h = box
    out = np.zeros(size)
    for i in range(size[0]):
        down = [
            weight(p + 0.5 - (y + (i + 0.5) * h / size[0]), abs(h) / size[0])
            for p in range(image.shape[0])
        ]
        for j in range(size[1]):
            across = [
                weight(q + 0.5 - (x + (j + 0.5) * w / size[1]), abs(w) / size[1])
                for q in range(image.shape[1])
            ]
            out[i, j] = np.array(down) @ image @ np.array(across)
    return out


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())
def test_extract_equals_the_slow_reference(
    box: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = image()
    expected = reference(frame[0].numpy(), box, (6, 5))
    for name in WAYS:
        take(name, monkeypatch)
        glimpse = extract(frame, torch.tensor([box], dtype=DOUBLE), (6, 5))[0, 0]
        np.testing.assert_allclose(glimpse, expected, atol=1e-11)


SMOOTH = ("enlarges", "shrinks a little", "shrinks", "shrinks one axis", "reaches out", "mirrors")


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients(name: str, way: str) -> None:
    boxes = torch.tensor([BOXES[name]], dtype=DOUBLE, requires_grad=True)
    frame = image(channels=2)

    def run(frame: Tensor, boxes: Tensor) -> tuple[Tensor, ...]:
        return extract(frame, boxes, (3, 4), return_validity=True)

    assert gradcheck(lambda boxes: run(frame, boxes), boxes)
    assert gradcheck(run, (frame.requires_grad_(), boxes), fast_mode=True)
    glimpse = image(5, 4, seed=3)[None]
    assert gradcheck(lambda boxes: paste(glimpse, boxes, (6, 7)), boxes)
    glimpse.requires_grad_()
    assert gradcheck(lambda g, b: paste(g, b, (9, 11)), (glimpse, boxes), fast_mode=True)


def test_mixed_boxes_have_gradients_too(way: str) -> None:
    boxes = torch.tensor([[BOXES[name] for name in SMOOTH]] * 2, dtype=DOUBLE, requires_grad=True)
    frames = torch.stack((image(seed=1), image(seed=2))).requires_grad_()
    assert gradcheck(lambda f, b: extract(f, b, (3, 4)), (frames, boxes), fast_mode=True)


def test_a_pixel_aligned_box_gives_the_pixels_and_paste_puts_them_back(way: str) -> None:
    frame, box = torch.rand(3, 20, 30), torch.tensor([[4.0, 5.0, 8.0, 7.0]])
    glimpse = extract(frame, box, (7, 8))
    torch.testing.assert_close(glimpse[0], frame[:, 5:12, 4:12])
    expected = torch.zeros(3, 20, 30)
    expected[:, 5:12, 4:12] = frame[:, 5:12, 4:12]
    torch.testing.assert_close(paste(glimpse, box, (20, 30))[0], expected)


def test_a_pixel_aligned_box_has_the_slope_to_its_right(way: str) -> None:
    frame = image(16, 16)
    boxes = torch.tensor([[4.0, 3.0, 8.0, 8.0]], dtype=DOUBLE, requires_grad=True)
    (grad,) = torch.autograd.grad(extract(frame, boxes, 8).sum(), boxes)
    assert float(grad[0, 0]) == pytest.approx(float((frame[0, 3:11, 12] - frame[0, 3:11, 4]).sum()))
    assert float(grad[0, 1]) == pytest.approx(float((frame[0, 11, 4:12] - frame[0, 3, 4:12]).sum()))


@pytest.mark.parametrize("shrink", [0.3, 0.8, 1.1, 1.5, 2.0, 2.7, 5.3])
def test_linear_ramps_are_exact(shrink: float) -> None:
    n, margin = 12, 9
    side = math.ceil(n * shrink) + 2 * margin
    rows, columns = torch.meshgrid(*[torch.arange(side, dtype=DOUBLE) + 0.5] * 2, indexing="ij")
    box = torch.tensor([[margin + 0.37, margin - 0.21, n * shrink, n * shrink]], dtype=DOUBLE)
    centres = (torch.arange(n, dtype=DOUBLE) + 0.5) * shrink
    expected = 3 * (centres + box[0, 0])[None] - 2 * (centres + box[0, 1])[:, None] + 5
    glimpse = extract((3 * columns - 2 * rows + 5)[None], box, n)[0, 0]
    torch.testing.assert_close(glimpse, expected, atol=1e-10, rtol=0)


def wave(frequency: float, size: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine along x, ``(2, 1, size, size)``, and the phase of each pixel's centre."""
    phase = 2 * math.pi * frequency * (torch.arange(size, dtype=DOUBLE) + 0.5)
    return torch.stack((phase.cos(), phase.sin()))[:, None, None].expand(2, 1, size, size), phase


def amplitude(pair: Tensor) -> float:
    return float(pair.square().sum(0).sqrt().max())


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_shrinking_does_not_alias(shrink: int, turn: bool) -> None:
    n = 24
    side = (n + 6) * shrink
    box = torch.tensor([[[3.3 * shrink, 2.8 * shrink, n * shrink, n * shrink]]] * 2, dtype=DOUBLE)
    back = torch.tensor([[[2.0, 3.0, n + 6, n + 6]]] * 2, dtype=DOUBLE)
    for share, low, high in ((1.6, 0.0, 0.1), (0.5, 0.6, 1.0)):
        frames, _ = wave(share * 0.5 / shrink, side)
        frames = frames.mT if turn else frames
        assert low <= amplitude(extract(frames, box, n)) <= high
        pasted = paste(frames[:, None], back, (n + 10, n + 10))[..., 8:-8, 8:-8]
        assert low <= amplitude(pasted) <= high


def test_enlarging_band_limited_images_is_close() -> None:
    frames, _ = wave(0.05, 40)
    box = torch.tensor([[[10.3, 8.0, 12.0, 12.0]]] * 2, dtype=DOUBLE)
    points = 10.3 + (torch.arange(48, dtype=DOUBLE) + 0.5) / 4
    glimpse = extract(frames, box, 48)[0, 0, 0]
    expected = (2 * math.pi * 0.05 * points).cos().expand(48, 48)
    assert (glimpse - expected).abs().max() < (
        2 * math.pi * 0.05
    ) ** 2 / 8 + 1e-9  # bilinear's bound


@pytest.mark.parametrize("size", [16, 90])
def test_paste_undoes_extract_on_a_smooth_image(size: int) -> None:
    frames, _ = wave(0.02, 60)
    box = torch.tensor([[[9.4, 7.7, 40.3, 41.1]]] * 2, dtype=DOUBLE)
    canvas = paste(extract(frames, box, size), box, (60, 60))[:, 0]
    inside = (slice(None), slice(None), slice(14, 43), slice(16, 43))
    assert (canvas[inside] - frames[inside]).abs().max() < 0.025
    assert canvas[..., :2, :].abs().max() == 0
    assert canvas[..., 53:].abs().max() == 0
