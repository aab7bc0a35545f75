"""The glimpse core with whatever it may be given: layouts, odd boxes, dtypes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from common import _bands, _kernel, _resample, _sampling, _windows
from common.glimpse import compose, extract, paste
from tests.glimpse_cases import BOXES, DOUBLE, WAYS, image, take


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    take(request.param, monkeypatch)
    return request.param


@pytest.mark.parametrize("names", [tuple(BOXES), ("enlarges", "is a point")])
@pytest.mark.parametrize("dtype", [DOUBLE, torch.uint8])
def test_boxes_together_equal_boxes_alone_in_any_layout(
    names: tuple[str, ...], dtype: torch.dtype, way: str
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


@pytest.mark.parametrize("limit", [1, 150, 2000])
def test_chunks_change_nothing(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    take("nearby", monkeypatch)

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


def test_a_negative_size_mirrors(way: str) -> None:
    frame, box = image(), torch.tensor([[3.2, 2.1, 7.5, 4.0]], dtype=DOUBLE)
    mirrored = torch.tensor([[10.7, 2.1, -7.5, 4.0]], dtype=DOUBLE)
    torch.testing.assert_close(extract(frame, mirrored, 6), extract(frame, box, 6).flip(-1))
    glimpse = image(6, 6)[None]
    expected = paste(glimpse.flip(-1), box, (13, 17))
    torch.testing.assert_close(paste(glimpse, mirrored, (13, 17)), expected)


def test_a_box_of_zero_size_repeats_a_point_and_draws_nothing(way: str) -> None:
    frame = image()
    box = torch.tensor([[7.5, 6.5, 0.0, 0.0]], dtype=DOUBLE, requires_grad=True)
    glimpse = extract(frame, box, 4)
    torch.testing.assert_close(glimpse, frame[:, 6, 7].expand(1, 1, 4, 4))
    canvas = paste(image(4, 4)[None], box, (13, 17))
    assert not canvas.any()
    (grad,) = torch.autograd.grad(glimpse.sum() + canvas.sum(), box)
    assert grad.isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("antialias", [False, True])
def test_a_broken_box_is_nan_and_leaves_the_others_alone(
    value: float, antialias: bool, way: str
) -> None:
    frame, glimpses = image().requires_grad_(), image(4, 4).expand(3, 1, 4, 4)
    boxes = torch.tensor([BOXES["shrinks"], (3, value, 4, 5), BOXES["enlarges"]], dtype=DOUBLE)
    boxes.requires_grad_()
    seen, validity = extract(frame, boxes, (6, 5), antialias=antialias, return_validity=True)
    canvases = paste(glimpses, boxes, (9, 9), antialias=antialias)
    total = compose(glimpses, boxes, (9, 9), antialias=antialias)
    assert all(x[1].isnan().all() for x in (seen, validity, canvases))
    assert total.isnan().all()
    fine = [0, 2]
    for found, alone in (
        (seen[fine], extract(frame, boxes[fine], (6, 5), antialias=antialias)),
        (canvases[fine], paste(glimpses[fine], boxes[fine], (9, 9), antialias=antialias)),
    ):
        torch.testing.assert_close(found, alone)
        inputs = (boxes, frame) if way != "static" else boxes  # a GPU is not waited for to see
        grads = torch.autograd.grad(found.sum(), inputs, allow_unused=True, retain_graph=True)
        assert all(grad.isfinite().all() for grad in grads if grad is not None)
        assert grads[0][fine].any(-1).all()
        assert not grads[0][1].any()


@pytest.mark.parametrize("antialias", [False, True])
def test_far_and_huge_boxes_are_finite_in_single_precision(antialias: bool, way: str) -> None:
    frame = torch.rand(1, 13, 17, requires_grad=True)
    boxes = [(1e30, 0, 5, 5), (-1e30, -1e30, 2e30, 2e30), (0, 0, 1e12, 3), (-1e9, 2, -1e9, 1e-30)]
    boxes = torch.tensor(boxes, requires_grad=True)
    glimpses = extract(frame, boxes, 5, antialias=antialias)
    grads = torch.autograd.grad(glimpses.sum(), (frame, boxes))
    assert all(found.isfinite().all() for found in (glimpses, *grads))
    assert not glimpses[[0, 3]].any()
    canvas = paste(torch.rand(4, 1, 5, 5), boxes, (9, 9), antialias=antialias)
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
    glimpses, validity = extract(
        torch.ones(1, 13, 17, dtype=DOUBLE), boxes, size, antialias=False, return_validity=True
    )
    torch.testing.assert_close(validity, glimpses, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", ["shrinks", "enlarges"])
def test_dtypes_and_units(name: str, way: str) -> None:
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


def test_autocast_and_inference_mode_do_not_touch_precision(way: str) -> None:
    for cache in (_sampling._basis, _bands._shares, _kernel.numbers, _kernel.constant):
        cache.cache_clear()
    frames, box = torch.rand(2, 3, 13, 17), torch.tensor([[BOXES["shrinks"]], [BOXES["enlarges"]]])
    with torch.inference_mode():
        first = extract(frames, box, 6)
        compose(first, box, (9, 9))
    boxes = box.clone().requires_grad_()

    def run() -> list[Tensor]:
        glimpses = extract(frames.requires_grad_(), boxes, 6)
        canvases = paste(glimpses, boxes, (9, 9)), compose(glimpses, boxes, (9, 9))
        loss = sum(x.square().sum() for x in (glimpses, *canvases))
        return [glimpses, *canvases, *torch.autograd.grad(loss, (boxes, frames))]

    plain = run()
    torch.testing.assert_close(first, plain[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = run()
    for found, expected in zip(cast, plain, strict=True):
        assert found.dtype == torch.float32
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
    total = compose(glimpses, boxes, (9, 8))
    assert total.shape == (*lead, 3, 9, 8)
    (canvas.sum() + total.sum() + validity.sum()).backward()


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
