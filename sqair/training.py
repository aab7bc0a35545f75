"""What the trainer minimises for SQAIR: the stage's objective, and what it reports."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sqair import objective
from sqair.mode import Mode
from sqair.model import Sqair
from sqair.objective import SequenceELBO
from sqair.terms import Terms


class SqairObjective(nn.Module):
    """Minus the stage's surrogate bound, per frame (SQAIR sec. 3.4; the released code)."""

    capturable = True  # on a GPU, where every slot is computed

    def __init__(self, model: Sqair) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any, stage: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch of clips.

        Args:
            batch: its ``frames (T, B, 1, H, W)`` uint8.
            stage: of the curriculum; its ``settings`` are a :class:`Mode`'s.

        Returns:
            The scalar loss, nats per frame, and detached scalars, means over particles and
            sequences: see :func:`diagnostics`.
        """
        mode = Mode.of(stage.settings)
        length, batch_size = batch.frames.shape[:2]
        found = loss_of(mode)
        terms = found.terms(
            self.model.model,
            self.model.guide,
            batch.frames,
            mode.particles,
            late=mode.late or None,
            values=kept(length, mode.particles, batch_size, batch.frames.device)
            if mode.keep
            else None,
        )
        loss = -found.surrogate(terms) / length
        with torch.no_grad():
            return loss, diagnostics(terms)


def loss_of(mode: Mode) -> SequenceELBO:
    """The objective of a stage."""
    if mode.objective != "marginal":
        return SequenceELBO(getattr(objective, mode.objective))

    def surrogate(terms: Terms) -> Tensor:
        return objective.marginal(
            terms, explore=mode.explore, keep=mode.keep, what_weight=mode.what_weight
        )

    return SequenceELBO(surrogate, prefixes=True)


def kept(length: int, particles: int, batch: int, device: torch.device) -> dict[str, Tensor]:
    """Values that keep every object and find none after the first frame."""
    yes = torch.ones(1, 1, 1, device=device)
    none = torch.zeros(particles, batch, dtype=torch.int64, device=device)
    return {f"propagated_presence_{t}": yes for t in range(1, length)} | {
        f"discovered_count_{t}": none for t in range(1, length)
    }


def diagnostics(terms: Terms) -> dict[str, Tensor]:
    """What to look at in training, each a mean over frames, particles and sequences.

    ``elbo`` and ``likelihood`` (nats per frame); ``kl/SITE`` (nats per frame); ``discovered`` (per
    frame after the first) and ``propagated`` (per frame) objects; ``present``; ``ess`` (effective
    sample size as a share of P); ``scale`` (mean logit of a present window's scale).
    """
    ratios, weight = terms.propagation(), terms.log_weight()
    present = terms.slots.presence
    total = torch.softmax(weight.sum(0), 0)
    there = present.sum().clamp_min(1)
    later = terms.count[1:].float() if len(weight) > 1 else terms.count.new_zeros(1).float()
    return {
        "elbo": weight.mean(),
        "likelihood": terms.log_likelihood_at_count().mean(),
        "kl/propagated_presence": -ratios["presence"].mean(),
        "kl/propagated_where": -ratios["where"].mean(),
        "kl/propagated_what": -ratios["what"].mean(),
        "kl/discovered_count": -terms.at_count(terms.counting()).mean(),
        "kl/discovered": -terms.at_count(terms.discovery()).mean(),
        "discovered": later.mean(),
        "propagated": terms.kept.sum(-1).mean(),
        "present": present.sum(-1).mean(),
        "ess": (1 / total.square().sum(0)).mean() / len(total),
        "scale": (terms.slots.where[..., :2].mean(-1) * present).sum() / there,
    }
