"""Glimpses: look at a frame through boxes (``extract``) and put what was seen back (``paste``).

Boxes are ``xywh`` pixels; pixel ``i`` has its centre at ``i + 0.5``, so a box ``(0, 0, W, H)`` is
the whole frame, and sample ``j`` of ``n`` across a box is at ``x + (j + 0.5) w / n``. Outside a
frame is zero. Both directions are differentiable in pixels and boxes, bilinear where they enlarge,
and anti-aliased where they shrink (``common._kernel`` has the kernel). Without ``antialias`` they
are bilinear there, too: a spatial transformer (Jaderberg et al. 2015), whose windows go from the
centre of a corner sample to that of another. With scale ``s`` and shift ``t``, both in units of
``[-1, 1]`` over the centres of ``L`` pixels, and ``G`` samples, such a window is the box of side
``s (L - 1) G / (G - 1)`` around ``(t + 1) (L - 1) / 2 + 1 / 2``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common import _bands, _products, _resample


def extract(
    frames: Tensor,
    boxes: Tensor,
    size: int | tuple[int, int],
    *,
    antialias: bool = True,
    return_validity: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """What each box of each frame shows, resampled to ``size``.

    The cost is that of the windows, whatever the size of the frames. A box of negative width or
    height mirrors, one of zero size repeats one point, one far outside gives zeros. NaN or infinity
    in a box makes its glimpse NaN and leaves the others as they are.

    Args:
        frames: ``(..., C, H, W)``, integer or float.
        boxes: ``(..., N, 4)`` float xywh pixels, with the same leading dimensions.
        size: height and width of a glimpse in pixels; one number for a square.
        antialias: average where boxes shrink, or interpolate there, too.
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
    glimpses = _resample.resample(frames, boxes, (height, width), antialias)
    if not return_validity:
        return glimpses
    validity = _bands.inside(boxes.reshape(-1, 4), (height, width), frames.shape[-2:], antialias)
    return glimpses, validity.view(*boxes.shape[:-1], 1, height, width)


def paste(
    glimpses: Tensor, boxes: Tensor, canvas: tuple[int, int], *, antialias: bool = True
) -> Tensor:
    """Each glimpse drawn where its box is: the inverse map of ``extract``, zero elsewhere.

    A glimpse fades out over half of one of its own pixels to either side of its box's edge, as the
    interpolation of an image that is zero outside does. Boxes of zero size draw nothing; see
    ``extract`` for negative ones and NaN.

    Args:
        glimpses: ``(..., N, C, h, w)``, integer or float.
        boxes: ``(..., N, 4)`` float xywh pixels of the canvas.
        canvas: height and width of the canvas in pixels.
        antialias: average where a box is smaller than its glimpse, or interpolate there, too.

    Returns:
        ``(..., N, C, H, W)``, a canvas for each glimpse, float32 or float64 as for ``extract``.

    Raises:
        ValueError: for shapes or dtypes other than these.
    """
    windows = _windows(glimpses, boxes, canvas)
    return _resample.resample(glimpses, windows[..., None, :], tuple(canvas), antialias).squeeze(-4)


def compose(
    glimpses: Tensor, boxes: Tensor, canvas: tuple[int, int], *, antialias: bool = True
) -> Tensor:
    """Glimpses drawn on one canvas, added up: ``paste(...).sum(-4)`` without a canvas for each.

    It costs the same whatever is drawn; where most glimpses are to be left out, ``paste`` of the
    others and ``index_add`` are faster.

    Args:
        glimpses: ``(..., N, C, h, w)``, integer or float.
        boxes: ``(..., N, 4)`` float xywh pixels of the canvas.
        canvas: height and width of the canvas in pixels.
        antialias: as for ``paste``.

    Returns:
        ``(..., C, H, W)``, float32 or float64 as for ``extract``; NaN where a box is not finite.

    Raises:
        ValueError: for shapes or dtypes other than these.
    """
    windows = _windows(glimpses, boxes, canvas)
    *lead, count, channels, height, width = glimpses.shape
    if not boxes.numel():
        return windows.new_zeros(*lead, channels, *canvas) * windows.sum()
    glimpses = glimpses.reshape(-1, count, channels, height, width)
    drawn = _products.draw(glimpses, windows.reshape(-1, count, 4), tuple(canvas), antialias)
    return drawn.view(*lead, channels, *canvas)


def _windows(glimpses: Tensor, boxes: Tensor, canvas: tuple[int, int]) -> Tensor:
    """To a glimpse the canvas is a window around it: what ``extract`` reads there is the canvas."""
    _check(glimpses, boxes.unsqueeze(-2), canvas, "glimpses")
    return _bands.inverse(boxes.to(_dtype(glimpses, boxes)), glimpses.shape[-2:], canvas)


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
