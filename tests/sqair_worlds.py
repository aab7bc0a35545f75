"""Every way that the choices of a small SQAIR can fall, side by side, with the same noise.

A batch holds all pairs of outcomes of two particles, each with the same frames and the same normal
noise. Log-weights and probabilities come from Pyro's traces, so that expectations over the choices
and their gradients are sums without Monte-Carlo error.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import NamedTuple
from unittest import mock

import torch
from torch import Tensor

from sqair.model import Sqair
from sqair.terms import Terms, gather, traces
from tests import sqair_toys as toys
from tests.sqair_toys import OPEN, PUBLISHED, SMALL, Outcome, Sites

SEED = 5
WORLDS = {
    "one frame": (SMALL, 1),
    "two frames": (SMALL, 2),
    "two frames, overfull": (replace(OPEN, slots=1), 2),
    "two frames, published": (PUBLISHED, 2),
    "three frames, one slot": (replace(SMALL, slots=1), 3),
}


class World(NamedTuple):
    """Runs of a model with forced choices; B of them."""

    model: Sqair
    terms: Terms  # with the likelihood of every count
    plain: Terms  # without
    sites: Sites

    def probability(self) -> Tensor:
        """Of all choices of all particles, ``(B,)``, with its gradient."""
        return self.sites.log_q().sum(0).exp()

    def expected(self, surrogate: Callable[[Terms], Tensor], found: Terms) -> dict[str, Tensor]:
        """The mean gradient of a surrogate over all that can happen."""
        weights = self.probability().detach()
        total = sum(w * surrogate(only(found, b)) for b, w in enumerate(weights))
        return toys.gradients(total, self.model)


@contextmanager
def same_noise(batch: int) -> Iterator[None]:
    """Normal noise that all of a batch share, whatever else is drawn.

    No other dimension of it may be as large.
    """
    draw, own = torch.randn, torch.Generator().manual_seed(SEED)

    def shared(*size: int | Sequence[int], **options: object) -> Tensor:
        shape = torch.Size(size[0] if isinstance(size[0], Sequence) else size)
        assert shape.count(batch) == 1
        one = [1 if n == batch else n for n in shape]
        return draw(one, generator=own, **options).expand(shape)

    with mock.patch.object(torch, "randn", shared):
        yield


@functools.cache
def pairs_of(name: str) -> World:
    """All pairs of outcomes of two particles."""
    config, length = WORLDS[name]
    every = list(toys.outcomes(length, config.slots, config.capacity))
    return world(toys.toy(config), toys.clip(length, 1), list(product(every, every)))


def world(model: Sqair, frames: Tensor, runs: Sequence[tuple[Outcome, ...]]) -> World:
    """Runs on ``frames (T, 1, 1, H, W)``, each with an outcome for every particle."""
    rows = [[outcome.values(1) for outcome in run] for run in runs]
    particles, found = len(runs[0]), []
    values = {
        name: torch.cat([torch.cat([row[p][name] for row in rows], 1) for p in range(particles)])
        for name in rows[0][0]
    }
    frames = frames.expand(-1, len(runs), -1, -1, -1)
    for prefixes in (True, False):
        with same_noise(len(runs)):
            options = {"values": values, "prefixes": prefixes}
            both = traces(model.model, model.guide, frames, particles, **options)
        found.append(gather(*both, prefixes))
    for where, presence in zip(found[0].slots.where[0], found[0].slots.presence[0], strict=True):
        first = where[:, 0][presence[:, 0] > 0]
        torch.testing.assert_close(first, first[:1].expand_as(first))  # of the same noise
    return World(model, *found, toys.sites(*both))


def only(found: Terms, part: int | slice) -> Terms:
    """One, or some, of the batch."""
    part = slice(part, part + 1) if isinstance(part, int) else part
    cut = (
        type(x)(*(y[:, :, part] for y in x)) if isinstance(x, tuple) else x[:, :, part]
        for x in found
    )
    return Terms(*cut)


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], share: float = 1e-6) -> None:
    """Gradients of every parameter, to a share of their size."""
    assert any(bool(x.any()) for x in wanted.values())
    for name, gradient in wanted.items():
        error, size = (found[name] - gradient).norm(), gradient.norm()
        assert error <= share * size + 1e-9, f"{name}: off by {error:.3g} of {size:.3g}"
