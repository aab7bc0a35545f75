"""A small regression that stands for a model wherever the trainer itself is tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from common.curriculum import Stage
from common.loading import Batches
from common.reporter import Reporter
from common.training import Trainer, TrainerConfig

TRUTH = torch.tensor([[1.0], [-2.0], [0.5], [3.0]])


class Pair(NamedTuple):
    """Inputs (B, 4) and targets (B, 1)."""

    inputs: Tensor
    targets: Tensor


class Objective(nn.Module):
    """Squared error; dropout draws from the global generator, the norm layer keeps statistics."""

    def __init__(self, dropout: float = 0.2, norm: bool = True) -> None:
        super().__init__()
        middle = nn.BatchNorm1d(16) if norm else nn.Tanh()
        self.model = nn.Sequential(
            nn.Linear(4, 16), nn.Dropout(dropout), middle, nn.ReLU(), nn.Linear(16, 1)
        )

    def forward(self, batch: Pair, stage: Stage) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error, times the stage's ``scale``."""
        error = (self.model(batch.inputs).float() - batch.targets).square().mean()
        return error * stage.settings.get("scale", 1.0), {"error": error.detach()}


def batches(number: int, stage: Stage, rank: int, world: int) -> Pair:
    """This process's part of batch ``number``: 24 rows in all, split evenly."""
    generator = torch.Generator().manual_seed(number)
    rows = torch.randn(24, 4, generator=generator)[rank::world]
    return Pair(rows, rows @ TRUTH)


def nan_at(numbers: range) -> Batches:
    """Batches whose targets are nan at these numbers."""

    def source(number: int, stage: Stage, rank: int, world: int) -> Pair:
        pair = batches(number, stage, rank, world)
        return pair._replace(targets=pair.targets * float("nan")) if number in numbers else pair

    return source


class Diary(Reporter):
    """Remembers everything it is told."""

    def __init__(self) -> None:
        self.logs: list[tuple[int, dict[str, float]]] = []
        self.validations: list[tuple[int, dict[str, float], bool]] = []
        self.stages: list[tuple[int, str]] = []
        self.notices: list[str] = []
        self.ticks = 0
        self.closed = False

    def tick(self, step: int) -> None:
        self.ticks += 1

    def log(self, step: int, metrics: Any) -> None:
        self.logs.append((step, dict(metrics)))

    def validated(self, step: int, metrics: Any, best: bool) -> None:
        self.validations.append((step, dict(metrics), best))

    def stage(self, step: int, stage: Stage) -> None:
        self.stages.append((step, stage.name))

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def close(self) -> None:
        self.closed = True


def trainer(folder: Path, config: TrainerConfig, **changes: Any) -> Trainer:
    """A trainer of the toy with AdamW; ``changes`` replace any of the trainer's arguments."""
    objective = changes.pop("objective", None) or Objective()
    arguments = {
        "objective": objective,
        "batches": batches,
        "optimiser": torch.optim.AdamW(objective.parameters(), 1e-2),
        "learning_rate": lambda step: 1.0,
        "stages": (Stage("all", 1),),
        "config": config,
        "folder": folder,
        "reporter": Diary(),
    }
    return Trainer(**(arguments | changes))


def error_of(objective: Objective) -> float:
    """Mean squared error on rows no batch holds."""
    pair = batches(10**6, Stage("all", 1), 0, 1)
    with torch.no_grad():
        return float((objective.model(pair.inputs) - pair.targets).square().mean())
