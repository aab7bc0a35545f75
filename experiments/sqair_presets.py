"""Presets of the unsupervised models: what is trained, on what digits, in which stages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from common.curriculum import Ramp, Stage
from common.trainer_config import TrainerConfig
from datasets.moving_mnist import MovingMnistConfig
from experiments.optimisers import OptimiserConfig
from sqair.air import Air, AirConfig, AirObjective
from sqair.config import PAPER, SqairConfig
from sqair.mode import Objective
from sqair.model import Sqair
from sqair.training import SqairObjective
from sqair.vrnn import Vrnn, VrnnConfig
from sqair.vrnn_objective import VrnnObjective


@dataclass(frozen=True)
class QuickCurriculum:
    """Single frames, then short clips whose objects are kept by force, then nothing forced.

    Forced stages end when they are good enough: ids that are swapped in short clips stay swapped in
    longer ones. Numbers are steps at most, and what has none is left out.
    """

    length: int = 10  # frames of the longest clips
    single: int = 3000  # on single frames
    single_elbo: float = 585.0  # nats per frame that end it
    pair: int = 1000  # on two frames
    grow: int = 600  # on three and on four frames; half of it on each further length
    free: int = 2000  # at the end, nothing forced
    batch: tuple[int, int, int] = (64, 32, 16)  # sequences: single frames; kept; free
    particles: int = 2  # of the last stage
    what_weight: float = 2.0  # of the propagated appearance's divergence: what an id switch costs

    @property
    def longest(self) -> int:
        """Frames of the longest clips."""
        return self.length


@dataclass(frozen=True)
class PlainCurriculum:
    """The same objective from the first step on, on clips that grow by a frame at a time."""

    lengths: tuple[int, ...] = tuple(range(3, 11))  # frames
    each: int = 100_000  # steps on a length; the last lasts to the end of the run
    objective: Objective = "released"
    particles: int = 5
    batch: int = 32

    @property
    def longest(self) -> int:
        """Frames of the longest clips."""
        return max(self.lengths)


@dataclass(frozen=True)
class SqairPreset:
    """A model, the digits it sees, and the recipe that trains it."""

    about: str
    model: SqairConfig | VrnnConfig
    clips: MovingMnistConfig = MovingMnistConfig()
    optimiser: OptimiserConfig = OptimiserConfig(
        rate=1e-3, weight_decay=0.0, warmup=100, schedule="constant"
    )
    curriculum: QuickCurriculum | PlainCurriculum = QuickCurriculum()
    trainer: TrainerConfig = TrainerConfig(
        steps=1_000_000,
        clip_norm=10.0,
        log_every=50,
        validate_every=100,
        save_every=200,
        best_of="stage",
        best_metric="elbo",
    )


_QUICK = SqairPreset("SQAIR, the project's recipe: minutes on two cores", SqairConfig())
_PAPER = SqairPreset(
    "MLP-SQAIR as released, with its own objective, optimiser and curriculum",
    PAPER,
    optimiser=OptimiserConfig(
        kind="tf-rmsprop", rate=1e-5, weight_decay=0.0, warmup=0, schedule="thirds"
    ),
    curriculum=PlainCurriculum(),
    trainer=replace(_QUICK.trainer, steps=2_000_000, clip_norm=0.0, validate_every=5000),
)
_BASELINE = replace(
    _QUICK,
    optimiser=replace(_QUICK.optimiser, schedule="cosine"),
    trainer=replace(_QUICK.trainer, best_of="run", validate_every=250),
)

SQAIR_PRESETS: dict[str, SqairPreset] = {
    "sqair": _QUICK,
    "sqair-conv": replace(
        _QUICK,
        about="CONV-SQAIR: convolutions see and paint; the project's recipe",
        model=SqairConfig(encoder="conv"),
    ),
    "sqair-paper": _PAPER,
    "air": replace(
        _BASELINE,
        about="baseline: AIR, objects in every frame on its own, nothing propagates",
        model=AirConfig(),
        optimiser=_QUICK.optimiser,
        curriculum=QuickCurriculum(pair=0, grow=0, free=15_000, batch=(64, 32, 8), particles=1),
        trainer=replace(_BASELINE.trainer, best_of="stage"),
    ),
    "vrnn": replace(
        _BASELINE,
        about="baseline: a variational recurrent network, one latent for the whole frame",
        model=VrnnConfig(),
        curriculum=PlainCurriculum((10,), objective="elbo", particles=1),
        trainer=replace(_BASELINE.trainer, steps=15_000),
    ),
    "vrnn-conv": replace(
        _BASELINE,
        about="baseline: the same with convolutions",
        model=VrnnConfig(kind="conv"),
        curriculum=PlainCurriculum((10,), objective="elbo", particles=1),
        trainer=replace(_BASELINE.trainer, steps=5_000),
    ),
}

# Names of models in weight files; AIR's configuration is a SQAIR's and comes first.
KINDS: dict[type, str] = {AirConfig: "air", SqairConfig: "sqair", VrnnConfig: "vrnn"}


def make_objective(config: SqairConfig | VrnnConfig) -> nn.Module:
    """The untrained model of a configuration inside its loss."""
    if isinstance(config, VrnnConfig):
        return VrnnObjective(Vrnn(config))
    if isinstance(config, AirConfig):
        return AirObjective(Air(config))
    return SqairObjective(Sqair(config))


def make_stages(curriculum: QuickCurriculum | PlainCurriculum) -> tuple[Stage, ...]:
    """The stages of a curriculum."""
    if isinstance(curriculum, PlainCurriculum):
        return _plain(curriculum)
    return _quick(curriculum)


def _plain(curriculum: PlainCurriculum) -> tuple[Stage, ...]:
    settings = {k: getattr(curriculum, k) for k in ("objective", "particles", "batch")}
    last = curriculum.lengths[-1]
    return tuple(
        Stage(f"{n} frames", n, max_steps=None if n == last else curriculum.each, settings=settings)
        for n in curriculum.lengths
    )


def _quick(curriculum: QuickCurriculum) -> tuple[Stage, ...]:
    c = curriculum
    single, kept, free = ({"batch": size} for size in c.batch)
    kept = {**kept, "keep": True, "late": 1, "what_weight": c.what_weight}
    stages = []
    if c.single:
        stages.append(_single(c, {**single, "explore": Ramp(0.5, 0.0, 400)}))
    if c.pair and c.length > 1:
        stages.append(_kept("pairs", 2, 300, c.pair, kept, 0.985))
    if c.grow:
        for n in _lengths(c.length):
            least, most = (200, c.grow) if n < 5 else (150, max(1, c.grow // 2))
            stages.append(_kept(f"{n} frames, kept", n, least, most, kept, 0.97 if n < 4 else 0.96))
    if c.free:
        settings = {**free, "particles": c.particles, "late": 1, "what_weight": c.what_weight}
        rate = Ramp(0.5, 0.025, c.free, geometric=True)
        stages.append(Stage("free", c.length, max_steps=c.free, settings=settings, rate=rate))
    return tuple(stages)


def _single(curriculum: QuickCurriculum, settings: dict[str, Any]) -> Stage:
    """Single frames; starts anew where objects are still not found after a while."""
    return Stage(
        "single frames",
        1,
        min_steps=min(600, curriculum.single),
        max_steps=curriculum.single,
        gate={"elbo": curriculum.single_elbo, "counting": 0.985},
        settings=settings,
        restarts=3,
        restart_after=min(700, curriculum.single),
        restart_gate={"counting": 0.85},
    )


def _lengths(longest: int) -> list[int]:
    """Frames of the clips between pairs and the longest."""
    return sorted({n for n in (3, 4, *range(6, longest, 2), longest) if 3 <= n <= longest})


def _kept(
    name: str, length: int, least: int, most: int, settings: dict[str, Any], same_id: float
) -> Stage:
    least = min(least, most)
    return Stage(name, length, least, most, {"same_id": same_id}, settings=settings, rate=0.5)
