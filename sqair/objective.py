"""Objectives of SQAIR: functions of the terms of a run, and Pyro's interface to them.

Each surrogate is maximised; its gradient estimates that of a bound on ``log p(x)``. Notation:
``l_i`` log-weight of particle ``i`` of P, ``L = logmeanexp_i l_i``, ``Q_i`` log-probability of its
discrete choices, ``sg`` stops gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro.infer import ELBO
from pyro.poutine import Trace
from torch import Tensor

from sqair.discover import IMPOSSIBLE
from sqair.terms import Terms, gather, traces

DOUBT = 0.01  # where finding nothing is taught: it must not become certain, nor all else unknown


def others(values: Tensor) -> Tensor:
    """The mean of the other particles, ``(..., P, B)``; 0 where there are none."""
    count = values.shape[-2]
    if count == 1:
        return torch.zeros_like(values)
    return (values.sum(-2, keepdim=True) - values) / (count - 1)


def to_go(values: Tensor) -> Tensor:
    """The sum over this frame and all later ones, ``(T, ...)``."""
    return values.flip(0).cumsum(0).flip(0)


def log_mean_exp(values: Tensor) -> Tensor:
    """``(..., B)`` over the particles of ``(..., P, B)``."""
    return torch.logsumexp(values, -2) - math.log(values.shape[-2])


def without(values: Tensor) -> Tensor:
    """``L`` with each ``l_i (P, B)`` in turn replaced by the mean of the others (VIMCO eq. 9)."""
    count = len(values)
    eye = torch.eye(count, dtype=torch.bool, device=values.device)[..., None]
    replaced = torch.where(eye, others(values)[:, None], values)  # (P, P, B)
    return torch.logsumexp(replaced, 1) - math.log(count)


def elbo(terms: Terms) -> Tensor:
    """ELBO; each decision is credited with what follows it, less that of the other particles.

    ``mean_i sum_t [ l_ti + sg(G_ti - mean_{j != i} G_tj) Q_ti ]``, ``G_t = sum_{s >= t} l_s``.
    Unbiased for any P; with one particle there is no baseline.
    """
    weight = terms.log_weight()
    ahead = to_go(weight.detach())
    choices = terms.log_q_presence() + terms.log_q_count()
    return (weight + (ahead - others(ahead)) * choices).sum(0).mean()


def vimco(terms: Terms) -> Tensor:
    """IWAE with VIMCO (Mnih and Rezende 2016): ``L + sum_i sg(L - L_-i) Q_i``."""
    weight = terms.log_weight().sum(0)
    choices = (terms.log_q_presence() + terms.log_q_count()).sum(0)
    bound = log_mean_exp(weight)
    signal = (bound - without(weight)).detach()
    return (bound + (signal * choices).sum(0)).mean()


def released(terms: Terms) -> Tensor:
    """The signal of the released code: ``L + mean_i sg(l_i - L_-i) Q_i``.

    Paths follow the IWAE bound, decisions the ELBO.
    """
    weight = terms.log_weight().sum(0)
    choices = (terms.log_q_presence() + terms.log_q_count()).sum(0)
    signal = (weight - without(weight)).detach()
    return (log_mean_exp(weight) + (signal * choices).mean(0)).mean()


def marginal(
    terms: Terms, *, explore: float = 0.0, keep: bool = False, what_weight: float = 1.0
) -> Tensor:
    """ELBO with the exact expectation over the count within a frame.

    The chain of discovery does not depend on where it is cut, so one run has all counts: with
    ``base_n = log p(x_t | n) + log p/q`` of the first ``n`` objects, the frame's expected term is
    ``A_t + sum_n q(n) [base_n + log p(n) - log q(n)]``, ``A_t`` the propagation's. The drawn count
    matters only for later frames; it and the presences are credited with those, as in ``elbo``.

    Args:
        terms: with the likelihood of every count.
        explore: what an object paints is taught with weights ``(1 - e) q(n) + e / (K + 1)``.
        keep: objects were forced to be kept and none to be found after the first frame: decisions
            are taught ``log p + log q`` of that. (Left to the bound, late discovery takes over what
            propagation cannot do yet, grows certain, and never lets go.)
        what_weight: of the propagated appearance's divergence.
    """
    count_q = terms.q.discovered_count
    base = terms.log_likelihood + terms.discovery()
    probability = count_q.exp()
    weight = _teach(probability.detach(), explore, keep)
    counts = (probability * (base.detach() + terms.counting())).sum(-1)
    if keep:
        counts = torch.cat((counts[:1], base.detach()[1:, ..., 0] + _find_nothing(terms)))
    painted = (weight * (base - base.detach())).sum(-1)
    ratios = terms.propagation(what_weight)
    if keep:
        both = terms.p.propagated_presence + terms.q.propagated_presence
        presence = (both * terms.alive).sum(-1)
        return (counts + painted + presence + ratios["where"] + ratios["what"]).sum(0).mean()
    frame = counts + painted + sum(ratios.values())
    ahead = to_go(frame.detach())
    after = torch.cat((ahead[1:], torch.zeros_like(ahead[:1])))
    presence = (ahead - others(ahead)) * terms.log_q_presence()
    count = (after - others(after)) * terms.log_q_count()
    return (frame + presence + count).sum(0).mean()


def _find_nothing(terms: Terms) -> Tensor:
    """``log p(0)``, and ``log q`` of nearly 0, ``(T - 1, P, B)`` of the frames after the first."""
    q = terms.q.discovered_count[1:]
    doubt = _doubt(q > IMPOSSIBLE / 2)
    return terms.p.discovered_count[1:, ..., 0] + (doubt * q.clamp_min(IMPOSSIBLE / 2)).sum(-1)


def _teach(probability: Tensor, explore: float, keep: bool) -> Tensor:
    """Weights ``(T, P, B, K + 1)`` with which counts teach what is painted."""
    possible = probability > 0
    spread = possible / possible.sum(-1, keepdim=True)
    weight = (1 - explore) * probability + explore * spread
    if keep:
        weight = torch.cat((weight[:1], _doubt(possible[1:])))
    return weight


def _doubt(possible: Tensor) -> Tensor:
    """Weights ``(..., K + 1)``: nearly 1 on finding nothing, the rest on what else is possible."""
    rest = possible[..., 1:]
    others = DOUBT * rest / rest.sum(-1, keepdim=True).clamp_min(1)
    return torch.cat((1 - others.sum(-1, keepdim=True), others), -1)


class SequenceELBO(ELBO):
    """A surrogate of whole sequences as one of Pyro's objectives.

    ``differentiable_loss(model, guide, frames, particles)`` is minus the surrogate, nats per
    sequence; ``loss`` the plain number.

    Args:
        surrogate: of ``Terms``.
        prefixes: whether it needs the likelihood of every count.
    """

    def __init__(self, surrogate: Callable[[Terms], Tensor] = elbo, prefixes: bool = False) -> None:
        super().__init__()
        self.surrogate, self.prefixes = surrogate, prefixes

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        return traces(model, guide, *args, prefixes=self.prefixes, **kwargs)

    def terms(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Terms:
        """The terms of one run of the guide, replayed through the model."""
        return gather(*self._get_trace(model, guide, args, kwargs), self.prefixes)

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Minus the surrogate."""
        return -self.surrogate(self.terms(model, guide, *args, **kwargs))

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """Minus the surrogate, without gradients."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, **kwargs))
