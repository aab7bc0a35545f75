"""The published Gaussian sampler: worked values, an independent reference, edges and gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from common.attention import gaussian

HEIGHT, WIDTH, SIZE = 187, 621, 56


def ramp(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """``(1, 187, 621)`` frame with the value ``y + 0.001 x``."""
    rows = torch.arange(HEIGHT, dtype=dtype)[:, None]
    return (rows + 0.001 * torch.arange(WIDTH, dtype=dtype)).unsqueeze(0)


def reference(frame: np.ndarray, box: tuple[float, ...], size: int) -> np.ndarray:
    """Straight from the formulas, one output sample at a time; ``frame (H, W)``, box xywh."""
    x, y, width, height = box
    p, q = height / (size - 1), width / (size - 1)
    sigma = [
        sum(c[axis] * p**i * q**j for (i, j), c in gaussian.WIDTH_COEFFICIENTS.items())
        for axis in range(2)
    ]
    output = np.zeros((size, size))
    for r in range(size):
        fy = [
            math.exp(-0.5 * ((c - (y + 0.00809737 + r * p)) / sigma[0]) ** 2)
            for c in range(frame.shape[0])
        ]
        for s in range(size):
            fx = [
                math.exp(-0.5 * ((c - (x + 0.50086582 + s * q)) / sigma[1]) ** 2)
                for c in range(frame.shape[1])
            ]
            output[r, s] = np.array(fy) @ frame @ np.array(fx) / (sum(fy) + 1e-8) / (sum(fx) + 1e-8)
    return output


def test_worked_parameters() -> None:
    box = torch.tensor([250.0, 88, 25, 18], dtype=torch.float64)
    y, x, sigma_y, sigma_x, stride_y, stride_x = gaussian.parameters(box, SIZE).tolist()
    assert (y, x) == pytest.approx((88.00809737, 250.50086582), abs=1e-9)
    assert (stride_y, stride_x) == pytest.approx((0.327273, 0.454545), abs=5e-7)
    assert (sigma_y, sigma_x) == pytest.approx((0.609216, 0.919482), abs=5e-7)


@pytest.mark.parametrize(
    ("strides", "widths"),
    [((1, 1), (0.6023, 0.9116)), ((3.38, 11.27), (0.5798, 0.7953))],
)
def test_widths_shrink_with_the_stride(
    strides: tuple[float, float], widths: tuple[float, float]
) -> None:
    box = torch.tensor([0, 0, strides[1] * 55, strides[0] * 55], dtype=torch.float64)
    assert gaussian.parameters(box, SIZE)[2:4].tolist() == pytest.approx(widths, abs=5e-5)


def test_widths_near_their_linear_summary() -> None:
    """Within a window of at most the frame, sigma is nearly linear in the strides."""
    p, q = torch.meshgrid(
        torch.linspace(0, 3.4, 30).double(), torch.linspace(0, 11.3, 30).double(), indexing="ij"
    )
    boxes = torch.stack((p * 0, p * 0, q * 55, p * 55), -1)
    sigma = gaussian.parameters(boxes, SIZE)[..., 2:4]
    assert (sigma[..., 0] - (0.6123 - 0.01008 * p + 0.0001 * q)).abs().max() < 0.0005
    assert (sigma[..., 1] - (0.9234 - 0.00184 * p - 0.01100 * q)).abs().max() < 0.0023


def test_worked_glimpses() -> None:
    boxes = torch.tensor([[250.0, 88, 25, 18], [310.5, 46.75, 124.0, 55.8]], dtype=torch.float64)
    first, second = gaussian.extract(ramp(), boxes, SIZE)[:, 0]
    expected = {(0, 0): 88.258441, (0, 55): 88.283441, (55, 0): 106.258441, (28, 28): 97.432257}
    for where, value in expected.items():
        assert first[where].item() == pytest.approx(value, abs=1e-6)
    assert second[0, 0].item() == pytest.approx(47.072631, abs=1e-6)
    assert second[55, 55].item() == pytest.approx(102.994362, abs=1e-6)
    assert gaussian.parameters(boxes, SIZE)[1, 2:].tolist() == pytest.approx(
        (0.602326, 0.896939, 1.014545, 2.254545), abs=5e-7
    )


@pytest.mark.parametrize(
    "box",
    [(3.2, 2.1, 9.0, 6.5), (-2.5, -3.0, 8.0, 30.0), (12.0, 8.0, -7.0, 5.0), (5.0, 5.0, 0.0, 0.0)],
    ids=["inside", "across the border", "mirrored", "a point"],
)
def test_equals_the_formulas(box: tuple[float, ...]) -> None:
    frame = np.random.default_rng(0).uniform(0, 255, (17, 23))
    boxes = torch.tensor([box], dtype=torch.float64)
    glimpse = gaussian.extract(torch.from_numpy(frame)[None], boxes, 7)[0, 0]
    np.testing.assert_allclose(glimpse.numpy(), reference(frame, box, 7), rtol=1e-9, atol=1e-9)


def test_border_repeats_then_fades_to_black() -> None:
    frame = torch.full((1, 40, 40), 100.0, dtype=torch.float64)
    far = torch.tensor([[-3.0, -2.0, 2.0, 1.0], [10.0, -40.0, 9.0, 9.0]], dtype=torch.float64)
    near_value, black = gaussian.extract(frame, far, 8)[:, 0]
    assert near_value.min() > 99
    assert black.abs().max() < 1e-6


def test_any_leading_dimensions_and_uint8() -> None:
    frames = torch.randint(0, 256, (2, 3, 3, 20, 30), dtype=torch.uint8)
    boxes = torch.rand(2, 3, 5, 4) * 15
    glimpses = gaussian.extract(frames, boxes, 9)
    assert glimpses.shape == (2, 3, 5, 3, 9, 9)
    assert glimpses.dtype == torch.float32
    alone = gaussian.extract(frames[1, 2, 1:2].double(), boxes[1, 2, 4:].double(), 9)
    torch.testing.assert_close(glimpses[1, 2, 4, 1:2].double(), alone[0], rtol=1e-4, atol=1e-2)
    assert gaussian.extract(frames, boxes[:, :, :0], 9).shape == (2, 3, 0, 3, 9, 9)


def test_autocast_touches_neither_positions_nor_widths() -> None:
    boxes = torch.tensor([[250.0, 88, 25, 18]])
    exact = gaussian.parameters(boxes, SIZE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(gaussian.parameters(boxes, SIZE), exact)
        glimpse = gaussian.extract(ramp(torch.float32), boxes, SIZE)
    assert glimpse[0, 0, 28, 28].item() == pytest.approx(97.432257, abs=1e-3)


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(1, 2, 9, 11, generator=generator, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor(
        [[[2.3, 1.4, 5.0, 4.0], [-1.0, 4.0, 6.0, 9.0]]], dtype=torch.float64, requires_grad=True
    )
    assert torch.autograd.gradcheck(lambda f, b: gaussian.extract(f, b, 4), (frames, boxes))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="same leading dimensions"):
        gaussian.extract(torch.zeros(2, 3, 8, 8), torch.zeros(4, 4), 5)
    with pytest.raises(ValueError, match="at least 2 samples"):
        gaussian.parameters(torch.zeros(4), 1)
