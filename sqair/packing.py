"""Which slots a step computes: those that may be filled (packed), or all (static shapes).

Both are one loop over slots whose rows shrink, or do not. A row is an object of a particle of a
sequence. The rows of a slot are those of the sequences in which any particle has that slot filled;
sequences are sorted by how many slots that is, so that the rows of a later slot are the first ones
of an earlier slot's, and particles of a sequence stay side by side, sharing its frame.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Packing(NamedTuple):
    """Rows by slot, then sequence in sorted order, then particle."""

    index: Tensor  # (M,) row number in a flattened (P, B, K)
    order: Tensor | None  # (B,) sequences in sorted order; None: as they are
    counts: tuple[int, ...]  # sequences in each slot, decreasing; slots that nobody fills left out
    size: tuple[int, int, int]  # (P, B, K)

    def gather(self, full: Tensor) -> Tensor:
        """The rows ``(M, D)`` of a ``(P, B, K, D)``."""
        return full.flatten(0, 2).index_select(0, self.index)

    def scatter(self, rows: Tensor) -> Tensor:
        """``(P, B, K, D)`` from its rows ``(M, D)``; zero where nothing was computed."""
        particles, batch, slots = self.size
        full = rows.new_zeros(particles * batch * slots, rows.shape[-1])
        return full.index_copy(0, self.index, rows).view(*self.size, -1)

    def sizes(self) -> list[int]:
        """How many rows each slot has."""
        return [count * self.size[0] for count in self.counts]

    def slices(self) -> list[slice]:
        """The rows of each slot."""
        ends = [0, *accumulate(self.sizes())]
        return [slice(a, b) for a, b in pairwise(ends)]

    def frames(self, frames: Tensor) -> Tensor:
        """Frames ``(B, C, H, W)`` in the order of the rows."""
        return frames if self.order is None else frames.index_select(0, self.order)


def pack(presence: Tensor, static: bool) -> Packing:
    """How to compute the slots that are filled in ``presence (P, B, K)``, the first ones.

    Args:
        presence: 0 or 1, present slots first.
        static: compute every slot, waiting for no value; otherwise those of ``Packing``.
    """
    particles, batch, slots = size = tuple(presence.shape)
    device = presence.device
    if static:
        order, counts = None, (batch,) * slots
        sequences = torch.arange(batch, device=device)
    else:
        filled = presence.sum(-1).amax(0)
        order = torch.sort(filled, descending=True, stable=True).indices
        reached = (filled[:, None] > torch.arange(slots, device=device)).sum(0).tolist()
        counts, sequences = tuple(n for n in reached if n), order
    rows = sequences[:, None] + torch.arange(particles, device=device) * batch  # (B, P)
    parts = [(rows[:count] * slots + slot).flatten() for slot, count in enumerate(counts)]
    index = torch.cat(parts) if parts else sequences.new_zeros(0)
    return Packing(index, order, counts, size)


class Sequences:
    """Sequences of a batch that a loop still works on: all at first, then fewer and fewer."""

    def __init__(self) -> None:
        self._index: Tensor | None = None  # (B',) their numbers; None: all
        self._batch = 0

    def narrow(self, wanted: Tensor) -> Tensor | None:
        """Go on with those of the last ones that are ``wanted (B,)`` bool.

        Returns:
            which of the last ones these are, ``(B'',)``; None: all of them.
        """
        last = wanted if self._index is None else wanted.index_select(0, self._index)
        chosen = last.nonzero().squeeze(1)
        if len(chosen) == len(last):
            return None
        self._batch = len(wanted)
        self._index = chosen if self._index is None else self._index.index_select(0, chosen)
        return chosen

    def gather(self, full: Tensor) -> Tensor:
        """``(P, B', ...)`` from ``(P, B, ...)``."""
        return full if self._index is None else full.index_select(1, self._index)

    def scatter(self, part: Tensor, fill: float) -> Tensor:
        """``(P, B, ...)`` from ``(P, B', ...)``, with ``fill`` where nothing was computed."""
        if self._index is None:
            return part
        full = part.new_full((len(part), self._batch, *part.shape[2:]), fill)
        return full.index_copy(1, self._index, part)
