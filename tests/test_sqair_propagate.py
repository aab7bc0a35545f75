"""Propagation: objects followed one after another, each as it is scored."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sqair.model import Sqair
from sqair.packing import pack
from sqair.propagate import Propagated
from sqair.state import Slots, State
from tests import sqair_reference as reference
from tests import sqair_toys as toys
from tests.sqair_toys import PUBLISHED, SMALL

BATCH = 6000


def state(presence: Tensor, seed: int = 0, same: bool = False) -> State:
    """Of a frame before, for ``presence (P, B, K)``; all sequences alike if `same`."""
    generator = torch.Generator().manual_seed(seed)
    p, b, k = presence.shape

    def draw(width: int) -> Tensor:
        shape = (p, 1 if same else b, k, width)
        return torch.randn(shape, generator=generator, dtype=torch.float64).expand(p, b, k, -1)

    ids = torch.arange(k).expand(p, b, k)
    return State(Slots(draw(3), draw(4), presence, ids), draw(8), torch.full((p, b), k))


def follow(
    model: Sqair, frames: Tensor, old: State, static: bool = False, **values: Tensor
) -> Propagated:
    packing = pack(old.slots.presence, static)
    return model.propagation(frames, model.encoder, old, packing, values)


@pytest.mark.parametrize("config", [SMALL, PUBLISHED], ids=["default", "published"])
def test_draws_are_distributed_as_the_published_equations_say(config: object) -> None:
    """Window: mean and full covariance. Presence: its frequency. Both of the first slot."""
    model = toys.toy(config)
    frames = toys.clip(1, 1)[0].expand(BATCH, -1, -1, -1)
    presence = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(1, BATCH, 2)
    old = state(presence, same=True)
    with torch.no_grad():
        found = follow(model, frames, old)
        thing = reference.Thing(*(x[0, 0, 0] for x in (*old.slots[:2], old.memory, old.memory)), 0)
        nothing = torch.zeros(8, dtype=torch.float64)
        _, relation = reference.relate(
            model, frames[0], thing, nothing, model.propagation.relation_first
        )
        wanted = reference.follow(model, thing, relation)
    where = found.where[0, :, 0]
    white = torch.linalg.solve_triangular(wanted.scale_tril, (where - wanted.mean).T, upper=False)
    assert white.mean(1).abs().max() < 5 / math.sqrt(BATCH)
    assert (torch.cov(white) - torch.eye(4)).abs().max() < 7 / math.sqrt(BATCH)
    torch.testing.assert_close(found.log_where[0, :, 0], wanted.log_prob(where))
    yes = found.presence[0, :, 0]
    inverse = (-found.log_presence[0, :, 0]).exp() - 2  # E[1 / q] of two outcomes
    assert 0.1 < yes.mean() < 0.95
    assert inverse.mean().abs() < 5 * inverse.std() / math.sqrt(BATCH)


@pytest.mark.parametrize("static", [False, True])
def test_what_is_absent_stays_absent_and_costs_nothing(static: bool) -> None:
    model, frames = toys.toy(), toys.clip(1, 6)[0]
    presence = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    presence = presence.repeat(2, 1).expand(3, 6, 2)
    forced = follow(model, frames, state(presence), static, presence=torch.ones(1, 1, 1))
    assert torch.equal(forced.presence, presence)
    drawn = follow(model, frames, state(presence), static)
    assert (drawn.presence <= presence).all()
    assert drawn.log_presence[presence == 0].abs().max() < 1e-30
    assert not drawn.presence.requires_grad


def test_nothing_there_is_nothing_to_follow() -> None:
    model, frames = toys.toy(), toys.clip(1, 3)[0]
    old = state(torch.zeros(2, 3, 2, dtype=torch.float64))
    torch.manual_seed(1)
    found = follow(model, frames, old)
    after = torch.rand(1)
    torch.manual_seed(1)
    follow(model, frames, old, static=True)
    assert torch.equal(torch.rand(1), after)  # the same noise, whatever is computed
    assert not found.presence.any()
    assert not any(x.any() for x in (found.log_what, found.log_where, found.log_presence))


def test_an_object_sees_those_before_it_and_not_those_after() -> None:
    """Also those that are lost in this frame: the chain is told, not cut."""
    model, frames = toys.toy(replace(SMALL, slots=3)), toys.clip(1, 1)[0]
    presence = torch.ones(1, 1, 3, dtype=torch.float64)
    old = state(presence)
    base = follow(model, frames, old)
    fixed = {n: getattr(base, n) for n in ("what", "where", "presence")}
    for name in fixed:
        changed = fixed[name].clone()
        changed[:, :, 1] = 1 - changed[:, :, 1]
        one = follow(model, frames, old, **fixed)
        other = follow(model, frames, old, **(fixed | {name: changed}))
        assert torch.equal(one.log_where[..., 0], other.log_where[..., 0])
        assert not torch.equal(one.log_where[..., 2], other.log_where[..., 2])


@pytest.mark.parametrize("kind", ["guided", "rnn"])
def test_the_prior_is_relative_to_the_last_frame_if_guided(kind: str) -> None:
    """Section 4.2: absolute as released; guided: the window moves, the appearance by a tenth."""
    model = toys.toy(replace(SMALL, propagation_prior=kind))
    old = state(torch.ones(1, 2, 2, dtype=torch.float64))
    packing = pack(old.slots.presence, static=False)
    found = model.propagation_prior(old, packing)
    for b in range(2):
        for k in range(2):
            a, w, h = old.slots.what[0, b, k], old.slots.where[0, b, k], old.memory[0, b, k]
            wanted = reference.expect(model, reference.Thing(a, w, h, h, 0))
            torch.testing.assert_close(found.logits[0, b, k], wanted.logit)
            torch.testing.assert_close(found.where[0][0, b, k], wanted.where.mean)
            torch.testing.assert_close(found.what[0][0, b, k], wanted.what.mean)
            torch.testing.assert_close(found.what[1][0, b, k], wanted.what.stddev)
            torch.testing.assert_close(found.memory[0, b, k], wanted.state)
    with torch.no_grad():
        for parameter in model.propagation_prior.head.parameters():
            parameter.zero_()
    still = model.propagation_prior(old, packing)
    guided = kind == "guided"
    torch.testing.assert_close(still.where[0], old.slots.where * guided)
    torch.testing.assert_close(still.what[0], old.slots.what * guided)
