"""Propagation: objects that stay, what is expected of them before the frame is seen: the prior."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sqair.config import SqairConfig
from sqair.networks import GRU, linear, std
from sqair.packing import Packing
from sqair.state import State

ABSENT = -88.0  # logit of being kept where there is nothing


class Expected(NamedTuple):
    """The prior of a frame given the last one."""

    logits: Tensor  # (P, B, K) of being kept
    where: tuple[Tensor, Tensor]  # mean, deviation (P, B, K, 4)
    what: tuple[Tensor, Tensor]  # mean, deviation (P, B, K, D)
    memory: Tensor  # (P, B, K, H)


class PropagationPrior(nn.Module):
    """Where objects go and how they change, without looking (SQAIR sec. 3.1, eq. 3)."""

    def __init__(self, config: SqairConfig) -> None:
        super().__init__()
        self.config = config
        latents = config.what + 4
        self.cell = GRU(latents, config.hidden, config.glorot_gru)
        self.head = linear(config.hidden, 1 + 2 * latents)
        self.first = nn.Parameter(torch.zeros(config.hidden))

    def forward(self, state: State, packing: Packing) -> Expected:
        """The prior of each slot; ``state.memory`` is the prior's own."""
        slots, what = state.slots, self.config.what
        rows = packing.gather(torch.cat((slots.what, slots.where, state.memory), -1))
        latents, memory = rows.split((what + 4, self.config.hidden), -1)
        new = self.cell(latents, memory)
        made = packing.scatter(torch.cat((self.head(new), new), -1))
        logit, where, what_, where_raw, what_raw, new = made.split(
            (1, 4, what, 4, what, self.config.hidden), -1
        )
        logits = logit.squeeze(-1) + self.config.survival_bias
        alive = slots.presence
        logits = alive * logits + (1 - alive) * ABSENT
        if self.config.propagation_prior == "guided":
            what_, where = slots.what + 0.1 * what_, slots.where + where
        return Expected(logits, (where, std(where_raw)), (what_, std(what_raw)), new)
