"""Log-weights against Pyro's traces and against the published equations, one object at a time."""

from __future__ import annotations

from dataclasses import replace

import pyro
import pytest
import torch
from torch import Tensor

from sqair.model import Sqair
from sqair.terms import Terms, gather, terms, traces
from tests import sqair_reference as reference
from tests import sqair_toys as toys
from tests.sqair_toys import PUBLISHED, VARIANTS

OPTIONS = [{}, {"static": True}, {"prefixes": True}, {"late": 1, "prefixes": True}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_sites_of_the_traces_sum_to_the_log_weight(name: str, options: dict) -> None:
    model, frames = toys.toy(VARIANTS[name]), toys.clip(3, 5)
    with pyro.validation_enabled():
        both = traces(model.model, model.guide, frames, 2, **options)
        found = gather(*both, bool(options.get("prefixes")))
        weight = toys.sites(*both).log_weight()
        total = both[0].log_prob_sum() - both[1].log_prob_sum()
    torch.testing.assert_close(found.log_weight().sum(0), weight)
    torch.testing.assert_close(found.log_weight().sum(), total)
    choices = found.log_q_presence() + found.log_q_count()
    torch.testing.assert_close(choices.sum(0), toys.sites(*both).log_q())


def test_sums_agree_at_full_size_in_single_precision() -> None:
    model, frames = Sqair(), (toys.clip(2, 4, 50) * 255).byte()
    with torch.no_grad():
        both = traces(model.model, model.guide, frames, 2)
        weight = toys.sites(*both).log_weight()
        found = gather(*both, False).log_weight().sum(0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, weight, rtol=1e-6, atol=1e-4)


def one(values: dict[str, Tensor], p: int, b: int) -> dict[str, Tensor]:
    """The values of one particle of one sequence."""
    return {name: value[p, b] for name, value in values.items()}


@pytest.mark.parametrize("options", [{}, {"late": 1}], ids=str)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_log_weight_is_that_of_the_published_equations(name: str, options: dict) -> None:
    model, frames = toys.toy(VARIANTS[name]), toys.clip(3, 3)
    values = toys.draws(model, frames, 2, **options)
    check(model, frames, values, terms(model, frames, 2, values=values, **options))


@pytest.mark.parametrize("name", VARIANTS)
def test_any_forced_values_are_scored(name: str) -> None:
    """Also in slots that an overfull frame loses, and for objects that come back at once."""
    model, frames, config = toys.toy(VARIANTS[name]), toys.clip(3, 3), VARIANTS[name]
    every = list(toys.outcomes(3, config.slots, config.capacity))
    picks = [every[i] for i in torch.randint(len(every), (3,)).tolist()]
    full = max(every, key=lambda outcome: (sum(outcome.count), sum(map(sum, outcome.kept))))
    parts = [outcome.values(1) for outcome in (full, *picks[1:])]
    values = {name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}
    drawn = toys.draws(model, frames)
    values = {n: values.get(n, v + 0.2 * torch.randn_like(v.double())) for n, v in drawn.items()}
    for prefixes in (False, True):
        found = terms(model, frames, values=values, prefixes=prefixes)
        assert (found.kept.sum(-1) + found.count > config.slots).any() == (not config.capacity)
        check(model, frames, values, found)


def test_convolutional_networks_take_the_place_of_the_others() -> None:
    config = replace(PUBLISHED, encoder="conv", size=26, glimpse=8)
    model, frames = toys.toy(config), toys.clip(2, 2, size=26)
    assert sum(isinstance(part, torch.nn.Conv2d) for part in model.modules()) == 12
    values = toys.draws(model, frames)
    check(model, frames, values, terms(model, frames, values=values))


def check(model: Sqair, frames: Tensor, values: dict[str, Tensor], found: Terms) -> None:
    """Compare every particle of every sequence with the reference."""
    with torch.no_grad():
        for p, b in torch.cartesian_prod(*map(torch.arange, found.count.shape[1:])).tolist():
            wanted, ids = reference.log_weight(model, frames[:, b], one(values, p, b))
            torch.testing.assert_close(found.log_weight()[:, p, b].detach(), wanted)
            kept = found.slots.id[:, p, b]
            assert [row[row >= 0].tolist() for row in kept] == ids


def test_the_table_of_counts_holds_the_drawn_one() -> None:
    """Forcing each count in turn gives the likelihoods that one run with prefixes has."""
    for name in ("default", "published"):
        model, frames = toys.toy(VARIANTS[name]), toys.clip(1, 4)
        torch.manual_seed(3)
        table = terms(model, frames, 2, prefixes=True)
        for count in range(3):
            values = {"discovered_count_0": torch.full((2, 4), count)}
            torch.manual_seed(3)
            single = terms(model, frames, 2, values=values)
            assert single.log_likelihood.shape == (1, 2, 4, 1)
            got = single.log_likelihood_at_count()
            torch.testing.assert_close(table.log_likelihood[..., count], got)
            gain = (table.discovery() + table.counting())[..., count]
            torch.testing.assert_close(single.log_weight(), got + gain)
        torch.testing.assert_close(
            table.log_likelihood_at_count(), table.at_count(table.log_likelihood)
        )


def test_only_the_appearance_is_weighted() -> None:
    found = terms(toys.toy(), toys.clip(3, 5), 2)
    plain, weighted = found.propagation(), found.propagation(3.0)
    assert plain["what"].any()
    torch.testing.assert_close(weighted.pop("what"), 3 * plain.pop("what"))
    torch.testing.assert_close(weighted, plain)
