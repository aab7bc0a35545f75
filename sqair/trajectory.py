"""What a run of the model or of the guide goes through, frame by frame and side by side."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sqair.discover import IMPOSSIBLE, Discovered
from sqair.propagate import Propagated
from sqair.scene import FrameDistribution
from sqair.state import Slots


class Densities(NamedTuple):
    """Log-densities of one side, the prior's or the posterior's, slot by slot, unmasked.

    Discovery is padded to K slots with densities of 0 and impossible counts; propagation is 0 in
    the first frame.
    """

    propagated_presence: Tensor  # (T, P, B, K)
    propagated_where: Tensor  # (T, P, B, K)
    propagated_what: Tensor  # (T, P, B, K)
    discovered_count: Tensor  # (T, P, B, K + 1) of every count
    discovered_where: Tensor  # (T, P, B, K)
    discovered_what: Tensor  # (T, P, B, K)


class Trajectory(NamedTuple):
    """What a run of the model or of the guide went through."""

    densities: Densities
    alive: Tensor  # (T, P, B, K) presence in the frame before
    kept: Tensor  # (T, P, B, K) presence after propagation, before discovery
    count: Tensor  # (T, P, B) int64 discoveries
    slots: Slots  # (T, P, B, K, ...)
    frames: FrameDistribution | None = None  # the model's


class Frame(NamedTuple):
    """One frame of a run."""

    old: Slots  # of the frame before
    kept: Propagated | None  # None in the first frame
    slots_kept: Slots  # after propagation
    found: Discovered
    slots: Slots  # after discovery


def stack(slots: list[Slots]) -> Slots:
    """Slots of consecutive frames, ``(T, ...)``."""
    return Slots(*(torch.stack(parts) for parts in zip(*slots, strict=True)))


def trajectory(run: list[Frame], slots: int) -> Trajectory:
    """A run's frames side by side."""
    none = torch.zeros_like(run[0].old.presence)
    rows = []
    for frame in run:
        kept, found = frame.kept, frame.found
        short = slots - found.where.shape[-2]
        rows.append(
            (
                kept.log_presence if kept else none,
                kept.log_where if kept else none,
                kept.log_what if kept else none,
                F.pad(found.log_count, (0, short), value=IMPOSSIBLE),
                F.pad(found.log_where, (0, short)),
                F.pad(found.log_what, (0, short)),
            )
        )
    return Trajectory(
        Densities(*(torch.stack(parts) for parts in zip(*rows, strict=True))),
        torch.stack([frame.old.presence for frame in run]),
        torch.stack([frame.slots_kept.presence for frame in run]),
        torch.stack([frame.found.count for frame in run]),
        stack([frame.slots for frame in run]),
    )
