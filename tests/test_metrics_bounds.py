"""common/metrics/bounds.py against the definitions, and against a model that can be summed up."""

from __future__ import annotations

import math

import pytest
import torch

from common.metrics import bounds


def test_bounds_are_their_definitions() -> None:
    log_weight = torch.tensor([[[1.0, -3.0], [2.0, 0.5]], [[0.5, 1.0], [-1.0, 0.5]]])  # T P B
    weights = [[1.5, 1.0], [-2.0, 1.0]]  # per sequence and particle, summed over the frames
    for sequence, logs in enumerate(weights):
        expected = math.log(sum(map(math.exp, logs)) / 2)
        assert float(bounds.iwae(log_weight)[sequence]) == pytest.approx(expected)
        assert float(bounds.elbo(log_weight)[sequence]) == pytest.approx(sum(logs) / 2)
        shares = [math.exp(log) / sum(map(math.exp, logs)) for log in logs]
        found = bounds.importance(log_weight)[:, sequence]
        assert found.tolist() == pytest.approx(shares)
        size = bounds.effective_sample_size(bounds.importance(log_weight))[sequence]
        assert float(size) == pytest.approx(1 / sum(share**2 for share in shares))


def test_thousands_of_nats_lose_nothing_but_what_float32_lost() -> None:
    log_weight = torch.full((10, 3, 1), 700.0)
    log_weight[0] += torch.tensor([[0.0], [1.0], [2.0]])
    expected = 7000 + math.log((1 + math.e + math.e**2) / 3)
    assert float(bounds.iwae(log_weight)) == pytest.approx(expected, abs=1e-9)
    assert float(bounds.elbo(log_weight)) == 7001


def test_the_bound_grows_with_particles_to_the_true_value() -> None:
    """z ~ N(0, 1), x | z ~ N(z, 1), proposals from the prior: log p(x) is that of N(0, 2)."""
    x, draws = 1.5, torch.randn(1, 60_000, generator=torch.Generator().manual_seed(1))
    log_weight = -0.5 * (x - draws) ** 2 - 0.5 * math.log(2 * math.pi)
    found = [float(bounds.iwae(log_weight.view(1, k, -1)).mean()) for k in (1, 5, 100, 60_000)]
    assert found == sorted(found)
    truth = -(x**2) / 4 - 0.5 * math.log(4 * math.pi)
    assert found[0] < truth - 0.1
    assert found[-1] == pytest.approx(truth, abs=0.01)


def test_expectations_are_over_particles() -> None:
    weight = torch.tensor([[0.25, 1.0], [0.75, 0.0]])
    values = torch.tensor([[[4.0, 1.0], [8.0, math.e]]])
    assert bounds.expectation(values, weight).tolist() == [[7.0, 1.0]]


def test_particles_are_drawn_by_weight() -> None:
    weight = torch.tensor([[0.2, 0.0], [0.8, 1.0]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([bounds.resample(weight, generator) for _ in range(2000)])
    assert float(drawn[:, 0].double().mean()) == pytest.approx(0.8, abs=0.04)
    assert (drawn[:, 1] == 1).all()


def test_a_broken_model_is_named() -> None:
    with pytest.raises(ValueError, match="not finite"):
        bounds.importance(torch.tensor([[[0.0], [math.nan]]]))
    weight = bounds.importance(torch.tensor([[[0.0], [-math.inf]]]))
    assert weight.tolist() == [[1.0], [0.0]]
