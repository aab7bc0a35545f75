"""Multi-object tracking metrics of any tracks: HOTA, CLEAR and ID, counted, combined, scored.

Sequences are combined by adding their counts, as TrackEval does, never by averaging scores.
MOTP is the mean IoU of matches in percent (TrackEval's convention; motmetrics prints the mean of
1 - IoU).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from common.metrics import clear as clear_mot
from common.metrics import hota, identity
from common.metrics.ignore import drop_ignored
from common.metrics.overlap import Similarity, overlaps
from common.tracks import Tracks

METRICS = (
    *("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDP", "IDR"),
    *("IDSW", "MT", "PT", "ML", "Frag", "FP", "FN"),
)
ClearRule = Literal["trackeval", "motmetrics"]
CLEAR_RULES = {"trackeval": clear_mot.count, "motmetrics": clear_mot.count_motmetrics}


class Counts(NamedTuple):
    """Everything the scores are made of; adds up over sequences."""

    hota: hota.HotaCounts
    clear: clear_mot.ClearCounts
    identity: identity.IdentityCounts


def count(
    truth: Tracks,
    tracks: Tracks,
    ignore: Tracks | None = None,
    *,
    threshold: float = 0.5,
    clear: ClearRule = "trackeval",
    similarity: Similarity | None = None,
) -> Counts:
    """Compare one sequence's tracks with its ground truth.

    Args:
        ignore: regions; boxes that match or fill one, and no object, are not counted (labels do not
            matter); see :func:`common.metrics.ignore.drop_ignored`.
        threshold: least IoU of a match in CLEAR and ID metrics; HOTA goes through all of its own.
        clear: whose rule for carrying matches over; see :mod:`common.metrics.clear`.
        similarity: takes the place of IoU, everywhere; see :func:`common.metrics.overlap.nearness`.

    Raises:
        ValueError: a box has no size, an id is twice in a frame, or the threshold is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold}, expected above 0 and at most 1")
    if clear not in CLEAR_RULES:
        raise ValueError(f"clear is {clear!r}, expected one of {', '.join(CLEAR_RULES)}")
    if ignore is not None and len(ignore.frame):
        tracks = drop_ignored(truth, tracks, ignore, similarity=similarity)
    both = overlaps(truth, tracks, similarity)
    matches = CLEAR_RULES[clear](both, threshold)
    return Counts(hota.count(both), matches, identity.count(both, threshold))


def combine(parts: Sequence[Counts]) -> Counts:
    """The counts of several sequences as one.

    Raises:
        ValueError: there are none.
    """
    if not parts:
        raise ValueError("no sequences, expected at least one")
    rooms = (hota, clear_mot, identity)
    return Counts(*(room.combine(column) for room, column in zip(rooms, zip(*parts))))


def scores(counts: Counts) -> dict[str, float | int]:
    """``METRICS`` by name: percentages as floats (0 to 100), counts as integers."""
    found = {**hota.scores(counts.hota), **clear_mot.scores(counts.clear)}
    found.update(identity.scores(counts.identity))
    return {name: found[name] for name in METRICS}


def evaluate(truth: Tracks, tracks: Tracks, ignore: Tracks | None = None, **settings) -> dict:
    """Scores of one sequence; ``settings`` as for :func:`count`."""
    return scores(count(truth, tracks, ignore, **settings))
