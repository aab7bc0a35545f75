"""How to train, as one frozen dataclass; the command line is generated from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrainerConfig:
    """How to train; what is trained, and on what, is the trainer's other arguments."""

    steps: int = 10_000  # optimiser steps in all
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    accumulate: int = 1  # batches per optimiser step
    clip_norm: float = 0.0  # limit on the global gradient norm; 0: none
    ema_decay: float = 0.0  # of the averaged weights, which are then validated; 0: none
    log_every: int = 50
    validate_every: int = 500
    save_every: int = 500
    max_minutes: float = 0.0  # stop with a checkpoint after this time; 0: no limit
    workers: int = 0  # processes that prepare batches
    cuda_graphs: bool = True  # launch a model's passes as one, on a GPU, where the model allows it
    nonfinite_limit: int = 50  # skipped steps in a row that end the run
    best_metric: str = ""  # of validation, higher is better; empty: its first metric
    best_of: Literal["run", "stage"] = "run"  # "stage": forget the best when a stage begins

    def __post_init__(self) -> None:
        least = {"steps": 1, "accumulate": 1, "log_every": 1, "validate_every": 1, "save_every": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name} must be at least {value}, got {getattr(self, name)}")
        for name in ("clip_norm", "ema_decay", "max_minutes", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
