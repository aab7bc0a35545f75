"""Discovery: probabilities of counts, and a chain that does not know where it is cut."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli

from common import glimpse
from sqair.discover import Discovered, count_table
from sqair.geometry import windows
from sqair.model import Sqair
from tests import sqair_toys as toys
from tests.sqair_toys import SMALL


def test_counts_are_a_chain_of_yes_and_no_that_ends_at_its_first_no() -> None:
    logits = 2 * torch.randn(50, 3, dtype=torch.float64)
    for free in range(4):
        table = count_table(logits, torch.full((50,), free))
        assert table.shape == (50, 4)
        torch.testing.assert_close(table.exp().sum(-1), torch.ones(50, dtype=torch.float64))
        for count in range(free + 1):
            steps = logits[:, : min(count + 1, free)]  # none is asked for without a place
            answers = (torch.arange(steps.shape[1]) < count).double().expand_as(steps)
            wanted = Bernoulli(logits=steps).log_prob(answers).sum(-1)
            torch.testing.assert_close(table[:, count], wanted)
        assert (table[:, free + 1 :] <= -1e4).all()


@pytest.mark.parametrize("extreme", [88.0, 500.0])
def test_sure_answers_stay_finite(extreme: float) -> None:
    logits = torch.tensor([[extreme, extreme], [-extreme, 0.0]], requires_grad=True)
    table = count_table(logits, torch.tensor([2, 1]))
    assert table.isfinite().all()
    assert torch.autograd.grad((table.exp() * table).sum(), logits)[0].isfinite().all()


def prior_counts(model: Sqair, free: Tensor, steps: int, first: bool, survival: float) -> Tensor:
    shape = free.shape
    return model.discovery_prior.log_counts(
        torch.full(shape, survival, dtype=torch.float64), free, steps, first
    )


@pytest.mark.parametrize("bounded", [False, True])
def test_the_prior_of_the_count(bounded: bool) -> None:
    """A softmax over the counts that may be; an ELU before it bounds what it rules out."""
    model = toys.toy(replace(SMALL, slots=3, bounded_count_logits=bounded))
    prior, free = model.discovery_prior, torch.tensor([[0, 1, 2, 3]])
    with torch.no_grad():
        prior.logits[1] = -9.0
    for first, steps in ((True, 3), (False, 3), (False, 1)):
        found = prior_counts(model, free, steps, first, -0.5)
        assert found.shape == (1, 4, steps + 1)
        logits = prior.logits + prior.counts(torch.full((1,), -0.5, dtype=torch.float64))
        logits = logits if first else logits + prior.later
        logits = torch.nn.functional.elu(logits) if bounded else logits
        for room in range(4):
            places = min(room, steps)
            wanted = torch.log_softmax(logits[: places + 1], 0)
            torch.testing.assert_close(found[0, room, : places + 1], wanted)
            assert (found[0, room, places + 1 :] < -9e3).all()
    assert not torch.equal(
        prior_counts(model, free, 3, True, -0.5), prior_counts(model, free, 3, True, 0.3)
    )


def find(
    model: Sqair, frames: Tensor, free: Tensor, stop: bool = False, **values: Tensor
) -> Discovered:
    """Discovery in ``frames (B, 1, H, W)``, with nothing there before."""
    config = model.config
    images = model.discovery.image(frames.flatten(1))
    context = torch.zeros(*free.shape, config.hidden, dtype=torch.float64)
    steps = config.slots
    return model.discovery(frames, model.encoder, images, context, free, steps, values, stop)


def test_the_chain_does_not_depend_on_how_many_count() -> None:
    """So that one run has all counts, of which the drawn one is only one."""
    model, frames = toys.toy(), toys.clip(1, 5)[0]
    runs = []
    for count in (0, 2, None):
        torch.manual_seed(1)
        values = {} if count is None else {"count": torch.full((3, 5), count)}
        runs.append(find(model, frames, torch.full((3, 5), 2), **values))
        if count is not None:
            assert (runs[-1].count == count).all()
    assert runs[2].count.unique().tolist() == [0, 1, 2]
    for name in Discovered._fields:
        if name != "count":
            assert torch.equal(getattr(runs[0], name), getattr(runs[1], name))
            assert torch.equal(getattr(runs[0], name), getattr(runs[2], name))


def looked_at(model: Sqair, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Glimpses that discovery takes, at each step; grows with every search."""
    taken, look = [], model.discovery.look

    def counted(frames: Tensor, where: Tensor) -> Tensor:
        taken.append(where.shape[:-1].numel())
        return look(frames, where)

    monkeypatch.setattr(model.discovery, "look", counted)
    return taken


@pytest.mark.parametrize("room", [3, None], ids=["all free", "few free"])
@pytest.mark.parametrize("forced", [(), ("count",), ("what", "where"), ("what", "where", "count")])
def test_a_search_that_stops_finds_the_same(
    room: int | None, forced: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts, and the gradients of its densities; beyond that nothing is looked at."""
    model, frames = toys.toy(replace(SMALL, slots=3)), toys.clip(1, 9)[0]
    free = torch.full((2, 9), 3) if room else torch.arange(18).view(2, 9) % 4
    values = {}
    if forced:
        base = find(model, frames, free)
        values = {name: getattr(base, name).detach() for name in forced}
    taken, found = looked_at(model, monkeypatch), []
    for stop in (False, True):
        torch.manual_seed(3)
        run = find(model, frames, free, stop, **values)
        there = torch.arange(3) < run.count[..., None]
        kept = (
            run.count,
            *(part * there[..., None] for part in (run.what, run.where)),
            *(part * there for part in (run.log_what, run.log_where)),
            run.log_count.gather(-1, run.count[..., None]),
        )
        slopes = toys.gradients(sum(part.sum() for part in kept[1:]), model)
        found.append((kept, slopes, torch.rand(1)))
    torch.testing.assert_close(*found)
    assert taken[:3] == [18, 18, 18]
    counts, limits = kept[0], free.clamp_max(3)
    # A sequence is asked for another one while any particle has found all so far and has room.
    going = [((counts >= step) & (limits > step)).any(0).sum() for step in (1, 2)]
    assert taken[3:] == [18, *(2 * int(n) for n in going if n)]
    assert 0 < going[0] < 9 and going[1] < going[0]


def test_a_search_that_finds_nothing_stops_after_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames = toys.toy(), toys.clip(1, 5)[0]
    taken = looked_at(model, monkeypatch)
    found = find(model, frames, torch.full((3, 5), 2), True, count=torch.zeros(1, 1).long())
    assert taken == [15] and not found.count.any() and found.what.shape == (3, 5, 2, 3)
    assert not found.what[:, :, 1:].any() and not found.log_where[:, :, 1:].any()


def test_counts_are_drawn_as_often_as_their_probabilities_say() -> None:
    model, batch = toys.toy(), 6000
    frames = toys.clip(1, 1)[0].expand(batch, -1, -1, -1)
    free = torch.arange(batch)[None] % 3
    with torch.no_grad():
        found = find(model, frames, free)
    assert (found.count <= free).all()
    for count in range(3):
        error = (found.count == count).double() - found.log_count[..., count].exp()
        for room in range(1, 3):
            some = error[free == room]
            assert some.mean().abs() <= 5 * some.std() / math.sqrt(len(some))


def test_found_objects_are_drawn_as_they_are_scored() -> None:
    """The mean log-density of a normal is minus its entropy, whatever its mean."""
    model, batch = toys.toy(), 6000
    frames = toys.clip(1, 1)[0].expand(batch, -1, -1, -1)
    with torch.no_grad():
        found = find(model, frames, torch.full((1, batch), 2))
        again = find(model, frames, torch.full((1, batch), 2), where=found.where, what=found.what)
        first, raw = model.discovery.where(first_state(model, frames[:1])).chunk(2, -1)
    torch.testing.assert_close(again.log_where, found.log_where)
    torch.testing.assert_close(again.log_what, found.log_what)
    std = torch.nn.functional.softplus(raw + model.discovery.where_bias) + 0.01
    residual = (found.where[0, :, 0] - first) / std
    assert residual.mean(0).abs().max() < 5 / math.sqrt(batch)
    assert (residual.var(0) - 1).abs().max() < 5 * math.sqrt(2 / batch)


def first_state(model: Sqair, frames: Tensor) -> Tensor:
    """The recurrent state of the first step, with nothing there."""
    core, what = model.discovery, model.config.what
    last = torch.zeros(1, what + 5, dtype=torch.float64)
    last[:, -1] = 1
    image = core.from_image(core.image(frames.flatten(1)))
    return torch.tanh(image + core.from_last(last) + core.recurrent(core.first))


def test_each_particle_looks_through_its_own_window() -> None:
    model, frames = toys.toy(), toys.clip(1, 3)[0]
    where = torch.randn(2, 3, 4, dtype=torch.float64)
    found = model.discovery.look(frames, where)
    assert found.shape == (2, 3, 16)
    for p in range(2):
        for b in range(3):
            box = windows(where[p, b], 8, 4, 0.02)[None]
            seen = glimpse.extract(frames[b], box, 4, antialias=False)
            torch.testing.assert_close(found[p, b], seen.flatten())
