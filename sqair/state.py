"""What crosses time in SQAIR, and how slots are filled up from the front."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Slots(NamedTuple):
    """Objects, present ones first; what absent slots hold means nothing."""

    what: Tensor  # (..., K, D) appearance
    where: Tensor  # (..., K, 4) logits of the scale and arctanh of the shift: sx, sy, tx, ty
    presence: Tensor  # (..., K) 0. or 1.
    id: Tensor  # (..., K) int64, -1 where absent


class State(NamedTuple):
    """What one frame hands to the next."""

    slots: Slots  # (P, B, K, ...)
    memory: Tensor  # (P, B, K, H) recurrent state of each object
    last_id: Tensor  # (P, B) int64, highest id given so far, -1 at first


class Unrolled(NamedTuple):
    """A model's account of whole sequences, free-running; T frames, P particles, B sequences."""

    log_weight: Tensor  # (T, P, B) log p(x_t, z_t | past) - log q(z_t | past, x), nats
    log_likelihood: Tensor  # (T, P, B) log p(x_t | z_t), nats
    slots: Slots | None  # (T, P, B, K, ...); None for models without objects
    features: Tensor  # (T, P, B, F) what a probe may read


def first_state(memory: Tensor, size: tuple[int, int, int], what: int) -> State:
    """No objects, of ``size (P, B, K)`` and the dtype and device of ``memory (H,)``."""
    like = memory.detach()
    slots = Slots(
        like.new_zeros(*size, what),
        like.new_zeros(*size, 4),
        like.new_zeros(size),
        torch.full(size, -1, device=like.device),
    )
    last = torch.full(size[:2], -1, device=like.device)
    return State(slots, like.new_zeros(*size, len(like)), last)


def merge(kept: State, what: Tensor, where: Tensor, count: Tensor, start: Tensor) -> State:
    """Slots after discovery: kept objects, then found ones, as many as there is room for.

    The order is kept; what is beyond the last slot is lost (SQAIR sec. 3.2; with a capacity nothing
    is).

    Args:
        kept: state after propagation, ``(P, B, K, ...)``, ids unchanged, presence updated.
        what, where: ``(P, B, L, ...)`` of possible discoveries.
        count: ``(P, B)`` int64, how many of them, the first ones, are there.
        start: ``(H,)`` recurrent state that a found object starts with.
    """
    slots, memory, last = kept
    size, steps = slots.presence.shape, where.shape[-2]
    number = torch.arange(steps, device=count.device)
    new = number < count[..., None]
    presence = torch.cat((slots.presence, new.to(slots.presence.dtype)), -1)
    ids = torch.cat((slots.id, torch.where(new, last[..., None] + 1 + number, -1)), -1)
    ids = torch.where(presence > 0, ids, -1)
    # Stable partition, as row numbers of the flattened state: rows are copied whole.
    order = torch.sort(presence, dim=-1, descending=True, stable=True).indices[..., : size[-1]]
    joined = torch.cat(
        (
            torch.cat((slots.what, slots.where, memory), -1),
            torch.cat((what, where, start.expand(*size[:2], steps, -1)), -1),
        ),
        -2,
    )
    base = torch.arange(size[0] * size[1], device=count.device) * presence.shape[-1]
    rows = (order + base.view(*size[:2], 1)).flatten()
    picked = joined.flatten(0, 2).index_select(0, rows).view(*size, -1)
    what, where, memory = picked.split((slots.what.shape[-1], 4, memory.shape[-1]), -1)
    filled = Slots(what, where, presence.gather(-1, order), ids.gather(-1, order))
    return State(filled, memory, last + count)
