"""What every objective of SQAIR is a function of: log-densities gathered from two Pyro traces."""

from __future__ import annotations

from typing import Any, NamedTuple

from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor
from torch.nn import functional as F

from sqair.model import Sqair
from sqair.state import Slots
from sqair.trajectory import Densities, Trajectory


class Terms(NamedTuple):
    """Log-densities of a run, nats. ``p``: the model's, ``q``: the guide's."""

    p: Densities
    q: Densities
    alive: Tensor  # (T, P, B, K) presence in the frame before
    kept: Tensor  # (T, P, B, K) presence after propagation
    count: Tensor  # (T, P, B) int64 discoveries
    slots: Slots  # (T, P, B, K, ...)
    log_likelihood: Tensor  # (T, P, B, K + 1) of every count; (T, P, B, 1) of the drawn one

    def propagation(self, what_weight: float = 1.0) -> dict[str, Tensor]:
        """``log p - log q (T, P, B)`` of the propagated latents, by site, of slots that count."""
        both = self.alive * self.kept
        presence = self.p.propagated_presence - self.q.propagated_presence
        where = self.p.propagated_where - self.q.propagated_where
        what = self.p.propagated_what - self.q.propagated_what
        return {
            "presence": (presence * self.alive).sum(-1),
            "where": (where * both).sum(-1),
            "what": what_weight * (what * both).sum(-1),
        }

    def discovery(self) -> Tensor:
        """``log p - log q (T, P, B, K + 1)`` of where and what of the first 0, 1, ... K found."""
        where = self.p.discovered_where - self.q.discovered_where
        what = self.p.discovered_what - self.q.discovered_what
        return F.pad((where + what).cumsum(-1), (1, 0))

    def counting(self) -> Tensor:
        """``log p - log q (T, P, B, K + 1)`` of every count."""
        return self.p.discovered_count - self.q.discovered_count

    def at_count(self, table: Tensor) -> Tensor:
        """The entry ``(T, P, B)`` of a table ``(T, P, B, K + 1)`` that was drawn."""
        return table.gather(-1, self.count[..., None]).squeeze(-1)

    def log_likelihood_at_count(self) -> Tensor:
        """``log p(x_t | z_t) (T, P, B)``."""
        if self.log_likelihood.shape[-1] == 1:
            return self.log_likelihood.squeeze(-1)
        return self.at_count(self.log_likelihood)

    def log_weight(self) -> Tensor:
        """``log p(x_t, z_t | past) - log q(z_t | past, x) (T, P, B)`` of what was drawn."""
        found = self.at_count(self.discovery() + self.counting())
        return self.log_likelihood_at_count() + found + sum(self.propagation().values())

    def log_q_presence(self) -> Tensor:
        """``(T, P, B)`` of what was decided about the objects of the frame before."""
        return (self.q.propagated_presence * self.alive).sum(-1)

    def log_q_count(self) -> Tensor:
        """``(T, P, B)`` of the drawn count."""
        return self.at_count(self.q.discovered_count)


def terms(model: Sqair, frames: Tensor, particles: int = 1, **options: Any) -> Terms:
    """Run the guide on frames, replay it through the model, gather.

    Args:
        model: has both.
        frames: ``(T, B, 1, H, W)``.
        particles: P.
        options: of both runs: ``late``, ``static``, ``values``, ``prefixes``.
    """
    prefixes = bool(options.get("prefixes"))
    return gather(*traces(model.model, model.guide, frames, particles, **options), prefixes)


def traces(model: Any, guide: Any, *args: Any, **options: Any) -> tuple[Trace, Trace]:
    """Traces of the model, replayed, and of the guide, in this order, as Pyro has them."""
    posterior = poutine.trace(guide).get_trace(*args, **options)
    return poutine.trace(poutine.replay(model, posterior)).get_trace(*args, **options), posterior


def gather(prior: Trace, posterior: Trace, prefixes: bool) -> Terms:
    """The terms of two traces.

    Args:
        prior: the model's, replayed.
        posterior: the guide's.
        prefixes: whether the likelihood of every count is wanted, of a model run with ``prefixes``.
    """
    q: Trajectory = posterior.nodes["_RETURN"]["value"]
    p: Trajectory = prior.nodes["_RETURN"]["value"]
    seen = prior.nodes["frames"]["value"]  # (B, T, 1, H, W)
    if prefixes:
        likelihood = p.frames.count_log_probs(seen.transpose(0, 1))
        missing = p.kept.shape[-1] + 1 - likelihood.shape[-1]
        likelihood = F.pad(likelihood, (0, missing)) if missing else likelihood
    else:
        likelihood = p.frames.frame_log_probs(seen).unsqueeze(-1)
    return Terms(p.densities, q.densities, p.alive, p.kept, p.count, q.slots, likelihood)
