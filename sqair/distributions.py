"""Distributions that Pyro does not have: drawn elsewhere, and chained over slots."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional as F

from sqair.fused import LOG_2PI, normal_log_density


def standard_log_density(value: Tensor) -> Tensor:
    """Log-density ``(...)`` of independent standard normals ``(..., D)``."""
    return -0.5 * (value.square().sum(-1) + LOG_2PI * value.shape[-1])


def bernoulli_log_density(value: Tensor, logits: Tensor) -> Tensor:
    """Log-probability of ``value`` 0 or 1."""
    return value * logits - F.softplus(logits)


class Drawn(dist.TorchDistribution):
    """A value that a chain over slots has drawn already, and its log-density.

    It stands for the chain at a sample site: the value is what it samples and the only one that it
    scores. Others are forced through the chain's own argument.

    Args:
        value: ``batch_shape + event_shape``.
        log_density: ``batch_shape``.
        reparameterised: whether gradients reach the chain's parameters through the value.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, value: Tensor, log_density: Tensor, reparameterised: bool) -> None:
        self.value, self.log_density = value, log_density
        self.has_rsample = reparameterised
        batch = log_density.shape
        super().__init__(batch, value.shape[len(batch) :], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Drawn:
        """Itself; raises ValueError for any other batch shape."""
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(f"drawn for {tuple(self.batch_shape)}, not {tuple(batch_shape)}")
        return self

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """The value; raises ValueError for more than one sample."""
        if sample_shape:
            raise ValueError("a drawn value cannot be drawn again")
        return self.value if self.has_rsample else self.value.detach()

    sample = rsample

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-density; raises ValueError for any value but the drawn one."""
        if value is not self.value and not torch.equal(value, self.value):
            raise ValueError(
                "only the drawn value can be scored: give the chain others by `values`"
            )
        return self.log_density


class ChainedNormal(dist.TorchDistribution):
    """Normals over slots ``(..., L, 4)``, each with mean and deviation given by the one before.

    ``(m_k, s_k) = step(x_{k-1})``; batch shape ``(...)``, event shape ``(L, 4)``. Slots from
    ``count`` on are drawn but not scored.

    Args:
        step: from values ``(..., n, 4)`` of the slots before to means and deviations.
        first: ``(4,)`` what stands before the first slot.
        count: ``(...)`` how many slots are scored.
        slots: L.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, step: Any, first: Tensor, count: Tensor, slots: int) -> None:
        self.step, self.first, self.count = step, first, count
        super().__init__(count.shape, torch.Size((slots, first.shape[-1])), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ChainedNormal:
        """Itself; raises ValueError for any other batch shape."""
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(f"chain of {tuple(self.batch_shape)}, not {tuple(batch_shape)}")
        return self

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """``(..., L, 4)``, drawn slot by slot."""
        if sample_shape:
            raise ValueError("a chain is drawn once")
        before, drawn = self.first.expand(*self.batch_shape, 1, -1), []
        with torch.no_grad():
            for _ in range(self.event_shape[0]):
                mean, std = self.step(before)
                before = mean + std * torch.randn_like(mean)
                drawn.append(before)
        return torch.cat(drawn, -2)

    def slot_log_densities(self, value: Tensor) -> Tensor:
        """``(..., L)``, whether the slot counts or not."""
        first = self.first.expand(*value.shape[:-2], 1, -1)
        mean, std = self.step(torch.cat((first, value[..., :-1, :]), -2))
        return normal_log_density(value, mean, std)

    def log_prob(self, value: Tensor) -> Tensor:
        """``(...)``: the slots that count."""
        scored = torch.arange(self.event_shape[0], device=value.device) < self.count[..., None]
        return (self.slot_log_densities(value) * scored).sum(-1)
