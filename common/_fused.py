"""Glimpses on a GPU: one kernel forward, one for each gradient, instead of dozens.

They cost what the windows cost, whatever the size of the frames; nothing waits for the host, and
nothing adds in an order that depends on timing. The kernels are in ``common._triton``.
"""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from types import ModuleType

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from common._kernel import ASIDE

# Numbers of each channel, and channels, of one program of a kernel, both powers of two.
BLOCK, CHANNELS = 128, 4

# What the kernels read as it is.
READ = (
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.bfloat16, torch.float16, torch.float32, torch.float64),
)


@functools.cache
def kernels(device: torch.device) -> ModuleType | None:
    """The kernels; None where Triton is not there, as on a CPU, or does not work."""
    if device.type != "cuda":
        return None
    try:
        from common import _triton
    except ImportError:
        return None
    try:
        with torch.inference_mode():
            frames, boxes = torch.zeros(1, 1, 1, 1, device=device), torch.ones(1, 4, device=device)
            _glimpses(_triton, frames, boxes, (1, 1), True)
    except Exception as error:  # no compiler, an old driver, an old GPU: each has one of its own
        warnings.warn(f"glimpses are slow on {device}, Triton fails: {error}", stacklevel=2)
        return None
    return _triton


def resample(
    frames: Tensor, boxes: Tensor, size: tuple[int, int], antialias: bool, kernels: ModuleType
) -> Tensor:
    """As ``_resample.resample``, of one box and one channel or more, on one device."""
    if frames.dtype not in READ:
        frames = frames.to(boxes.dtype)
    return _Resampled.apply(frames, boxes, size, antialias, kernels)


class _Resampled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        frames: Tensor,
        boxes: Tensor,
        size: tuple[int, int],
        antialias: bool,
        kernels: ModuleType,
    ) -> Tensor:
        ctx.save_for_backward(frames, boxes)
        ctx.size, ctx.antialias, ctx.kernels = size, antialias, kernels
        found = _glimpses(kernels, _flat(frames), boxes.reshape(-1, 4), size, antialias)
        return found.view(*boxes.shape[:-1], frames.shape[-3], *size)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        frames, boxes = ctx.saved_tensors
        grad, rows = _flat(grad), boxes.reshape(-1, 4)
        to_frames = to_boxes = None
        if ctx.needs_input_grad[0]:
            to_frames = _to_frames(ctx.kernels, frames, rows, grad, ctx.antialias)
        if ctx.needs_input_grad[1]:
            to_boxes = _to_boxes(ctx.kernels, _flat(frames), rows, grad, ctx.antialias)
            to_boxes = to_boxes.view(boxes.shape)
        return to_frames, to_boxes, None, None, None


def _flat(pixels: Tensor) -> Tensor:
    """With one leading dimension; copied only where memory has none."""
    return pixels if pixels.dim() == 4 else pixels.reshape(-1, *pixels.shape[-3:])


def _block(channels: int) -> dict[str, int]:
    """What a program takes; of few channels, no more than there are."""
    most = min(CHANNELS, 1 << (channels - 1).bit_length())
    return {"CHANNELS": most, "BLOCK": BLOCK, "num_warps": BLOCK // 32}


def _programs(channels: int, height: int, width: int) -> int:
    """How many a box has."""
    return -(-channels // CHANNELS) * -(-height * width // BLOCK)


def _on(device: torch.device) -> contextlib.AbstractContextManager:
    """Kernels start on the current GPU."""
    if device.type != "cuda" or device.index == torch.cuda.current_device():
        return contextlib.nullcontext()
    return torch.cuda.device(device)


def _glimpses(
    kernels: ModuleType, frames: Tensor, boxes: Tensor, size: tuple[int, int], antialias: bool
) -> Tensor:
    """``(m, C, h, w)`` of boxes ``(m, 4)`` of frames ``(F, C, H, W)``."""
    count, channels = len(boxes), frames.shape[1]
    found = boxes.new_empty(count, channels, *size)
    with _on(boxes.device):
        kernels.glimpses[(count * _programs(channels, *size),)](
            frames, boxes, found, count // len(frames), *frames.shape[1:], *size,
            *frames.stride(), *boxes.stride(), ANTIALIAS=antialias, **_block(channels),
        )  # fmt: skip
    return found


def _to_boxes(
    kernels: ModuleType, frames: Tensor, boxes: Tensor, grad: Tensor, antialias: bool
) -> Tensor:
    """``(m, 4)`` from the gradient ``(m, C, h, w)`` of glimpses."""
    (count, channels, *size), aside = grad.shape, ASIDE[boxes.dtype]
    programs = _programs(channels, *size)
    found = boxes.new_empty(count, programs, 4)
    with _on(boxes.device):
        kernels.to_boxes[(count * programs,)](
            frames, boxes, grad, found, count // len(frames), *frames.shape[1:], *size,
            *frames.stride(), *grad.stride(), *boxes.stride(),
            ASIDE=aside, ANTIALIAS=antialias, **_block(channels),
        )  # fmt: skip
    return found.sum(1) if programs > 1 else found


def _to_frames(
    kernels: ModuleType, frames: Tensor, boxes: Tensor, grad: Tensor, antialias: bool
) -> Tensor:
    """Of frames ``(..., C, H, W)`` from the gradient ``(m, C, h, w)`` of glimpses."""
    found = torch.empty_like(frames, memory_format=torch.contiguous_format)
    count, (channels, rows, columns) = math.prod(frames.shape[:-3]), frames.shape[-3:]
    tiles = -(-rows // (BLOCK // kernels.BROAD.value)) * -(-columns // kernels.BROAD.value)
    with _on(boxes.device):
        kernels.to_frames[(count * -(-channels // CHANNELS) * tiles,)](
            boxes, grad, found, len(boxes) // count, *frames.shape[-3:], *grad.shape[2:],
            *grad.stride(), *boxes.stride(), ANTIALIAS=antialias, **_block(channels),
        )  # fmt: skip
    return found
