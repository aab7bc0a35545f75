"""AIR: SQAIR on single frames, whatever the length of what it is given."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from pyro import poutine
from sqair_small import CONFIGS, small, video
from torch import Tensor

from common.curriculum import Stage
from sqair.air import Air, AirObjective
from sqair.model import Sqair
from sqair.sample import seeded
from sqair.terms import terms, traces
from sqair.training import SqairObjective

FRAMES = video(4, 3)


def pair() -> tuple[Air, Sqair]:
    """AIR, and a SQAIR with its weights."""
    air, sqair = small("air"), Sqair(CONFIGS["sqair"])
    missing, unexpected = sqair.load_state_dict(air.state_dict(), strict=False)
    assert not unexpected
    assert {name.split(".")[0] for name in missing} <= {
        *("propagation", "propagation_prior", "context", "first_memory"),
        "discovery_prior",
    }
    return air, sqair


def latents(trace: poutine.Trace) -> dict[str, Tensor]:
    return {n: node["value"] for n, node in trace.nodes.items() if n.startswith("discovered")}


def test_a_single_frame_is_sqairs() -> None:
    air, sqair = pair()
    runs = []
    for model in (air, sqair):
        with seeded(1), torch.no_grad():
            runs.append(model.unroll(FRAMES[:1], 5))
    for ours, theirs in zip(runs[0][:2], runs[1][:2]):
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(runs[0].slots.id, runs[1].slots.id)
    torch.testing.assert_close(runs[0].features, runs[1].features)


def test_every_frame_of_a_sequence_is_a_single_one() -> None:
    air, sqair = pair()
    with torch.no_grad():
        prior, posterior = traces(air.model, air.guide, FRAMES, 2)
        drawn = latents(posterior)
        assert sorted(drawn) == sorted(
            f"discovered_{n}_{t}" for n in ("count", "where", "what") for t in range(4)
        )
        whole = terms(air, FRAMES, 2, values=drawn)
        for t in range(4):
            own = {f"{n.rpartition('_')[0]}_0": v for n, v in drawn.items() if n.endswith(f"_{t}")}
            one = terms(sqair, FRAMES[t : t + 1], 2, values=own)
            torch.testing.assert_close(whole.log_weight()[t], one.log_weight()[0])
            torch.testing.assert_close(whole.log_likelihood[t], one.log_likelihood[0])
    summed = prior.log_prob_sum() - posterior.log_prob_sum()
    torch.testing.assert_close(summed, whole.log_weight().sum(), rtol=1e-5, atol=1e-3)


def test_the_prior_is_the_same_in_every_frame() -> None:
    air, _ = pair()
    with seeded(0), torch.no_grad():
        slots = air.model((3, 3000)).slots
    for part in (slots.presence, slots.where * slots.presence[..., None]):
        part = part[:, 0].flatten(2)
        error = (part.var(1) / 3000).sqrt().clamp_min(1e-6)
        assert ((part[1:].mean(1) - part[0].mean(0)) / error[0]).abs().max() < 6
    assert (slots.presence[1:].sum(-1) != slots.presence[:-1].sum(-1)).any()


def test_ids_are_new_in_every_frame() -> None:
    air, _ = pair()
    with seeded(0), torch.no_grad():
        runs = [air.guide(FRAMES, 4), air.model((4, 3), 4)]
    for run in runs:
        for p in range(4):
            for b in range(3):
                ids = run.slots.id[:, p, b]
                assert ids[ids >= 0].tolist() == list(range(int(run.count[:, p, b].sum())))
        assert torch.equal(run.slots.id >= 0, run.slots.presence > 0)
        assert torch.equal(run.slots.presence.sum(-1).long(), run.count)


def test_latents_can_be_conditioned_and_forced() -> None:
    air, _ = pair()
    with torch.no_grad():
        drawn = latents(poutine.trace(air.guide).get_trace(FRAMES[:2], 3))
        first = {name: value for name, value in drawn.items() if name.endswith("_0")}
        run = poutine.condition(air.model, first)((3, 3), 3)
        again = poutine.trace(air.guide).get_trace(FRAMES[:2], 3, values=drawn)
    assert torch.equal(run.count[0], drawn["discovered_count_0"])
    assert not torch.equal(run.count[1], drawn["discovered_count_1"])
    there = run.slots.presence[0] > 0
    assert torch.equal(run.slots.what[0][there], drawn["discovered_what_0"][there])
    for name, value in latents(again).items():
        assert torch.equal(value, drawn[name])
    with pytest.raises(ValueError, match="values of count for 1 of 2 frames: all or none"):
        air.guide(FRAMES[:2], 3, values=first)
    with pytest.raises(ValueError, match="that there are not: .*propagated_presence_1"):
        air.guide(FRAMES[:2], 1, values={"propagated_presence_1": torch.ones(1)})


@pytest.mark.parametrize("kind", ["marginal", "elbo", "vimco"])
def test_the_objective_is_sqairs_on_single_frames(kind: str) -> None:
    air, sqair = pair()
    stage = Stage("a", 4, settings={"objective": kind, "particles": 3})
    losses = []
    for objective, frames in (
        (AirObjective(air), FRAMES),
        (SqairObjective(sqair), FRAMES.flatten(0, 1)[None]),
    ):
        with seeded(2):
            losses.append(objective(SimpleNamespace(frames=frames), stage)[0])
        losses[-1].backward()
    torch.testing.assert_close(*losses)
    theirs = dict(sqair.named_parameters())
    # What reads the context of other objects has no gradient: there are none.
    still = [n for n, p in air.named_parameters() if not p.grad.abs().sum() > 0]
    assert still == ["discovery.from_context.weight"]
    for name, parameter in air.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-3, atol=1e-4)


def test_frames_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"frames must be \(T, B, 1, 12, 12\)"):
        small("air").guide(torch.zeros(2, 1, 1, 9, 9))
