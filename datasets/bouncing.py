"""Where the digits of moving MNIST are: a first frame without overlap, then bouncing.

SQAIR's data process (its released code): an acceleration that hardly changes, a speed that
saturates, and walls that turn both about. Positions are (y, x) of an object's top-left corner.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MAX_SPEED, MAX_ACCELERATION = 10.0, 3.0  # pixels a frame, pixels a frame^2; of each axis
ACCELERATION_NOISE = 0.01  # standard deviation of its change in a frame
REDRAWS = 5  # of one object's corner, before all of a frame are drawn again
ATTEMPTS = 16  # at once, at a frame whose first attempt failed
ROUNDS = 64  # of attempts, before it is called impossible


class State(NamedTuple):
    """How objects move; each (..., 2), (y, x) in pixels and frames."""

    position: Tensor
    velocity: Tensor
    acceleration: Tensor


class Placed(NamedTuple):
    """What is where in frame 0."""

    index: Tensor  # (R, N) int64, of the template
    corner: Tensor  # (R, N, 2) float32, whole pixels
    free: Tensor  # (R,) bool: no two overlap; the row is of no use otherwise


def step(state: State, change: Tensor, bound: Tensor) -> State:
    """One frame on: position, then velocity, then acceleration; then walls; then limits.

    Args:
        state: each (..., 2).
        change: (..., 2), added to the acceleration.
        bound: (..., 2); positions stay in [0, bound].
    """
    position = state.position + state.velocity
    velocity = state.velocity + state.acceleration
    acceleration = state.acceleration + change
    below, above = position < 0, position > bound
    position = torch.where(below, -position, torch.where(above, 2 * bound - position, position))
    turn = 1.0 - 2.0 * (below | above).to(position.dtype)
    return State(
        position.clamp(min=0).minimum(bound),
        (velocity * turn).clamp(-MAX_SPEED, MAX_SPEED),
        (acceleration * turn).clamp(-MAX_ACCELERATION, MAX_ACCELERATION),
    )


def launch(bound: Tensor, length: int, generator: torch.Generator) -> tuple[State, Tensor]:
    """How objects in [0, bound (B, N, 2)] are about to move.

    Returns:
        their state before frame 0, each (B, N, 2): anywhere, velocity and acceleration uniform
        up to their limits; changes of the acceleration (T, B, N, 2)
    """
    start = torch.rand((3, *bound.shape), generator=generator, device=bound.device)
    noise = torch.randn((length, *bound.shape), generator=generator, device=bound.device)
    velocity = (2 * start[1] - 1) * MAX_SPEED
    acceleration = (2 * start[2] - 1) * MAX_ACCELERATION
    return State(start[0] * bound, velocity, acceleration), noise * ACCELERATION_NOISE


def roam(corner: Tensor, state: State, changes: Tensor, bound: Tensor) -> Tensor:
    """Positions (T, B, N, 2) of objects that are at ``corner (B, N, 2)`` in frame 0.

    As in the original, the state makes a step before frame 0, and only then is its position set to
    the corner.

    Args:
        corner: (B, N, 2).
        state: before frame 0, each (B, N, 2).
        changes: (T, B, N, 2), of the acceleration.
        bound: (B, N, 2), as in :func:`step`.
    """
    state = step(state, changes[0], bound)._replace(position=corner)
    positions = [corner]
    for change in changes[1:]:
        state = step(state, change, bound)
        positions.append(state.position)
    return torch.stack(positions)


def place(
    sizes: Tensor, counts: Tensor, number: int, canvas: int, generator: torch.Generator
) -> Placed:
    """Distinct templates and corners for every row, without overlap of their rectangles.

    Args:
        sizes: (M, 2) int64, height and width of the templates.
        counts: (B,) int64, how many of the first slots hold something; the others may overlap.
        number: N, slots.
        canvas: its side in pixels; everything begins inside.
        generator: of the device that the tensors are on.

    Raises:
        ValueError: it has been tried a thousand times.
    """
    placed = attempt(sizes, counts, number, canvas, generator)
    for _ in range(ROUNDS):
        failed = (~placed.free).nonzero()[:, 0]
        if not len(failed):
            return placed
        again = counts[failed].repeat_interleave(ATTEMPTS)
        tried = attempt(sizes, again, number, canvas, generator)
        first = tried.free.view(-1, ATTEMPTS).to(torch.uint8).argmax(1)
        first += torch.arange(len(failed), device=first.device) * ATTEMPTS
        for whole, part in zip(placed, tried):
            whole[failed] = part[first]
    raise ValueError(
        f"no room for {int(counts[~placed.free].max())} digits without overlap on a canvas of "
        f"{canvas} x {canvas} pixels, expected fewer digits or a larger canvas"
    )


def attempt(
    sizes: Tensor, counts: Tensor, number: int, canvas: int, generator: torch.Generator
) -> Placed:
    """Draw once what :func:`place` wants; each object's corner is drawn up to six times."""
    rows, device = len(counts), sizes.device
    index = distinct(len(sizes), (rows, number), generator)
    extent = sizes[index]
    tries = 1 + REDRAWS
    drawn = torch.rand((rows, number, tries, 2), generator=generator, device=device)
    drawn = (drawn * (canvas - extent)[:, :, None]).round()
    corner = drawn[:, :, 0].clone()
    free = torch.ones(rows, dtype=torch.bool, device=device)
    for k in range(1, number):
        start, stop = drawn[:, k], drawn[:, k] + extent[:, k, None]
        other, others_end = corner[:, :k], corner[:, :k] + extent[:, :k]
        apart = (start[:, :, None] >= others_end[:, None]) | (stop[:, :, None] <= other[:, None])
        clear = apart.any(-1).all(-1)
        chosen = clear.to(torch.uint8).argmax(1)
        corner[:, k] = start.gather(1, chosen[:, None, None].expand(-1, 1, 2))[:, 0]
        free &= clear.any(1) | (k >= counts)
    return Placed(index, corner, free)


def distinct(number: int, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """``shape (R, N)`` of int64 in [0, number), uniform, no two alike in a row."""
    rows, columns = shape
    device = generator.device
    drawn = torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
    left = number - torch.arange(columns, device=device)
    index = (drawn * left).long().minimum(left - 1)
    for k in range(1, columns):  # the j-th of those that are left: step over those taken
        for taken in index[:, :k].sort(1).values.unbind(1):
            index[:, k] += index[:, k] >= taken
    return index
