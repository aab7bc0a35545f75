"""Values drawn elsewhere, chains over slots, and densities in closed form."""

from __future__ import annotations

import pyro
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from sqair.distributions import (
    ChainedNormal,
    Drawn,
    bernoulli_log_density,
    normal_log_density,
)


def test_densities_are_those_of_torch() -> None:
    value, mean = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    std = torch.rand(5, 3, 4, dtype=torch.float64) + 0.1
    wanted = Normal(mean, std).log_prob(value).sum(-1)
    torch.testing.assert_close(normal_log_density(value, mean, std), wanted)
    one = torch.ones(4, dtype=torch.float64)
    wanted = Normal(0.0, one).log_prob(value).sum(-1)
    torch.testing.assert_close(normal_log_density(value, 0.0, one), wanted)
    logits = torch.tensor([-88.0, -3.0, 0.2, 40.0], dtype=torch.float64)
    for yes in (0.0, 1.0):
        value = torch.full_like(logits, yes)
        wanted = Bernoulli(logits=logits).log_prob(value)
        torch.testing.assert_close(bernoulli_log_density(value, logits), wanted)


def test_a_drawn_value_is_the_only_one_that_is_scored() -> None:
    value, density = torch.randn(3, 2, 4), torch.randn(3, 2)
    drawn = Drawn(value, density, reparameterised=True)
    assert (drawn.batch_shape, drawn.event_shape) == ((3, 2), (4,))
    assert drawn() is value and drawn.sample() is value
    assert drawn.log_prob(value) is density and drawn.log_prob(value.clone()) is density
    with pytest.raises(ValueError, match="only the drawn value"):
        drawn.log_prob(value + 1)
    with pytest.raises(ValueError, match="again"):
        drawn.rsample((2,))
    assert drawn.expand((3, 2)) is drawn
    with pytest.raises(ValueError, match=r"\(3, 2\), not \(5, 3, 2\)"):
        drawn.expand((5, 3, 2))


@pytest.mark.parametrize("smooth", [True, False])
def test_gradients_pass_a_drawn_value_only_if_it_is_reparameterised(smooth: bool) -> None:
    value = torch.randn(2, 3, requires_grad=True)
    assert pyro.sample("x", Drawn(value, torch.zeros(2), smooth)).requires_grad == smooth


def chain(count: Tensor, spread: float = 0.3) -> ChainedNormal:
    """Each slot lies near twice the one before, plus one."""

    def step(before: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * before + 1, spread + 0 * before.abs()

    return ChainedNormal(step, torch.tensor([0.0, 0.5, -0.5, 1.0]), count, slots=3)


def test_a_chain_scores_the_slots_that_count_each_given_the_one_before() -> None:
    count = torch.tensor([[0, 1], [2, 3]])
    value = torch.randn(2, 2, 3, 4)
    found = chain(count)
    assert (found.batch_shape, found.event_shape) == ((2, 2), (3, 4))
    before = torch.cat((torch.tensor([0.0, 0.5, -0.5, 1.0]).expand(2, 2, 1, 4), value), 2)
    slots = [
        Normal(2 * before[:, :, k] + 1, 0.3).log_prob(value[:, :, k]).sum(-1) for k in range(3)
    ]
    torch.testing.assert_close(found.slot_log_densities(value), torch.stack(slots, -1))
    wanted = [
        [sum((s[i, j] for s in slots[: count[i, j]]), torch.zeros(())) for j in range(2)]
        for i in range(2)
    ]
    torch.testing.assert_close(found.log_prob(value), torch.stack([torch.stack(r) for r in wanted]))


def test_a_chain_is_drawn_slot_by_slot() -> None:
    certain = chain(torch.zeros(2, 1), spread=1e-6).sample()
    first = torch.tensor([0.0, 0.5, -0.5, 1.0])
    wanted = torch.stack((2 * first + 1, 4 * first + 3, 8 * first + 7))
    torch.testing.assert_close(certain, wanted.expand(2, 1, 3, 4), rtol=0, atol=1e-4)
    wide = chain(torch.zeros(1, 4000), spread=0.3)
    value = wide.sample()
    before = torch.cat((first.expand(1, 4000, 1, 4), value[:, :, :-1]), 2)
    residual = (value - 2 * before - 1) / 0.3
    assert residual.mean((0, 1)).abs().max() < 5 / 4000**0.5
    assert (residual.var((0, 1)) - 1).abs().max() < 5 * (2 / 4000) ** 0.5
    with pytest.raises(ValueError, match="once"):
        wide.sample((2,))
    with pytest.raises(ValueError, match="not"):
        wide.expand((2, 1, 4000))
