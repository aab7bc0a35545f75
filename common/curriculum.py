"""Training stages: how long a stage lasts, what must be reached before the next, what restarts it.

A curriculum is a tuple of frozen :class:`Stage`; where a run stands in it is one :class:`Progress`,
replaced after every step and stored in the checkpoint. Everything here is a pure function of
(stages, progress, measured metrics), so a resumed run takes the same decisions as an unbroken one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Ramp:
    """A number that moves from ``start`` to ``end`` over the first ``steps`` steps of a stage.

    ``geometric`` moves by equal ratios (both ends positive), else by equal differences.
    """

    start: float
    end: float
    steps: int
    geometric: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"ramp: steps must be at least 1, got {self.steps}")
        if self.geometric and min(self.start, self.end) <= 0:
            raise ValueError(f"geometric ramp: ends must be positive, got {self.start}, {self.end}")

    def at(self, step: int) -> float:
        """Value at ``step`` steps into the stage; the end value from ``steps`` on."""
        share = min(max(step / self.steps, 0.0), 1.0)
        if self.geometric:
            return self.start * (self.end / self.start) ** share
        return self.start + (self.end - self.start) * share


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    A stage ends at the first validation after ``min_steps`` that meets its gate, and in any case at
    ``max_steps``; an empty gate is never met, so such a stage lasts ``max_steps`` (without end when
    that is None). It starts again, at most ``restarts`` times, when a validation at or after
    ``restart_after`` steps (default: ``max_steps``) misses ``restart_gate`` (default: its gate).
    """

    name: str
    length: int  # frames per training sequence, T
    min_steps: int = 0
    max_steps: int | None = None
    gate: Mapping[str, float] = field(default_factory=dict)  # metric -> least value
    limits: Mapping[str, float] = field(default_factory=dict)  # metric -> greatest value
    settings: Mapping[str, Any] = field(default_factory=dict)  # the model's own; may hold Ramps
    rate: float | Ramp = 1.0  # multiplies the learning rate
    restarts: int = 0
    restart_after: int | None = None
    restart_gate: Mapping[str, float] = field(default_factory=dict)  # metric -> least value

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"stage {self.name!r}: length must be at least 1, got {self.length}")
        if self.max_steps is not None and self.max_steps < max(1, self.min_steps):
            raise ValueError(
                f"stage {self.name!r}: max_steps {self.max_steps} below min_steps {self.min_steps}"
            )
        if self.restarts and self.restart_after is None and self.max_steps is None:
            raise ValueError(f"stage {self.name!r}: restarts need restart_after or max_steps")

    def at(self, step: int) -> Stage:
        """This stage with every ramp replaced by its value ``step`` steps into the stage."""
        ramps = {k: v.at(step) for k, v in self.settings.items() if isinstance(v, Ramp)}
        rate = self.rate.at(step) if isinstance(self.rate, Ramp) else self.rate
        if not ramps and rate is self.rate:
            return self
        return dataclasses.replace(self, settings={**self.settings, **ramps}, rate=rate)

    @property
    def gated(self) -> bool:
        """Whether measured quality can end this stage."""
        return bool(self.gate or self.limits)


class Progress(NamedTuple):
    """Where a run stands: index of its stage, steps made in it, restarts of it so far."""

    stage: int = 0
    step: int = 0
    restarts: int = 0


class Decision(Enum):
    """What happens after a step."""

    STAY = "stay"
    ADVANCE = "advance"
    RESTART = "restart"
    FINISH = "finish"


def reached(
    metrics: Mapping[str, float], gate: Mapping[str, float], limits: Mapping[str, float]
) -> bool:
    """Whether every metric of ``gate`` is at least, and of ``limits`` at most, its threshold.

    A value that is not finite reaches nothing. Raises ValueError for a metric not measured.
    """
    missing = sorted((set(gate) | set(limits)) - set(metrics))
    if missing:
        raise ValueError(
            f"gate on {', '.join(missing)}, but validation measures {', '.join(sorted(metrics))}"
        )
    return all(math.isfinite(metrics[k]) and metrics[k] >= v for k, v in gate.items()) and all(
        math.isfinite(metrics[k]) and metrics[k] <= v for k, v in limits.items()
    )


def at_end(stages: Sequence[Stage], progress: Progress) -> bool:
    """Whether the stage has used up its steps."""
    return progress.step == stages[progress.stage].max_steps


def decide(
    stages: Sequence[Stage], progress: Progress, metrics: Mapping[str, float] | None
) -> tuple[Progress, Decision]:
    """Progress and decision after a step; ``metrics`` are a validation's, None without one."""
    stage = stages[progress.stage]
    done = at_end(stages, progress)
    if metrics is not None:
        passed = stage.gated and reached(metrics, stage.gate, stage.limits)
        if passed and progress.step >= stage.min_steps:
            done = True
        elif not passed and _restarts(stage, progress, metrics):
            return Progress(progress.stage, 0, progress.restarts + 1), Decision.RESTART
    if not done:
        return progress, Decision.STAY
    if progress.stage + 1 == len(stages):
        return progress, Decision.FINISH
    return Progress(progress.stage + 1), Decision.ADVANCE


def _restarts(stage: Stage, progress: Progress, metrics: Mapping[str, float]) -> bool:
    """Whether a stage whose gate is not met has to start again."""
    after = stage.max_steps if stage.restart_after is None else stage.restart_after
    if progress.restarts >= stage.restarts or progress.step < after:
        return False
    if stage.restart_gate:
        return not reached(metrics, stage.restart_gate, {})
    return stage.gated


def length_stages(
    lengths: Sequence[int], steps: Sequence[int | None], gate: Mapping[str, float] | None = None
) -> tuple[Stage, ...]:
    """A plain curriculum on sequence length: stage ``i`` trains on ``lengths[i]`` frames.

    ``steps[i]`` is the most steps stage ``i`` may take (the last may be None: until the run ends);
    with a ``gate`` it ends as soon as a validation meets that.
    """
    if len(lengths) != len(steps) or not lengths:
        raise ValueError(f"{len(lengths)} lengths but {len(steps)} step counts")
    return tuple(
        Stage(name=f"length-{n}", length=n, max_steps=most, gate=dict(gate or {}))
        for n, most in zip(lengths, steps)
    )
