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
from torch import Tensor

from common.metrics import ope, overlap
from common.metrics.ope import Interval
from common.tracks import runs


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


class Contender(NamedTuple):
    """A tracker in a comparison."""

    name: str
    make: Callable[[], Tracker]
    velocity: bool = False  # it is told the motion to the second true box, see ``evaluate_windows``
    prepare: Callable[[Tensor], Any] | None = None  # see ``evaluate_windows``


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
    make_tracker: Callable[[], Tracker],
    windows: Sequence[Window],
    velocity: bool = False,
    prepare: Callable[[Tensor], Any] | None = None,
) -> Result:
    """Run a tracker over windows.

    Each sequence is passed once: objects are added where their windows begin and dropped where they
    end, so a frame is read once and all its windows are one batch.

    Args:
        make_tracker: called once per sequence.
        windows: from ``cut``.
        velocity: give the tracker ``velocity (N, 2)``, the way in pixels of each box's centre from
            frame 0 to frame 1: the second true box that constant velocity is allowed to see.
        prepare: turns a frame ``(3, H, W)`` uint8 RGB into what the tracker reads, if another.

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
        contender = Contender("", make_tracker, velocity, prepare)
        _sweep(contender, {n: windows[n] for n in members}, boxes)
    for number, window in enumerate(windows):
        length = len(window.boxes)
        found = boxes[number, :length]
        found = np.where(np.isfinite(found).all(1, keepdims=True), found, 0)  # overlaps nothing
        iou[number, :length] = _iou(found, window.boxes, window.sequence.size)
    return Result(iou, np.array([window.object for window in windows]), boxes)


def mean_iou(result: Result) -> Interval:
    """Mean IoU over all scored frames (``t >= 1``) of all windows, with its interval."""
    return summarise(result)["mean_iou"]


def summarise(result: Result) -> dict[str, Interval]:
    """``mean_iou``, ``auc``, ``over_50`` and ``lost`` with bootstrap intervals over objects."""
    return ope.summarise(result.iou.T, np.isfinite(result.iou.T), result.objects)


def compare(a: Result, b: Result) -> dict[str, Interval]:
    """As ``summarise``, of the differences ``a - b``, paired over the same windows."""
    return ope.compare(a.iou.T, b.iou.T, np.isfinite(a.iou.T), a.objects)


def velocities(windows: Sequence[Window]) -> np.ndarray:
    """``(N, 2)`` pixels: the way of each box's centre from its first frame to its second."""
    pairs = np.stack([window.boxes[:2] for window in windows])
    centres = pairs[..., :2] + pairs[..., 2:] / 2
    return centres[:, 1] - centres[:, 0]


def _sweep(contender: Contender, windows: dict[int, Window], boxes: np.ndarray) -> None:
    """Pass one sequence, writing each window's boxes into its row of ``boxes (M, L, 4)``."""
    starts: dict[int, list[int]] = {}
    for number, window in windows.items():
        starts.setdefault(window.first, []).append(number)
    last = {n: window.first + len(window.boxes) - 1 for n, window in windows.items()}
    sequence = next(iter(windows.values())).sequence
    tracker, active = contender.make(), False
    for index in range(min(starts), max(last.values()) + 1):
        begun = starts.get(index, [])
        if not active and not begun:
            continue
        frame = sequence.read([index])[0]
        if contender.prepare:
            frame = contender.prepare(frame)
        if active:
            found = np.asarray(tracker.update(frame), np.float64)
            for number, box in zip(tracker.ids, found, strict=True):
                boxes[number, index - windows[number].first] = box
            tracker.drop([number for number in tracker.ids if last[number] == index])
            active = bool(tracker.ids)
        if begun:
            given = np.stack([windows[number].boxes[0] for number in begun])
            boxes[begun, 0] = given
            extra = {}
            if contender.velocity:
                extra["velocity"] = velocities([windows[number] for number in begun])
            if active:
                tracker.add(given, ids=begun, **extra)
            else:
                tracker.init(frame, given, ids=begun, **extra)
            active = True


def _iou(found: np.ndarray, true: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``(L,)`` IoU of ``(L, 4)`` boxes, both clipped to a frame of ``size`` (H, W)."""
    return overlap.iou(overlap.clip(found, *size), overlap.clip(true, *size))
