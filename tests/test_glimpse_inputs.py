"""The glimpse core with whatever it may be given: layouts, odd boxes, dtypes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from common import _resample, _sampling, _windows
from common.glimpse import extract, paste
from tests.glimpse_cases import BOXES, DOUBLE, image


@pytest.mark.parametrize("names", [tuple(BOXES), ("enlarges", "is a point")])
@pytest.mark.parametrize("dtype", [DOUBLE, torch.uint8])
def test_boxes_together_equal_boxes_alone_in_any_layout(
    names: tuple[str, ...], dtype: torch.dtype
) -> None:
    boxes = torch.tensor([BOXES[name] for name in names], dtype=DOUBLE).expand(2, 3, -1, 4)
    frames = (200 * image(channels=6)).to(dtype).view(2, 1, 13, 17, 3).permute(0, 1, 4, 2, 3)
    layouts = [
        frames.expand(2, 3, 3, 13, 17),
        frames[:, [0, 0, 0]],
        frames[:, [0, 0, 0]].transpose(0, 1).contiguous().transpose(0, 1),
        frames[:, [0, 0, 0]].contiguous()[:, :, :, 2:, 3:],
    ]
    for frames in layouts:
        together = extract(frames, boxes, (6, 5))
        assert together.shape == (2, 3, len(names), 3, 6, 5)
        for t in range(2):
            for n in range(len(names)):
                alone = extract(frames[t, 1].contiguous(), boxes[t, 1, n : n + 1], (6, 5))
                torch.testing.assert_close(together[t, 1, n], alone[0], atol=1e-9, rtol=0)


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())
def test_extract_without_looking_at_the_boxes_is_the_same(box: tuple[float, ...]) -> None:
    frames, boxes = image().expand(2, 1, 13, 17), torch.tensor([box, BOXES["enlarges"]] * 2)
    chunk = _windows.whole(boxes.to(DOUBLE), frames.shape)
    static = _resample._apply(frames, boxes.to(DOUBLE), [chunk], (6, 5))
    planned = extract(frames, boxes.to(DOUBLE).view(2, 2, 4), (6, 5)).flatten(0, 1)
    torch.testing.assert_close(static, planned, atol=1e-11, rtol=0)


@pytest.mark.parametrize("limit", [1, 150, 2000])
def test_chunks_change_nothing(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> tuple[Tensor, ...]:
        frames = torch.stack((image(seed=1), image(seed=2))).requires_grad_()
        boxes = torch.tensor([list(BOXES.values())] * 2, dtype=DOUBLE)
        boxes = (boxes + 0.01).requires_grad_()  # off the pixels' centres, where slopes jump
        some = boxes, boxes[:, [0, 1, 2, 4, 7]], boxes[:, :1]
        glimpses = [extract(frames, boxes, (6, 5)) for boxes in some]
        loss = sum((g * torch.linspace(-1, 1, g.numel()).view_as(g)).sum() for g in glimpses)
        return (*glimpses, *torch.autograd.grad(loss, (frames, boxes)))

    whole = run()
    monkeypatch.setattr(_windows, "CHUNK", limit)
    monkeypatch.setattr(_resample, "SAMPLES", limit)
    monkeypatch.setattr(_resample, "KEPT", limit)
    for one, other in zip(whole, run(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


def test_a_negative_size_mirrors() -> None:
    frame, box = image(), torch.tensor([[3.2, 2.1, 7.5, 4.0]], dtype=DOUBLE)
    mirrored = torch.tensor([[10.7, 2.1, -7.5, 4.0]], dtype=DOUBLE)
    torch.testing.assert_close(extract(frame, mirrored, 6), extract(frame, box, 6).flip(-1))
    glimpse = image(6, 6)[None]
    expected = paste(glimpse.flip(-1), box, (13, 17))
    torch.testing.assert_close(paste(glimpse, mirrored, (13, 17)), expected)


def test_a_box_of_zero_size_repeats_a_point_and_draws_nothing() -> None:
    frame = image()
    box = torch.tensor([[7.5, 6.5, 0.0, 0.0]], dtype=DOUBLE, requires_grad=True)
    glimpse = extract(frame, box, 4)
    torch.testing.assert_close(glimpse, frame[:, 6, 7].expand(1, 1, 4, 4))
    canvas = paste(image(4, 4)[None], box, (13, 17))
    assert not canvas.any()
    (grad,) = torch.autograd.grad(glimpse.sum() + canvas.sum(), box)
    assert grad.isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("static", [False, True])
def test_a_broken_box_is_nan_and_leaves_the_others_alone(value: float, static: bool) -> None:
    frame = image()
    boxes = torch.tensor([BOXES["shrinks"], (3, value, 4, 5), BOXES["enlarges"]], dtype=DOUBLE)
    if static:
        chunk = _windows.whole(boxes, (1, *frame.shape))
        glimpses = _resample._apply(frame, boxes, [chunk], (6, 5))
    else:
        glimpses = extract(frame, boxes.requires_grad_(), (6, 5))
        (grad,) = torch.autograd.grad(glimpses[[0, 2]].sum(), boxes)
        assert grad.isfinite().all()
        assert grad[0].any()
        assert paste(image(4, 4).expand(3, 1, 4, 4), boxes, (9, 9))[1].isnan().all()
    assert glimpses[1].isnan().all()
    torch.testing.assert_close(glimpses[[0, 2]], extract(frame, boxes[[0, 2]], (6, 5)))


def test_far_and_huge_boxes_are_finite_in_single_precision() -> None:
    frame = torch.rand(1, 13, 17, requires_grad=True)
    boxes = [(1e30, 0, 5, 5), (-1e30, -1e30, 2e30, 2e30), (0, 0, 1e12, 3), (-1e9, 2, -1e9, 1e-30)]
    boxes = torch.tensor(boxes, requires_grad=True)
    glimpses = extract(frame, boxes, 5)
    grads = torch.autograd.grad(glimpses.sum(), (frame, boxes))
    assert all(found.isfinite().all() for found in (glimpses, *grads))
    assert not glimpses[[0, 3]].any()
    canvas = paste(torch.rand(4, 1, 5, 5), boxes, (9, 9))
    assert canvas.isfinite().all()
    assert not canvas[[0, 3]].any()


@pytest.mark.parametrize("size", [(6, 5), (40, 30)])
def test_validity_is_the_share_of_weight_inside(size: tuple[int, int]) -> None:
    boxes = torch.tensor(list(BOXES.values()), dtype=DOUBLE)
    glimpses, validity = extract(
        torch.ones(2, 13, 17, dtype=DOUBLE), boxes, size, return_validity=True
    )
    assert validity.shape == (len(BOXES), 1, *size)
    assert validity.min() == 0
    assert validity.max() == 1
    torch.testing.assert_close(validity, glimpses[:, :1], atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", ["shrinks", "enlarges"])
def test_dtypes_and_units(name: str) -> None:
    frame = torch.randint(0, 256, (3, 13, 17), dtype=torch.uint8)
    box = torch.tensor([BOXES[name]])
    glimpse = extract(frame, box, 6)
    assert glimpse.dtype == torch.float32
    assert glimpse.max() > 100
    torch.testing.assert_close(extract(frame.float(), box, 6), glimpse, atol=1e-3, rtol=0)
    torch.testing.assert_close(extract(frame.double(), box, 6).float(), glimpse, atol=1e-3, rtol=0)
    half = extract((frame / 255).to(torch.bfloat16), box, 6)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, glimpse / 255, atol=3e-3, rtol=0)
    assert extract(frame, box.double(), 6).dtype == DOUBLE
    pixels = torch.rand(1, 9, 9, dtype=torch.bfloat16, requires_grad=True)
    (grad,) = torch.autograd.grad(extract(pixels, box, 6).sum(), pixels)
    assert grad.dtype == torch.bfloat16


def test_autocast_and_inference_mode_do_not_touch_precision() -> None:
    _sampling.basis.cache_clear()
    frames, box = torch.rand(2, 3, 13, 17), torch.tensor([[BOXES["shrinks"]], [BOXES["enlarges"]]])
    with torch.inference_mode():
        first = extract(frames, box, 6)
    boxes = box.clone().requires_grad_()
    plain = extract(frames, boxes, 6)
    (expected,) = torch.autograd.grad(plain.square().sum(), boxes)
    torch.testing.assert_close(first, plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = extract(frames.requires_grad_(), boxes, 6)
        tiny = extract(frames[..., :2, :2], boxes, 6)  # few pixels: the way by products
        (found,) = torch.autograd.grad(cast.square().sum(), boxes)
    assert cast.dtype == tiny.dtype == torch.float32
    torch.testing.assert_close(cast, plain)
    torch.testing.assert_close(tiny, extract(frames[..., :2, :2], boxes, 6))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("lead", [(), (3,), (2, 1, 3)])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_any_leading_dimensions_and_no_boxes(lead: tuple[int, ...], count: int) -> None:
    frames, boxes = torch.rand(*lead, 3, 13, 17), torch.rand(*lead, count, 4, requires_grad=True)
    glimpses, validity = extract(frames, boxes, (4, 6), return_validity=True)
    assert glimpses.shape == (*lead, count, 3, 4, 6)
    assert validity.shape == (*lead, count, 1, 4, 6)
    canvas = paste(glimpses, boxes, (9, 8))
    assert canvas.shape == (*lead, count, 3, 9, 8)
    (canvas.sum() + validity.sum()).backward()


@pytest.mark.parametrize(
    ("frames", "boxes", "size", "message"),
    [
        (torch.rand(3, 9, 9), torch.rand(2, 3), 4, r"boxes must be float \(..., N, 4\)"),
        (torch.rand(3, 9, 9), torch.ones(2, 4, dtype=torch.long), 4, "boxes must be float"),
        (torch.rand(9, 9), torch.rand(2, 4), 4, r"frames must be \(..., C, H, W\)"),
        (torch.rand(3, 0, 9), torch.rand(2, 4), 4, "at least one real pixel"),
        (torch.rand(5, 3, 9, 9), torch.rand(2, 4), 4, "same leading dimensions"),
        (torch.rand(3, 9, 9), torch.rand(2, 4), 0, "size must be two positive"),
    ],
)
def test_wrong_arguments(frames: Tensor, boxes: Tensor, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        extract(frames, boxes, size)
