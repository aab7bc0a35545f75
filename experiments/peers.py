"""The trackers people use today, from the installed OpenCV wheel, and how fast each tracker is.

The main wheel has MIL; the contrib wheel also CSRT, KCF, MedianFlow and MOSSE. Trackers that need
a network's weights are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from torch import Tensor

from common.metrics.overlap import clip
from common.video import to_bgr
from experiments.protocol import Contender
from hart.baselines import StaticBox

# Where OpenCV keeps each constructor, and whether it takes boxes of whole pixels only.
OPENCV = {
    "MIL": ("TrackerMIL_create", True),
    "CSRT": ("TrackerCSRT_create", True),
    "KCF": ("TrackerKCF_create", True),
    "MedianFlow": ("legacy.TrackerMedianFlow_create", False),
    "MOSSE": ("legacy.TrackerMOSSE_create", False),
}
SMALLEST = 4  # pixels; with smaller sides MIL never returns and CSRT fails


class OpenCVTracker(StaticBox):
    """One OpenCV tracker per object, with its default settings; frames are ``(H, W, 3)`` BGR.

    An object whose tracker reports failure (or cannot begin) holds its last box, as the protocol
    says, and is followed on when the tracker reports success again.

    Args:
        create: makes OpenCV's tracker.
        whole: it takes boxes of whole pixels only, so they are rounded.
    """

    def __init__(self, create: Callable[[], Any], whole: bool) -> None:
        super().__init__()
        self._create, self._whole = create, whole
        self._trackers: list[Any] = []
        self._frame: np.ndarray | None = None

    def init(self, frame: np.ndarray, boxes: Any, ids: Sequence[int] | None = None) -> None:
        """Begin anew with ``boxes (N, 4)`` xywh pixels in ``frame (H, W, 3)`` uint8 BGR."""
        self._frame = frame
        super().init(frame, boxes, ids)

    def add(self, boxes: Any, ids: Sequence[int] | None = None) -> list[int]:
        """More boxes, seen in the latest frame; returns their ids."""
        names = super().add(boxes, ids)
        self._trackers += [self._begin(box.numpy()) for box in self._boxes[-len(names) :]]
        return names

    def update(self, frame: np.ndarray) -> Tensor:
        """``(N, 4)`` xywh pixels in the order of ``ids``."""
        self._frame = frame
        boxes = self._boxes.clone()
        for number, tracker in enumerate(self._trackers):
            found = _follow(tracker, frame)
            if found is not None:
                boxes[number] = boxes.new_tensor(found)
        self._boxes = boxes
        return self.boxes

    def _begin(self, box: np.ndarray) -> Any:
        """OpenCV's tracker at ``box (4,)``, or None where it cannot begin."""
        box = clip(box, *self._frame.shape[:2])
        box = np.round(box).astype(int) if self._whole else box
        if box[2:].min() < SMALLEST:
            return None
        cv2.setRNGSeed(0)  # MIL draws samples
        tracker = self._create()
        try:
            tracker.init(self._frame, tuple(box.tolist()))
        except cv2.error:
            return None
        return tracker

    def _keep(self, rows: list[int]) -> None:
        super()._keep(rows)
        self._trackers = [self._trackers[row] for row in rows]


def opencv() -> list[Contender]:
    """The OpenCV trackers that the installed wheel has."""
    found = []
    for name, (path, whole) in OPENCV.items():
        create: Any = cv2
        for part in path.split("."):
            create = getattr(create, part, None)
        if create is not None:
            found.append(Contender(name, _maker(create, whole), prepare=as_bgr))
    return found


def as_rgb(frame: Tensor) -> np.ndarray:
    """``(3, H, W)`` to ``(H, W, 3)``, as a decoder would give it."""
    return np.ascontiguousarray(frame.permute(1, 2, 0).numpy())


def as_bgr(frame: Tensor) -> np.ndarray:
    """``(3, H, W)`` RGB to ``(H, W, 3)`` BGR, as OpenCV's decoder gives it."""
    return to_bgr(as_rgb(frame))


class Scene(NamedTuple):
    """Frames and what to follow in them, for measuring speed."""

    frames: Tensor  # (T, 3, H, W) uint8 RGB, T at least 2
    boxes: np.ndarray  # (N, 4) xywh pixels in the first frame
    velocity: np.ndarray  # (N, 2) pixels, for trackers that are told


def speed(
    contenders: Sequence[Contender],
    scenes: Sequence[Scene],
    rounds: int,
    seconds: float,
) -> dict[str, np.ndarray]:
    """Updates per CPU-second and object, ``(rounds,)`` for each tracker.

    Process time, so that what else runs matters little; initialisation and the conversion of frames
    are not counted. The trackers take turns, so that a slow moment of the machine hits them all.

    Args:
        contenders: their names are the keys.
        scenes: one for each turn, in order; each is followed from its first frame to its last.
        rounds: turns of each tracker.
        seconds: CPU time of a turn; at least one update is made.
    """
    rates = {contender.name: np.empty(rounds) for contender in contenders}
    for contender in contenders:  # warm caches
        _turn(contender, scenes[0], 0.0)
    for number in range(rounds):
        scene = scenes[number % len(scenes)]
        for contender in contenders:
            rate = _turn(contender, scene, seconds)
            rates[contender.name][number] = rate * len(scene.boxes)
    return rates


def _turn(contender: Contender, scene: Scene, seconds: float) -> float:
    """Frames per CPU-second of one tracker."""
    extra = {"velocity": scene.velocity} if contender.velocity else {}
    frames = [contender.prepare(f) if contender.prepare else f for f in scene.frames]
    spent, count = 0.0, 0
    while spent < seconds or not count:
        tracker = contender.make()
        tracker.init(frames[0], scene.boxes, **extra)
        begun = time.process_time()
        for frame in frames[1:]:
            tracker.update(frame)
            count += 1
            if time.process_time() - begun > seconds - spent:
                break
        spent += time.process_time() - begun
    return count / max(spent, 1e-9)


def _maker(create: Callable[[], Any], whole: bool) -> Callable[[], OpenCVTracker]:
    return lambda: OpenCVTracker(create, whole)


def _follow(tracker: Any, frame: np.ndarray) -> tuple[float, ...] | None:
    """``(x, y, w, h)``, or None where the tracker failed."""
    if tracker is None:
        return None
    try:
        ok, box = tracker.update(frame)
    except cv2.error:
        return None
    return box if ok else None
