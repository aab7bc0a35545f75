"""Optimisation beyond ``torch.optim``: TensorFlow's RMSProp, HART's clipping, weight averages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class TFRMSProp(torch.optim.Optimizer):
    """RMSProp as TensorFlow 1 computes it, which both papers trained with (HART code, SQAIR code).

    ``ms <- decay ms + (1 - decay) g^2``, ``mom <- momentum mom + lr g / sqrt(ms + eps)``,
    ``w <- w - mom``: the mean square starts at 1 (not 0) and epsilon stands inside the root, so
    first steps are small where ``torch.optim.RMSprop``'s are large. Skips a step on the device when
    ``found_inf`` is set, like PyTorch's fused optimisers.
    """

    _step_supports_amp_scaling = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        decay: float = 0.9,
        momentum: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        for name, value in (("lr", lr), ("momentum", momentum), ("eps", eps)):
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        super().__init__(params, {"lr": lr, "decay": decay, "momentum": momentum, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One update of every parameter that has a gradient; returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        found = getattr(self, "found_inf", None)
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if weights:
                self._update(group, weights, found)
        return loss

    def _update(self, group: dict[str, Any], weights: list[Tensor], found: Tensor | None) -> None:
        for p in weights:
            if not self.state[p]:
                self.state[p]["mean_square"] = torch.ones_like(p)
                self.state[p]["momentum"] = torch.zeros_like(p)
        squares = [self.state[p]["mean_square"] for p in weights]
        moves = [self.state[p]["momentum"] for p in weights]
        gradients = [p.grad for p in weights]
        olds = [t.clone() for t in (*squares, *moves, *weights)] if found is not None else []
        torch._foreach_mul_(squares, group["decay"])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["decay"])
        roots = torch._foreach_add(squares, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(moves, group["momentum"])
        torch._foreach_addcdiv_(moves, gradients, roots, group["lr"])
        torch._foreach_sub_(weights, moves)
        for new, old in zip((*squares, *moves, *weights), olds):
            new.copy_(torch.where(found > 0, old, new))


class WeightAverage:
    """Exponential moving average of a module's trainable parameters.

    The decay grows as ``(1 + n) / (10 + n)`` up to ``decay``, so the start is forgotten quickly.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay must be between 0 and 1, got {decay}")
        self.decay = decay
        self._live = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.restart()

    def restart(self) -> None:
        """Start again from the parameters as they are now."""
        self.updates = 0
        self._mean = {n: p.detach().clone() for n, p in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the parameters as they are now."""
        self.updates += 1
        decay = min(self.decay, self.updates / (9 + self.updates))
        torch._foreach_lerp_(list(self._mean.values()), list(self._live.values()), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within this context the module has the averaged parameters."""
        own = {n: p.detach().clone() for n, p in self._live.items()}
        self._copy(self._mean)
        try:
            yield
        finally:
            self._copy(own)

    @torch.no_grad()
    def _copy(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._live.items():
            parameter.copy_(values[name])

    def state_dict(self) -> dict[str, Any]:
        """Number of updates, and the averages by parameter name."""
        return {"updates": self.updates, "average": dict(self._mean)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; raises ValueError when the names differ."""
        if state["average"].keys() != self._live.keys():
            raise ValueError("the checkpoint's weight average is of another model")
        self.updates = state["updates"]
        self._mean = {n: state["average"][n].to(p.device).clone() for n, p in self._live.items()}


def rms_clip(gradients: Sequence[Tensor], limit: float = 0.3) -> Tensor:
    """Scale all gradients in place so that their root mean square is at most ``limit``.

    The "soft clip" of HART's code: the mean runs over every element of every gradient, so ``limit``
    equals a global norm of ``limit * sqrt(count)`` (:func:`rms_limit_as_norm`). Returns the root
    mean square before scaling, a scalar.
    """
    count = sum(g.numel() for g in gradients)
    rms = torch.nn.utils.get_total_norm(gradients) / math.sqrt(count)
    torch._foreach_mul_(list(gradients), (limit / rms).clamp(max=1.0))
    return rms


def rms_limit_as_norm(parameters: Iterable[Tensor], limit: float = 0.3) -> float:
    """The global-norm limit (``TrainerConfig.clip_norm``) that equals ``rms_clip(limit)``."""
    return limit * math.sqrt(sum(p.numel() for p in parameters))
