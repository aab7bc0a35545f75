"""Counting accuracy of models that find objects (SQAIR sec. 4.1), and how often they find anew."""

from __future__ import annotations

from torch import Tensor

from common.metrics.bounds import expectation


def correct(presence: Tensor, count: Tensor, weight: Tensor) -> Tensor:
    """How much of each frame's particles holds the true number of objects.

    The accuracy is the mean over all frames; that by time or by number is one over a part of them.

    Args:
        presence: ``(T, P, B, K)``, above 0 where a slot has an object.
        count: ``(T, B)``, nominal: objects out of sight count, as in the paper.
        weight: ``(P, B)`` importance weights, see :func:`common.metrics.bounds.importance`.

    Returns:
        ``(T, B)`` float64 in [0, 1].
    """
    found = (presence > 0).sum(-1)
    return expectation(found == count[:, None], weight)


def accuracy_by_count(right: Tensor, count: Tensor) -> dict[int, float]:
    """Mean of :func:`correct` ``(T, B)`` over the frames of each true number ``(T, B)``."""
    return {number: float(right[count == number].mean()) for number in count.unique().tolist()}


def late_discoveries(ids: Tensor, weight: Tensor) -> Tensor:
    """Objects found per frame after the first one, the mean over a sequence's particles.

    Found late is an id above all of the frames before: ids are given in increasing order.

    Args:
        ids: ``(T, P, B, K)`` int64, -1 where a slot is empty.
        weight: ``(P, B)`` importance weights.

    Returns:
        ``(B,)`` float64; NaN with a single frame.
    """
    highest = ids.amax(-1).cummax(0).values
    new = (ids[1:] > highest[:-1, ..., None]).sum(-1)
    return expectation(new, weight).mean(0)
