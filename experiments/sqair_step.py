"""A training step of SQAIR to be measured, with Pyro's handlers and without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pyro
import torch
from torch import Tensor, nn

from common.curriculum import Stage
from common.distributed import World
from common.stepper import Stepper
from common.trainer_config import TrainerConfig
from datasets.moving_mnist import MnistBatch, MovingMnist
from experiments.optimisers import make_optimiser
from experiments.sqair_presets import SQAIR_PRESETS
from sqair import model as rooms
from sqair.mode import Mode
from sqair.model import Sqair
from sqair.objective import SequenceELBO
from sqair.terms import Terms, gather
from sqair.training import diagnostics, loss_of

CLIPS = 4  # batches that take turns


class Work(nn.Module):
    """The loss of a batch; ``handlers`` says whether by way of Pyro's.

    Args:
        model: of which a step is taken.
        forced: objects are there as in the ground truth, whatever the model finds, so that an
            untrained one has the work of a trained one.
    """

    capturable = True

    def __init__(self, model: Sqair, forced: bool) -> None:
        super().__init__()
        self.model, self.forced, self.handlers = model, forced, True

    def forward(self, batch: MnistBatch, stage: Stage) -> tuple[Tensor, dict[str, Tensor]]:
        """What ``SqairObjective`` gives: nats per frame, and diagnostics."""
        mode = Mode.of(stage.settings)
        found = loss_of(mode)
        options: dict[str, Any] = {"late": mode.late or None}
        if self.forced:
            options["values"] = as_they_are(batch, mode.particles, self.model.config.slots)
        arguments = (self.model.model, self.model.guide, batch.frames, mode.particles)
        terms = found.terms if self.handlers else _plainly(found)
        made = terms(*arguments, **options)
        loss = -found.surrogate(made) / stage.length
        with torch.no_grad():
            return loss, diagnostics(made)


class TrainingStep:
    """The step of a preset's last stage, as ``attend train`` takes it, but for the rate: 0.

    Args:
        preset: ``sqair`` or another of its kind.
        model: its model.
        forced: see :class:`Work`.
        clips: what it is trained on.
        shape: T, B and P.
        graphs: on a GPU, its passes as one CUDA graph, handlers or not as they were at first.
    """

    def __init__(
        self,
        preset: str,
        model: Sqair,
        forced: bool,
        clips: MovingMnist,
        shape: tuple[int, int, int],
        graphs: bool = False,
    ) -> None:
        length, batch, particles = shape
        recipe = SQAIR_PRESETS[preset]
        objective = getattr(recipe.curriculum, "objective", "marginal")
        late = {"late": 1} if objective == "marginal" else {}
        settings = {"objective": objective, "particles": particles, "batch": batch, **late}
        self.stage = Stage("benchmark", length, settings=settings)
        self.work = Work(model.train(), forced).to(clips.device)
        self.batches = [clips.batch(seed, batch, length) for seed in range(CLIPS)]
        optimiser = make_optimiser(recipe.optimiser, self.work)
        trainer = TrainerConfig(clip_norm=recipe.trainer.clip_norm, cuda_graphs=graphs)
        self._stepper = Stepper(self.work, optimiser, trainer, World())

    def __call__(self, turn: int, handlers: bool = True) -> None:
        """Take it; those of a turn draw the same."""
        torch.manual_seed(turn)
        self.work.handlers = handlers
        self._stepper.step([self.batches[turn % CLIPS]], self.stage, 0.0)

    def read(self) -> dict[str, float]:
        """Means of what the steps since the last call reported."""
        return self._stepper.read()


def as_they_are(batch: MnistBatch, particles: int, slots: int) -> dict[str, Tensor]:
    """Values of the guide's discrete sites: as many objects as digits exist, from the first frame.

    Args:
        batch: clips whose digits exist throughout, as those of moving MNIST do.
        particles: P.
        slots: K, most objects.
    """
    length, size = batch.frames.shape[:2]
    number = batch.presence[0].sum(-1).clamp_max(slots).expand(particles, size)
    values = {"discovered_count_0": number}
    for t in range(1, length):
        values[f"discovered_count_{t}"] = torch.zeros_like(number)
        values[f"propagated_presence_{t}"] = torch.ones(1, 1, 1, device=number.device)
    return values


def _plainly(found: SequenceELBO) -> Callable[..., Terms]:
    """``found.terms`` by tensors alone: no handlers, and no distributions that only they read."""

    def terms(model: Any, guide: Any, *arguments: Any, **options: Any) -> Terms:
        options["prefixes"] = found.prefixes
        with without_handlers():
            posterior = _returned(guide(*arguments, **options))
            prior = _returned(model(*arguments, **options))
        prior.nodes["frames"] = {"value": arguments[0].transpose(0, 1).float() / 255}
        return gather(prior, posterior, found.prefixes)

    return terms


def _returned(value: Any) -> SimpleNamespace:
    """As much of a trace as the terms are gathered from."""
    return SimpleNamespace(nodes={"_RETURN": {"value": value}})


@contextmanager
def without_handlers() -> Iterator[None]:
    """Within this context a site that is met again has the value that it had; no more is done."""
    drawn: dict[str, Any] = {}

    def sample(name: str, distribution: Any, obs: Any = None) -> Any:
        if obs is not None:
            return obs
        if name not in drawn:
            smooth = distribution.has_rsample
            drawn[name] = distribution.rsample() if smooth else distribution.sample()
        return drawn[name]

    with (
        mock.patch.object(pyro, "sample", sample),
        mock.patch.object(pyro, "plate", lambda *_, **__: nullcontext()),
        mock.patch.object(rooms, "slotwise", _Nothing()),
        mock.patch.object(rooms, "dist", _Nothing()),
    ):
        yield


class _Nothing:
    """Whatever is asked of it, at no cost."""

    def __getattr__(self, name: str) -> _Nothing:
        return self

    def __call__(self, *_: Any, **__: Any) -> _Nothing:
        return self
