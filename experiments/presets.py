"""Every model that can be trained by name: two base recipes, and small overrides of them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from common.curriculum import Stage
from common.optim import rms_limit_as_norm
from common.training import TrainerConfig
from datasets.windows import WindowsConfig
from experiments import sqair_presets
from experiments.optimisers import OptimiserConfig
from experiments.sqair_presets import SQAIR_PRESETS, SqairPreset
from hart.config import HartConfig
from hart.objective import HartObjective
from hart.paper import PaperConfig
from hart.paper_objective import PaperObjective
from hart.pretrained import build


@dataclass(frozen=True)
class CurriculumConfig:
    """Clips grow: stage ``i`` trains on ``lengths[i]`` frames for ``time[i]`` of the run's time."""

    lengths: tuple[int, ...] = (4, 8, 16, 24)
    time: tuple[float, ...] = (0.03, 0.12, 0.45, 0.4)  # shares; a stage's steps are share / length
    gate: tuple[float, ...] = (0.6, 0.65, 0.7)  # mean IoU that opens the next stage early; or none
    least: float = 0.5  # share of a stage's steps made before its gate may open


@dataclass(frozen=True)
class Preset:
    """A model and the recipe that trains it."""

    about: str
    model: HartConfig | PaperConfig
    windows: WindowsConfig = WindowsConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    trainer: TrainerConfig = TrainerConfig(
        steps=4000, clip_norm=1.0, log_every=50, validate_every=250, save_every=100
    )


_HART = Preset(
    "the project's own tracker: small, quick, the best one here",
    HartConfig(steady=True, dropout=0.2),
    trainer=replace(Preset.trainer, ema_decay=0.998),
)
_PAPER = Preset(
    "HART as published, with its own optimiser and curriculum",
    PaperConfig(),
    windows=WindowsConfig(batch=10),
    optimiser=OptimiserConfig(
        kind="tf-rmsprop", rate=3.3e-6, weight_decay=0.0, warmup=0, schedule="constant"
    ),
    curriculum=CurriculumConfig(
        lengths=tuple(range(5, 31)),
        time=tuple(1.0 for n in range(5, 31)),
        gate=tuple(0.70 - 0.05 * (n - 5) / 25 for n in range(5, 30)),
    ),
    trainer=replace(Preset.trainer, steps=400_000, clip_norm=math.inf),
)

PRESETS: dict[str, Preset | SqairPreset] = {
    "hart": _HART,
    "hart-spatial": replace(
        _HART,
        about="ablation: spatial attention only (a moving glimpse, nothing picks the object out)",
        model=replace(_HART.model, appearance=False),
    ),
    "hart-appearance": replace(
        _HART,
        about="ablation: appearance attention only (the whole frame as one fixed glimpse)",
        model=replace(_HART.model, look="frame"),
    ),
    "hart-soft": replace(
        _HART,
        about="baseline: soft attention over the whole frame at full resolution, no glimpse",
        model=replace(_HART.model, look="soft"),
    ),
    "hart-paper": _PAPER,
    "hart-paper-adamw": replace(
        _PAPER,
        about="the published model with this project's optimiser and curriculum",
        optimiser=replace(_HART.optimiser, rate=3e-4),
        curriculum=_HART.curriculum,
        trainer=Preset.trainer,
    ),
    **SQAIR_PRESETS,
}


def find(name: str) -> Preset | SqairPreset:
    """The preset of that name.

    Raises:
        ValueError: there is none; the message lists them.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def make_objective(preset: Preset | SqairPreset) -> nn.Module:
    """The untrained model of a preset inside its loss."""
    if isinstance(preset, SqairPreset):
        return sqair_presets.make_objective(preset.model)
    model = build(preset.model)
    return PaperObjective(model) if isinstance(preset.model, PaperConfig) else HartObjective(model)


def make_stages(config: Any, steps: int) -> tuple[Stage, ...]:
    """The stages of a preset's curriculum in a run of ``steps``.

    Raises:
        ValueError: shares or gates that do not fit the lengths.
    """
    if not isinstance(config, CurriculumConfig):
        return sqair_presets.make_stages(config)
    return growing(config, steps)


def growing(config: CurriculumConfig, steps: int) -> tuple[Stage, ...]:
    """HART's length curriculum over ``steps``; the last stage lasts to the end of the run."""
    lengths, time, gates = config.lengths, config.time, config.gate
    if len(time) != len(lengths) or min(time, default=0) <= 0:
        raise ValueError(f"curriculum: {len(lengths)} lengths need as many shares above 0: {time}")
    if gates and len(gates) != len(lengths) - 1:
        raise ValueError(
            f"curriculum: {len(lengths)} lengths have {len(lengths) - 1} gates: {gates}"
        )
    parts = [share / length for share, length in zip(time, lengths, strict=True)]  # of the steps
    stages = []
    for number, (length, part) in enumerate(zip(lengths, parts, strict=True)):
        most = max(int(steps * part / sum(parts)), 1)
        gate = {"mean_iou": gates[number]} if gates and number < len(gates) else {}
        last = number + 1 == len(lengths)
        name = f"{length} frames"
        stages.append(Stage(name, length, int(most * config.least), None if last else most, gate))
    return tuple(stages)


def trainer_config(preset: Preset | SqairPreset, objective: nn.Module) -> TrainerConfig:
    """The preset's trainer, its clip made a norm and its steps at most what the stages may take.

    An infinite clip stands for the paper's limit on the gradients' root mean square, which as a
    norm depends on the number of parameters.
    """
    config = preset.trainer
    if math.isinf(config.clip_norm):
        config = replace(config, clip_norm=rms_limit_as_norm(objective.parameters()))
    most = longest(make_stages(preset.curriculum, config.steps))
    return config if most is None else replace(config, steps=min(config.steps, most))


def longest(stages: tuple[Stage, ...]) -> int | None:
    """Most steps that the stages may take, restarts included; None: without end."""
    if any(stage.max_steps is None for stage in stages):
        return None
    again = sum(stage.restarts * (stage.restart_after or stage.max_steps) for stage in stages)
    return again + sum(stage.max_steps for stage in stages)


def model_record(config: Any) -> dict[str, Any]:
    """A model's configuration as weight files keep it: its settings, and which ``model`` it is."""
    if isinstance(config, HartConfig):
        return {"model": "hart", **asdict(config)}
    if isinstance(config, PaperConfig):
        return {"model": "paper", **asdict(config)}
    return {"model": sqair_presets.KINDS[type(config)], **asdict(config)}
