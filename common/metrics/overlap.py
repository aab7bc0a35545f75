"""How alike boxes are, as numpy arrays, and two sets of tracks frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from common.tracks import Tracks, check

EPSILON = np.finfo(np.float64).eps  # slack of "at least the threshold", as in TrackEval
PAIRS_AT_ONCE = 1 << 20  # bounds memory: about 100 MB of work arrays

# Of xywh boxes (..., 4), elementwise: 1 for equal ones, 0 for those that can never be matched.
Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of xywh boxes ``(..., 4)``, elementwise; 0 where both are empty."""
    shared, areas = _shared_and_areas(a, b)
    union = areas[0] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def coverage(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The share of each xywh box ``a (..., 4)`` that lies inside ``b``; 0 for an empty ``a``."""
    shared, areas = _shared_and_areas(a, b)
    return np.divide(shared, areas[0], out=np.zeros_like(shared), where=areas[0] > 0)


def nearness(gate: float) -> Similarity:
    """A similarity by the distance of centres: 1 at none, 1/2 at ``gate`` pixels, 0 at twice that.

    With a threshold of one half, boxes match whose centres are at most ``gate`` apart, whatever
    their sizes (TrackEval treats tracks without boxes so).

    Raises:
        ValueError: the gate is not above 0.
    """
    if not gate > 0:
        raise ValueError(f"gate is {gate}, expected above 0 pixels")

    def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        apart = (a[..., :2] + a[..., 2:] / 2) - (b[..., :2] + b[..., 2:] / 2)
        return np.maximum(0, 1 - np.hypot(apart[..., 0], apart[..., 1]) / (2 * gate))

    return similarity


def clip(boxes: np.ndarray, height: float, width: float) -> np.ndarray:
    """The part of each xywh box ``(..., 4)`` inside a frame; outside it a side is zero."""
    start = np.clip(boxes[..., :2], 0, (width, height))
    end = np.clip(boxes[..., :2] + boxes[..., 2:], start, (width, height))
    return np.concatenate((start, end - start), -1)


class Overlaps(NamedTuple):
    """Two sets of tracks side by side, rows sorted by frame, with the pairs that are alike.

    ``F`` frames with a box of either set; ``G`` boxes of the ground truth and ``P`` of the tracks;
    ``Q`` pairs of a ground-truth and a track box in one frame whose similarity (IoU, unless
    another is asked for) is above zero. Ids are renumbered from 0, in the order of the originals.
    """

    truth_id: np.ndarray  # (G,) int64
    track_id: np.ndarray  # (P,) int64
    truth_start: np.ndarray  # (F + 1,) frame f holds the rows truth_start[f]:truth_start[f + 1]
    track_start: np.ndarray  # (F + 1,)
    pair_start: np.ndarray  # (F + 1,)
    truth_row: np.ndarray  # (Q,) row of the pair's ground-truth box
    track_row: np.ndarray  # (Q,) row of its track box
    similarity: np.ndarray  # (Q,) in (0, 1]
    frame: np.ndarray  # (F,) frame numbers

    @property
    def truth_lengths(self) -> np.ndarray:
        """Number of boxes of every ground-truth id."""
        return np.bincount(self.truth_id)

    @property
    def track_lengths(self) -> np.ndarray:
        """Number of boxes of every track id."""
        return np.bincount(self.track_id)

    def frames(self) -> Iterator[tuple[slice, slice, slice]]:
        """Rows of the ground truth, of the tracks, and pairs, for each frame that has both."""
        starts = zip(self.truth_start, self.track_start, self.pair_start)
        ends = zip(self.truth_start[1:], self.track_start[1:], self.pair_start[1:])
        for (g, p, q), (g_end, p_end, q_end) in zip(starts, ends):
            if g < g_end and p < p_end:
                yield slice(g, g_end), slice(p, p_end), slice(q, q_end)

    def dense(self, values: np.ndarray, rows: tuple[slice, slice, slice]) -> np.ndarray:
        """Values of one frame's pairs as a matrix (ground truth, tracks), zero elsewhere."""
        truth, track, pair = rows
        matrix = np.zeros((truth.stop - truth.start, track.stop - track.start), values.dtype)
        index = self.truth_row[pair] - truth.start, self.track_row[pair] - track.start
        matrix[index] = values[pair]
        return matrix


def overlaps(truth: Tracks, tracks: Tracks, similarity: Similarity | None = None) -> Overlaps:
    """Put tracks beside the ground truth.

    Args:
        similarity: of their boxes; IoU by default.

    Raises:
        ValueError: either has a box without a size or an id twice in a frame.
    """
    check(truth, "ground truth")
    check(tracks, "tracks")
    frame = np.union1d(truth.frame, tracks.frame)
    sides = [_by_frame(side, frame) for side in (truth, tracks)]
    (truth_id, truth_box, truth_start), (track_id, track_box, track_start) = sides
    sizes = np.diff(truth_start) * np.diff(track_start)
    found = [np.zeros(0, np.int64)] * 3 + [np.zeros(0)]
    parts = [found]
    for first, last in _chunks(sizes):
        owner = np.repeat(np.arange(first, last), sizes[first:last])
        within = np.arange(len(owner)) - np.repeat(
            np.cumsum(sizes[first:last]) - sizes[first:last], sizes[first:last]
        )
        width = np.diff(track_start)[owner]
        truth_row = truth_start[owner] + within // width
        track_row = track_start[owner] + within % width
        value = (similarity or iou)(truth_box[truth_row], track_box[track_row])
        kept = value > 0
        parts.append([owner[kept], truth_row[kept], track_row[kept], value[kept]])
    owner, truth_row, track_row, value = (np.concatenate(column) for column in zip(*parts))
    pair_start = np.searchsorted(owner, np.arange(len(frame) + 1))
    starts = (truth_start, track_start, pair_start)
    return Overlaps(truth_id, track_id, *starts, truth_row, track_row, value, frame)


def _shared_and_areas(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, tuple]:
    a_end, b_end = a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]
    sides = np.minimum(a_end, b_end) - np.maximum(a[..., :2], b[..., :2])
    areas = tuple(
        np.maximum(end - box[..., :2], 0).prod(-1) for box, end in ((a, a_end), (b, b_end))
    )
    return np.maximum(sides, 0).prod(-1), areas


def _by_frame(tracks: Tracks, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids from 0, boxes, and where each of ``frame`` starts, rows of a frame in the given order."""
    order = np.argsort(tracks.frame, kind="stable")
    ids = np.unique(tracks.id, return_inverse=True)[1][order]
    ends = np.searchsorted(tracks.frame[order], frame, side="right")
    return ids, tracks.box[order], np.concatenate(([0], ends)).astype(np.int64)


def _chunks(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of frames with about ``PAIRS_AT_ONCE`` pairs each."""
    group = np.cumsum(sizes) // PAIRS_AT_ONCE
    cuts = np.flatnonzero(np.diff(group)) + 1
    edges = [0, *cuts.tolist(), len(sizes)]
    return zip(edges[:-1], edges[1:])
