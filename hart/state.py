"""What a HART model hands out: one ``Step`` per frame, stacked over time by ``forward``."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Step(NamedTuple):
    """One frame of tracking (``...`` is ``(B,)``, or ``(T, B)`` for a whole clip).

    Attributes:
        boxes: ``(..., N, 4)`` xywh pixels; the given boxes exactly in the first frame.
        windows: ``(..., N, 4)`` xywh pixels, the window each glimpse was read through.
        mask: ``(..., N, h, w)`` logits of the appearance mask over the window.
        glimpses: ``(..., N, C, g, g)`` in ``[0, 1]``, what the model saw; ``g`` is 0 for a model
            that reads the whole frame.
        extras: tensors ``(..., N, ...)`` that one model alone has, read by that model's loss.
    """

    boxes: Tensor
    windows: Tensor
    mask: Tensor
    glimpses: Tensor
    extras: dict[str, Tensor]
