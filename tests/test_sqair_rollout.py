"""Runs over many frames: which slots are computed, what absent ones hold, capacity, ids."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import sqair.model as model_module
from sqair.config import SqairConfig
from sqair.state import State, merge
from sqair.terms import Terms, terms
from sqair.trajectory import Trajectory
from tests import sqair_toys as toys
from tests.sqair_toys import OPEN, SMALL, VARIANTS


@pytest.mark.parametrize("name", ["default", "published", "three slots"])
def test_packed_and_static_runs_are_the_same(name: str) -> None:
    model, frames, found = toys.toy(VARIANTS[name]), toys.clip(3, 6), []
    for static in (False, True):
        torch.manual_seed(2)
        run = terms(model, frames, 2, static=static, prefixes=True)
        weights = torch.arange(36.0).view(3, 2, 6)
        score = run.log_weight() + run.log_q_presence() + 3 * run.log_q_count()
        scalar = (score * weights).sum() + run.log_likelihood.sum() + run.discovery().sum()
        found.append((run, toys.gradients(scalar, model)))
    (packed, slopes), (full, slopes_full) = found
    assert 0 < packed.alive[1:].mean() < 0.9  # there is something to leave out
    for name_ in ("count", "kept", "alive"):
        assert torch.equal(getattr(packed, name_), getattr(full, name_))
    for n in ("log_weight", "log_q_presence", "log_q_count", "log_likelihood_at_count"):
        torch.testing.assert_close(getattr(packed, n)(), getattr(full, n)())
    torch.testing.assert_close(packed.log_likelihood, full.log_likelihood)
    torch.testing.assert_close(slopes, slopes_full)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_that_searches_no_further_than_it_counts_is_the_same(name: str) -> None:
    """Weights, choices and gradients; a run with the likelihood of every count searches fully."""
    model, frames, found = toys.toy(VARIANTS[name]), toys.clip(4, 6), []
    for prefixes in (True, False):
        torch.manual_seed(5)
        run = terms(model, frames, 3, prefixes=prefixes)
        parts = (run.log_weight(), run.log_q_presence(), run.log_q_count())
        factors = torch.arange(72.0, dtype=torch.float64).view(4, 3, 6).cos()
        slopes = toys.gradients(sum((part * factors).sum() for part in parts), model)
        present = run.slots.presence[..., None]
        objects = (run.slots.where * present, run.slots.what * present, run.count)
        found.append((parts, objects, slopes))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("static", [False, True])
def test_the_search_stops_where_shapes_may_depend_on_values(
    static: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With static shapes every frame takes the same glimpses, whatever is counted."""
    model, frames, taken = toys.toy(VARIANTS["three slots"]), toys.clip(3, 6), []
    look = model.discovery.look

    def counted(images: Tensor, where: Tensor) -> Tensor:
        taken.append(where.shape[:-1].numel())
        return look(images, where)

    monkeypatch.setattr(model.discovery, "look", counted)
    for prefixes in (False, True):
        taken.clear()
        terms(model, frames, 2, static=static, prefixes=prefixes)
        assert (taken == [12] * 9) == (static or prefixes)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("name", ["default", "published", "three slots"])
def test_what_absent_slots_hold_changes_nothing(
    name: str, static: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, frames = toys.toy(VARIANTS[name]), toys.clip(4, 6)
    torch.manual_seed(4)
    clean = terms(model, frames, 3, static=static, prefixes=True)
    source = torch.Generator().manual_seed(0)

    def polluted(*arguments: object) -> State:
        state = merge(*arguments)
        slots = state.slots
        absent = slots.presence[..., None] == 0
        assert absent.any()

        def spoil(x: Tensor) -> Tensor:
            garbage = 30 * torch.randn(x.shape, generator=source, dtype=x.dtype)
            return torch.where(absent, garbage, x)

        spoiled = slots._replace(what=spoil(slots.what), where=spoil(slots.where))
        return State(spoiled, spoil(state.memory), state.last_id)

    monkeypatch.setattr(model_module, "merge", polluted)
    torch.manual_seed(4)
    dirty = terms(model, frames, 3, static=static, prefixes=True)
    assert not torch.equal(dirty.slots.what, clean.slots.what)
    assert torch.equal(dirty.slots.presence, clean.slots.presence)
    torch.testing.assert_close(dirty.log_weight(), clean.log_weight())
    torch.testing.assert_close(dirty.log_likelihood, clean.log_likelihood)
    torch.testing.assert_close(dirty.log_q_presence(), clean.log_q_presence())


def test_objects_beyond_the_first_refused_change_nothing() -> None:
    """Not what they are, nor where; the first refused is what the chain looked at to refuse it."""
    model, frames = toys.toy(VARIANTS["three slots"]), toys.clip(1, 8)
    values = toys.draws(model, frames)
    values["discovered_count_0"] = torch.arange(8)[None] % 3
    clean = terms(model, frames, values=values).log_weight()
    beyond = torch.arange(3) > values["discovered_count_0"][..., None]
    for name in ("discovered_what_0", "discovered_where_0"):
        values[name] = torch.where(beyond[..., None], 3.0, values[name])
    torch.testing.assert_close(terms(model, frames, values=values).log_weight(), clean)


def runs(config: SqairConfig, **options: object) -> list[Terms | Trajectory]:
    """Of the guide and of the model, long ones."""
    model = toys.toy(config)
    with torch.no_grad():
        guide = model.guide(toys.clip(6, 40), 2, **options)
        return [guide, model.model((6, 40), 2, **options)]


def test_with_a_capacity_no_object_is_found_and_dropped() -> None:
    for run in runs(SMALL):
        total = run.kept.sum(-1) + run.count
        assert total.max() == 2 and torch.equal(total, run.slots.presence.sum(-1))
    for run in runs(OPEN):  # as released
        total = run.kept.sum(-1) + run.count
        assert total.max() > 2 and torch.equal(total.clamp_max(2), run.slots.presence.sum(-1))


def test_late_discoveries_are_as_many_as_asked_for() -> None:
    for capacity in (True, False):
        for run in runs(replace(SMALL, slots=3, capacity=capacity), late=1):
            assert run.count[0].max() == 3 and run.count[1:].max() == 1


@pytest.mark.parametrize("config", [SMALL, OPEN], ids=["default", "open"])
def test_ids_are_new_unique_and_kept(config: SqairConfig) -> None:
    for run in runs(config):
        presence, ids = run.slots.presence > 0, run.slots.id
        assert torch.equal(presence, ids >= 0)
        last = torch.full_like(run.count[0], -1)
        for t in range(len(ids)):
            for p, b in ((0, 0), (1, 7), (0, 33), (1, 39)):
                row, old = ids[t, p, b][presence[t, p, b]].tolist(), int(last[p, b])
                assert row == sorted(set(row))
                stayed = ids[t - 1, p, b][run.kept[t, p, b] > 0].tolist() if t else []
                fresh = list(range(old + 1, old + 1 + int(run.count[t, p, b])))
                assert row == (stayed + fresh)[:2]
            last = last + run.count[t]
