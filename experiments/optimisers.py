"""What updates the weights, and how its rate runs over the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class OptimiserConfig:
    """What updates the weights, and how its rate runs over the steps."""

    kind: Literal["adamw", "tf-rmsprop"] = "adamw"
    rate: float = 2e-3  # the highest
    weight_decay: float = 0.01  # of matrices, AdamW only
    momentum: float = 0.9  # RMSProp's; AdamW's first moment
    warmup: int = 40  # steps
    schedule: Literal["cosine", "constant", "thirds"] = "cosine"


def make_optimiser(config: OptimiserConfig, objective: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over an objective's parameters.

    AdamW gives the learned loss weights, few and without noise, ten times the rate; RMSProp treats
    all alike, as published.
    """
    import torch

    from common.optim import TFRMSProp

    if config.kind == "tf-rmsprop":
        return TFRMSProp(objective.parameters(), config.rate, momentum=config.momentum)
    model = list(objective.model.parameters())
    scales = [p for p in objective.parameters() if all(p is not q for q in model)]
    groups = [
        {"params": [p for p in model if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in model if p.ndim <= 1], "weight_decay": 0.0},
        {"params": scales, "lr": 10 * config.rate, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.rate, betas=(config.momentum, 0.99), fused=True)


def learning_rate(config: OptimiserConfig, steps: int) -> Callable[[int], float]:
    """Factor on the rate as a function of the step.

    Args:
        config: a linear rise over its ``warmup``, then its ``schedule``: ``cosine`` falls to zero,
            ``thirds`` to a third after 4/20 and to a ninth after 10/20 of the run (SQAIR's code).
        steps: of the run.
    """

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / max(config.warmup, 1))
        share = min(step / steps, 1.0)
        if config.schedule == "thirds":
            return rise * 3.0 ** -((share >= 0.2) + (share >= 0.5))
        if config.schedule == "constant":
            return rise
        return rise * 0.5 * (1 + math.cos(math.pi * share))

    return factor
