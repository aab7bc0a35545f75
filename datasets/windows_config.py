"""How training clips are made, as one frozen dataclass; the command line is generated from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WindowsConfig:
    """How clips are cut, moved, coloured and mixed."""

    batch: int = 32  # clips
    side: int = 160  # of the square view, pixels
    object_size: tuple[float, float] = (14.0, 60.0)  # sqrt(w h) in frame 0, pixels, log-uniform
    stretch: float = 0.2  # largest |log| change of each axis' scale
    strides: tuple[int, ...] = (1, 1, 2, 3)  # time strides, drawn evenly
    slow: float = 0.7  # share of the clips of footage that are slowed down
    slowest: float = 6.0  # most by which they are, times; drawn log-uniform from 1
    glide: float = 0.5  # share of the generated clips in which all move slowly
    sprites: float = 0.35  # share of clips that are generated
    footage: float = 0.6  # share of the generated clips that borrow their pixels from the sequences
    occluded: float = 0.55  # share of the clips of footage in which something passes in front
    twice: float = 0.3  # share of these in which something else does so too
    early: float = 0.4  # share of what passes that is in front from the first frame on
    shake: float = 0.15  # share of clips whose view shakes and drifts
    visible: float = 0.25  # an object counts as present while this share of its box is in view
    colour: float = 0.7  # share of clips with changed gain, gamma and channels
    worse: float = 0.4  # share of the clips of footage with another lens, sensor and compression
    pool: int = 16  # batches kept for reuse, up to 60 MB each; 0 draws every batch anew
    fresh: float = 0.5  # share of steps that draw a new batch; the others use one of the pool again

    def __post_init__(self) -> None:
        if self.side < 12:
            raise ValueError(f"windows: side {self.side}, expected 12 or more")
        if self.slowest < 1:
            raise ValueError(f"windows: slowest {self.slowest}, expected 1 or more")
