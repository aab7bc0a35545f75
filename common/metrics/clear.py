"""CLEAR MOT (Bernardin and Stiefelhagen 2008) by the two rules in use.

They differ in when a match is carried over although another would fit better: TrackEval, and with
it today's benchmarks, from the previous frame only; motmetrics over any gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.metrics.overlap import EPSILON, Overlaps

CARRIED_OVER = 1000.0  # outweighs the IoUs of any frame, so matches are kept first


class ClearCounts(NamedTuple):
    """What adds up over sequences."""

    tp: int  # matched boxes
    fn: int  # ground-truth boxes without a match
    fp: int  # track boxes without a match
    switches: int
    fragmentations: int
    mostly_tracked: int  # ground-truth ids matched in over 80 % of their frames
    partially_tracked: int
    mostly_lost: int  # in under 20 %
    similarity: float  # sum over matches of the IoU, or of what boxes are matched by instead


def count(o: Overlaps, threshold: float = 0.5) -> ClearCounts:
    """Count by TrackEval's rule; frames without boxes of either side are passed over by it.

    A switch: a match with another id than the object's last one, however long ago. Fragmentations:
    how often an object is matched again after a frame in which it was not.
    """
    from scipy.optimize import linear_sum_assignment

    n = len(o.truth_lengths)
    last_match = np.full(n, -1)  # track id of the object's latest match
    previous = np.full(n, -1)  # track id matched in the previous frame
    matched, started = np.zeros(n, np.int64), np.zeros(n, np.int64)
    switches, total = 0, 0.0
    for rows in o.frames():
        truth, track = o.truth_id[rows[0]], o.track_id[rows[1]]
        similarity = o.dense(o.similarity, rows)
        near = similarity >= threshold - EPSILON
        kept = previous[truth][:, None] == track
        weight = np.where(near, similarity + CARRIED_OVER * kept, 0.0)
        row, column = linear_sum_assignment(weight, maximize=True)
        good = weight[row, column] > EPSILON
        row, column = row[good], column[good]
        truth, track = truth[row], track[column]
        switches += int(((last_match[truth] >= 0) & (last_match[truth] != track)).sum())
        started[truth] += previous[truth] < 0
        matched[truth] += 1
        last_match[truth] = track
        previous[:] = -1
        previous[truth] = track
        total += float(similarity[row, column].sum())
    share = matched / np.maximum(1, o.truth_lengths)
    mostly, partly = int((share > 0.8).sum()), int(((share >= 0.2) & (share <= 0.8)).sum())
    tp = int(matched.sum())
    misses = len(o.truth_id) - tp, len(o.track_id) - tp
    again = int(np.maximum(started - 1, 0).sum())
    return ClearCounts(tp, *misses, switches, again, mostly, partly, n - mostly - partly, total)


def count_motmetrics(o: Overlaps, threshold: float = 0.5) -> ClearCounts:
    """Count by motmetrics' rule, with motmetrics."""
    import motmetrics

    accumulator = motmetrics.MOTAccumulator()
    for f in range(len(o.frame)):
        rows = tuple(slice(s[f], s[f + 1]) for s in (o.truth_start, o.track_start, o.pair_start))
        similarity = o.dense(o.similarity, rows)
        distance = np.where(similarity >= threshold - EPSILON, 1 - similarity, np.nan)
        accumulator.update(o.truth_id[rows[0]], o.track_id[rows[1]], distance, int(o.frame[f]))
    names = (
        *("num_detections", "num_misses", "num_false_positives", "num_switches"),
        *("num_fragmentations", "mostly_tracked", "partially_tracked", "mostly_lost", "motp"),
    )
    host = motmetrics.metrics.create()
    found = host.compute(accumulator, metrics=list(names), return_dataframe=False)
    tp = int(found["num_detections"])
    total = tp * (1 - float(found["motp"])) if tp else 0.0  # motmetrics' MOTP is a mean distance
    return ClearCounts(tp, *(int(found[name]) for name in names[1:-1]), total)


def combine(parts: Sequence[ClearCounts]) -> ClearCounts:
    """The counts of several sequences as one."""
    return ClearCounts(*(sum(column) for column in zip(*parts)))


def scores(counts: ClearCounts) -> dict[str, float | int]:
    """MOTA and MOTP in percent, and counts. MOTP is the mean IoU of matches: higher is better.

    Without any ground truth MOTA has no meaning and is given as 0, as by TrackEval.
    """
    c = counts
    boxes = c.tp + c.fn
    return {
        "MOTA": 100 * (c.tp - c.fp - c.switches) / boxes if boxes else 0.0,
        "MOTP": 100 * c.similarity / max(1, c.tp),
        "IDSW": c.switches,
        "MT": c.mostly_tracked,
        "PT": c.partially_tracked,
        "ML": c.mostly_lost,
        "Frag": c.fragmentations,
        "FP": c.fp,
        "FN": c.fn,
    }
