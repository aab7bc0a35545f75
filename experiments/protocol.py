"""How trackers are scored: annotated tracks cut into windows, each begun from its first true box.

The protocol of the project's tables: a track is cut where its frames are not consecutive, then
into complete windows of ``L`` frames at a stride; frame 0 and its box are given, frames 1 to L - 1
are scored; both boxes are clipped to the frame before their IoU; a tracker that reports failure
holds its last box. Intervals come from a bootstrap over objects, because windows of one object are
not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from common import boxes as box_ops
from common.tracks import runs

RESAMPLES = 2000  # of the bootstrap
LEVEL = 0.95  # of its intervals


class Tracker(Protocol):
    """What can be scored: ``hart.Tracker``, the trivial trackers, OpenCV's behind ``peers``."""

    ids: list[int]

    def init(self, frame: Tensor, boxes: Any, ids: Sequence[int] | None = None) -> Any:
        """Begin with ``boxes (N, 4)`` in ``frame (3, H, W)`` uint8 RGB."""

    def add(self, boxes: Any, ids: Sequence[int] | None = None) -> Any:
        """Follow more objects, seen in the latest frame."""

    def drop(self, ids: Sequence[int]) -> None:
        """Stop following objects."""

    def update(self, frame: Tensor) -> Tensor:
        """``(N, 4)`` xywh pixels in the order of ``ids``."""


class Window(NamedTuple):
    """A stretch of one object's track, scored on its own."""

    sequence: Any  # a datasets.clip.Sequence
    object: int  # numbers the objects of all sequences, from 0
    first: int  # frame of the sequence, 0-based
    boxes: np.ndarray  # (L, 4) float64 xywh pixels


class Result(NamedTuple):
    """A tracker on ``M`` windows of up to ``L`` frames; NaN after the end of a shorter window."""

    iou: np.ndarray  # (M, L) float64; column 0 is the given box
    objects: np.ndarray  # (M,) int64, which object a window shows
    boxes: np.ndarray  # (M, L, 4) float64 xywh pixels, as the tracker gave them


class Interval(NamedTuple):
    """A mean and its bootstrap interval; the bounds are NaN with fewer than two objects."""

    mean: float
    low: float
    high: float


def cut(
    sequences: Sequence[Any], length: int, stride: int, shortest: int | None = None
) -> list[Window]:
    """Windows of ``length`` frames at a stride from every annotated track.

    Args:
        sequences: of ``datasets.clip.Sequence``.
        length, stride: frames.
        shortest: a run shorter than ``length`` but not than this is a window of its own (short
            clips, such as a few frames of KITTI); by default there are complete windows only.

    Raises:
        ValueError: windows that would have no scored frame, or a stride below 1.
    """
    shortest = length if shortest is None else min(shortest, length)
    if shortest < 2 or stride < 1:
        raise ValueError(
            f"windows of {shortest} frames at stride {stride}: expected at least 2 and 1"
        )
    windows, objects = [], {}
    for number, sequence in enumerate(sequences):
        for run in runs(sequence.tracks):
            if len(run.frame) < shortest:
                continue
            name = objects.setdefault((number, int(run.id[0])), len(objects))
            for start in range(0, max(len(run.frame) - length, 0) + 1, stride):
                boxes = run.box[start : start + length]
                windows.append(Window(sequence, name, int(run.frame[start]), boxes))
    return windows


def evaluate_windows(
    make_tracker: Callable[[], Tracker], windows: Sequence[Window], velocity: bool = False
) -> Result:
    """Run a tracker over windows.

    Each sequence is passed once: objects are added where their windows begin and dropped where they
    end, so a frame is read once and all its windows are one batch.

    Args:
        make_tracker: called once per sequence.
        windows: from ``cut``.
        velocity: give the tracker ``velocity (N, 2)``, the way in pixels of each box's centre from
            frame 0 to frame 1: the second true box that constant velocity is allowed to see.

    Raises:
        ValueError: there are no windows.
    """
    if not windows:
        raise ValueError("no windows to score: no track is long enough")
    longest = max(len(window.boxes) for window in windows)
    boxes = np.full((len(windows), longest, 4), np.nan)
    iou = np.full((len(windows), longest), np.nan)
    groups: dict[int, list[int]] = {}
    for number, window in enumerate(windows):
        groups.setdefault(id(window.sequence), []).append(number)
    for members in groups.values():
        _sweep(make_tracker(), {n: windows[n] for n in members}, velocity, boxes)
    for number, window in enumerate(windows):
        length = len(window.boxes)
        iou[number, :length] = _iou(boxes[number, :length], window.boxes, window.sequence.size)
    return Result(iou, np.array([window.object for window in windows]), boxes)


def mean_iou(result: Result) -> Interval:
    """Mean IoU over all scored frames (``t >= 1``) of all windows, with its interval."""
    return bootstrap(result.iou[:, 1:], result.objects)


def difference(a: Result, b: Result) -> Interval:
    """Mean IoU of ``a`` less that of ``b``, paired over the same windows."""
    return bootstrap(a.iou[:, 1:] - b.iou[:, 1:], a.objects)


def bootstrap(values: np.ndarray, objects: np.ndarray, seed: int = 0) -> Interval:
    """Mean of ``values (M, S)`` (NaN: no sample), resampling the ``objects (M,)`` of the rows."""
    names, column = np.unique(objects, return_inverse=True)
    count = np.bincount(column, np.isfinite(values).sum(1), len(names))
    total = np.bincount(column, np.nansum(values, 1), len(names))
    mean = float(total.sum() / count.sum())
    if len(names) < 2:
        return Interval(mean, float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    means = total[drawn].sum(1) / count[drawn].sum(1)
    low, high = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(mean, float(low), float(high))


def _sweep(tracker: Tracker, windows: dict[int, Window], velocity: bool, boxes: np.ndarray) -> None:
    """Pass one sequence, writing each window's boxes into its row of ``boxes (M, L, 4)``."""
    starts: dict[int, list[int]] = {}
    for number, window in windows.items():
        starts.setdefault(window.first, []).append(number)
    last = {n: window.first + len(window.boxes) - 1 for n, window in windows.items()}
    sequence = next(iter(windows.values())).sequence
    active = False
    for index in range(min(starts), max(last.values()) + 1):
        begun = starts.get(index, [])
        if not active and not begun:
            continue
        frame = sequence.read([index])[0]
        if active:
            found = np.asarray(tracker.update(frame), np.float64)
            for number, box in zip(tracker.ids, found, strict=True):
                boxes[number, index - windows[number].first] = box
            tracker.drop([number for number in tracker.ids if last[number] == index])
            active = bool(tracker.ids)
        if begun:
            given = np.stack([windows[number].boxes[0] for number in begun])
            boxes[begun, 0] = given
            extra = {"velocity": _velocity([windows[n] for n in begun])} if velocity else {}
            if active:
                tracker.add(given, ids=begun, **extra)
            else:
                tracker.init(frame, given, ids=begun, **extra)
            active = True


def _velocity(windows: Sequence[Window]) -> np.ndarray:
    """``(N, 2)`` pixels: the way of each box's centre from its first frame to its second."""
    pairs = np.stack([window.boxes[:2] for window in windows])
    centres = pairs[..., :2] + pairs[..., 2:] / 2
    return centres[:, 1] - centres[:, 0]


def _iou(found: np.ndarray, true: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``(L,)`` IoU of ``(L, 4)`` boxes, both clipped to a frame of ``size`` (H, W)."""
    clipped = (box_ops.clip(torch.from_numpy(b), *size) for b in (found, true))
    return box_ops.iou(*clipped).numpy()
