"""Bouncing digits against a slow scalar reference; a first frame without overlap."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from datasets import bouncing
from datasets.bouncing import State


def reference(
    corner: float, start: tuple[float, float, float], changes: np.ndarray, bound: float
) -> list[np.float32]:
    """Positions along one axis, a number at a time, in the words of the specification."""
    one = np.float32
    position, velocity, acceleration = (one(v) for v in start)
    bound, positions = one(bound), []
    for t, change in enumerate(changes.astype(one)):
        position = position + velocity
        velocity = velocity + acceleration
        acceleration = acceleration + change
        if position < 0:
            position, velocity, acceleration = -position, -velocity, -acceleration
        elif position > bound:
            position = one(2) * bound - position
            velocity, acceleration = -velocity, -acceleration
        position = min(max(position, one(0)), bound)
        velocity = min(max(velocity, one(-10)), one(10))
        acceleration = min(max(acceleration, one(-3)), one(3))
        if t == 0:
            position = one(corner)
        positions.append(position)
    return positions


def test_as_the_scalar_reference() -> None:
    generator = torch.Generator().manual_seed(3)
    bound = torch.tensor([50.0, 50.0, 30.0, 5.0])[:, None, None].repeat(1, 3, 2)
    state, changes = bouncing.launch(bound, 60, generator)
    changes = changes * 50  # so that the limit of the acceleration is reached too
    corner = (torch.rand(bound.shape, generator=generator) * bound).round()
    positions = bouncing.roam(corner, state, changes, bound)
    assert positions.shape == (60, 4, 3, 2)
    walls = 0
    for b, n, axis in np.ndindex(4, 3, 2):
        here = (b, n, axis)
        start = tuple(float(part[here]) for part in state)
        expected = reference(float(corner[here]), start, changes[(..., *here)].numpy(), bound[here])
        np.testing.assert_array_equal(positions[(..., *here)].numpy(), expected)
        walls += int((np.diff(np.sign(np.diff(expected))) != 0).sum())
    assert walls > 50


def test_both_turn_at_a_wall() -> None:
    at = State(*(torch.tensor([[v, 2.0]]) for v in (47.0, 8.0, 1.5)))
    after = bouncing.step(at, torch.tensor([[0.25, 0.0]]), torch.tensor(50.0))
    assert after.position.tolist() == [[45.0, 4.0]]  # 55 turned about 50
    assert after.velocity.tolist() == [[-9.5, 4.0]]
    assert after.acceleration.tolist() == [[-1.75, 2.0]]


def test_how_they_start() -> None:
    bound = torch.full((20000, 1, 2), 50.0)
    state, changes = bouncing.launch(bound, 2, torch.Generator().manual_seed(0))
    for part, low, high in zip(state, (0, -10, -3), (50, 10, 3)):
        span = high - low
        assert low <= part.min() < low + 0.001 * span and high - 0.001 * span < part.max() <= high
        assert abs(part.mean() - (low + high) / 2) < 0.01 * span
        assert abs(part.std() - span / 12**0.5) < 0.01 * span
    assert abs(changes.std() - 0.01) < 1e-4 and abs(changes.mean()) < 1e-4


def test_positions_stay_and_motion_is_fast() -> None:
    bound = torch.full((3000, 2, 2), 50.0)
    state, changes = bouncing.launch(bound, 100, torch.Generator().manual_seed(1))
    positions = bouncing.roam(torch.full_like(bound, 20.0), state, changes, bound)
    assert positions.min() >= 0 and positions.max() <= 50
    assert positions.min() < 1e-2 and positions.max() > 49.99
    speed = (positions[1:11] - positions[:10]).abs()
    assert speed.max() <= 10.001 and 6 < speed.mean() < 7.5  # the specification: about 7


def overlaps(corner: torch.Tensor, size: torch.Tensor) -> bool:
    """Whether two of the rectangles (N, 2), (N, 2) share a pixel."""
    seen = set()
    for (y, x), (h, w) in zip(corner.long().tolist(), size.tolist()):
        pixels = {(y + i, x + j) for i in range(h) for j in range(w)}
        if seen & pixels:
            return True
        seen |= pixels
    return False


@pytest.mark.parametrize(("number", "canvas"), [(2, 50), (6, 80), (4, 55)])
def test_nothing_overlaps_at_first(number: int, canvas: int) -> None:
    generator = torch.Generator().manual_seed(number)
    sizes = torch.randint(5, 21, (30, 2), generator=generator)
    counts = torch.arange(number + 1).repeat(40)
    placed = bouncing.place(sizes, counts, number, canvas, generator)
    assert placed.free.all()
    extent = sizes[placed.index]
    assert torch.equal(placed.corner, placed.corner.round()) and placed.corner.min() >= 0
    assert (placed.corner + extent <= canvas).all()
    for row, count in enumerate(counts.tolist()):
        assert len(set(placed.index[row].tolist())) == number
        assert not overlaps(placed.corner[row, :count], extent[row, :count])


def test_one_attempt_fails_only_where_it_must() -> None:
    """``free`` agrees with the pixels, and failures are as frequent as the specification says."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([[20, 15], [20, 16]])
    placed = bouncing.attempt(sizes, torch.full((3000,), 2), 2, 50, generator)
    found = [
        not overlaps(corner, sizes[index])
        for corner, index in zip(placed.corner[:300], placed.index[:300])
    ]
    assert found == placed.free[:300].tolist()
    share = 1 - placed.free.float().mean()
    assert 0.03 < share / 3 < 0.07  # of clips with 0, 1, 2 digits: about 5 % are drawn again


def test_corners_are_uniform() -> None:
    sizes = torch.tensor([[20, 10]])
    counts = torch.ones(40000, dtype=torch.long)
    corner = bouncing.place(sizes, counts, 1, 50, torch.Generator().manual_seed(0)).corner[:, 0]
    for axis, last in ((0, 30), (1, 40)):
        each = torch.bincount(corner[:, axis].long(), minlength=last + 1)
        assert len(each) == last + 1
        expected = torch.full((last + 1,), 40000 / last)
        expected[[0, last]] /= 2  # rounded: half as often at both ends
        assert ((each - expected).square() / expected).sum() < 2 * last


def test_no_room_is_said() -> None:
    started = time.process_time()
    sizes, generator = torch.full((9, 2), 20), torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="no room for 6 digits without overlap on a canvas of 50"):
        bouncing.place(sizes, torch.tensor([0, 6, 2, 6]), 6, 50, generator)
    assert time.process_time() - started < 5


def test_distinct_draws_are_uniform() -> None:
    drawn = bouncing.distinct(5, (60000, 3), torch.Generator().manual_seed(0))
    triples = torch.bincount(drawn @ torch.tensor([25, 5, 1]), minlength=125).reshape(5, 5, 5)
    for i, j, k in np.ndindex(5, 5, 5):
        found = int(triples[i, j, k])
        assert 850 < found < 1150 if len({i, j, k}) == 3 else found == 0  # 1000 expected
