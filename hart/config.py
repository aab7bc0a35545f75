"""Settings of the default tracker; presets are small overrides of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class HartConfig:
    """HART as this project runs it (the published model is ``hart.paper.PaperConfig``).

    Raises:
        ValueError: sizes that the layers cannot have.
    """

    glimpse: int = 48  # side of a glimpse, pixels; a multiple of 4
    stem: tuple[int, int, int] = (24, 48, 64)  # channels of the three convolutions; stride 4 in all
    keys: int = 32  # length of the keys by which cells are matched with the first frame's
    ventral: int = 5  # maps of the ventral stream (what is there)
    dynamic: int = 5  # maps of the dorsal stream's dynamic filters (where the object is)
    features: int = 128  # width of the LSTM, of its input and of the heads
    reach: int = 5  # farthest displacement at which the template is matched, cells
    look: Literal["glimpse", "frame", "soft"] = "glimpse"  # window, small frame, or soft attention
    appearance: bool = True  # dynamic filters, mask and template matching
    context: float = 1.0  # what a window adds to each side of the box, in mean box sides
    # With appearance: how well motion foretold the object narrows where it is looked for.
    steady: bool = False
    dropout: float = 0.0  # share of the glimpse's description that is left out in training
    horizon: int = 8  # frames of motion that gradients flow back through

    def __post_init__(self) -> None:
        if self.glimpse < 4 or self.glimpse % 4:
            raise ValueError(f"glimpse must be a multiple of 4 (the stride), got {self.glimpse}")
        if any(channels % groups for channels, groups in zip(self.stem, (4, 8, 8), strict=True)):
            raise ValueError(f"stem must be multiples of (4, 8, 8), its groups, got {self.stem}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if self.horizon < 1:
            raise ValueError(f"horizon must be at least 1 frame, got {self.horizon}")
