"""What a stage of training may turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Objective = Literal["marginal", "elbo", "vimco", "released"]  # see sqair.objective


@dataclass(frozen=True)
class Mode:
    """How the objective treats a batch; a stage's ``settings`` are its fields."""

    objective: Objective = "marginal"
    particles: int = 1
    batch: int = 32  # sequences
    explore: float = 0.0  # share of the evenly spread weight that counts are taught with
    keep: bool = False  # every object is kept and none found late; both are taught all the same
    what_weight: float = 1.0  # of the propagated appearance's divergence
    late: int = 0  # most discoveries in a frame after the first; 0: as many as there are slots

    def __post_init__(self) -> None:
        if self.particles < 1 or self.batch < 1 or self.late < 0:
            raise ValueError(f"particles and batch must be at least 1, late at least 0: {self}")
        if self.particles < 2 and self.objective in ("vimco", "released"):
            raise ValueError(f"{self.objective} compares particles and needs at least 2 of them")
        if self.keep and self.objective != "marginal":
            raise ValueError("only the marginal objective can teach counts that are not drawn")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Mode:
        """The mode of a stage; raises ValueError for settings that there are none of."""
        unknown = set(settings) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"SQAIR has no stage settings {', '.join(sorted(unknown))}")
        return cls(**settings)
