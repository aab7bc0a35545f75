"""The Pyro model and guide under handlers, with forced values, and what they paint."""

from __future__ import annotations

import math

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import Predictive
from torch import Tensor

from sqair.config import SqairConfig
from sqair.terms import terms
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


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 1, 8, 9), (2, 3, 3, 8, 8), (0, 3, 1, 8, 8)])
def test_frames_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    for run in (toys.toy().guide, toys.toy().model):
        with pytest.raises(ValueError, match=r"\(T, B, 1, 8, 8\)"):
            run(torch.zeros(shape))


def test_other_sites_and_limits_are_refused() -> None:
    model, frames = toys.toy(), toys.clip(2, 1)
    with pytest.raises(ValueError, match="2 frames have no sites propagated_where_0"):
        model.guide(frames, values={"propagated_where_0": torch.zeros(())})
    for run in (model.guide, model.model):
        with pytest.raises(ValueError, match="late must be at least 1, .* got 0"):
            run(frames, late=0)


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
