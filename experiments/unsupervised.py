"""Scores of a model that was never told what an object is, on generated clips that know.

Models give ``unroll(frames, particles)`` and ``decode(slots)``, see ``sqair.state.Unrolled``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common.metrics import bounds, counting, identity, mot
from common.metrics.overlap import nearness, overlaps
from common.tracks import Tracks
from datasets.moving_mnist import MnistBatch, MovingMnist, truth
from sqair import painted
from sqair.state import Slots

BLOCK = 64  # sequences generated at a time
PIXELS = 500 * 10 * 50 * 50  # of all particles and frames unrolled at a time: bounds memory
GATE = 10.0  # pixels between centres


class Ids(NamedTuple):
    """How tracks agree with the true ones; counts that add up over sequences."""

    overlap: mot.Counts  # matched by IoU
    ink: mot.Counts  # the same, but all that excuses a track is the ink of what is hardly in sight
    centre: mot.Counts  # matched by the distance of centres
    kept: identity.KeptCounts  # who has the id of frame 0, likewise


class Scored(NamedTuple):
    """What was measured of B sequences of T frames; nats are per sequence."""

    count: Tensor  # (B,) objects, nominal
    iwae: Tensor  # (B,) bound with the particles of the rest
    elbo: Tensor  # (B,)
    reconstruction: Tensor  # (B,) log p(x | z), importance-weighted mean over particles
    kl: Tensor  # (B,) log q(z | x) - log p(z), likewise
    sample_size: Tensor  # (B,) effective number of particles
    features: Tensor  # (T, B, F) what a probe reads, of one particle drawn by weight
    labels: Tensor  # (B, N) what the objects are, -1 for none
    correct: Tensor | None  # (T, B) share of right counts; None without objects
    late: Tensor | None  # (B,) objects found per frame after the first; None without ids
    ids: Ids | None  # None without ids


def blocks(data: MovingMnist, sequences: int, length: int, seed: int) -> Iterator[MnistBatch]:
    """Batches of the data, together ``sequences``: the same ones whatever is done with them."""
    for number, first in enumerate(range(0, sequences, BLOCK)):
        size = min(BLOCK, sequences - first)
        # Seeds of one evaluation and of the next never meet.
        yield data.batch(seed * 2**16 + number, size, length)


def score(
    model: Any,
    batch: MnistBatch,
    particles: int,
    generator: torch.Generator,
    *,
    ids: bool = True,
    device: torch.device | str = "cpu",
) -> Iterator[Scored]:
    """Score a batch, some sequences at a time so that memory is bounded.

    Tracks are those of one particle of each sequence, drawn by weight; all else is a mean over
    particles by weight.

    Args:
        batch: B sequences, on the CPU.
        generator: draws the particles, on the CPU.
        ids: whether the model gives an object one id as long as it lives.
        device: the model's.

    Raises:
        ValueError: the model's log weights are not finite.
    """
    for columns in _pieces(batch.frames, particles):
        part = slice(columns[0], columns[-1] + 1)
        with torch.no_grad():
            out = model.unroll(batch.frames[:, part].to(device), particles)
        log_weight, likelihood = out.log_weight.double().cpu(), out.log_likelihood.double().cpu()
        weight = bounds.importance(log_weight)
        drawn = bounds.resample(weight, generator)
        count, correct, late, found = batch.presence[:, part].sum(-1), None, None, None
        if out.slots is not None:
            correct = counting.correct(out.slots.presence.cpu(), count, weight)
        if out.slots is not None and ids:
            late = counting.late_discoveries(out.slots.id.cpu(), weight)
            one = type(out.slots)(*(_of(value, drawn) for value in out.slots))
            found = _ids(model, batch, columns, one)
        yield Scored(
            count[0],
            bounds.iwae(log_weight),
            bounds.elbo(log_weight),
            bounds.expectation(likelihood.sum(0), weight),
            bounds.expectation((likelihood - log_weight).sum(0), weight),
            bounds.effective_sample_size(weight),
            _of(out.features, drawn).cpu(),
            batch.labels[part],
            correct,
            late,
            found,
        )


def bound(
    model: Any, frames: Tensor, particles: int, device: torch.device | str = "cpu"
) -> Iterator[Tensor]:
    """The IWAE bound of ``frames (T, B, C, H, W)`` in nats, some of the ``(B,)`` at a time."""
    for columns in _pieces(frames, particles):
        some, parts = frames[:, columns[0] : columns[-1] + 1].to(device), []
        at_once = max(1, PIXELS // some[:, :, 0].numel())  # particles, of a single long sequence
        for first in range(0, particles, at_once):
            with torch.no_grad():
                out = model.unroll(some, min(at_once, particles - first))
            parts.append(out.log_weight.double().sum(0, keepdim=True).cpu())
        yield bounds.iwae(torch.cat(parts, 1))


def join(parts: Sequence[Scored]) -> Scored:
    """The scores of several parts of the data as one."""
    columns = dict(zip(Scored._fields, zip(*parts)))
    joined = {}
    for name, values in columns.items():
        if values[0] is None:
            joined[name] = None
        elif name == "ids":
            joined[name] = combine(values)
        else:
            joined[name] = torch.cat(values, 0 if name == "labels" or values[0].dim() == 1 else 1)
    return Scored(**joined)


def combine(parts: Sequence[Ids]) -> Ids:
    """The counts of several parts as one."""
    *counts, kept = zip(*parts)
    return Ids(*(mot.combine(some) for some in counts), identity.combine_kept(kept))


def compare(judged: Tracks, ignored: tuple[Tracks, Tracks], tracks: Tracks, length: int) -> Ids:
    """Counts of one sequence's tracks beside its ``length`` frames of ground truth.

    Args:
        ignored: places and ink of what is hardly in sight, see ``datasets.moving_mnist.truth``.
    """
    near, (places, ink) = nearness(GATE), ignored
    return Ids(
        mot.count(judged, tracks, places),
        mot.count(judged, tracks, ink),
        mot.count(judged, tracks, places, similarity=near),
        identity.count_kept(overlaps(judged, tracks, near), length),
    )


def _ids(model: Any, batch: MnistBatch, columns: range, slots: Slots) -> Ids:
    """Counts over a batch's ``columns``, whose slots ``(T, B, K, ...)`` are one particle's."""
    with torch.no_grad():
        painting = model.decode(slots)
    boxes = painted.boxes(slots, painting.glimpses, painting.canvases)
    tracks, length = painted.tracks(slots.id, boxes), len(slots.id)
    parts = []
    for column, found in zip(columns, tracks):
        (judged, places), (_, ink) = (truth(batch, column, kind) for kind in ("place", "ink"))
        parts.append(compare(judged, (places, ink), found, length))
    return combine(parts)


def _pieces(frames: Tensor, particles: int) -> Iterator[range]:
    """Ranges of the columns of ``frames (T, B, C, H, W)`` that may be unrolled at a time."""
    size, count = frames[:, 0, 0].numel() * particles, frames.shape[1]
    step = max(1, PIXELS // size)
    for first in range(0, count, step):
        yield range(first, min(first + step, count))


def _of(values: Tensor, particle: Tensor) -> Tensor:
    """``values (T, P, B, ...)`` at one ``particle (B,)`` for each sequence: ``(T, B, ...)``."""
    return values[:, particle.to(values.device), torch.arange(len(particle), device=values.device)]
