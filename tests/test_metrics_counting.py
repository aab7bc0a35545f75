"""common/metrics/counting.py against loops and numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from common.metrics import counting


def random_ids(length: int, particles: int, batch: int, slots: int) -> torch.Tensor:
    """Objects that come, go and are named in increasing order, in shuffled slots."""
    ids = torch.full((length, particles, batch, slots), -1)
    for p in range(particles):
        for b in range(batch):
            alive, following = [], 0
            for t in range(length):
                alive = [name for name in alive if torch.rand(()) < 0.7]
                while len(alive) < slots and torch.rand(()) < 0.4:
                    alive.append(following)
                    following += 1
                places = torch.randperm(slots)[: len(alive)]
                ids[t, p, b, places] = torch.tensor(alive, dtype=torch.long)
    return ids


def test_counting_by_hand() -> None:
    presence = torch.tensor([[[[1.0, 0.0]], [[1.0, 1.0]]], [[[0.0, 0.0]], [[0.0, 1.0]]]])  # T P B K
    weight = torch.tensor([[0.25], [0.75]])
    found = counting.correct(presence, torch.tensor([[2], [1]]), weight)
    assert found.tolist() == [[0.75], [0.75]]
    found = counting.correct(presence, torch.tensor([[1], [0]]), weight)
    assert found.tolist() == [[0.25], [0.25]]
    assert counting.correct(presence, torch.tensor([[0], [2]]), weight).sum() == 0


def test_counting_is_the_loop() -> None:
    T, P, B, K = 4, 3, 5, 3
    presence = (torch.rand(T, P, B, K) < 0.5).float()
    count, weight = torch.randint(0, 3, (T, B)), torch.rand(P, B).softmax(0)
    found = counting.correct(presence, count, weight)
    for t in range(T):
        for b in range(B):
            right = [int(presence[t, p, b].sum()) == int(count[t, b]) for p in range(P)]
            expected = sum(float(weight[p, b]) for p in range(P) if right[p])
            assert float(found[t, b]) == pytest.approx(expected, abs=1e-6)


def test_late_discoveries_are_new_names_after_the_first_frame() -> None:
    T, P, B = 6, 2, 4
    ids, weight = random_ids(T, P, B, 3), torch.rand(P, B).softmax(0)
    found = counting.late_discoveries(ids, weight)
    assert found.shape == (B,)
    assert float(found.max()) > 0.2
    for b in range(B):
        expected = 0.0
        for p in range(P):
            known = set(ids[0, p, b].tolist()) | {-1}
            for t in range(1, T):
                here = set(ids[t, p, b].tolist())
                expected += float(weight[p, b]) * len(here - known)
                known |= here
        assert float(found[b]) == pytest.approx(expected / (T - 1), abs=1e-6)


def test_with_a_single_frame_nothing_can_be_late() -> None:
    found = counting.late_discoveries(torch.zeros(1, 1, 2, 3, dtype=torch.long), torch.ones(1, 2))
    assert all(math.isnan(value) for value in found.tolist())
