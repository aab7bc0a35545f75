"""Settings of the default tracker; presets are small overrides of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class HartConfig:
    """HART as this project runs it (the published model is ``hart.paper.PaperConfig``)."""

    glimpse: int = 48  # samples on a glimpse's side
    stem: tuple[int, int, int] = (24, 48, 64)  # channels of the three convolutions; stride 4 in all
    keys: int = 32  # channels in which cells are matched with the first frame's
    ventral: int = 5  # maps of the ventral stream
    dynamic: int = 5  # maps of the dynamic-filter stream
    features: int = 128  # width of the LSTM and of what it reads
    reach: int = 5  # farthest displacement the template is matched at, cells
    look: Literal["glimpse", "frame", "soft"] = (
        "glimpse"  # a moving window, all of it small, or all
    )
    appearance: bool = True  # dynamic filters, mask and template matching
    context: float = 1.0  # margin around the box, in mean box sides
    horizon: int = 8  # frames that gradients flow back through
