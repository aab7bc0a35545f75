"""One optimiser step: forward, backward, clipping, skipping what is not finite, averaging weights.

Nothing here waits for a GPU: losses, norms and counts stay tensors until :meth:`Stepper.read`. An
objective that waits for none either, and has no shape that depends on a value, says so by an
attribute ``capturable = True``: its passes, forward and backward, then run as CUDA graphs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from common.curriculum import Stage
from common.distributed import World, any_of, total
from common.graphs import GradientGraphs
from common.loading import to_device
from common.optim import WeightAverage
from common.trainer_config import TrainerConfig


class Stepper:
    """Steps ``objective(batch, stage) -> (loss, metrics)`` and keeps means of its metrics."""

    def __init__(
        self,
        objective: nn.Module,
        optimiser: torch.optim.Optimizer,
        config: TrainerConfig,
        world: World,
    ) -> None:
        """Of ``config`` it takes precision, clip_norm, ema_decay and cuda_graphs."""
        self.objective = objective
        self.optimiser = optimiser
        self.config = config
        self.world = world
        self.device = next(objective.parameters()).device
        self.parameters = [p for group in optimiser.param_groups for p in group["params"]]
        self.rates = [group["lr"] for group in optimiser.param_groups]
        self.skipped = torch.zeros(2, device=self.device)  # in all, in a row
        self._statistics = [b for b in objective.buffers() if b.is_floating_point()]
        self._module: nn.Module = objective
        if world.size > 1:
            self._module = DistributedDataParallel(objective, find_unused_parameters=True)
        self.average = WeightAverage(objective, config.ema_decay) if config.ema_decay else None
        self._graphs = None
        alone = self.device.type == "cuda" and world.size == 1 and config.cuda_graphs
        if alone and getattr(objective, "capturable", False):
            self._graphs = GradientGraphs(self.parameters, self.device)
        self.clear()

    def step(self, batches: Sequence[Any], stage: Stage, multiplier: float) -> None:
        """One optimiser step on the mean loss of ``batches``, every rate times ``multiplier``."""
        for group, rate in zip(self.optimiser.param_groups, self.rates):
            group["lr"] = rate * multiplier
        before = [b.clone() for b in self._statistics]
        bad, metrics = self._gradients(batches, stage)
        self._update(bad)
        for buffer, old in zip(self._statistics, before):
            buffer.copy_(torch.where(bad > 0, old, buffer))
        self.skipped = torch.stack((self.skipped[0] + bad, (self.skipped[1] + 1) * bad))
        for found in metrics:
            self._record(found)

    def read(self) -> dict[str, float]:
        """Means since the last call over finite values and processes; nan where none is finite."""
        merged: dict[str, tuple[float, float]] = {}
        for names, pair in self._sums.items():
            for name, (value, count) in zip(names, total(pair.double(), self.world).T.tolist()):
                before = merged.get(name, (0.0, 0.0))
                merged[name] = (before[0] + value, before[1] + count)
        self.clear()
        return {n: value / count if count else math.nan for n, (value, count) in merged.items()}

    def skips(self) -> tuple[int, int]:
        """Steps skipped for a loss or gradient that was not finite: in all, and in a row by now."""
        in_all, in_a_row = self.skipped.tolist()
        return int(in_all), int(in_a_row)

    def clear(self) -> None:
        """Forget the means so far."""
        self._sums: dict[tuple[str, ...], Tensor] = {}  # names -> (2, names): sum, count

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: model, optimiser, average, counts and running means."""
        return {
            "model": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.average.state_dict() if self.average else None,
            "skipped": self.skipped,
            "sums": dict(self._sums),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`, strictly; raises ValueError like :meth:`begin`."""
        self.begin(state["model"], state["optimiser"], state["ema"])
        self.skipped = state["skipped"].to(self.device)
        self._sums = {n: v.to(self.device) for n, v in state["sums"].items()}

    def begin(self, model: Mapping[str, Any], optimiser: dict, average: Any) -> None:
        """Go on from other weights, optimiser state and average (None: it starts at the weights).

        Raises ValueError when the weights are of another model.
        """
        try:
            self.objective.load_state_dict(model)
        except RuntimeError as error:
            raise ValueError(f"weights of another model: {error}") from error
        self.optimiser.load_state_dict(copy.deepcopy(optimiser))
        if self.average and average:
            self.average.load_state_dict(average)
        elif self.average:
            self.average.restart()

    def _gradients(
        self, batches: Sequence[Any], stage: Stage
    ) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """Leave the clipped gradients of the mean loss.

        Returns:
            1 where a loss or gradient is not finite, else 0; what to record.
        """
        if self._graphs is None:
            return self._passes(batches, stage)
        kind = (stage.length, tuple(sorted(stage.settings.items())))
        return self._graphs(lambda inputs: self._passes(inputs, stage), list(batches), kind)

    def _passes(
        self, batches: Sequence[Any], stage: Stage
    ) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """What :meth:`_gradients` does, without a graph."""
        self.optimiser.zero_grad(set_to_none=True)
        bad, metrics = torch.zeros((), device=self.device), []
        for number, batch in enumerate(batches):
            last = number + 1 == len(batches)
            metrics.append(self._accumulate(batch, stage, len(batches), last))
            bad = torch.maximum(bad, (~metrics[-1]["loss"].isfinite()).float())
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        bad = any_of(torch.maximum(bad, (~norm.isfinite()).float()), self.world)
        if self.config.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.config.clip_norm, norm)
        return bad, [*metrics, {"gradient_norm": norm}]

    def _accumulate(self, batch: Any, stage: Stage, parts: int, last: bool) -> dict[str, Tensor]:
        """Add one batch's gradients; returns its loss and metrics, detached."""
        bf16 = self.config.precision == "bf16"
        wait = nullcontext() if last or self.world.size == 1 else self._module.no_sync()
        with wait:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                loss, metrics = self._module(to_device(batch, self.device), stage)
            (loss / parts).backward()
        return {name: value.detach() for name, value in ({"loss": loss} | metrics).items()}

    def _update(self, bad: Tensor) -> None:
        """Step the optimiser unless ``bad``."""
        if self.device.type == "cuda" and getattr(
            self.optimiser, "_step_supports_amp_scaling", False
        ):
            # PyTorch's own protocol for skipping on the device: no wait for ``bad``.
            self.optimiser.grad_scale, self.optimiser.found_inf = None, bad
            self.optimiser.step()
            del self.optimiser.grad_scale, self.optimiser.found_inf
        elif not bool(bad):  # on a CPU this is free; for other optimisers on a GPU it waits
            self.optimiser.step()
        if self.average:
            self.average.update()

    def _record(self, metrics: dict[str, Tensor]) -> None:
        """Add each value to its running sum and count, leaving out what is not finite."""
        names = tuple(metrics)
        values = torch.stack([v.detach().to(self.device, torch.float32) for v in metrics.values()])
        finite = values.isfinite()
        pair = torch.stack((torch.where(finite, values, 0.0), finite.float()))
        self._sums[names] = self._sums[names] + pair if names in self._sums else pair
