"""One trainer for every model: steps, stages, validation, checkpoints, resume, many processes.

The trainer knows a model only as an objective ``objective(batch, stage) -> (loss, metrics)``. It
prints nothing: whatever happens goes to a :class:`Reporter`. Everything but ``max_minutes`` is
scheduled by the step number, so stopping and resuming changes nothing in the result.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from common import checkpoint, curriculum, distributed
from common.curriculum import Decision, Progress, Stage
from common.interruption import interruptible
from common.loading import Batches, NumberedBatches, loader, seed_everything
from common.reporter import Reporter
from common.stepper import Stepper
from common.trainer_config import TrainerConfig

RESTART_SEED = 7919  # added to the seed at every restart; beyond the ranks' own offsets


class Fit(NamedTuple):
    """Outcome of training: steps made, why it ended, the best validation."""

    step: int
    reason: Literal["finished", "time", "interrupted"]
    best: dict[str, float]  # metrics of the best validation; empty when there was none
    skipped: int  # steps skipped because a loss or gradient was not finite


@dataclass(eq=False)
class Trainer:
    """Trains ``objective`` and writes ``checkpoints/last.pt`` and ``best.pt`` in ``folder``.

    Attributes:
        objective: ``objective(batch, stage) -> (loss, metrics)``, scalar tensors; on its device.
        batches: ``batches(number, stage, rank, world) -> batch``, pure; the process's share.
        optimiser: over the objective's parameters; its groups' rates are the base rates.
        learning_rate: step -> factor on the base rates (the stage's ``rate`` multiplies it too).
        stages: the curriculum; the last one ends the run when it ends.
        folder: the run's folder; the first process's counts.
        validate: ``validate(stage) -> metrics``, needed and called in the first process only, with
            the objective in evaluation mode, without gradients, with averaged weights if any.
        reporter: what to tell.
        metadata: plain values kept in every checkpoint (``preset`` and ``config`` of the model).
        fresh: ``fresh(seed) -> state dict`` of a new objective, for restarts of the first stage;
            without it, as for later stages, a restart goes back to the weights it began with.
    """

    objective: nn.Module
    batches: Batches
    optimiser: torch.optim.Optimizer
    learning_rate: Callable[[int], float]
    stages: tuple[Stage, ...]
    config: TrainerConfig
    folder: Path
    validate: Callable[[Stage], Mapping[str, float]] | None = None
    reporter: Reporter | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fresh: Callable[[int], Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("a curriculum needs at least one stage")
        self.device = next(self.objective.parameters()).device
        self.world = distributed.join(self.device)
        self.folder, self.validates = distributed.from_first(
            (Path(self.folder), self.validate is not None), self.world
        )
        if not self.validates and any(s.gated or s.restarts for s in self.stages):
            raise ValueError("stages are gated on validation metrics, but there is no validation")
        self.stepper = Stepper(self.objective, self.optimiser, self.config, self.world)
        self.step = 0
        self.progress = Progress()
        self.best: dict[str, float] = {}
        self.finished = False  # by the curriculum
        self._new_optimiser = copy.deepcopy(self.optimiser.state_dict())
        if self.reporter is None or not self.world.first:
            self.reporter = Reporter()

    def path(self, name: str) -> Path:
        """Path of checkpoint ``last``, ``best`` or ``stage`` (as a stage with restarts began)."""
        return self.folder / "checkpoints" / f"{name}.pt"

    def fit(self, resume: bool = False) -> Fit:
        """Train until the curriculum or ``steps`` ends, time runs out, or a signal asks to stop.

        Raises:
            FileNotFoundError: ``resume`` without a checkpoint.
            ValueError: the folder holds a run and ``resume`` is not asked; or nothing fits it.
            FloatingPointError: ``nonfinite_limit`` steps in a row had no finite loss and gradient;
                ``last.pt`` is the last good checkpoint.
        """
        deadline = time.monotonic() + 60 * (self.config.max_minutes or float("inf"))
        if resume:
            self._restore()
        elif self.path("last").exists():
            raise ValueError(f"{self.folder} already holds a run: resume it or choose another")
        else:
            seed_everything(self.config.seed + self.world.rank)
        self.objective.train()
        self.reporter.start(self.step, self.config.steps)
        try:
            with interruptible() as interrupted:
                reason = "finished" if self.finished else None
                while reason is None:
                    reason = self._run_stage(interrupted, deadline)
            self._save("last")
            if reason != "finished":
                self.reporter.notice(f"stopped at step {self.step}: {reason}")
            return Fit(self.step, reason, self.best, self.stepper.skips()[0])
        finally:
            self.reporter.close()

    def _run_stage(self, interrupted: Callable[[], bool], deadline: float) -> str | None:
        """Steps until the stage changes (None) or the run ends (why)."""
        stage = self.stages[self.progress.stage]
        begun = self.step - self.progress.step
        self.reporter.stage(self.step, stage)
        if stage.restarts and not self.progress.step and not self.progress.restarts:
            self._save("stage")
        data = NumberedBatches(self.batches, stage, begun, self.config.accumulate, self.world)
        steps = range(self.step, self.config.steps)
        pin = self.device.type == "cuda"
        for batches in loader(data, steps, self.config.workers, pin):
            now = stage.at(self.progress.step)
            multiplier = self.learning_rate(self.step) * now.rate
            self.stepper.step(batches, now, multiplier)
            self.step += 1
            self.progress = self.progress._replace(step=self.progress.step + 1)
            decision = self._after_step(multiplier)
            if self.finished or self.step == self.config.steps:
                return "finished"
            reason = self._stop(interrupted, deadline)
            if decision is not Decision.STAY or reason:
                return reason
        return "finished"  # resumed at its last step

    def _after_step(self, multiplier: float) -> Decision:
        """Log, validate, decide and save, as the step number says."""
        config = self.config
        self.reporter.tick(self.step)
        if self.step % config.log_every == 0:
            self._log(multiplier)
        measured = self._validation() if self._validation_due() else None
        self.progress, decision = curriculum.decide(self.stages, self.progress, measured)
        self.finished = decision is Decision.FINISH
        if decision is Decision.RESTART:
            self._restart()
        if decision in (Decision.RESTART, Decision.ADVANCE) and config.best_of == "stage":
            self.best = {}
        if decision is not Decision.STAY or self.step % config.save_every == 0:
            self._save("last")
        return decision

    def _log(self, multiplier: float) -> None:
        metrics = self.stepper.read()
        skipped, in_a_row = self.stepper.skips()
        metrics |= {"skipped": skipped, "rate": multiplier, "stage": self.progress.stage}
        self.reporter.log(self.step, metrics)
        if in_a_row >= self.config.nonfinite_limit:
            raise FloatingPointError(
                f"{in_a_row} steps in a row without a finite loss and gradient, up to step "
                f"{self.step}; the last good checkpoint is {self.path('last')}"
            )

    def _validation_due(self) -> bool:
        if not self.validates:
            return False
        ends = curriculum.at_end(self.stages, self.progress) or self.step == self.config.steps
        return ends or self.step % self.config.validate_every == 0

    def _validation(self) -> dict[str, float]:
        """Metrics of a validation in the first process, known to all; saves the best."""
        measured: dict[str, float] = {}
        if self.world.first:
            average = self.stepper.average
            averaged = average.applied() if average else nullcontext()
            gpus = [self.device] if self.device.type == "cuda" else []
            self.objective.eval()
            with torch.random.fork_rng(gpus), averaged, torch.no_grad():
                torch.manual_seed(self.config.seed)  # each validation alike, training undisturbed
                stage = self.stages[self.progress.stage].at(self.progress.step)
                measured = {k: float(v) for k, v in self.validate(stage).items()}
            self.objective.train()
        measured = distributed.from_first(measured, self.world)
        name = self.config.best_metric or next(iter(measured))
        if name not in measured:
            raise ValueError(f"best_metric {name!r}: validation measures {', '.join(measured)}")
        better = measured[name] > self.best.get(name, -float("inf"))
        if better:
            self.best = {**measured, "step": self.step}
            self._save("best")
        self.reporter.validated(self.step, measured, better)
        return measured

    def _restart(self) -> None:
        """Begin the current stage again, with other random numbers."""
        index, _, count = self.progress
        seed = self.config.seed + RESTART_SEED * count
        seed_everything(seed)
        if index == 0 and self.fresh is not None:
            self.stepper.begin(self.fresh(seed), self._new_optimiser, None)
        else:
            record = checkpoint.load_training(self.path("stage"))
            self.stepper.begin(record["model"], record["optimiser"], record["ema"])
        seed_everything(seed + self.world.rank)
        stage = self.stages[index]
        self.reporter.notice(
            f"stage {stage.name!r} missed its gate at step {self.step}: restart {count} "
            f"of at most {stage.restarts}"
        )

    def _save(self, name: str) -> None:
        """Write a checkpoint; while steps are being skipped, ``last`` stays the last good one."""
        states = distributed.gather(checkpoint.random_states(), self.world)
        if self.world.first and not (name == "last" and self.stepper.skips()[1]):
            record = self.stepper.state_dict() | {
                "step": self.step,
                "progress": tuple(self.progress),
                "stages": [stage.name for stage in self.stages],
                "finished": self.finished,
                "best": self.best,
                "random": states,
                "trainer": asdict(self.config),
            }
            checkpoint.save(self.path(name), dict(self.metadata) | record)

    def _restore(self) -> None:
        """Continue from ``last.pt``."""
        record = checkpoint.load_training(self.path("last"))
        names = [stage.name for stage in self.stages]
        if record["stages"] != names:
            raise ValueError(
                f"{self.path('last')}: trained with stages {', '.join(record['stages'])}, "
                f"not with {', '.join(names)}"
            )
        self.stepper.load_state_dict(record)
        self.step, self.finished, self.best = record["step"], record["finished"], record["best"]
        self.progress = Progress(*record["progress"])
        if len(record["random"]) == self.world.size:
            checkpoint.restore_random_states(record["random"][self.world.rank])
        else:  # another number of processes cannot continue exactly, but must not repeat itself
            seed_everything(self.config.seed + self.step + self.world.rank)

    def _stop(self, interrupted: Callable[[], bool], deadline: float) -> str | None:
        """Why to stop now, if so; many processes agree on it whenever they log."""
        asked = [interrupted(), time.monotonic() > deadline]
        if self.world.size > 1:
            if self.step % self.config.log_every:
                return None
            flags = torch.tensor(asked, dtype=torch.int32, device=self.device)
            asked = distributed.any_of(flags, self.world).tolist()
        return next((why for why, yes in zip(("interrupted", "time"), asked) if yes), None)
