"""Which rows are computed: against loops over slots, sequences and particles."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sqair.packing import Sequences, pack

SIZE = (3, 7, 4)  # P, B, K


def filled(seed: int = 0) -> Tensor:
    """Presence ``(P, B, K)``, present ones first; one sequence without any."""
    counts = torch.randint(0, 4, SIZE[:2], generator=torch.Generator().manual_seed(seed))
    counts[:, 3] = 0
    return (torch.arange(SIZE[2]) < counts[..., None]).double()


def number(p: int, b: int, k: int) -> int:
    """Of a row in the flattened ``(P, B, K)``."""
    return (p * SIZE[1] + b) * SIZE[2] + k


@pytest.mark.parametrize("seed", range(5))
def test_packed_rows_are_those_of_sequences_that_reach_a_slot(seed: int) -> None:
    presence = filled(seed)
    reach = {b: int(presence[:, b].sum(-1).max()) for b in range(SIZE[1])}
    packing = pack(presence, static=False)
    order = packing.order.tolist()
    assert sorted(order) == list(range(SIZE[1]))
    assert [reach[b] for b in order] == sorted(reach.values(), reverse=True)
    rows = [
        [number(p, b, k) for b in order if reach[b] > k for p in range(SIZE[0])]
        for k in range(max(reach.values()))
    ]
    assert packing.index.tolist() == sum(rows, [])
    assert packing.counts == tuple(len(slot) // SIZE[0] for slot in rows)
    assert [packing.index[s].tolist() for s in packing.slices()] == rows
    for one, two in zip(rows, rows[1:]):  # rows of a later slot are the first of an earlier one's
        assert [i // SIZE[2] for i in two] == [i // SIZE[2] for i in one[: len(two)]]


def test_static_rows_are_all_of_them() -> None:
    packing = pack(filled(), static=True)
    assert packing.order is None and packing.counts == (SIZE[1],) * SIZE[2]
    rows = [
        [number(p, b, k) for b in range(SIZE[1]) for p in range(SIZE[0])] for k in range(SIZE[2])
    ]
    assert [packing.index[s].tolist() for s in packing.slices()] == rows


@pytest.mark.parametrize("static", [False, True])
def test_rows_go_where_they_came_from(static: bool) -> None:
    presence = filled()
    packing, full = pack(presence, static), torch.randn(*SIZE, 5)
    back = packing.scatter(packing.gather(full))
    computed = torch.zeros(SIZE, dtype=torch.bool).flatten()
    computed[packing.index] = True
    computed = computed.view(SIZE)
    assert computed[presence > 0].all() and computed.all() == static
    assert torch.equal(back, full * computed[..., None])


@pytest.mark.parametrize("static", [False, True])
def test_frames_are_in_the_order_of_the_rows(static: bool) -> None:
    packing = pack(filled(), static)
    frames = torch.arange(SIZE[1]).view(-1, 1, 1, 1)
    for k, rows in enumerate(packing.slices()):
        sequence = (packing.index[rows] // SIZE[2] % SIZE[1]).view(-1, SIZE[0])
        seen = packing.frames(frames)[: packing.counts[k]].flatten(1)
        assert torch.equal(sequence, seen.expand(-1, SIZE[0]))


def test_nothing_there_is_nothing_to_compute() -> None:
    packing = pack(torch.zeros(SIZE), static=False)
    assert packing.counts == () and not packing.index.numel() and packing.slices() == []
    assert not packing.scatter(packing.gather(torch.randn(*SIZE, 5))).any()


def test_sequences_grow_fewer_and_go_back_where_they_came_from() -> None:
    full, part, searched = torch.randn(2, 5, 3), None, Sequences()
    left = list(range(5))
    for wanted in ([1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [1, 1, 1, 0, 1], [0, 1, 1, 1, 0], [0] * 5):
        before, left = left, [b for b in left if wanted[b]]
        chosen = searched.narrow(torch.tensor(wanted, dtype=torch.bool))
        if left == before:
            assert chosen is None
        else:
            assert [before[i] for i in chosen.tolist()] == left
        part = searched.gather(full)
        assert torch.equal(part, full[:, left])
        back = searched.scatter(part, -7.0)
        gone = [b for b in range(5) if b not in left]
        assert torch.equal(back[:, left], part) and (back[:, gone] == -7).all()
    assert not left and part.shape == (2, 0, 3)
