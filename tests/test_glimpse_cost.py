"""What the glimpse core does not do: copy frames, wait for a GPU; and that a GPU agrees."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from common import _fused, _resample
from common.glimpse import compose, extract, paste
from tests.glimpse_cases import BOXES, DOUBLE, WAYS, image, take


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation made, views aside."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for found in torch.utils._pytree.tree_leaves(result):
            if isinstance(found, Tensor) and found._base is None and found is not args[0]:
                self.numel = max(self.numel, found.numel())
        return result


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels_last", [False, True])
def test_no_frame_is_copied_or_converted(dtype: torch.dtype, channels_last: bool) -> None:
    frames = torch.zeros(2, 1080, 1920, 3, dtype=dtype).permute(0, 3, 1, 2)
    frames = frames if channels_last else frames.contiguous()
    boxes = torch.tensor([(900.0, 500, 60, 60), (100, 100, 30, 80), (1900, 3, 40, 40)] * 2)
    boxes = boxes.view(2, 3, 4).requires_grad_()
    with Largest() as largest:
        extract(frames, boxes, 56).sum().backward()
    assert 0 < largest.numel < frames[0].numel() / 20


def test_large_windows_share_their_frame() -> None:
    frame, boxes = torch.rand(1, 300, 400), torch.tensor([[3.0, 2, 390, 280]]).expand(16, 4)
    with Largest() as largest:
        extract(frame, boxes, 16)
    assert largest.numel < 2 * frame.numel()


class Waits(TorchDispatchMode):
    """Notes operations for which a GPU would have to be waited."""

    WAITING = ("_local_scalar_dense", "nonzero", "lift_fresh", "is_nonzero", "masked_select")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if str(func).startswith(tuple(f"aten.{name}" for name in self.WAITING)):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("pixels_too", [False, True])
def test_static_shapes_wait_for_nothing(pixels_too: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = torch.rand(2, 3, 13, 17, requires_grad=pixels_too)
    boxes = (torch.rand(2, 3, 4) * 9).requires_grad_()

    def run() -> None:
        glimpses, validity = extract(frames, boxes, 5, return_validity=True)
        canvases = paste(glimpses, boxes, (13, 17)).sum() + compose(glimpses, boxes, (9, 9)).sum()
        (canvases + validity.sum()).backward()

    with monkeypatch.context() as patch:
        take("static", patch)
        run()  # constants are made once
        with Waits() as waits:
            run()
    assert not waits.found
    with Waits() as waits:
        run()  # on a CPU there is nothing to wait for
    assert waits.found


def test_no_canvas_for_each_glimpse() -> None:
    glimpses, boxes = torch.rand(4, 8, 1, 5, 5), 20 + 9 * torch.rand(4, 8, 4)
    with Largest() as largest:
        compose(glimpses, boxes, (50, 50))
    assert largest.numel < 32 * 50 * 50 / 2


class Names(TorchDispatchMode):
    """Notes which operations were made."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.found.add(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("frame", "size", "side", "antialias", "way"),
    [
        (50, 20, 23.0, True, "bmm"),
        (50, 20, 23.0, False, "grid_sampler_2d"),
        (50, 20, 15.0, True, "grid_sampler_2d"),
        (20, 50, 60.0, True, "bmm"),
        (20, 50, 60.0, False, "bmm"),
        (300, 56, 80.0, True, "_embedding_bag"),
    ],
)
def test_the_fastest_way_is_taken(
    frame: int, size: int, side: float, antialias: bool, way: str
) -> None:
    boxes = torch.tensor([[3.0, 3.0, side, side]], requires_grad=True)
    with Names() as names:
        extract(torch.rand(1, frame, frame), boxes, size, antialias=antialias)
    assert names.found & {"bmm", "grid_sampler_2d", "_embedding_bag"} == {way}


def outcomes(device: str) -> list[Tensor]:
    """Glimpses, how much of them is inside, what is drawn of them, and gradients."""
    found = []
    for names in (tuple(BOXES)[:-2], ("enlarges",)):
        frame = image().to(device).requires_grad_()
        boxes = torch.tensor([BOXES[name] for name in names], dtype=DOUBLE, device=device)
        boxes = (boxes + 0.01).requires_grad_()
        glimpses, validity = extract(frame, boxes, (6, 5), return_validity=True)
        drawn = compose(glimpses, boxes, (9, 8)), paste(glimpses, boxes, (9, 8))
        ramp = torch.linspace(-1, 1, 5, dtype=DOUBLE, device=device)
        loss = (glimpses * ramp).sum() + validity.sum() + sum((x * x).sum() for x in drawn)
        found += [glimpses, validity, *drawn, *torch.autograd.grad(loss, (frame, boxes))]
    return found


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.cpu(), other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = outcomes("cpu")
    take(way, monkeypatch)
    assert_same(outcomes("cpu"), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("limit", [None, 0, 1 << 33])
def test_a_gpu_gives_the_same(limit: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if limit is not None:  # without Triton
        monkeypatch.setattr(_fused, "kernels", lambda device: None)
        monkeypatch.setattr(_resample, "STATIC", limit)
    assert_same(outcomes("cuda"), outcomes("cpu"))
