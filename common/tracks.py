"""Tracks: who was where, when; and the text files the field keeps them in.

Inside the project frames count from 0 and pixels are those of :mod:`common.boxes` (the frame's
corner is (0, 0)). Files differ and are converted here: MOTChallenge counts frames and pixels from
1, KITTI both from 0, OTB and GOT-10k keep one object's boxes, a line per frame, in pixels from 1.
Readers raise ``ValueError`` naming the file, the line and what was expected.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from common import text

MOT_COLUMNS = "frame id left top width height confidence x y z"
KITTI_COLUMNS = (
    "frame id category truncated occluded alpha left top right bottom "
    "height width length x y z rotation score"
)
BOX_COLUMNS = "left top width height"
DONT_CARE = "DontCare"  # KITTI's label of a region to ignore; its id is -1

# Ten digits: a millionth of a pixel in any frame, and 0.1 is written "0.1".
BOX_ROW = "{left:.10g},{top:.10g},{width:.10g},{height:.10g}"
MOT_ROW = "{frame},{id}," + BOX_ROW + ",{score:.10g},-1,-1,-1"
KITTI_ROW = (
    "{frame} {id} {label} -1 -1 -10 {left:.10g} {top:.10g} {right:.10g} {bottom:.10g} "
    "-1 -1 -1 -1000 -1000 -1000 -10 {score:.10g}"
)


class Tracks(NamedTuple):
    """Boxes of identified objects; row ``m`` is object ``id[m]`` in frame ``frame[m]``.

    A NamedTuple: ``len(tracks)`` is its number of fields, ``len(tracks.id)`` that of boxes.
    """

    frame: np.ndarray  # (M,) int64, from 0
    id: np.ndarray  # (M,) int64
    box: np.ndarray  # (M, 4) float64 xywh pixels
    score: np.ndarray  # (M,) float64
    label: np.ndarray | None = None  # (M,) str


class KittiLabels(NamedTuple):
    """A KITTI tracking file: its objects, and apart from them the DontCare regions (id -1)."""

    tracks: Tracks
    ignore: Tracks
    truncated: np.ndarray  # (M,) float64, of the objects: 0 to 2, -1 when unknown
    occluded: np.ndarray  # (M,) float64, of the objects: 0 to 3, -1 when unknown


def build(
    frame: ArrayLike,
    ids: ArrayLike,
    box: ArrayLike,
    score: ArrayLike | None = None,
    label: ArrayLike | None = None,
) -> Tracks:
    """Tracks from ``frame (M,)``, ``ids (M,)``, ``box (M, 4)`` xywh; scores are 1 by default.

    Raises:
        ValueError: as :func:`check`.
    """
    frame = np.asarray(frame, np.int64).reshape(-1)
    score = np.ones(len(frame)) if score is None else np.asarray(score, np.float64).reshape(-1)
    label = None if label is None else np.asarray(label, str).reshape(-1)
    ids = np.asarray(ids, np.int64).reshape(-1)
    tracks = Tracks(frame, ids, np.asarray(box, np.float64).reshape(-1, 4), score, label)
    check(tracks)
    return tracks


def check(tracks: Tracks, name: str = "tracks") -> None:
    """Raise ``ValueError`` unless all is finite, has a size and is once in its frame."""
    lengths = [len(column) for column in tracks if column is not None]
    if len(set(lengths)) > 1:
        raise ValueError(f"{name}: columns of lengths {lengths}, expected equal ones")
    fault = _first_fault(tracks)
    if fault:
        raise ValueError(f"{name}, row {fault[0]}: {fault[1]}")


def empty() -> Tracks:
    """No boxes."""
    return build([], [], [])


def take(tracks: Tracks, index: np.ndarray) -> Tracks:
    """The rows at ``index``: a mask ``(M,)`` or row numbers."""
    return Tracks(*(None if column is None else column[index] for column in tracks))


def concatenate(parts: Iterable[Tracks]) -> Tracks:
    """All rows of ``parts`` in order; labels stay when every part that has rows has them."""
    parts = [part for part in parts if len(part.id)] or [empty()]
    columns = [np.concatenate([part[k] for part in parts]) for k in range(4)]
    labelled = all(part.label is not None for part in parts)
    return Tracks(*columns, np.concatenate([p.label for p in parts]) if labelled else None)


def by_id(tracks: Tracks) -> dict[int, Tracks]:
    """Each object's rows in order of time, keyed by id, ids ascending."""
    order = np.lexsort((tracks.frame, tracks.id))
    ids, starts = np.unique(tracks.id[order], return_index=True)
    pieces = np.split(order, starts[1:])
    return {int(key): take(tracks, piece) for key, piece in zip(ids, pieces)}


def runs(tracks: Tracks) -> list[Tracks]:
    """Each object's rows in order of time, cut where its frames are not consecutive."""
    found = []
    for track in by_id(tracks).values():
        cuts = np.flatnonzero(np.diff(track.frame) != 1) + 1
        found += [take(track, piece) for piece in np.split(np.arange(len(track.id)), cuts)]
    return found


def read_mot(path: str | Path) -> Tracks:
    """Every row of a MOTChallenge file (6 to 10 columns); the score is column 7, else 1."""
    table = text.read_table(path, MOT_COLUMNS, 6)
    box = table.numbers[:, 2:6] - (1, 1, 0, 0)
    return _checked(path, table, Tracks(*_keys(path, table, 1), box, _score(table, 6)), 1)


def read_mot_ground_truth(path: str | Path) -> Tracks:
    """A MOTChallenge ``gt.txt`` without the rows it marks as not to be counted (column 7 is 0)."""
    tracks = read_mot(path)
    return take(tracks, tracks.score != 0)


def read_kitti(path: str | Path) -> KittiLabels:
    """A KITTI tracking label file (17 columns) or result file (18: the last is the score)."""
    table = text.read_table(path, KITTI_COLUMNS, 17, word_column=2)
    start, end = table.numbers[:, 6:8], table.numbers[:, 8:10]
    box, score = np.concatenate((start, end - start), 1), _score(table, 17)
    tracks = Tracks(*_keys(path, table, 0), box, score, table.words)
    tracks = _checked(path, table, tracks, 0)
    real = tracks.label != DONT_CARE
    state = table.numbers[real]
    return KittiLabels(take(tracks, real), take(tracks, ~real), state[:, 3], state[:, 4])


def read_boxes(path: str | Path) -> Tracks:
    """One object (id 0) from an OTB or GOT-10k file: line ``n`` is its box in frame ``n - 1``."""
    table = text.read_table(path, BOX_COLUMNS, 4)
    gaps = np.flatnonzero(table.lines != np.arange(len(table.lines)) + 1)
    if len(gaps):
        raise ValueError(f"{path}, line {gaps[0] + 1}: empty, expected a box in every frame")
    zeros, box = np.zeros_like(table.lines), table.numbers - (1, 1, 0, 0)
    return _checked(path, table, Tracks(table.lines - 1, zeros, box, zeros + 1.0), 0)


def detect_format(path: str | Path) -> str:
    """``"kitti"`` when the third column of the first row is a word, else ``"mot"``."""
    fields = next((line.split() for line in text.read(path).splitlines() if line.strip()), [])
    return "kitti" if len(fields) > 2 and fields[2][0].isalpha() else "mot"


def write_mot(path: str | Path, tracks: Tracks) -> None:
    """Write MOTChallenge rows in order of time, atomically.

    Raises:
        ValueError: an id is negative (the format has no regions to ignore), or as :func:`check`.
    """
    if (tracks.id < 0).any():
        raise ValueError(f"{path}: a negative id, expected objects only")
    _write(path, tracks, MOT_ROW, 1)


def write_kitti(path: str | Path, tracks: Tracks) -> None:
    """Write KITTI result rows (no 3-D) in order of time, atomically; ``Misc`` without a label.

    Raises:
        ValueError: a label is not one word, or as :func:`check`.
    """
    for label in [] if tracks.label is None else np.unique(tracks.label).tolist():
        if len(label.split()) != 1:
            raise ValueError(f"{path}: label {label!r}, expected one word")
    _write(path, tracks, KITTI_ROW, 0)


def write_boxes(path: str | Path, tracks: Tracks) -> None:
    """Write one object's boxes as OTB and GOT-10k do, atomically.

    Raises:
        ValueError: there are several objects, or a frame between 0 and the last has no box.
    """
    if len(np.unique(tracks.id)) > 1 or (np.sort(tracks.frame) != np.arange(len(tracks.id))).any():
        raise ValueError(f"{path}: expected one object with a box in every frame from 0")
    _write(path, tracks, BOX_ROW, 1)


def _write(path: str | Path, tracks: Tracks, row: str, origin: int) -> None:
    check(tracks, f"{path}: tracks")
    tracks = take(tracks, np.argsort(tracks.frame, kind="stable"))
    names = ("frame", "id", "left", "top", "width", "height", "right", "bottom", "score", "label")
    start, size = tracks.box[:, :2] + origin, tracks.box[:, 2:]
    columns = [tracks.frame + origin, tracks.id, *start.T, *size.T, *(start + size).T, tracks.score]
    columns.append(np.full(len(tracks.id), "Misc") if tracks.label is None else tracks.label)
    rows = zip(*(column.tolist() for column in columns))
    text.write(path, "".join(row.format(**dict(zip(names, values))) + "\n" for values in rows))


def _keys(path: str | Path, table: text.Table, first_frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames from 0 and ids, ``(M,)`` int64 each, from the first two columns."""
    keys = table.numbers[:, :2]
    broken = (keys != np.round(keys)) | (np.abs(keys) >= 2**53)
    for row, column in np.argwhere(broken)[:1]:
        name, value = ("frame", "id")[column], keys[row, column]
        raise ValueError(
            f"{path}, line {table.lines[row]}: {name} is {value:g}, expected a whole number"
        )
    keys = keys.astype(np.int64)
    return keys[:, 0] - first_frame, keys[:, 1]


def _score(table: text.Table, column: int) -> np.ndarray:
    return np.nan_to_num(table.numbers[:, column], nan=1.0)


def _checked(path: str | Path, table: text.Table, tracks: Tracks, first_frame: int) -> Tracks:
    fault = _first_fault(tracks, first_frame)
    if fault:
        raise ValueError(f"{path}, line {table.lines[fault[0]]}: {fault[1]}")
    return tracks


def _first_fault(tracks: Tracks, first_frame: int = 0) -> tuple[int, str] | None:
    """The first row that breaks a rule, and the rule; regions to ignore need no id."""
    frame, ids, box, score, label = tracks
    region = np.zeros(len(ids), bool) if label is None else label == DONT_CARE
    order = np.lexsort((ids, frame))
    order = order[~region[order]]
    again = (np.diff(frame[order]) == 0) & (np.diff(ids[order]) == 0)
    twice = np.isin(np.arange(len(ids)), order[1:][again])
    rules = (
        (~(np.isfinite(box).all(1) & np.isfinite(score)), "expected finite numbers"),
        (frame < 0, "frame {frame}, expected {first} or more"),
        ((ids < 0) & ~region, "id {id}, expected 0 or more"),
        (~(box[:, 2:] > 0).all(1), "width {w:g} and height {h:g}, expected both above 0"),
        (twice, "id {id} is in frame {frame} already, expected once"),
    )
    faults = [(int(np.argmax(broken)), rule) for broken, rule in rules if broken.any()]
    if not faults:
        return None
    row, rule = min(faults, key=lambda fault: fault[0])
    values = {"frame": frame[row] + first_frame, "first": first_frame, "id": ids[row]}
    return row, rule.format(**values, w=box[row, 2], h=box[row, 3])
