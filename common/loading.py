"""Training batches by number: deterministic, resumable at any step, prepared ahead by workers."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from common.curriculum import Stage
from common.distributed import World

# batches(number, stage, rank, world) -> batch, a pure function of its arguments.
Batches = Callable[[int, Stage, int, int], Any]


class NumberedBatches(Dataset):
    """A map from training step to that step's list of ``accumulate`` batches, for one stage."""

    def __init__(
        self, batches: Batches, stage: Stage, begun: int, accumulate: int, world: World
    ) -> None:
        """``begun`` is the training step at which the stage began."""
        self.batches = batches
        self.stage = stage
        self.begun = begun
        self.accumulate = accumulate
        self.world = world

    def __getitem__(self, step: int) -> list[Any]:
        """The batches of training step ``step``."""
        stage = self.stage.at(step - self.begun)
        numbers = range(step * self.accumulate, (step + 1) * self.accumulate)
        return [self.batches(n, stage, self.world.rank, self.world.size) for n in numbers]


def loader(data: NumberedBatches, steps: range, workers: int, pin: bool) -> DataLoader:
    """An iterable over the batches of ``steps``, in order.

    ``workers`` processes prepare them ahead; ``pin`` puts them in page-locked memory for a GPU.
    """
    return DataLoader(
        data,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=pin and workers > 0,
        worker_init_fn=_leave_signals_to_the_parent,
        generator=torch.Generator(),  # without its own, it would draw from the global one
    )


def _leave_signals_to_the_parent(_worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def to_device(value: Any, device: torch.device) -> Any:
    """Nested tuples, NamedTuples, lists and dicts with their tensors moved to ``device``."""
    if isinstance(value, Tensor):
        if device.type == "cuda" and not value.is_cuda and not value.is_pinned():
            value = value.pin_memory()
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(to_device(v, device) for v in value))
    if isinstance(value, (tuple, list)):
        return type(value)(to_device(v, device) for v in value)
    if isinstance(value, dict):
        return {k: to_device(v, device) for k, v in value.items()}
    return value


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
