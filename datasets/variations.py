"""More handwriting from little: digits turned, slanted, stretched, of other strokes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, max_pool2d

from datasets.digits import SIDE, Digits, tight

TURN = math.radians(8)  # standard deviations of what is done to a digit
SLANT = 0.08
STRETCH = 0.06  # of the logarithm of each side
STROKE = 0.3  # of how many pixels wider strokes become on either side
THINNEST = -0.35  # least of it: thin strokes would fade
GAIN = 1.2  # makes up for the strokes' brightness that resampling takes
FAINT = 32  # of 255: fainter pixels at the rim are no ink
CHUNK = 4096  # digits at a time


def vary(digits: Digits, copies: int, seed: int = 0) -> Digits:
    """The digits themselves, and ``copies`` variations of each.

    Args:
        digits: ``M`` of them.
        copies: 0 or more; the result has ``M (copies + 1)``, the originals first.
        seed: of the variations.

    Raises:
        ValueError: a negative number of copies.
    """
    if copies < 0:
        raise ValueError(f"variations of digits: {copies}, expected 0 or more")
    if not copies:
        return digits
    generator = torch.Generator().manual_seed(seed)
    centred = _centre(digits)
    varied = [_bend(part, generator) for _ in range(copies) for part in centred.split(CHUNK)]
    more = tight(torch.cat(varied), digits.labels.repeat(copies))
    return Digits(*(torch.cat(pair) for pair in zip(digits, more, strict=True)))


def _centre(digits: Digits) -> Tensor:
    """The digits ``(M, 28, 28)`` with their tight boxes in the middle."""
    offset = (SIDE - digits.sizes) // 2
    place = torch.arange(SIDE)
    rows = (place - offset[:, :1]).remainder(SIDE)
    columns = (place - offset[:, 1:]).remainder(SIDE)
    number = torch.arange(len(rows))[:, None, None]
    return digits.images[number, rows[:, :, None], columns[:, None, :]]


def _bend(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each of ``images (M, 28, 28)`` turned, slanted and stretched, its longer side as before.

    Then its strokes grow or shrink.
    """
    noise = torch.randn(5, len(images), generator=generator)
    turn, slant = TURN * noise[0], SLANT * noise[1]
    across, down = (STRETCH * noise[2:4]).exp()
    cos, sin = turn.cos(), turn.sin()
    matrix = torch.stack(
        (cos * across, (slant * cos - sin) * down, sin * across, (slant * sin + cos) * down), -1
    ).view(-1, 2, 2)
    grown = _longer(_transform(images, matrix)) / _longer(images)
    bent = _transform(images, matrix * grown[:, None, None])
    bent = (GAIN * bent.where(bent >= FAINT, 0)).clamp_max(255)
    return _stroke(bent, (STROKE * noise[4]).clamp(THINNEST, 1)).to(torch.uint8)


def _stroke(images: Tensor, amount: Tensor) -> Tensor:
    """Strokes of ``images (M, 28, 28)`` wider by ``amount (M)`` pixels on either side, or thinner.

    Moved so much of the way to the brightest, or darkest, of the pixels around.
    """
    wide, thin = max_pool2d(images, 3, 1, 1), -max_pool2d(-images, 3, 1, 1)
    amount = amount[:, None, None]
    return torch.lerp(images, torch.where(amount > 0, wide, thin), amount.abs())


def _longer(images: Tensor) -> Tensor:
    """The longer side ``(M,)`` of the ink's tight box, pixels."""
    ink = images >= FAINT
    return torch.maximum(ink.any(1).sum(1), ink.any(2).sum(1)).clamp_min(1).float()


def _transform(images: Tensor, matrix: Tensor) -> Tensor:
    """Images ``(M, 28, 28)`` seen through matrices ``(M, 2, 2)`` about their centres, rounded."""
    theta = torch.cat((matrix, torch.zeros(len(matrix), 2, 1)), 2)
    grid = affine_grid(theta, [len(images), 1, SIDE, SIDE], align_corners=False)
    return grid_sample(images[:, None].float(), grid, align_corners=False)[:, 0].round()
