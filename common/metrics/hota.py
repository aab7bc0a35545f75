"""HOTA, DetA, AssA and LocA (Luiten et al., "HOTA: A Higher Order Metric", IJCV 2021).

Matches at every localisation threshold come from one assignment per frame, which maximises IoU
weighted by how well the two tracks agree over the whole sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.metrics.overlap import EPSILON, Overlaps

ALPHAS = np.arange(1, 20) / 20  # localisation thresholds 0.05 ... 0.95


class HotaCounts(NamedTuple):
    """What adds up over sequences, per threshold ``(19,)``."""

    tp: np.ndarray  # matched boxes
    fn: np.ndarray  # ground-truth boxes without a match
    fp: np.ndarray  # track boxes without a match
    association: np.ndarray  # sum over matches of the association Jaccard index A(c)
    localisation: np.ndarray  # sum over matches of IoU


def count(o: Overlaps) -> HotaCounts:
    """Match at all thresholds and count (HOTA sec. 4)."""
    pair = _matches(o)
    ids = o.truth_id[o.truth_row[pair]], o.track_id[o.track_row[pair]]
    hit = o.similarity[pair, None] >= ALPHAS - EPSILON  # (matches, 19)
    tp = hit.sum(0)
    couples, member = np.unique(np.stack(ids), axis=1, return_inverse=True)
    lengths = o.truth_lengths[couples[0]] + o.track_lengths[couples[1]]
    association = np.zeros(len(ALPHAS))
    for a in range(len(ALPHAS)):
        matched = np.bincount(member.reshape(-1), hit[:, a], len(lengths))
        association[a] = (matched * matched / np.maximum(lengths - matched, 1)).sum()
    localisation = (o.similarity[pair, None] * hit).sum(0)
    return HotaCounts(tp, len(o.truth_id) - tp, len(o.track_id) - tp, association, localisation)


def combine(parts: Sequence[HotaCounts]) -> HotaCounts:
    """The counts of several sequences as one: every match weighs the same."""
    return HotaCounts(*(np.sum(column, 0) for column in zip(*parts)))


def scores(counts: HotaCounts) -> dict[str, float]:
    """Means over the thresholds, in percent; LocA is 100 where nothing matched."""
    tp, fn, fp, association, localisation = counts
    detection = tp / np.maximum(1, tp + fn + fp)
    association = association / np.maximum(1, tp)
    located = np.maximum(1e-10, localisation) / np.maximum(1e-10, tp)
    values = {
        "HOTA": np.sqrt(detection * association),
        "DetA": detection,
        "AssA": association,
        "LocA": located,
    }
    return {name: 100 * float(value.mean()) for name, value in values.items()}


def _matches(o: Overlaps) -> np.ndarray:
    """Pairs (indices into ``o.similarity``) that the assignments choose, frame by frame."""
    from scipy.optimize import linear_sum_assignment

    weight = _alignment(o) * o.similarity
    number = np.arange(1, len(o.similarity) + 1)  # 0 marks boxes that do not overlap
    chosen = [np.zeros(0, np.int64)]
    for rows in o.frames():
        match = linear_sum_assignment(o.dense(weight, rows), maximize=True)
        chosen.append(o.dense(number, rows)[match])
    chosen = np.concatenate(chosen)
    return chosen[chosen > 0] - 1


def _alignment(o: Overlaps) -> np.ndarray:
    """How well each pair's two tracks agree over the sequence: a soft Jaccard index, ``(Q,)``."""
    total = np.bincount(o.truth_row, o.similarity, len(o.truth_id))[o.truth_row]
    total += np.bincount(o.track_row, o.similarity, len(o.track_id))[o.track_row]
    share = o.similarity / (total - o.similarity)
    truth, track = o.truth_id[o.truth_row], o.track_id[o.track_row]
    couples, member = np.unique(np.stack((truth, track)), axis=1, return_inverse=True)
    together = np.bincount(member.reshape(-1), share, couples.shape[1])
    lengths = o.truth_lengths[couples[0]] + o.track_lengths[couples[1]]
    return (together / (lengths - together))[member.reshape(-1)]
