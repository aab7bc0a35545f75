"""Predictions that are neither right nor wrong: regions to ignore and neighbouring categories.

The KITTI tracking benchmark scores cars and pedestrians. A box on a DontCare region, or on a van
when cars are scored, is no mistake, and finding it earns nothing. Its further rules (heavily
occluded or truncated objects and boxes below 25 pixels do not count either) are left to the caller,
who may add such objects to what is ignored.
"""

from __future__ import annotations

import numpy as np

from common.metrics.overlap import EPSILON, Similarity, coverage, overlaps
from common.tracks import Tracks, take

# KITTI's label files say Person for what its documentation calls Person_sitting.
NEIGHBOURS = {"car": ("van",), "pedestrian": ("person", "person_sitting")}


def select_category(tracks: Tracks, category: str) -> tuple[Tracks, Tracks]:
    """The objects of ``category`` (any case), and those of its neighbours, which are to be ignored.

    Raises:
        ValueError: the tracks have no labels.
    """
    if tracks.label is None:
        raise ValueError(f"no labels to select {category} by, expected tracks of a KITTI file")
    label = np.char.lower(tracks.label)
    near = np.isin(label, NEIGHBOURS.get(category.lower(), ()))
    return take(tracks, label == category.lower()), take(tracks, near)


def drop_ignored(
    truth: Tracks,
    tracks: Tracks,
    ignore: Tracks,
    threshold: float = 0.5,
    inside: float = 0.5,
    similarity: Similarity | None = None,
) -> Tracks:
    """Tracks, in order of time, without the boxes that an ignored region excuses.

    Dropped is a box that lies in one ignored region of its frame with over ``inside`` of its area
    (what the region is, is not known) or matches it (the region is an object), and is not matched
    to the ground truth, one to one. Boxes match with a ``similarity`` (IoU by default) of at least
    ``threshold``.
    """
    from scipy.optimize import linear_sum_assignment

    tracks, ignore = (take(t, np.argsort(t.frame, kind="stable")) for t in (tracks, ignore))
    regions = ignore._replace(id=np.arange(len(ignore.id)), label=None)
    o = overlaps(tracks, regions)
    share = coverage(tracks.box[o.truth_row], regions.box[o.track_row])
    excused = np.zeros(len(tracks.id), bool)
    excused[o.truth_row[share > inside + EPSILON]] = True
    o = o if similarity is None else overlaps(tracks, regions, similarity)
    excused[o.truth_row[o.similarity >= threshold - EPSILON]] = True
    o = overlaps(truth, tracks, similarity)
    for rows in o.frames():
        if not excused[rows[1]].any():
            continue
        weight = o.dense(o.similarity, rows)
        weight[weight < threshold - EPSILON] = 0
        match = linear_sum_assignment(weight, maximize=True)
        excused[match[1][weight[match] > 0] + rows[1].start] = False
    return take(tracks, ~excused)
