"""The Pyro model and guide: handlers, forced values, absent slots, capacity, ids, generation."""

from __future__ import annotations

import math
from dataclasses import replace

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import Predictive
from torch import Tensor

import sqair.model as model_module
from sqair.config import SqairConfig
from sqair.state import State, merge
from sqair.terms import Terms, terms
from sqair.trajectory import Trajectory
from tests import sqair_toys as toys
from tests.sqair_toys import OPEN, SMALL, VARIANTS

SITES = {
    "propagated_presence": (2,),
    "propagated_where": (2, 4),
    "propagated_what": (2, 3),
    "discovered_count": (),
    "discovered_where": (2, 4),
    "discovered_what": (2, 3),
}


def names(length: int) -> list[str]:
    """Latent sites; nothing is propagated into the first frame."""
    return [f"{n}_{t}" for t in range(length) for n in SITES if t or not n.startswith("propagated")]


@pytest.mark.parametrize("name", VARIANTS)
def test_both_run_under_trace_with_every_check_of_pyro(name: str) -> None:
    model, frames = toys.toy(VARIANTS[name]), toys.clip(3, 5)
    with pyro.validation_enabled():
        guide = poutine.trace(model.guide).get_trace(frames, 4)
        prior = poutine.trace(model.model).get_trace((3, 5), 4)
        observed = poutine.trace(model.model).get_trace(frames, 4)
        for trace in (guide, prior, observed):
            trace.compute_log_prob()
    assert [n for n in guide.nodes if n in names(3)] == names(3)
    assert [n for n in prior.nodes if n in [*names(3), "frames"]] == [*names(3), "frames"]
    assert not prior.nodes["frames"]["is_observed"] and observed.nodes["frames"]["is_observed"]
    assert prior.nodes["frames"]["value"].shape == (4, 5, 3, 1, 8, 8)
    if VARIANTS[name].slots == 2:
        for trace, site in ((t, s) for t in (guide, prior, observed) for s in names(3)):
            shape = trace.nodes[site]["value"].shape
            assert shape == (4, 5, *SITES[site[: site.rindex("_")]])
            assert trace.nodes[site]["log_prob"].shape == (4, 5)
    assert {n for n in names(3) if guide.nodes[n]["fn"].has_rsample} == {
        n for n in names(3) if "where" in n or "what" in n
    }


def test_bytes_are_read_as_the_floats_they_stand_for() -> None:
    model, frames = toys.toy(), (toys.clip(2, 3) * 255).byte()
    torch.manual_seed(1)
    found = terms(model, frames).log_weight()
    torch.manual_seed(1)
    torch.testing.assert_close(terms(model, frames.double() / 255).log_weight(), found)


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 1, 8, 9), (2, 3, 3, 8, 8)])
def test_frames_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    for run in (toys.toy().guide, toys.toy().model):
        with pytest.raises(ValueError, match=r"\(T, B, 1, 8, 8\)"):
            run(torch.zeros(shape))


def test_values_of_the_first_frames_leave_the_rest_to_the_prior() -> None:
    model, frames = toys.toy(), toys.clip(2, 3)
    values = toys.draws(model, frames, 2)
    futures = []
    for seed in range(2):
        torch.manual_seed(seed)
        futures.append(poutine.condition(model.model, values)((4, 3), 2).slots)
    given = model.guide(frames, 2, values=values).slots
    for part, same in zip(given, futures[0], strict=True):
        torch.testing.assert_close(same[:2], part)
    for part, other in zip(*futures, strict=True):
        assert torch.equal(part[:2], other[:2])
    assert not torch.equal(futures[0].where[2:], futures[1].where[2:])
    last = given.id.amax((0, -1))[..., None]  # no object of the past comes back
    for future in futures:
        new = ~(future.id[2:, ..., None] == given.id[-1, ..., None, :]).any(-1)
        assert (future.id[2:] > last)[new & (future.id[2:] >= 0)].all()


@pytest.mark.parametrize("config", [SMALL, OPEN], ids=["default", "open"])
def test_what_the_prior_draws_is_distributed_as_it_scores(config: SqairConfig) -> None:
    """Normals by the variance of their residuals, choices by ``E[1 / p]``, the number of them."""
    with torch.no_grad():
        trace = poutine.trace(toys.toy(config).model).get_trace((2, 4000))
    run: Trajectory = trace.nodes["_RETURN"]["value"]
    found = torch.arange(2) < run.count[1, ..., None]
    for name, there in (
        ("propagated_where_1", run.kept[1] > 0),
        ("propagated_what_1", run.kept[1] > 0),
        ("discovered_what_1", found),
    ):
        normal = trace.nodes[name]["fn"].base_dist.base_dist.base_dist
        residual = ((trace.nodes[name]["value"] - normal.mean) / normal.stddev)[there]
        assert_zero(residual)
        assert_zero(residual.square() - 1)
    assert_zero((-run.densities.propagated_presence[1][run.alive[1] > 0]).exp() - 2)
    for t in range(2):
        density = run.densities.discovered_count[t].gather(-1, run.count[t][..., None]).squeeze(-1)
        free = config.slots - run.kept[t].sum(-1) * config.capacity
        assert_zero((-density).exp() - (free + 1))


def assert_zero(values: Tensor) -> None:
    """Zero on average, to five standard errors; of more than a thousand values."""
    assert values.numel() > 1000
    assert values.mean().abs() < 5 * values.std() / math.sqrt(values.numel())


def test_predictive_draws_from_the_prior_and_from_the_posterior() -> None:
    model, frames = toys.toy(), toys.clip(2, 3)
    prior = Predictive(model.model, num_samples=4)((2, 3), 2)
    assert set(prior) == {*names(2), "frames"}
    assert prior["frames"].shape == (4, 2, 3, 2, 1, 8, 8)
    assert prior["discovered_where_1"].shape == (4, 2, 3, 2, 4)
    posterior = Predictive(model.model, guide=model.guide, num_samples=4)(frames, 2)
    assert posterior["propagated_what_1"].shape == (4, 2, 3, 2, 3)
    assert not torch.equal(posterior["discovered_where_0"][0], posterior["discovered_where_0"][1])


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("name", ["default", "published"])
def test_forced_values_are_scored_like_drawn_ones(name: str, static: bool) -> None:
    model, frames = toys.toy(VARIANTS[name]), toys.clip(3, 4)
    trace = poutine.trace(model.guide).get_trace(frames, 2, static=static)
    drawn: Trajectory = trace.nodes["_RETURN"]["value"]
    values = {n: trace.nodes[n]["value"].detach() for n in names(3)}
    forced = model.guide(frames, 2, static=static, values=values)
    same_where_scored(drawn, forced)
    some = {n: v for n, v in values.items() if n.startswith(toys.DISCRETE)}
    again = model.guide(frames, 2, static=static, values=some)
    assert torch.equal(again.slots.presence, drawn.slots.presence)
    assert not torch.equal(again.slots.where, drawn.slots.where)
    ones = {"propagated_presence_1": torch.ones(1, 1, 1), "propagated_presence_2": torch.ones(())}
    kept = model.guide(frames, 2, values=ones)
    assert torch.equal(kept.kept[1:], kept.alive[1:])


def same_where_scored(one: Trajectory, other: Trajectory) -> None:
    """Densities of slots that were there, and everything that was chosen."""
    for name in ("count", "kept", "alive"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    found = torch.arange(one.alive.shape[-1]) < one.count[..., None]
    for name, density in one.densities._asdict().items():
        mask = torch.ones_like(density) if "count" in name else one.alive
        mask = found if name.startswith("discovered_wh") else mask
        torch.testing.assert_close(density * mask, getattr(other.densities, name) * mask)


def test_the_guide_scores_nothing_but_what_it_drew() -> None:
    """Values are forced through its argument: replaying or conditioning it is an error."""
    model, frames = toys.toy(), toys.clip(1, 2)
    other = {"discovered_where_0": torch.zeros(1, 2, 2, 4, dtype=torch.float64)}
    with pytest.raises(ValueError, match="values"):
        poutine.trace(poutine.condition(model.guide, other)).get_trace(frames).log_prob_sum()


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


def test_an_account_of_whole_sequences() -> None:
    model, frames = toys.toy(), toys.clip(3, 4)
    torch.manual_seed(6)
    found = model.unroll(frames, 2)
    torch.manual_seed(6)
    wanted = terms(model, frames, 2)
    torch.testing.assert_close(found.log_weight, wanted.log_weight())
    torch.testing.assert_close(found.log_likelihood, wanted.log_likelihood_at_count())
    assert found.features.shape == (3, 2, 4, 2 * (3 + 4 + 1))
    features = found.features.view(3, 2, 4, 2, 8)
    absent = found.slots.presence == 0
    assert absent.any() and not features[absent].any()
    assert torch.equal(features[~absent][:, :3], found.slots.what[~absent])


@pytest.mark.parametrize("name", ["default", "published"])
def test_slots_are_pictured_as_the_model_paints_them(name: str) -> None:
    model = toys.toy(VARIANTS[name])
    run = model.model((3, 4), 2)
    seen = model.decode(run.slots)
    assert seen.glimpses.shape == (3, 2, 4, 2, 1, 4, 4)
    assert seen.canvases.shape == (3, 2, 4, 2, 1, 8, 8)
    torch.testing.assert_close(seen.canvas.movedim(0, 2), run.frames.mean)
    assert not seen.canvases[run.slots.presence == 0].any()
    if name == "default":
        torch.testing.assert_close(seen.canvases.sum(-4), seen.canvas)
