"""Boxes and tracks of what slots paint.

The window of a glimpse says where a slot looks; a digit fills only some of it. What a slot claims
to be its object is what it paints, so that is what a track's box is drawn around.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common import tracks as tk
from common.tracks import Tracks

if TYPE_CHECKING:
    from sqair.state import Slots

SHARE = 0.2  # of a glimpse's maximum: fainter pixels are no part of the object


def tight(canvases: Tensor, share: float = SHARE, peak: Tensor | None = None) -> Tensor:
    """The tight box around the pixels above ``share`` of the maximum, and above 0.

    Args:
        canvases: ``(..., C, H, W)``, each with what one slot paints; the brightest channel counts.
        share: of the maximum, in [0, 1).
        peak: ``(...)``, the maximum; by default each canvas's own. Of something that lies partly
            outside, give the maximum of the whole: its faint rim inside is then not taken for it.

    Returns:
        ``(..., 4)`` float32 xywh pixels, inside the canvas; zeros where there is no such pixel.
    """
    image = canvases.amax(-3)
    peak = image.amax((-2, -1)) if peak is None else peak
    ink = image > (share * peak).clamp_min(0)[..., None, None]
    sides = [_extent(ink.any(-2)), _extent(ink.any(-1))]
    return torch.stack([side[part] for part in (0, 1) for side in sides], -1).float()


def boxes(slots: Slots, glimpses: Tensor, canvases: Tensor) -> Tensor:
    """The box of what each slot paints, ``(..., K, 4)`` xywh pixels; zeros where that is nothing.

    Args:
        slots: ``(..., K)``; absent ones have no box.
        glimpses: ``(..., K, C, g, g)`` and
        canvases: ``(..., K, C, H, W)``, as the model's ``decode`` gives them.
    """
    found = tight(canvases, peak=glimpses.amax((-3, -2, -1)))
    return found * (slots.presence > 0)[..., None]


def tracks(ids: Tensor, boxes: Tensor) -> list[Tracks]:
    """The tracks of each sequence.

    Args:
        ids: ``(T, B, K)`` int64, of the slots; not looked at where there is no box.
        boxes: ``(T, B, K, 4)`` xywh pixels; a box without a size is none.
    """
    time, sequence, slot = (boxes[..., 2:] > 0).all(-1).nonzero(as_tuple=True)
    rows = boxes[time, sequence, slot].cpu().double().numpy()
    names = ids[time, sequence, slot].cpu().numpy()
    time, sequence = time.cpu().numpy(), sequence.cpu().numpy()
    return [
        tk.build(time[own], names[own], rows[own])
        for own in (sequence == number for number in range(ids.shape[1]))
    ]


def _extent(line: Tensor) -> tuple[Tensor, Tensor]:
    """First set place of ``line (..., L)`` and the number of places to the last one; 0, 0: none."""
    places = torch.arange(line.shape[-1], device=line.device)
    first = torch.where(line, places, line.shape[-1]).amin(-1)
    last = torch.where(line, places, -1).amax(-1)
    found = line.any(-1)
    return first * found, (last - first + 1) * found
