"""Windows of the latent where: the published corner-aligned grids through the one glimpse core."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common import glimpse
from sqair.geometry import where_of, windows

SIZE, GLIMPSE = 11, 5


def some(number: int = 40) -> Tensor:
    """Windows smaller and larger than a glimpse, within the canvas and beyond it."""
    return torch.randn(number, 4, dtype=torch.float64) * 1.5


def grids(where: Tensor) -> tuple[Tensor, Tensor]:
    """The published grids: of the glimpse on the canvas, of the canvas on the glimpse."""
    scale, shift = torch.sigmoid(where[:, :2]), torch.tanh(where[:, 2:])
    inner, outer = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in (GLIMPSE, SIZE))
    looks = scale[:, :, None] * inner + shift[:, :, None]  # (M, 2, G)
    pastes = (outer - shift[:, :, None]) / scale[:, :, None]
    return tuple(
        torch.stack((axes[:, 0, None, :].expand(-1, axes.shape[2], -1),
                     axes[:, 1, :, None].expand(-1, -1, axes.shape[2])), -1)
        for axes in (looks, pastes)
    )  # fmt: skip


def gradients(value: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Of a value weighted unevenly."""
    weights = torch.linspace(-1, 2, value.numel(), dtype=value.dtype).view_as(value)
    return torch.autograd.grad((value * weights).sum(), inputs)


def test_looking_through_a_window_is_the_published_sampling() -> None:
    where = some().requires_grad_()
    frame = torch.rand(1, 1, SIZE, SIZE, dtype=torch.float64, requires_grad=True)
    boxes = windows(where, SIZE, GLIMPSE)
    found = glimpse.extract(frame, boxes[None], GLIMPSE, antialias=False)[0]
    wanted = F.grid_sample(frame.expand(40, -1, -1, -1), grids(where)[0], align_corners=True)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradients(found, where, frame), gradients(wanted, where, frame))


def test_painting_into_a_window_is_the_published_sampling() -> None:
    where = some().requires_grad_()
    seen = torch.rand(40, 1, GLIMPSE, GLIMPSE, dtype=torch.float64, requires_grad=True)
    boxes = windows(where, SIZE, GLIMPSE)
    canvas = (SIZE, SIZE)
    found = glimpse.paste(seen[:, None], boxes[:, None], canvas, antialias=False)[:, 0]
    wanted = F.grid_sample(seen, grids(where)[1], align_corners=True)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradients(found, where, seen), gradients(wanted, where, seen))


def test_what_is_painted_is_what_is_seen_there() -> None:
    """Where the glimpse is finer than the canvas, a smooth picture comes back."""
    axis = torch.linspace(-1, 1, GLIMPSE)
    seen = (axis[:, None] + 0.5 * axis)[None, None, None]
    where = torch.tensor([[1.5, 1.2, 0.05, -0.02]])
    boxes = windows(where, 101, GLIMPSE)[None]
    again = glimpse.extract(glimpse.paste(seen, boxes, (101, 101))[0], boxes, GLIMPSE)
    inside = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(again[inside], seen[inside], rtol=0, atol=0.03)


def test_the_whole_canvas_is_seen_from_its_first_to_its_last_pixel() -> None:
    """Scale 1 in the middle: the first of G samples is at the centre of the first pixel."""
    x, y, w, h = windows(torch.tensor([40.0, 40.0, 0.0, 0.0]), SIZE, GLIMPSE).tolist()
    assert x + w / GLIMPSE / 2 == pytest.approx(0.5)
    assert y + h - h / GLIMPSE / 2 == pytest.approx(SIZE - 0.5)


def test_scales_have_a_floor_that_lets_gradients_pass() -> None:
    where = torch.tensor([[-6.0, -1.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    boxes = windows(where, SIZE, GLIMPSE, least_scale=0.1)
    side = (SIZE - 1) * GLIMPSE / (GLIMPSE - 1)
    assert boxes[0, 2].item() == pytest.approx(0.1 * side)
    assert boxes[0, 3].item() == pytest.approx(torch.sigmoid(torch.tensor(-1.0)).item() * side)
    slope = torch.autograd.grad(boxes[0, 2], where)[0][0, 0]
    share = torch.sigmoid(where[0, 0])
    assert slope.item() == pytest.approx((share * (1 - share)).item() * side)


def test_boxes_and_back() -> None:
    where = torch.randn(3, 7, 4, dtype=torch.float64)
    boxes = windows(where, SIZE, GLIMPSE)
    assert boxes.shape == (3, 7, 4)
    torch.testing.assert_close(where_of(boxes, SIZE, GLIMPSE), where)


def test_boxes_out_of_reach_give_the_nearest_window() -> None:
    beyond = torch.tensor([[50.0, -50.0, 30.0, 1e-9]], dtype=torch.float64)
    where = where_of(beyond, SIZE, GLIMPSE)
    assert where.isfinite().all()
    assert torch.sigmoid(where[0, :2]).tolist() == pytest.approx([1 - 1e-4, 1e-4])
    assert torch.tanh(where[0, 2:]).tolist() == pytest.approx([1 - 1e-4, 1e-4 - 1])
