"""Bounds on log p(x) against the prior's own average of p(x | z), which needs no guide."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest
import torch
from pyro import poutine
from torch import Tensor

from sqair.model import Sqair
from sqair.objective import log_mean_exp
from sqair.terms import terms
from tests import sqair_toys as toys
from tests.sqair_toys import OPEN, SMALL

# Pixels are vague, so that the prior finds what explains them without being told, and the guide
# is at least as wide as the prior, so that it misses nothing.
VAGUE = {"output_std": 0.8, "where_bias": 1.3, "what": 1}
CASES = {
    "one frame, one slot": (replace(SMALL, slots=1, **VAGUE), 1),
    "two frames": (replace(SMALL, **VAGUE), 2),
    "two frames, overfull": (replace(OPEN, mean_image=True, **VAGUE), 2),
}
DRAWS = 10_000


def average(log_values: Tensor) -> tuple[float, float]:
    """Log of the mean of ``exp``, and its standard error."""
    share = (log_values - log_values.max()).exp()
    mean, error = share.mean(), share.std() / math.sqrt(len(share))
    return (mean.log() + log_values.max()).item(), (error / mean).item()


@functools.cache
def evidence(name: str) -> tuple[Sqair, Tensor, float, float]:
    """A model, frames ``(T, 1, 1, H, W)``, and ``log p(x)`` with its error."""
    config, length = CASES[name]
    model, frames = toys.toy(config), toys.clip(length, 1)
    with torch.no_grad():
        for layer in (
            model.encoder.head,
            model.discovery.where[-1],
            model.propagation.where[-1],
            model.propagation.temporal,
            model.propagation_prior.head,
            model.discovery_prior.output,
        ):
            layer.weight *= 0.2
        model.discovery.where[-1].bias[:4] = model.discovery_prior.output.bias[:4]
        model.encoder.head.bias[1:] += 1.0
        model.propagation.temporal.bias[1:] += 1.0
        video = frames.expand(-1, DRAWS, -1, -1, -1)
        run = poutine.trace(model.model).get_trace(video).nodes["_RETURN"]["value"]
        likelihood = run.frames.log_prob(video.transpose(0, 1))
    return model, frames, *average(likelihood.flatten())


@pytest.mark.parametrize("name", CASES)
def test_importance_weights_average_to_the_evidence(name: str) -> None:
    """To five standard errors of both averages, each below 0.04 nats."""
    model, frames, wanted, error = evidence(name)
    with torch.no_grad():
        weight = terms(model, frames.expand(-1, DRAWS, -1, -1, -1)).log_weight().sum(0).flatten()
    found, own = average(weight)
    assert max(error, own) < 0.04
    assert abs(found - wanted) < 5 * math.hypot(error, own)


def test_the_bound_grows_with_the_particles_up_to_the_evidence() -> None:
    model, frames, highest, error = evidence("two frames")
    means, errors = [], []
    for particles, batch in ((1, 4000), (5, 1000), (50, 200)):
        with torch.no_grad():
            video = frames.expand(-1, batch, -1, -1, -1)
            bound = log_mean_exp(terms(model, video, particles).log_weight().sum(0))
        means.append(bound.mean().item())
        errors.append(bound.std().item() / math.sqrt(batch))
    for i in range(2):
        assert means[i + 1] - means[i] > 3 * math.hypot(errors[i], errors[i + 1])
    assert means[2] < highest + 5 * math.hypot(errors[2], error)
