"""Filling up slots, against lists of objects."""

from __future__ import annotations

import pytest
import torch

from sqair.state import Slots, State, first_state, merge

SIZE, WHAT, HIDDEN, STEPS = (2, 5, 3), 2, 6, 3


def kept(seed: int) -> State:
    """A state after propagation: any slots may have lost their object."""
    torch.manual_seed(seed)
    presence = (torch.rand(SIZE) < 0.6).float()
    ids = torch.rand(SIZE).cumsum(-1).mul(10).long()  # increasing, also of what has been lost
    slots = Slots(torch.randn(*SIZE, WHAT), torch.randn(*SIZE, 4), presence, ids)
    return State(slots, torch.randn(*SIZE, HIDDEN), ids.amax(-1) + torch.randint(0, 3, SIZE[:2]))


@pytest.mark.parametrize("seed", range(6))
def test_slots_are_kept_objects_then_found_ones_and_the_rest_is_lost(seed: int) -> None:
    state, start = kept(seed), torch.randn(HIDDEN)
    what, where = torch.randn(*SIZE[:2], STEPS, WHAT), torch.randn(*SIZE[:2], STEPS, 4)
    count = torch.randint(0, STEPS + 1, SIZE[:2])
    merged = merge(state, what, where, count, start)
    for p in range(SIZE[0]):
        for b in range(SIZE[1]):
            old, n, last = state.slots, int(count[p, b]), int(state.last_id[p, b])
            objects = [
                (old.what[p, b, k], old.where[p, b, k], state.memory[p, b, k], int(old.id[p, b, k]))
                for k in range(SIZE[2])
                if old.presence[p, b, k]
            ]
            found = ((what[p, b, k], where[p, b, k], start, last + 1 + k) for k in range(n))
            objects = [*objects, *found][: SIZE[2]]
            there = [1.0] * len(objects) + [0.0] * (SIZE[2] - len(objects))
            assert merged.slots.presence[p, b].tolist() == there
            ids = [thing[3] for thing in objects]
            assert merged.slots.id[p, b].tolist() == ids + [-1] * (SIZE[2] - len(ids))
            assert merged.last_id[p, b] == last + n  # also those that are lost have had theirs
            for k, (a, w, h, _) in enumerate(objects):
                assert torch.equal(merged.slots.what[p, b, k], a)
                assert torch.equal(merged.slots.where[p, b, k], w)
                assert torch.equal(merged.memory[p, b, k], h)


def test_gradients_go_to_the_objects_that_are_there() -> None:
    state = kept(0)
    what = torch.randn(*SIZE[:2], STEPS, WHAT, requires_grad=True)
    where, start = torch.randn(*SIZE[:2], STEPS, 4), torch.zeros(HIDDEN, requires_grad=True)
    count = torch.full(SIZE[:2], 2)
    merged = merge(state, what, where, count, start)
    there = merged.slots.presence
    ((merged.slots.what.sum(-1) + merged.memory.sum(-1)) * there).sum().backward()
    room = (SIZE[2] - state.slots.presence.sum(-1)).clamp_max(2)
    assert torch.equal(what.grad.sum(-1).sum(-1), room * WHAT)
    assert torch.equal(start.grad, room.sum().expand(HIDDEN))


def test_a_first_state_is_empty() -> None:
    state = first_state(torch.ones(HIDDEN, dtype=torch.float64, requires_grad=True), SIZE, WHAT)
    assert state.slots.what.shape == (*SIZE, WHAT) and state.slots.what.dtype == torch.float64
    assert state.memory.shape == (*SIZE, HIDDEN) and not state.slots.presence.any()
    assert state.slots.id.dtype == torch.int64 and (state.slots.id == -1).all()
    assert state.last_id.shape == SIZE[:2] and (state.last_id == -1).all()
    assert not any(part.requires_grad for part in (*state.slots, state.memory))
