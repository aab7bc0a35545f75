"""ID metrics (Ristani et al. 2016): IDF1, IDP, IDR, their global matching by motmetrics.

motmetrics is handed the events of a whole sequence at once: its accumulator, which takes them frame
by frame, decides CLEAR matches as well, which the ID metrics do not need and which take most of its
time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.metrics.overlap import EPSILON, Overlaps


class IdentityCounts(NamedTuple):
    """What adds up over sequences."""

    tp: int  # boxes of ground truth and track that belong together under the best matching of ids
    fn: int
    fp: int


def count(o: Overlaps, threshold: float = 0.5) -> IdentityCounts:
    """Match ids one to one over the whole sequence so that the fewest boxes disagree."""
    from motmetrics import metrics

    g, p = len(o.truth_id), len(o.track_id)
    if not g or not p:
        return IdentityCounts(0, g, p)
    assignment = metrics.id_global_assignment(metrics.events_to_df_map(_events(o, threshold)))
    fn = round(float(metrics.idfn(None, assignment)))
    fp = round(float(metrics.idfp(None, assignment)))
    return IdentityCounts(g - fn, fn, fp)


def combine(parts: Sequence[IdentityCounts]) -> IdentityCounts:
    """The counts of several sequences as one."""
    return IdentityCounts(*(sum(column) for column in zip(*parts)))


def scores(counts: IdentityCounts) -> dict[str, float]:
    """IDF1, IDP and IDR in percent."""
    tp, fn, fp = counts
    return {
        "IDF1": 100 * 2 * tp / max(1, 2 * tp + fn + fp),
        "IDP": 100 * tp / max(1, tp + fp),
        "IDR": 100 * tp / max(1, tp + fn),
    }


class KeptCounts(NamedTuple):
    """What adds up over sequences, by frame ``(T,)``; frame 0 is what others are compared with."""

    same: np.ndarray  # ground-truth boxes matched to the track that matched their object in frame 0
    total: np.ndarray  # ground-truth boxes of objects that are in frame 0


def count_kept(o: Overlaps, length: int, threshold: float = 0.5) -> KeptCounts:
    """Count who still has the id of frame 0: matches are made in each frame by itself.

    An object that is in frame 0 unmatched has no id to keep, and one that is not matched later has
    not kept it; an object that enters later does not count.

    Args:
        o: ground truth and tracks; with :func:`common.metrics.overlap.nearness` the gate is one of
            distance.
        length: T, frames of the sequence.
        threshold: least similarity of a match.
    """
    from scipy.optimize import linear_sum_assignment

    initial = np.full(len(o.truth_lengths), -1)  # track id matched in frame 0
    frame_of = np.repeat(o.frame, np.diff(o.truth_start))
    known = np.isin(o.truth_id, o.truth_id[frame_of == 0])
    total = np.bincount(frame_of[known], minlength=length)
    same = np.zeros(length, np.int64)
    for rows in o.frames():
        frame = frame_of[rows[0].start]
        weight = o.dense(o.similarity, rows)
        weight[weight < threshold - EPSILON] = 0
        row, column = linear_sum_assignment(weight, maximize=True)
        good = weight[row, column] > 0
        truth, track = o.truth_id[rows[0]][row[good]], o.track_id[rows[1]][column[good]]
        if frame == 0:
            initial[truth] = track
        same[frame] += (initial[truth] == track).sum()
    return KeptCounts(same, total)


def combine_kept(parts: Sequence[KeptCounts]) -> KeptCounts:
    """The counts of several sequences of one length as one."""
    return KeptCounts(*(np.sum(column, 0) for column in zip(*parts)))


def share_kept(counts: KeptCounts) -> float:
    """The share of boxes after frame 0 with the id their object had there; NaN without any."""
    total = int(counts.total[1:].sum())
    return float(counts.same[1:].sum()) / total if total else float("nan")


def _events(o: Overlaps, threshold: float):
    """motmetrics' frame of RAW events: pairs that are near enough, and every box without one."""
    import pandas
    from motmetrics import MOTAccumulator

    near = o.similarity >= threshold - EPSILON
    truth_row, track_row = o.truth_row[near], o.track_row[near]
    alone = np.ones(len(o.truth_id), bool), np.ones(len(o.track_id), bool)
    alone[0][truth_row], alone[1][track_row] = False, False
    truth_alone, track_alone = (np.flatnonzero(mask) for mask in alone)
    none = np.full(len(truth_alone) + len(track_alone), np.nan)
    objects = (o.truth_id[truth_row], o.truth_id[truth_alone], none[: len(track_alone)])
    hypotheses = (o.track_id[track_row], none[: len(truth_alone)], o.track_id[track_alone])
    frame = (
        *(_frame(o.truth_start, truth_row), _frame(o.truth_start, truth_alone)),
        _frame(o.track_start, track_alone),
    )
    total = len(truth_row) + len(none)
    events = {
        "Type": pandas.Categorical.from_codes(np.zeros(total, np.int8), ["RAW"]),
        "OId": np.concatenate(objects).astype(float),
        "HId": np.concatenate(hypotheses).astype(float),
        "D": np.concatenate((1 - o.similarity[near], none)),
    }
    indices = {"FrameId": np.concatenate(frame), "Event": np.arange(total)}
    return MOTAccumulator.new_event_dataframe_with_data(indices, events)


def _frame(start: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The position among the frames of each of ``rows``."""
    return np.searchsorted(start, rows, side="right") - 1
