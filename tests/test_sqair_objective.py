"""Gradients against exact enumeration of every choice, with the noise of the rest held fixed."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from pyro.infer import ELBO
from torch import Tensor

from sqair import objective
from sqair.objective import SequenceELBO
from sqair.terms import terms
from tests import sqair_toys as toys
from tests import sqair_worlds as worlds
from tests.sqair_toys import SMALL, Outcome
from tests.sqair_worlds import WORLDS, assert_same, only, pairs_of


def test_the_outcomes_are_all_that_can_happen() -> None:
    """Their probabilities sum to one, whatever the parameters."""
    for name in WORLDS:
        total = pairs_of(name).probability().sum()
        assert total.item() == pytest.approx(1, abs=1e-9)
        for parameter, gradient in toys.gradients(total, pairs_of(name).model).items():
            assert gradient.abs().max() < 1e-9, (name, parameter)


@pytest.mark.parametrize("name", ["one frame", "two frames", "three frames, one slot"])
def test_elbo(name: str) -> None:
    here = pairs_of(name)
    bound = (here.probability() * here.sites.log_weight().mean(0)).sum()
    wanted = toys.gradients(bound, here.model)
    assert_same(here.expected(objective.elbo, here.plain), wanted)


@pytest.mark.parametrize("name", WORLDS)
def test_the_expectation_over_counts(name: str) -> None:
    here = pairs_of(name)
    bound = (here.probability() * here.sites.log_weight().mean(0)).sum()
    wanted = toys.gradients(bound, here.model)
    assert_same(here.expected(objective.marginal, here.terms), wanted)


def test_the_expectation_over_counts_with_a_weighted_appearance() -> None:
    here = pairs_of("two frames")
    bound = (here.probability() * here.sites.log_weight(2.5).mean(0)).sum()
    surrogate = functools.partial(objective.marginal, what_weight=2.5)
    assert_same(here.expected(surrogate, here.terms), toys.gradients(bound, here.model))


@pytest.mark.parametrize("name", ["two frames", "two frames, overfull", "three frames, one slot"])
def test_vimco(name: str) -> None:
    here = pairs_of(name)
    bound = torch.logsumexp(here.sites.log_weight(), 0) - math.log(2)
    wanted = toys.gradients((here.probability() * bound).sum(), here.model)
    assert_same(here.expected(objective.vimco, here.plain), wanted)


@pytest.mark.parametrize("name", ["two frames, overfull", "two frames, published"])
def test_the_released_signal(name: str) -> None:
    """Paths along the IWAE bound, choices along the ELBO, as the released code has it."""
    here = pairs_of(name)
    weight, probability = here.sites.log_weight(), here.probability()
    paths = probability.detach() * (torch.logsumexp(weight, 0) - math.log(2))
    choices = probability * weight.detach().mean(0)
    wanted = toys.gradients((paths + choices).sum(), here.model)
    assert_same(here.expected(objective.released, here.plain), wanted)


def base(here: worlds.World, t: int) -> Tensor:
    """What a count brings in frame ``t``, ``(P, B)``: the image, and log p - log q of the found."""
    total = here.plain.log_likelihood_at_count()[t]
    for name in (f"discovered_where_{t}", f"discovered_what_{t}"):
        total = total + here.sites.prior[name] - here.sites.posterior[name]
    return total


def test_exploring_teaches_painting_with_a_wider_choice_of_counts() -> None:
    """``(1 - e) q(n) + e / (free + 1)`` in place of ``q(n)``, for painting and nothing else."""
    here, explore = pairs_of("two frames"), 0.3
    free = here.plain.kept.shape[-1] - here.plain.kept.sum(-1)
    extra = 0.0
    for t in range(2):
        probability = here.sites.posterior[f"discovered_count_{t}"].exp()
        change = explore * (1 / ((free[t] + 1) * probability) - 1)
        extra = extra + (here.probability() * change).detach() * base(here, t)
    plain = here.expected(objective.marginal, here.terms)
    extra = toys.gradients(extra.mean(0).sum(), here.model)
    surrogate = functools.partial(objective.marginal, explore=explore)
    found = here.expected(surrogate, here.terms)
    assert_same(found, {name: plain[name] + extra[name] for name in plain})
    assert extra["decoder.contrast"].abs() > 1e-3


def test_forced_keeping_teaches_to_keep_and_to_find_nothing_late() -> None:
    """The first frame as ever; later ones are what was forced, with ``log p + log q`` of it.

    Of finding nothing the guide is taught 99 in 100, the rest of what may be found; and what that
    would paint, likewise.
    """
    explore, slots = 0.2, SMALL.slots
    every = [
        Outcome(((0,) * slots, (1,) * first + (0,) * (slots - first)), (first, late))
        for first in range(slots + 1)
        for late in range(slots - first + 1)
    ]
    here = worlds.world(toys.toy(), toys.clip(2, 1), [(outcome,) for outcome in every])
    p, q = ({n: v[0] for n, v in side.items()} for side in here.sites)
    nothing_late = [b for b, outcome in enumerate(every) if outcome.count[1] == 0]
    log_q, gain = q["discovered_count_0"][nothing_late], base(here, 0)[0, nothing_late]
    teach = ((1 - explore) * log_q.exp() + explore / len(nothing_late)).detach()
    ratio = gain.detach() + p["discovered_count_0"][nothing_late] - log_q
    first_frame = (log_q.exp() * ratio + teach * (gain - gain.detach())).sum()
    for first, row in enumerate(nothing_late):
        late = [b for b, outcome in enumerate(every) if outcome.count[0] == first and b != row]
        second = base(here, 1)[0]
        wanted = first_frame + second[row].detach() + p["discovered_count_1"][row]
        doubt = 0.01 if late else 0.0
        for b, share in [(row, 1 - doubt), *((b, doubt / len(late)) for b in late)]:
            wanted = wanted + share * (q["discovered_count_1"][b] + second[b] - second[b].detach())
        wanted = wanted + p["propagated_presence_1"][row] + q["propagated_presence_1"][row]
        for name in ("propagated_where_1", "propagated_what_1"):
            wanted = wanted + p[name][row] - q[name][row]
        found = objective.marginal(only(here.terms, row), explore=explore, keep=True)
        torch.testing.assert_close(found, wanted)
        assert_same(toys.gradients(found, here.model), toys.gradients(wanted, here.model))


def test_sampled_choices_give_the_same_gradients() -> None:
    """16 runs of 128 pairs: within six standard errors of the exact ones, along one direction."""
    here, runs, batch = pairs_of("two frames"), 16, 128
    frames, weight = toys.clip(2, 1).expand(-1, batch, -1, -1, -1), here.sites.log_weight()
    iwae = torch.logsumexp(weight, 0) - math.log(2)
    bounds = {"elbo": weight.mean(0), "marginal": weight.mean(0), "vimco": iwae}
    exact = {
        n: toys.gradients((here.probability() * x).sum(), here.model) for n, x in bounds.items()
    }
    along = {n: torch.randn_like(x) for n, x in exact["elbo"].items()}
    found: dict[tuple[str, str], list[Tensor]] = {(s, n): [] for s in bounds for n in along}
    for _ in range(runs):
        with worlds.same_noise(batch):
            drawn = terms(here.model, frames, 2, prefixes=True)
        for name in bounds:
            gradients = toys.gradients(getattr(objective, name)(drawn), here.model)
            for n, gradient in gradients.items():
                found[name, n].append((gradient * along[n]).sum())
    for (name, n), values in found.items():
        mean, std = torch.stack(values).mean(), torch.stack(values).std()
        error = (mean - (exact[name][n] * along[n]).sum()).abs()
        assert error <= 6 * std / math.sqrt(runs) + 1e-9, (name, n)


def bound(values: list[float]) -> float:
    """Log of the mean of exp."""
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values) / len(values))


def credit(values: list[list[float]], choices: Tensor, delay: int = 0) -> float:
    """Choices of a frame times what came ``delay`` frames later on, less that of the others."""
    total, count = 0.0, len(values[0])
    for t, row in enumerate(choices.tolist()):
        ahead = [sum(frame[i] for frame in values[t + delay :]) for i in range(count)]
        for i, log_q in enumerate(row):
            total += (ahead[i] - (sum(ahead) - ahead[i]) / (count - 1)) * log_q
    return total / count


def test_surrogates_are_what_their_formulas_say() -> None:
    """By loops over frames and particles, for one sequence."""
    found = terms(toys.toy(), toys.clip(3, 1), 4, prefixes=True)
    presence, count = found.log_q_presence()[..., 0], found.log_q_count()[..., 0]
    weight = found.log_weight()[..., 0].tolist()
    whole = [sum(row[i] for row in weight) for i in range(4)]
    log_q = (presence + count).sum(0).tolist()
    rest = [whole[:i] + whole[i + 1 :] for i in range(4)]
    left_out = [bound([*others, sum(others) / 3]) for others in rest]
    gains = found.log_likelihood + found.discovery() + found.counting()
    frame = (found.q.discovered_count.exp() * gains).sum(-1) + sum(found.propagation().values())
    values = frame[..., 0].tolist()
    wanted = {
        "elbo": sum(whole) / 4 + credit(weight, presence + count),
        "vimco": bound(whole)
        + sum((bound(whole) - x) * q for x, q in zip(left_out, log_q, strict=True)),
        "released": bound(whole)
        + sum((w - x) * q for w, x, q in zip(whole, left_out, log_q, strict=True)) / 4,
        "marginal": sum(map(sum, values)) / 4
        + credit(values, presence)
        + credit(values, count, delay=1),
    }
    for name, value in wanted.items():
        assert getattr(objective, name)(found).item() == pytest.approx(value), name


def test_a_single_particle_has_no_baseline() -> None:
    assert objective.others(torch.randn(3, 1, 2)).tolist() == [[[0.0, 0.0]]] * 3
    found = terms(toys.toy(), toys.clip(2, 3))
    weight = found.log_weight()
    choices = found.log_q_presence() + found.log_q_count()
    wanted = (weight.sum(0) * (1 + choices[0]) + weight[1] * choices[1]).mean()
    torch.testing.assert_close(objective.elbo(found), wanted)


@pytest.mark.parametrize("name", ["elbo", "vimco", "released", "marginal"])
def test_objectives_are_pyros(name: str) -> None:
    model, frames = toys.toy(), toys.clip(2, 2)
    found = SequenceELBO(getattr(objective, name), prefixes=name == "marginal")
    assert isinstance(found, ELBO)
    arguments = (model.model, model.guide, frames, 3)
    torch.manual_seed(1)
    loss = found.differentiable_loss(*arguments)
    loss.backward()
    assert sum(p.grad is not None and bool(p.grad.any()) for p in model.parameters()) > 40
    torch.manual_seed(1)
    assert found.loss(*arguments) == pytest.approx(loss.item())
    torch.manual_seed(1)
    wanted = terms(model, frames, 3, prefixes=found.prefixes)
    torch.testing.assert_close(-found.surrogate(wanted), loss)
