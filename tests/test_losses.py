"""Losses of the default tracker: values by hand, and gradients where they must exist."""

from __future__ import annotations

import math

import pytest
import torch

from hart.losses import box_loss, mask_loss, masked_mean, relative_error, response_loss, window_loss
from hart.motion import surround

BOX = torch.tensor([[[[10.0, 20.0, 20.0, 40.0]]]])
ALL = torch.ones(1, 1, 1, dtype=torch.bool)


def test_box_loss_is_zero_for_the_truth_and_known_for_a_shift() -> None:
    assert box_loss(BOX, BOX, ALL).item() == pytest.approx(0, abs=1e-6)
    shifted = BOX + torch.tensor([10.0, 0, 0, 0])
    overlap = 400 / 1200  # half the width: IoU 1/3, hull = union, so GIoU = IoU
    expected = 1 - overlap - 0.5 * math.log(overlap) + (0.5 - 0.1)
    assert box_loss(shifted, BOX, ALL).item() == pytest.approx(expected, rel=1e-5)


def test_box_loss_pulls_without_overlap() -> None:
    far = (BOX + torch.tensor([200.0, 0, 0, 0])).requires_grad_()
    box_loss(far, BOX, ALL).backward()
    assert far.grad[..., 0].item() > 0  # moving left lowers the loss


def test_relative_error_is_in_box_sides() -> None:
    moved = torch.tensor([[[[12.0, 16.0, 20.0, 80.0]]]])
    expected = torch.tensor([[[[0.1, 0.4, 0.0, math.log(2)]]]])
    torch.testing.assert_close(relative_error(moved, BOX), expected)


def test_absent_objects_do_not_count() -> None:
    values = torch.tensor([1.0, 5.0, float("nan")])
    mask = torch.tensor([True, True, False])
    assert masked_mean(values, mask).item() == 3
    assert masked_mean(values, torch.zeros(3, dtype=torch.bool)).item() == 0


def test_mask_loss_prefers_the_boxes_own_cells() -> None:
    window = surround(BOX, 1.0)
    right = torch.full((1, 1, 1, 6, 6), -4.0)
    right[..., 1:5, 2:4] = 4.0
    wrong = -right
    assert mask_loss(right, window, BOX, ALL) < 0.5 < 2 < mask_loss(wrong, window, BOX, ALL)


def test_response_loss_is_the_cross_entropy_of_the_true_place_and_scale() -> None:
    response = torch.randn(1, 1, 1, 3, 5, 5)
    logs = response.flatten().log_softmax(0).view(3, 5, 5)
    on_a_cell, same = torch.tensor([[[[1.0, -2.0]]]]), torch.zeros(1, 1, 1)  # dx, dy
    exact = response_loss(response, on_a_cell, same, ALL).item()
    assert exact == pytest.approx(-logs[1, 0, 3].item())
    between = torch.tensor([[[[0.25, 0.0]]]])
    expected = -(0.75 * logs[1, 2, 2] + 0.25 * logs[1, 2, 3]).item()
    assert response_loss(response, between, same, ALL).item() == pytest.approx(expected)
    larger = -(0.5 * logs[1, 0, 3] + 0.5 * logs[2, 0, 3]).item()
    assert response_loss(response, on_a_cell, same + 0.5, ALL).item() == pytest.approx(larger)
    far = response_loss(response, on_a_cell, same + 7, ALL).item()
    assert far == pytest.approx(-logs[2, 0, 3].item())
    out_of_reach = torch.tensor([[[[3.0, 0.0]]]])
    assert response_loss(response, out_of_reach, same, ALL).item() == 0


def test_window_loss_wants_the_object_inside() -> None:
    ideal = surround(BOX, 1.0)
    assert window_loss(ideal, ideal, BOX, ALL).item() == pytest.approx(0, abs=1e-6)
    moved = (ideal + torch.tensor([40.0, 0, 0, 0])).requires_grad_()
    window_loss(moved, ideal, BOX, ALL).backward()
    assert moved.grad[..., 0].item() > 0
