"""The published Gaussian sampler of HART (Kosiorek et al. 2017, sec. 3.1; after DRAW and RATM).

A glimpse is ``A_y I A_x'``: each output row and column is a normalised Gaussian over the frame's.
Samples run from the box's first corner to its second, with a width that is a fixed polynomial of
the stride (it approximates bicubic interpolation and does *not* widen when the window shrinks: it
aliases). Kept for the published preset alone; all else looks through ``common.glimpse``.

The sampler reads pixel ``i`` at coordinate ``i``, not at ``i + 0.5`` as the rest of the project
does, and adds its own constant offset: both are part of what was published.
"""

from __future__ import annotations

import torch
from torch import Tensor

NORMALISER = 1e-8  # added to a Gaussian's sum: what fades to black outside the replicated border
OFFSET_XY = (0.50086582, 0.00809737)  # pixels added to the position of the first sample

# (power of the y stride, power of the x stride): coefficients of (sigma_y, sigma_x)
WIDTH_COEFFICIENTS = {
    (0, 0): (6.12598441e-1, 9.25613308e-1),
    (1, 0): (-1.05801568e-2, -2.18224973e-3),
    (2, 0): (1.32131897e-4, -6.09307166e-6),
    (3, 0): (-2.87635530e-7, 9.08051012e-8),
    (4, 0): (1.94529164e-10, -9.47235313e-11),
    (0, 1): (1.44468477e-4, -1.19733592e-2),
    (0, 2): (-4.30590720e-6, 7.71485474e-5),
    (0, 3): (1.05376852e-8, -1.05474865e-7),
    (0, 4): (-6.49625282e-12, 3.43567810e-11),
    (1, 1): (9.85685680e-6, 6.57580098e-5),
    (1, 2): (-1.41991381e-8, -9.46024867e-8),
    (2, 1): (-9.81123812e-9, -1.56167932e-7),
    (1, 3): (-3.61024557e-12, 7.68954027e-11),
    (2, 2): (2.65848501e-11, 4.39530612e-11),
    (3, 1): (-1.01850187e-11, 9.85289183e-11),
}


def parameters(boxes: Tensor, size: int) -> Tensor:
    """What the sampler makes of each box, in the published order.

    Args:
        boxes: ``(..., 4)`` xywh pixels; sides may be negative (a mirrored glimpse).
        size: side of the square glimpse in samples, at least 2.

    Returns:
        ``(..., 6)`` pixels: start ``(y, x)``, width ``sigma (y, x)``, stride ``(y, x)``.
    """
    if size < 2:
        raise ValueError(f"a glimpse from corner to corner needs at least 2 samples, got {size}")
    x, y, width, height = boxes.unbind(-1)
    start = torch.stack((y + OFFSET_XY[1], x + OFFSET_XY[0]), -1)
    stride = torch.stack((height, width), -1) / (size - 1)
    return torch.cat((start, _widths(stride), stride), -1)


def extract(frames: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Read a square glimpse through each box; differentiable in frames and boxes.

    Args:
        frames: ``(..., C, H, W)``, uint8 or float.
        boxes: ``(..., N, 4)`` xywh pixels with the frames' leading dimensions.
        size: side of the glimpse in samples.

    Returns:
        ``(..., N, C, size, size)`` in the frames' units. The border's pixels repeat for about 4 px
        (y) or 6 px (x) outside the frame, then the glimpse fades to zero.
    """
    return sample(frames, parameters(boxes, size), size)


def sample(frames: Tensor, sampling: Tensor, size: int) -> Tensor:
    """``extract`` for sampling ``parameters (..., N, 6)`` that are already known."""
    if frames.shape[:-3] != sampling.shape[:-2]:
        raise ValueError(
            f"frames (..., C, H, W) and boxes (..., N, 4) need the same leading dimensions, got "
            f"{tuple(frames.shape)} and {(*sampling.shape[:-1], 4)}"
        )
    count = sampling.shape[-2]
    channels, height, width = frames.shape[-3:]
    # Half precision would move the samples by whole pixels.
    with torch.autocast(frames.device.type, enabled=False):
        (start_y, start_x), (sigma_y, sigma_x), (stride_y, stride_x) = (
            pair.unbind(-1) for pair in sampling.split(2, -1)
        )
        rows = _matrix(start_y, sigma_y, stride_y, size, height)  # (..., N, size, H)
        columns = _matrix(start_x, sigma_x, stride_x, size, width)  # (..., N, size, W)
        # All boxes of a frame share its rows in one product, so no box copies the frame.
        rows = rows.flatten(-3, -2).unsqueeze(-3)  # (..., 1, N * size, H)
        bands = torch.matmul(rows, frames.to(sampling.dtype))  # (..., C, N * size, W)
        bands = bands.unflatten(-2, (count, size)).movedim(-4, -3)  # (..., N, C, size, W)
        glimpses = torch.matmul(bands.flatten(-3, -2), columns.transpose(-1, -2))
    return glimpses.unflatten(-2, (channels, size))


def _matrix(start: Tensor, sigma: Tensor, stride: Tensor, size: int, extent: int) -> Tensor:
    """Normalised Gaussians ``(..., size, extent)`` of one axis; parameters ``(...)`` in pixels."""
    options = {"dtype": start.dtype, "device": start.device}
    pixels = torch.arange(extent, **options)
    samples = torch.arange(size, **options)
    centres = start.unsqueeze(-1) + stride.unsqueeze(-1) * samples
    distance = (pixels - centres.unsqueeze(-1)) / sigma[..., None, None]
    weights = torch.exp(-0.5 * distance.square())
    return weights / (weights.sum(-1, keepdim=True) + NORMALISER)


def _widths(stride: Tensor) -> Tensor:
    """Standard deviations ``(..., 2)`` in pixels for ``(y, x)`` strides ``(..., 2)``."""
    table = torch.zeros(5, 5, 2, dtype=torch.float64)
    for powers, coefficients in WIDTH_COEFFICIENTS.items():
        table[powers] = torch.tensor(coefficients, dtype=torch.float64)
    table = table.to(dtype=stride.dtype, device=stride.device)
    terms = [torch.ones_like(stride)]
    for _ in range(4):
        terms.append(terms[-1] * stride)
    in_y, in_x = torch.stack(terms, -1).unbind(-2)  # (..., 5) powers of either stride
    with torch.autocast(stride.device.type, enabled=False):
        return torch.einsum("...i,...j,ijk->...k", in_y, in_x, table)
