"""Bounds on log p(x) and what else weighted particles tell (SQAIR sec. 3.4; Burda et al. 2016).

Log weights ``(T, P, B)`` are ``log p(x_t, z_t | past) - log q(z_t | x, past)`` in nats at T frames,
of P independent particles, for B sequences; a sequence's weight is their sum over the frames.
Everything is computed in float64: a sequence has thousands of nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def iwae(log_weight: Tensor) -> Tensor:
    """The importance-weighted bound ``log mean_p w_p`` of log weights ``(T, P, B)``; nats ``(B,)``.

    Its expectation grows with P, towards log p(x).
    """
    total = log_weight.double().sum(0)
    return total.logsumexp(0) - math.log(total.shape[0])


def elbo(log_weight: Tensor) -> Tensor:
    """The evidence lower bound, a mean over particles of ``(T, P, B)``; nats ``(B,)``."""
    return log_weight.double().sum(0).mean(0)


def importance(log_weight: Tensor) -> Tensor:
    """Self-normalised weights ``(P, B)`` of the particles of each sequence; they sum to 1.

    Raises:
        ValueError: a sequence has a log weight that is not a number, or none above -infinity.
    """
    weight = log_weight.double().sum(0).softmax(0)
    if not bool(weight.isfinite().all()):
        raise ValueError("log weights that are not finite, expected those of a working model")
    return weight


def expectation(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of ``values (..., P, B)`` over particles under ``weight (P, B)``: ``(..., B)``."""
    return (values.double() * weight).sum(-2)


def effective_sample_size(weight: Tensor) -> Tensor:
    """``1 / sum_p w_p^2``, from 1 (one particle is all) to P, of ``weight (P, B)``: ``(B,)``."""
    return 1 / weight.square().sum(0)


def resample(weight: Tensor, generator: torch.Generator) -> Tensor:
    """One particle for each sequence, drawn by its ``weight (P, B)``: ``(B,)`` int64."""
    return torch.multinomial(weight.T.cpu(), 1, generator=generator).squeeze(1).to(weight.device)
