"""Matching with the template, against loops."""

from __future__ import annotations

import math

import pytest
import torch

from common.glimpse import extract
from hart.matching import SCALE_STEP, Matcher, cell_coverage, diagonal_sums, displacement_index


def test_cell_coverage_equals_fine_rasterisation() -> None:
    window = torch.tensor([10.0, 20.0, 30.0, 24.0], dtype=torch.float64)
    box = torch.tensor([17.5, 15.0, 9.0, 20.0], dtype=torch.float64)
    rows, columns, fine = 4, 6, 100
    x = 10 + 30 * (torch.arange(columns * fine) + 0.5) / (columns * fine)
    y = 20 + 24 * (torch.arange(rows * fine) + 0.5) / (rows * fine)
    inside = ((y >= 15) & (y < 35))[:, None] & ((x >= 17.5) & (x < 26.5))[None]
    expected = inside.double().view(rows, fine, columns, fine).mean((1, 3))
    torch.testing.assert_close(
        cell_coverage(box, window, (rows, columns)), expected, atol=0.01, rtol=0
    )


def test_diagonal_sums_equal_a_loop() -> None:
    side, reach = 4, 2
    pairs = torch.randn(3, side, side, side, side, dtype=torch.float64)
    expected = torch.zeros(3, 2 * reach + 1, 2 * reach + 1, dtype=torch.float64)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            for vy in range(side):
                for vx in range(side):
                    uy, ux = vy + dy, vx + dx
                    if 0 <= uy < side and 0 <= ux < side:
                        expected[:, dy + reach, dx + reach] += pairs[:, uy, ux, vy, vx]
    flat = pairs.reshape(3, side**2, side**2)
    actual = diagonal_sums(flat, displacement_index(side, reach), reach)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("shift", [(0, 0), (2, -1), (-3, 1)])
def test_response_peaks_where_the_object_went(shift: tuple[int, int]) -> None:
    torch.manual_seed(0)
    dx, dy = shift
    matcher = Matcher(8, 12, 8, 5)
    features = torch.randn(2, 8, 12, 12)
    box, window = torch.tensor([[4.0, 4.0, 4.0, 4.0]] * 2), torch.tensor([[0.0, 0, 12, 12]] * 2)
    template = matcher.template(features, box, window)
    moved = features.roll((dy, dx), (2, 3))
    _, response = matcher.compare(moved, template)
    assert response.shape == (2, 3, 11, 11)
    best = response.flatten(1).argmax(1)
    assert best.tolist() == [121 + (dy + 5) * 11 + dx + 5] * 2  # at the middle scale


def test_what_a_cell_shows_is_read_from_the_template() -> None:
    """With sharp keys and the same glimpse, each cell reads its own place in the box."""
    torch.manual_seed(0)
    matcher = Matcher(16, 6, 16, 2)
    matcher.sharpness.data.fill_(6.0)
    features = torch.randn(1, 16, 6, 6)
    box, window = torch.tensor([[2.0, 1.0, 2.0, 4.0]]), torch.tensor([[0.0, 0, 6, 6]])
    with torch.no_grad():
        template = matcher.template(features, box, window)
        shown = matcher.compare(features, template)[0]
    inside = cell_coverage(box, window, (6, 6))
    torch.testing.assert_close(shown[:, 0], inside, atol=0.02, rtol=0)
    torch.testing.assert_close(shown[:, 3], 1 - inside, atol=0.02, rtol=0)
    assert shown[0, 1, 2, 2] == pytest.approx(-0.5, abs=0.05)  # half a cell left, in half widths
    assert shown[0, 2, 1, 2] == pytest.approx(-0.75, abs=0.05)  # 1.5 cells up, in half heights


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_response_peaks_at_the_objects_scale(scale: int) -> None:
    torch.manual_seed(0)
    matcher = Matcher(8, 24, 8, 3)
    smooth = torch.nn.functional.interpolate(
        torch.randn(1, 8, 9, 9), (96, 96), mode="bicubic", align_corners=True
    )
    box, window = torch.tensor([[6.0, 6.0, 12.0, 12.0]]), torch.tensor([[0.0, 0, 24, 24]])
    extent = 48 * math.exp(-(scale - 1) * SCALE_STEP)
    corner = 48 - extent / 2
    views = torch.tensor([[[24.0, 24, 48, 48]], [[corner, corner, extent, extent]]])
    then, now = extract(smooth.expand(2, -1, -1, -1), views, 24).split(1)
    template = matcher.template(then[0], box, window)
    _, response = matcher.compare(now[0], template)
    assert response.amax((2, 3)).argmax().item() == scale
