"""Glimpses without averaging, beside the spatial transformer, and many of them on one canvas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import affine_grid, grid_sample

from common.glimpse import compose, extract, paste
from tests.glimpse_cases import BOXES, DOUBLE, WAYS, image, take

CANVAS, GLIMPSE = (13, 17), (5, 6)
# Scale and shift of a window across and down the canvas.
WINDOWS = {
    "enlarges": ((0.2137, 0.1871), (0.1119, -0.2331)),
    "shrinks": ((0.8313, 0.7719), (0.0537, -0.1213)),
    "one axis": ((0.9117, 0.1379), (-0.0433, 0.3137)),
    "reaches out": ((0.6211, 0.7139), (0.7237, -0.6619)),
    "around": ((2.3117, 1.7331), (0.2179, 0.3713)),
    "mirrors": ((-0.4337, 0.5213), (0.1719, 0.0831)),
    "outside": ((0.3119, 0.2237), (1.9313, 0.1179)),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    take(request.param, monkeypatch)
    return request.param


def box_of(scale: Tensor, shift: Tensor) -> Tensor:
    """Boxes of windows ``(..., 2)`` whose corner samples, not edges, are at ``shift +- scale``."""
    length = torch.tensor(CANVAS[::-1], dtype=DOUBLE)
    samples = torch.tensor(GLIMPSE[::-1], dtype=DOUBLE)
    side = scale * (length - 1) * samples / (samples - 1)
    return torch.cat(((shift + 1) * (length - 1) / 2 + 0.5 - side / 2, side), -1)


def transformed(pixels: Tensor, scale: Tensor, shift: Tensor, size: tuple[int, int]) -> Tensor:
    """A spatial transformer: ``(m, C, h, w)`` of ``(m, C, H, W)``, read at ``scale x + shift``."""
    theta = torch.diag_embed(scale)
    theta = torch.cat((theta, shift[..., None]), -1)
    grid = affine_grid(theta, [*pixels.shape[:2], *size], align_corners=True)
    return grid_sample(pixels, grid, align_corners=True, padding_mode="zeros")


@pytest.mark.parametrize("dtype", [DOUBLE, torch.float32])
def test_without_averaging_both_ways_are_the_spatial_transformer(
    dtype: torch.dtype, way: str
) -> None:
    scale, shift = (
        torch.tensor(x, dtype=DOUBLE).requires_grad_() for x in zip(*WINDOWS.values(), strict=True)
    )
    count, close = len(scale), {"atol": 1e-10 if dtype is DOUBLE else 1e-4, "rtol": 0.0}
    boxes = box_of(scale, shift)
    frames = torch.stack([image(*CANVAS, 2, seed=i) for i in range(count)]).requires_grad_()
    glimpses = torch.stack([image(*GLIMPSE, 2, seed=i) for i in range(count)]).requires_grad_()
    inverse = 1 / scale, -shift / scale
    for pixels, found, expected in (
        (
            frames,
            extract(frames.to(dtype), boxes[:, None].to(dtype), GLIMPSE, antialias=False)[:, 0],
            transformed(frames, scale, shift, GLIMPSE),
        ),
        (
            glimpses,
            paste(glimpses.to(dtype), boxes.to(dtype), CANVAS, antialias=False),
            transformed(glimpses, *inverse, CANVAS),
        ),
    ):
        assert found.dtype == dtype
        assert expected.flatten(1).any(1).sum() == count - 1
        torch.testing.assert_close(found.double(), expected, **close)
        weights = torch.linspace(-1, 1, expected.numel(), dtype=DOUBLE).view_as(expected).sin()
        grads = [
            torch.autograd.grad((x * weights).sum(), (pixels, scale, shift), retain_graph=True)
            for x in (found, expected)
        ]
        for one, other in zip(*grads, strict=True):
            torch.testing.assert_close(one, other, **close)


def test_without_averaging_whatever_the_frames_are(way: str) -> None:
    frames = (255 * torch.rand(2, 13, 3, 17)).to(torch.uint8).transpose(1, 2)
    boxes = torch.tensor([list(BOXES.values())[:-2]]).expand(2, -1, 4)
    boxes = torch.cat((boxes, torch.tensor([-1e7, -1e7, 2e7, 2e7]).expand(2, 1, 4) + 4.25), 1)
    scale = boxes[..., 2:] / torch.tensor([17.0, 13.0])
    shift = (boxes[..., :2] + boxes[..., 2:] / 2) / torch.tensor([8.5, 6.5]) - 1
    for f in range(2):
        theta = torch.cat((torch.diag_embed(scale[f]), shift[f, ..., None]), -1)
        grid = affine_grid(theta[:-1], [len(theta) - 1, 3, 5, 5], align_corners=False)
        each = frames[f].float().expand(len(theta) - 1, -1, -1, -1)
        expected = grid_sample(each, grid, align_corners=False)
        found = extract(frames, boxes, 5, antialias=False)[f]
        torch.testing.assert_close(found[:-1], expected, atol=2e-3, rtol=0)
        # Of the huge one, the middle sample alone is inside, somewhere near single precision says.
        assert found[-1, :, 2, 2].any()
        found[-1, :, 2, 2] = 0
        assert not found[-1].any()


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("lead", [(), (2, 3)])
def test_compose_is_the_sum_of_what_is_pasted(
    lead: tuple[int, ...], antialias: bool, way: str
) -> None:
    names = ("enlarges", "shrinks", "shrinks one axis", "reaches out", "mirrors", "is a point")
    boxes = torch.tensor([BOXES[name] for name in names], dtype=DOUBLE) + 0.01
    boxes = boxes.expand(*lead, -1, 4).clone().requires_grad_()
    glimpses = torch.rand(*lead, len(names), 2, 5, 7, dtype=DOUBLE, requires_grad=True)
    found = compose(glimpses, boxes, (13, 17), antialias=antialias)
    expected = paste(glimpses, boxes, (13, 17), antialias=antialias).sum(-4)
    torch.testing.assert_close(found, expected)
    weights = torch.rand_like(found)
    grads = [torch.autograd.grad((x * weights).sum(), (glimpses, boxes)) for x in (found, expected)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_compose_has_gradients(way: str) -> None:
    boxes = torch.tensor([BOXES["shrinks"], BOXES["enlarges"]], dtype=DOUBLE, requires_grad=True)
    glimpses = torch.rand(2, 1, 3, 4, dtype=DOUBLE, requires_grad=True)
    assert gradcheck(lambda g, b: compose(g, b, (9, 8)), (glimpses, boxes), fast_mode=True)


def test_compose_checks_its_arguments() -> None:
    with pytest.raises(ValueError, match="glimpses and boxes must have the same leading"):
        compose(torch.rand(2, 1, 4, 4), torch.rand(3, 4), (9, 9))
    with pytest.raises(ValueError, match="two positive numbers"):
        compose(torch.rand(2, 1, 4, 4), torch.rand(2, 4), (9, 0))
