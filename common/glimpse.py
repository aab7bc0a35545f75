"""Glimpses: look at a frame through boxes (``extract``) and put what was seen back (``paste``).

Boxes are ``xywh`` pixels; pixel ``i`` has its centre at ``i + 0.5``, so a box ``(0, 0, W, H)`` is
the whole frame, and sample ``j`` of ``n`` across a box is at ``x + (j + 0.5) w / n``. Outside a
frame is zero. Both directions are differentiable in pixels and boxes, bilinear where they enlarge,
and anti-aliased where they shrink (``common._sampling`` has the kernel).
"""

from __future__ import annotations

import torch
from torch import Tensor

from common import _resample, _sampling

# A box narrower than this many pixels draws nothing when it is pasted.
NARROWEST = 1e-6

# Every coordinate of a box that sees nothing, whatever it is a box of.
OUTSIDE = -9.0


def extract(
    frames: Tensor, boxes: Tensor, size: int | tuple[int, int], *, return_validity: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """What each box of each frame shows, resampled to ``size``.

    The cost is that of the windows, whatever the size of the frames. A box of negative width or
    height mirrors, one of zero size repeats one point, one far outside gives zeros. NaN or infinity
    in a box makes its glimpse NaN and leaves the others as they are.

    Args:
        frames: ``(..., C, H, W)``, integer or float.
        boxes: ``(..., N, 4)`` float xywh pixels, with the same leading dimensions.
        size: height and width of a glimpse in pixels; one number for a square.
        return_validity: also return how much of each sample lies inside the frame.

    Returns:
        ``(..., N, C, h, w)`` in the frame's own units (uint8 gives 0 to 255), float64 if either
        argument is, otherwise float32; with ``return_validity`` also ``(..., N, 1, h, w)``, the
        share of each sample's weight that lies inside the frame, in ``[0, 1]``.

    Raises:
        ValueError: for shapes or dtypes other than these.
    """
    height, width = (size, size) if isinstance(size, int) else size
    _check(frames, boxes, (height, width), "frames")
    boxes = boxes.to(_dtype(frames, boxes))
    glimpses = _resample.resample(frames, boxes, (height, width))
    if not return_validity:
        return glimpses
    validity = _sampling.inside(boxes.reshape(-1, 4), (height, width), frames.shape[-2:])
    return glimpses, validity.view(*boxes.shape[:-1], 1, height, width)


def paste(glimpses: Tensor, boxes: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Each glimpse drawn where its box is: the inverse map of ``extract``, zero elsewhere.

    A glimpse fades out over half of one of its own pixels to either side of its box's edge, as the
    interpolation of an image that is zero outside does. Boxes of zero size draw nothing; see
    ``extract`` for negative ones and NaN.

    Args:
        glimpses: ``(..., N, C, h, w)``, integer or float.
        boxes: ``(..., N, 4)`` float xywh pixels of the canvas.
        canvas: height and width of the canvas in pixels.

    Returns:
        ``(..., N, C, H, W)``, a canvas for each glimpse, float32 or float64 as for ``extract``.

    Raises:
        ValueError: for shapes or dtypes other than these.
    """
    boxes = boxes.unsqueeze(-2)
    _check(glimpses, boxes, canvas, "glimpses")
    x, y, w, h = boxes.to(_dtype(glimpses, boxes)).unbind(-1)
    hidden = (w.abs() < NARROWEST) | (h.abs() < NARROWEST)
    across = glimpses.shape[-1] / w.masked_fill(hidden, 1)
    down = glimpses.shape[-2] / h.masked_fill(hidden, 1)
    # To a glimpse, the canvas is a window around it: what extract reads off it there is the canvas.
    window = torch.stack((-x * across, -y * down, canvas[1] * across, canvas[0] * down), -1)
    window = window.masked_fill(hidden[..., None], OUTSIDE)
    return _resample.resample(glimpses, window, (canvas[0], canvas[1])).squeeze(-4)


def _dtype(pixels: Tensor, boxes: Tensor) -> torch.dtype:
    """At least float32: half precision cannot tell a pixel of a large frame from the next."""
    double = torch.float64 in (pixels.dtype, boxes.dtype)
    return torch.float64 if double else torch.float32


def _check(pixels: Tensor, boxes: Tensor, size: tuple[int, int], name: str) -> None:
    if boxes.dim() < 2 or boxes.shape[-1] != 4 or not boxes.is_floating_point():
        raise ValueError(f"boxes must be float (..., N, 4), got {boxes.dtype} {tuple(boxes.shape)}")
    if pixels.dim() < 3 or 0 in pixels.shape[-2:] or pixels.is_complex():
        got = f"{pixels.dtype} {tuple(pixels.shape)}"
        raise ValueError(f"{name} must be (..., C, H, W), at least one real pixel, got {got}")
    if pixels.shape[:-3] != boxes.shape[:-2]:
        raise ValueError(
            f"{name} and boxes must have the same leading dimensions, got {name} "
            f"{tuple(pixels.shape)} and boxes {tuple(boxes.shape)}"
        )
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be two positive numbers, height and width, got {size}")
