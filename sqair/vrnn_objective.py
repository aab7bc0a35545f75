"""Bounds for models whose latents are all reparameterised, and what the trainer minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from pyro.infer import ELBO
from pyro.poutine import Trace
from torch import Tensor, nn

from common.metrics import bounds
from sqair.state import Unrolled
from sqair.vrnn import Vrnn, account, run

Bound = Literal["elbo", "iwae"]


class ReparameterisedELBO(ELBO):
    """ELBO or IWAE over the plate ``particles`` of a model and guide as ``Vrnn`` has them.

    Every latent is a reparameterised Gaussian, so the bound in ``common.metrics.bounds``, a
    function of the log-weights ``(T, P, B)``, is its own surrogate (Burda et al. 2016, with whole
    sequences as samples).

    Args:
        bound: with one particle both are the same.

    Raises:
        ValueError: another bound.
    """

    def __init__(self, bound: Bound = "iwae") -> None:
        if bound not in ("elbo", "iwae"):
            raise ValueError(f"bound must be 'elbo' or 'iwae', got {bound!r}")
        super().__init__()
        self.bound = bounds.elbo if bound == "elbo" else bounds.iwae

    def terms(self, model: Callable, guide: Callable, frames: Tensor, particles: int) -> Unrolled:
        """Log-weights of ``frames (T, B, C, H, W)``, with gradients."""
        return account(*self._get_trace(model, guide, (frames, particles), {}))

    def differentiable_loss(
        self, model: Callable, guide: Callable, frames: Tensor, particles: int = 1
    ) -> Tensor:
        """Minus the bound, nats per sequence, its mean over the batch."""
        return -self.bound(self.terms(model, guide, frames, particles).log_weight).mean()

    def _get_trace(
        self, model: Callable, guide: Callable, args: Any, kwargs: Any
    ) -> tuple[Trace, Trace]:
        """Traces of the model and of the guide."""
        return run(model, guide, *args, **kwargs)


class VrnnObjective(nn.Module):
    """Minus the bound per frame, for the trainer.

    Args:
        model: the VRNN.
        particles: P.
        bound: see ``ReparameterisedELBO``.
    """

    capturable = True

    def __init__(self, model: Vrnn, particles: int = 1, bound: Bound = "iwae") -> None:
        super().__init__()
        self.model = model
        self.particles = particles
        self.elbo = ReparameterisedELBO(bound)

    def forward(self, batch: Any, stage: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch of clips.

        Args:
            batch: its ``frames (T, B, C, H, W)`` uint8.
            stage: of the curriculum; its length is the batch's already.

        Returns:
            The scalar loss, nats per frame, and detached scalars: ``elbo``, ``iwae`` (of P
            particles), ``likelihood`` and ``kl`` (what the ELBO lacks of it), nats per frame; and
            ``ess``, the effective sample size as a share of P.
        """
        vrnn, length = self.model, len(batch.frames)
        terms = self.elbo.terms(vrnn.model, vrnn.guide, batch.frames, self.particles)
        weight = terms.log_weight
        loss = -self.elbo.bound(weight).mean() / length
        with torch.no_grad():
            total = torch.softmax(weight.sum(0), 0)
            metrics = {
                "elbo": bounds.elbo(weight).mean() / length,
                "iwae": bounds.iwae(weight).mean() / length,
                "likelihood": terms.log_likelihood.mean(),
                "ess": bounds.effective_sample_size(total).mean() / self.particles,
            }
        return loss, metrics | {"kl": metrics["likelihood"] - metrics["elbo"]}
