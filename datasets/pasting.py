"""Digits onto canvases, all frames of a batch at once, and what of them is to be seen there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

WAVES = 4  # of a texture
CYCLES = (0.5, 2.0)  # least and most of a wave, along one side of the canvas
DRIFT = 2.0  # most pixels a frame that a texture moves, each way
BRIGHTNESS, CONTRAST = (0.16, 0.24), (0.08, 0.16)  # of a range of 1; the most that waves add


def paste(templates: Tensor, corners: Tensor, size: int) -> Tensor:
    """The brightest of all templates at each pixel.

    Args:
        templates: (B, N, h, w) uint8.
        corners: (T, B, N, 2) int64, (y, x) in [0, size].
        size: side of the canvas.

    Returns:
        (T, B, size, size) uint8
    """
    height, width = templates.shape[2:]
    frames = corners.shape[0] * corners.shape[1]
    rows, stride = size + height, size + width
    wide = templates.new_zeros(frames * rows * stride)
    # Every place a template can have in the flat memory of all frames, as a view of that memory.
    places = wide.as_strided(
        (wide.numel() - (height - 1) * stride - width + 1, height, width), (1, stride, 1)
    )
    corners = corners.flatten(0, 1)
    starts = torch.arange(frames, device=wide.device)[:, None] * (rows * stride)
    starts = starts + corners[..., 0] * stride + corners[..., 1]
    for slot in range(templates.shape[1]):
        ink = templates[:, slot].repeat(len(starts) // len(templates), 1, 1)
        if slot:
            ink = torch.maximum(ink, places[starts[:, slot]])
        places[starts[:, slot]] = ink
    wide = wide.view(-1, len(templates), rows, stride)
    return wide[:, :, :size, :size].contiguous()


def on_canvas(templates: Tensor, corners: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Tight box of each template's ink that is on the canvas, and that ink's share of all.

    A canvas shows the first r rows and c columns of a template, so everything can be read off its
    summed-area table: row by row at column c, and column by column at row r.

    Args:
        templates, corners, size: as in :func:`paste`.

    Returns:
        boxes (T, B, N, 4) float32 xywh, zeros where nothing is visible; shares (T, B, N) float32
    """
    table = torch.nn.functional.pad(
        templates.cumsum(2, dtype=torch.int32).cumsum(3, dtype=torch.int32), (1, 0, 1, 0)
    )
    height, width = templates.shape[2:]
    rows = (size - corners[..., 0]).clamp(0, height)
    columns = (size - corners[..., 1]).clamp(0, width)
    row = torch.arange(table.shape[0], device=table.device)[:, None]
    slot = torch.arange(table.shape[1], device=table.device)
    downwards = table.transpose(2, 3)[row, slot, columns]  # (T, B, N, h + 1)
    across = table[row, slot, rows]  # (T, B, N, w + 1)
    seen = across.gather(3, columns[..., None])
    left, right = (across[..., 1:] == 0).sum(3), (across < seen).sum(3)
    top, bottom = (downwards[..., 1:] == 0).sum(3), (downwards < seen).sum(3)
    y, x = corners.unbind(-1)
    boxes = torch.stack((x + left, y + top, right - left, bottom - top), 3)
    total = table[:, :, -1, -1].clamp(min=1)
    return boxes * (seen > 0).float(), seen[..., 0] / total


def texture(length: int, batch: int, size: int, generator: torch.Generator) -> Tensor:
    """Faint, smooth textures (T, B, size, size) uint8 that drift: sums of a few waves.

    Every clip draws its waves, brightness, contrast and drift; grey values are 0 to 102.
    """
    device = generator.device
    drawn = torch.rand((6, batch, WAVES), generator=generator, device=device)
    angle, phase = 2 * math.pi * drawn[:2]
    per_pixel = 2 * math.pi / size * (CYCLES[0] + (CYCLES[1] - CYCLES[0]) * drawn[2])
    frequency = torch.stack((angle.sin(), angle.cos())) * per_pixel  # radians a pixel; y, x
    weight = drawn[3] / drawn[3].sum(1, keepdim=True)
    level, contrast = (
        low + (high - low) * drawn[4, :, k, None, None]
        for k, (low, high) in enumerate((BRIGHTNESS, CONTRAST))
    )
    drift = (2 * drawn[5, :, :2] - 1) * DRIFT
    time = torch.arange(length, device=device)[:, None, None]
    phase = phase - time * (frequency * drift.T[:, :, None]).sum(0)  # (T, B, WAVES)
    place = torch.arange(size, device=device)
    down = frequency[0, :, None] * place[:, None] + phase[:, :, None]  # (T, B, size, WAVES)
    along = frequency[1, :, :, None] * place  # (B, WAVES, size)
    # cos(a + b), so that only sides, not areas, need trigonometry
    rows = torch.cat((down.cos(), -down.sin()), -1) * weight[:, None].repeat(1, 1, 2)
    columns = torch.cat((along.cos(), along.sin()), 1)
    return (255 * (level + contrast * (rows @ columns))).to(torch.uint8)


def add_noise(frames: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise on ``frames`` uint8, its deviation as a share of 255; clipped."""
    noise = torch.randn(frames.shape, generator=generator, device=frames.device)
    return (noise * (255 * deviation) + frames).round_().clamp_(0, 255).to(torch.uint8)
