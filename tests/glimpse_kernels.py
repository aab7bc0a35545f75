"""What the tests of the glimpse core's Triton kernels compare, and how to run them on a CPU.

``python -m tests.glimpse_kernels``, with ``TRITON_INTERPRET=1``, makes the comparison there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common import _fused
from common.glimpse import extract, paste
from tests.glimpse_cases import BOXES, DOUBLE, image


class Case(NamedTuple):
    """Boxes of what ``view`` makes of the ``frames``."""

    frames: Tensor
    boxes: Tensor
    size: tuple[int, int]
    view: Callable[[Tensor], Tensor] = lambda frames: frames
    canvas: tuple[int, int] | None = None


def every_box(value: float = 0.01) -> Tensor:
    """Off the pixels' centres, where slopes jump, by ``value``."""
    return torch.tensor(list(BOXES.values()), dtype=DOUBLE) + value


def broken() -> Tensor:
    boxes = every_box()[[0, 1, 2, 4, 5]]
    boxes[1, 1], boxes[3, 2], boxes[4, 0] = math.nan, math.inf, -math.inf
    return boxes


def far() -> Tensor:
    boxes = [(1e30, 0, 5, 5), (-1e30, -1e30, 3e30, 3e30), (0, 0, 1e12, 3), (-1e9, 2, -1e9, 1e-30)]
    return torch.tensor([*boxes, BOXES["shrinks"]])


def bytes_of(count: int, channels: int) -> Tensor:
    return (255 * image(channels=count * channels)).to(torch.uint8).view(count, channels, 13, 17)


FRAMES = torch.stack((image(channels=3, seed=1), image(channels=3, seed=2)))
ALIGNED = [(4.0, 3.0, 4.0, 4.0), (9.0, 7.0, -4.0, -4.0), (7.5, 6.5, 0.0, 0.0), (2.0, 1.0, 8.0, 8.0)]
CASES = {
    "every box": Case(FRAMES[0, :2], every_box(), (6, 5), canvas=(7, 6)),
    "on the pixels": Case(FRAMES[0], torch.tensor(ALIGNED, dtype=DOUBLE), (4, 4)),
    "single precision": Case(
        FRAMES[0].float(), every_box(0.013)[[0, 2, 3, 7, 8, 9]].float(), (4, 5), canvas=(5, 5)
    ),
    "one channel": Case(FRAMES[:, :1], every_box()[None, [0, 3]].expand(2, -1, -1), (3, 4)),
    "not finite": Case(FRAMES[0], broken(), (3, 3), canvas=(4, 4)),
    "far": Case(FRAMES[0, :1].float(), far(), (5, 5)),
    "many samples": Case(FRAMES[:, :1], every_box()[[0, 4]].view(2, 1, 4), (16, 17)),
    "many channels": Case(image(9, 8, 6), every_box()[:2] - 2, (3, 2), canvas=(5, 4)),
    "bytes": Case(bytes_of(2, 3), every_box()[[0, 7]].float().view(2, 1, 4), (4, 4)),
    "half precision": Case(FRAMES[0].bfloat16(), every_box()[:2].float(), (4, 4)),
    "channels last": Case(
        image(13, 3, 17), every_box()[:2], (4, 4), lambda x: x.permute(2, 1, 0)[:, 1:, 2:]
    ),
    "expanded": Case(
        FRAMES[:, :1, :9],
        every_box()[[0, 1, 4, 7]].view(2, 2, 1, 4).transpose(0, 1),
        (4, 4),
        lambda x: x[:, None].expand(2, 2, 1, 9, 17),
    ),
}

# With antialias and without, where grid_sample's slopes on the pixels are those to either side.
CHECKS = [(name, antialias) for name in CASES for antialias in (True, False)]
CHECKS.remove(("on the pixels", False))


def outcomes(case: Case, antialias: bool, device: str) -> list[Tensor]:
    """Glimpses, what is pasted of them, and gradients."""
    frames, boxes = (part.to(device) for part in case[:2])
    boxes = boxes.clone().requires_grad_()
    frames = frames.clone().requires_grad_(frames.is_floating_point())
    found = [extract(case.view(frames), boxes, case.size, antialias=antialias)]
    if case.canvas is not None:
        found.append(paste(found[0], boxes, case.canvas, antialias=antialias))
    loss = sum((x * ramp(x)).sum() for x in found)
    inputs = (boxes, frames) if frames.requires_grad else (boxes,)
    return [*(x.detach() for x in found), *torch.autograd.grad(loss, inputs)]


def ramp(like: Tensor) -> Tensor:
    ramp = torch.linspace(-1, 1, like.numel(), dtype=DOUBLE, device=like.device)
    return ramp.to(like.dtype).view(like.shape)


def compare(found: list[Tensor], expected: list[Tensor]) -> None:
    single = expected[0].dtype == torch.float32
    for one, other in zip(found, expected, strict=True):
        near = {"atol": 1e-9, "rtol": 1e-9}
        if single:
            scale = float(other.nan_to_num().abs().max())
            near = {"atol": 2e-5 * (1 + scale), "rtol": 1e-2 if other.itemsize == 2 else 1e-4}
        torch.testing.assert_close(one.cpu(), other, equal_nan=True, **near)


def interpreted() -> None:
    """Every case by the kernels on a CPU."""
    from triton.runtime import interpreter

    from common import _triton

    patch = interpreter._patch_lang_tensor

    def patched(tensor: type, *scope: Any) -> None:  # NumPy 2.4 makes no int of (1,) arrays
        patch(tensor, *scope)  # older versions of Triton have no scope
        set_ = scope[0].set_attr if scope else setattr
        set_(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = patched
    plain = _fused.kernels
    for name, antialias in CHECKS:
        expected = outcomes(CASES[name], antialias, "cpu")
        _fused.kernels = lambda device: _triton
        found = outcomes(CASES[name], antialias, "cpu")
        _fused.kernels = plain
        compare(found, expected)
        print(name, antialias, flush=True)


if __name__ == "__main__":
    interpreted()
