"""Sampling: distributed as the prior is by hand, conditioned exactly, repeatable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ancestral import Ancestral, Thing
from sqair_small import small, video

from sqair import sample
from sqair.state import Slots

FRAMES = video(3, 2)
NUMBER = 1000  # sequences whose moments are compared


def features(frames: list[list[Thing]], first: int) -> list[float]:
    """What distributions are compared by, of one sequence, in each frame from ``first`` on."""
    values = []
    for t in range(first, len(frames)):
        here = frames[t]
        before = {one.id for one in frames[t - 1]} if t else set()
        where = np.array([one.where for one in here]).reshape(-1, 4)
        what = np.array([one.what for one in here]).reshape(-1, 3)
        values += [float(len(here) == 1), float(len(here) == 2)]
        values += [sum(one.id not in before for one in here)]
        values += [*where.sum(0), *(where**2).sum(0), *what.sum(0), *(what**2).sum(0)]
        values.append((where[:, 0] * what[:, 0]).sum())
    return values


def things(slots: Slots, n: int, b: int = 0) -> list[list[Thing]]:
    """Slots ``(T, N, B, K, ...)`` of one video as what the sampler by hand gives."""
    parts = zip(*(part[:, n, b].numpy() for part in slots))
    return [
        [Thing(int(i), a, w, np.zeros(0)) for a, w, p, i in zip(*frame) if p] for frame in parts
    ]


def differences(ours: list[list[float]], theirs: list[list[float]]) -> np.ndarray:
    """Of the means, in standard errors."""
    a, b = np.array(ours), np.array(theirs)
    error = np.sqrt(a.var(0) / len(a) + b.var(0) / len(b))
    return (a.mean(0) - b.mean(0)) / np.maximum(error, 1e-9)


@pytest.fixture(scope="module")
def drawn() -> Slots:
    return sample.imagine(small(), 3, NUMBER, seed=1).slots


def test_samples_are_distributed_as_the_prior_by_hand(drawn: Slots) -> None:
    by_hand = Ancestral(small(), 2)
    ours = [features(things(drawn, n), 0) for n in range(NUMBER)]
    theirs = [features(by_hand.draw(3), 0) for _ in range(NUMBER)]
    assert np.abs(differences(ours, theirs)).max() < 4
    # Objects come late and go, so that all of the prior has been compared.
    assert (drawn.id[2].amax(-1) > drawn.id[1].amax(-1)).float().mean() > 0.1
    counts = drawn.presence.sum(-1)
    assert (counts[2] < counts[1]).float().mean() > 0.1


def test_the_comparison_would_notice(drawn: Slots) -> None:
    """The same beside a prior in which objects stay less often."""
    other = small()
    with torch.no_grad():
        other.propagation_prior.head.bias[0] -= 1
    by_hand = Ancestral(other, 2)
    ours = [features(things(drawn, n), 0) for n in range(NUMBER)]
    theirs = [features(by_hand.draw(3), 0) for _ in range(NUMBER)]
    assert np.abs(differences(ours, theirs)).max() > 5


def test_futures_are_distributed_as_the_prior_by_hand() -> None:
    model = small()
    found = sample.futures(model, FRAMES[:2, :1], 2, NUMBER, seed=4, particles=1)
    known = things(found.slots, 0)[:2]
    assert len(known[0]) == len(known[1]) == 2
    ours = [features(things(found.slots, n), 2) for n in range(NUMBER)]
    by_hand = Ancestral(model, 4)
    theirs = [features(by_hand.draw(4, known), 2) for _ in range(NUMBER)]
    assert np.abs(differences(ours, theirs)).max() < 4


def test_the_past_of_a_future_is_what_was_seen() -> None:
    model = small()
    found = sample.futures(model, FRAMES, steps=4, count=5, seed=5, particles=1)
    assert found.frames.shape == (7, 5, 2, 1, 12, 12)
    assert found.slots.where.shape == (7, 5, 2, 2, 4)
    torch.testing.assert_close(
        found.frames[:3], (FRAMES / 255)[:, None].expand(3, 5, *FRAMES.shape[1:])
    )
    with sample.seeded(5), torch.no_grad():
        seen = model.guide(FRAMES, 1).slots
    here = seen.presence.expand(3, 5, 2, 2) > 0
    for one, other in zip(found.slots, seen):
        past, other = one[:3], other.expand(3, 5, *other.shape[2:])
        assert torch.equal(past[here], other[here])
    assert torch.equal(found.slots.presence[:3], seen.presence.expand(3, 5, 2, 2))
    ahead = found.slots.where[3:].flatten(2)
    assert all(not torch.equal(ahead[:, 0], ahead[:, n]) for n in range(1, 5))
    canvas = model.decode(found.slots).canvas[3:].clamp(0, 1)
    torch.testing.assert_close(found.frames[3:], canvas)


def test_each_future_goes_on_from_a_particle_drawn_by_weight() -> None:
    log_weight = torch.tensor([[0.0, -1000.0, 3.0], [1.0986123, 0.0, -np.inf], [-50.0, 0.0, 3.0]])
    with sample.seeded(0):
        chosen = sample.choose(log_weight, 4000)
    shares = torch.stack([(chosen == p).float().mean(0) for p in range(3)])
    expected = torch.tensor([[0.25, 0.0, 0.5], [0.75, 0.5, 0.0], [0.0, 0.5, 0.5]])
    torch.testing.assert_close(shares, expected, atol=0.03, rtol=0)
    with pytest.raises(ValueError, match="not finite"):
        sample.choose(torch.tensor([[np.nan]]), 1)


def test_futures_keep_the_latents_of_their_own_sequence() -> None:
    model = small()
    found = sample.futures(model, FRAMES, 1, count=6, seed=9, particles=4)
    with sample.seeded(9), torch.no_grad():
        seen = sample.watch(model, FRAMES, 4)
    assert set(seen.latents) == {
        f"{kind}_{t}"
        for t in range(3)
        for kind in (
            *(f"discovered_{name}" for name in ("count", "where", "what")),
            *(f"propagated_{name}" for name in ("presence", "where", "what") if t),
        )
    }
    where, count = seen.latents["discovered_where_0"], seen.latents["discovered_count_0"]
    heavy = seen.log_weight.softmax(0)
    assert heavy.amax(0).min() > 0.999 and len(set(heavy.argmax(0).tolist())) == 2
    for n in range(6):
        for b in range(2):
            size = int(found.slots.presence[0, n, b].sum())
            own = found.slots.where[0, n, b, :size]
            fits = [
                p for p in range(4) if count[p, b] == size and torch.equal(own, where[p, b, :size])
            ]
            assert int(heavy[:, b].argmax()) in fits


def test_the_weight_of_a_particle_is_that_of_all_its_frames() -> None:
    model = small()
    with sample.seeded(7), torch.no_grad():
        ours = sample.watch(model, FRAMES, 3).log_weight
    with sample.seeded(7), torch.no_grad():
        theirs = model.unroll(FRAMES, 3).log_weight.sum(0)
    torch.testing.assert_close(ours, theirs)


def test_a_seed_repeats_and_nothing_else_changes() -> None:
    model = small()
    for draw in (
        lambda seed: sample.imagine(model, 4, 3, seed),
        lambda seed: sample.futures(model, FRAMES[:, :1], 2, 3, seed, particles=4),
    ):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first, other = draw(3), draw(4)
        assert torch.equal(before, torch.get_rng_state())
        torch.manual_seed(2)
        again = draw(3)
        assert torch.equal(first.frames, again.frames)
        assert all(torch.equal(a, b) for a, b in zip(first.slots, again.slots))
        assert not torch.equal(first.slots.where, other.slots.where)


def test_ids_are_new_once_and_kept() -> None:
    slots = sample.imagine(small(), 6, 200, seed=0).slots
    assert torch.equal(slots.id >= 0, slots.presence > 0)
    for n in range(200):
        frames = [{one.id for one in frame} for frame in things(slots, n)]
        assert all(len(ids) == int(c) for ids, c in zip(frames, slots.presence[:, n, 0].sum(-1)))
        for t in range(2, 6):
            gone = set().union(*frames[:t]) - frames[t - 1]
            assert not gone & frames[t]  # who has gone does not come back


def test_numbers_below_one_are_refused() -> None:
    model = small()
    for numbers, name in (((0, 1), "length"), ((1, 0), "count")):
        with pytest.raises(ValueError, match=f"{name} 0: expected 1 or more"):
            sample.imagine(model, *numbers)
    with pytest.raises(ValueError, match="steps 0"):
        sample.futures(model, FRAMES, 0, 1)
    with pytest.raises(ValueError, match="particles 0"):
        sample.futures(model, FRAMES, 1, 1, particles=0)
    with pytest.raises(ValueError, match="frames 0"):
        sample.futures(model, FRAMES[:0], 1, 1)


@pytest.mark.gpu
def test_on_a_gpu_other_random_states_are_left_alone(gpu: torch.device) -> None:
    model = small().to(gpu)
    states = torch.get_rng_state(), torch.cuda.get_rng_state(gpu)
    first = sample.futures(model, FRAMES.to(gpu), 2, 3, seed=1)
    assert torch.equal(states[0], torch.get_rng_state())
    assert torch.equal(states[1], torch.cuda.get_rng_state(gpu))
    assert torch.equal(first.frames, sample.futures(model, FRAMES.to(gpu), 2, 3, seed=1).frames)
