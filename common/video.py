"""Video files in, and the only file that knows BGR.

What decoding yields counts, never what a container claims: its frame counts, frame rates and seeks
are often wrong. So frames are counted by decoding, the frame rate comes from the time stamps, and
after a seek the time stamp of the frame that came out says where the decoder really is.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from common.container import is_text, missing_bytes
from common.frames import DEFAULT_CACHE_BYTES, FrameCache, FrameStore

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
DEFAULT_FRAME_RATE = 25.0  # where neither time stamps nor the container tell
SEEK_ATTEMPTS = 4
SEEK_MARGIN = 16  # frames; OpenCV starts a seek that much before its target, and decodes the rest

# Captures that a forked child inherited. Releasing one would join decoder threads that exist only
# in the parent, so the child keeps them, unused.
_inherited: list[cv2.VideoCapture] = []


class VideoError(ValueError):
    """A video or image that cannot be read; the message names the file."""


class VideoIndex(NamedTuple):
    """What one pass over a video found: one entry per frame that decoding yields."""

    stamps: np.ndarray  # (frames,) milliseconds, as the decoder gives them
    keys: np.ndarray  # increasing frame numbers of the intra-coded frames
    size: tuple[int, int]  # (H, W)


def to_rgb(frame: np.ndarray) -> np.ndarray:
    """OpenCV's ``(H, W, 3)`` BGR to ``(3, H, W)`` RGB, contiguous."""
    return np.stack(cv2.split(frame)[::-1])


def to_bgr(frame: np.ndarray) -> np.ndarray:
    """``(H, W, 3)`` RGB to OpenCV's BGR, contiguous."""
    return np.ascontiguousarray(frame[..., ::-1])


def open_capture(path: Path) -> cv2.VideoCapture:
    """Open a video file.

    Raises:
        FileNotFoundError: no such file.
        VideoError: it is cut short, an image, a text, or nothing that a decoder can open.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no video file {path}")
    if missing := missing_bytes(path):
        raise VideoError(
            f"{path}: truncated, {missing} bytes are missing at its end; what is left can be saved "
            f"with `ffmpeg -i {path.name} -c copy whole{path.suffix}`"
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise VideoError(f"{path}: an image, expected a video; for many images give their folder")
    capture = cv2.VideoCapture() if is_text(path) else cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise VideoError(f"{path}: not a video that can be opened (damaged, or no video at all)")
    return capture


def rate_from_stamps(stamps: np.ndarray) -> float | None:
    """Frames per second from ``(frames,)`` milliseconds: the median step forward."""
    steps = np.diff(np.asarray(stamps, dtype=np.float64))
    steps = steps[steps > 0]
    return round(float(1000 / np.median(steps)), 4) if len(steps) else None


def build_index(path: Path) -> VideoIndex:
    """Decode a video once, keeping time stamps only.

    Raises:
        FileNotFoundError, VideoError: as ``open_capture``, or it yields no frame.
    """
    capture = open_capture(path)
    stamps, keys, size = [], [], None
    while capture.grab():
        if size is None:
            ok, frame = capture.retrieve()
            if not ok:
                raise VideoError(f"{path}: the first frame cannot be decoded")
            size = frame.shape[:2]
        if int(capture.get(cv2.CAP_PROP_FRAME_TYPE)) == ord("I"):
            keys.append(len(stamps))
        stamps.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    if size is None:
        raise VideoError(f"{path}: holds no frame that can be decoded")
    return VideoIndex(np.array(stamps), np.array(keys, dtype=np.int64), size)


def claims(path: Path) -> tuple[int, float]:
    """How many frames and frames per second the container says it has: to compare, not to use."""
    capture = open_capture(path)
    return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)


def count_packets(path: Path) -> int | None:
    """Coded pictures in the file, without decoding them; None where OpenCV cannot tell.

    More packets than frames: some did not decode (damage, or a stream cut at its start).
    """
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    packets = 0
    while capture.grab():
        packets += 1
    return packets or None


class VideoFile(FrameStore):
    """A video file with random access through an index of time stamps made once.

    Safe to pickle and to use after a fork: captures are opened in the process that reads.

    Args:
        path: anything OpenCV decodes.
        cache: the bound on decoded frames kept, bytes; or a cache to share with other stores.
    """

    def __init__(self, path: str | Path, cache: FrameCache | int = DEFAULT_CACHE_BYTES) -> None:
        super().__init__(cache)
        self.path = Path(path)
        self.name = self.path.stem
        self.index = build_index(self.path)
        self.size = self.index.size
        rate = rate_from_stamps(self.index.stamps)
        self._capture: cv2.VideoCapture | None = None
        self._owner = -1
        self._next = 0  # number of the frame that the next grab gives
        self.frame_rate = rate or self._open().get(cv2.CAP_PROP_FPS) or DEFAULT_FRAME_RATE
        self._numbers = _trusted_stamps(self.index.stamps)

    def __len__(self) -> int:
        return len(self.index.stamps)

    def _open(self) -> cv2.VideoCapture:
        """This process's capture, opened (again, from the start) when it has none."""
        if self._capture is not None and self._owner != os.getpid():
            _inherited.append(self._capture)
            self._capture = None
        if self._capture is None:
            self._capture, self._owner, self._next = open_capture(self.path), os.getpid(), 0
        return self._capture

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        keep_passed = self.fits_in_cache
        for target in indices:
            self._approach(target)
            while self._next <= target:
                current = self._next
                self._grab()
                if current == target or (keep_passed and not self.is_cached(current)):
                    yield current, self._retrieve(current)

    def _grab(self) -> None:
        if not self._open().grab():
            number, self._capture = self._next, None
            raise VideoError(
                f"{self.path}: frame {number} of {len(self)} did not decode again; "
                "the file changed since it was indexed"
            )
        self._next += 1

    def _retrieve(self, number: int) -> np.ndarray:
        ok, frame = self._open().retrieve()
        if not ok or frame.shape[:2] != self.size:
            found = "nothing" if not ok else f"{frame.shape[1]} x {frame.shape[0]} pixels"
            raise VideoError(
                f"{self.path}: frame {number} decodes to {found}, "
                f"expected {self.size[1]} x {self.size[0]} pixels"
            )
        return to_rgb(frame)

    def _approach(self, target: int) -> None:
        """Bring the capture to ``target`` or before, by a seek where that saves decoding."""
        self._open()
        keys = self.index.keys[self.index.keys <= target - self._margin()]
        if self._next <= target and (not len(keys) or keys[-1] <= self._next):
            return
        if any(self._seek(int(key), target) for key in keys[: -SEEK_ATTEMPTS - 1 : -1] if key > 0):
            return
        self._capture = None
        self._open()

    def _seek(self, key: int, target: int) -> bool:
        """Seek behind intra-coded frame ``key``; the time stamp that comes out says where we are.

        Containers with wrong frame rates and streams with delayed frames land elsewhere; False, and
        an unknown position, unless it is before ``target``.
        """
        capture = self._open()
        capture.set(cv2.CAP_PROP_POS_FRAMES, self._claimed_number(key) + SEEK_MARGIN)
        if not capture.grab():
            return False
        landed = self._numbers.get(capture.get(cv2.CAP_PROP_POS_MSEC), target)
        self._next = landed + 1
        return landed < target

    def _claimed_number(self, number: int) -> int:
        """What OpenCV counts a frame as: its time stamp times the container's claimed rate."""
        return math.ceil(self._open().get(cv2.CAP_PROP_FPS) * self.index.stamps[number] / 1000)

    def _margin(self) -> int:
        """How far behind an intra-coded frame OpenCV's seek may come out at the most."""
        return SEEK_MARGIN + self._claimed_number(0) + 2

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_capture": None}


def _trusted_stamps(stamps: np.ndarray) -> dict[float, int]:
    """Time stamp to frame number, for stamps that name one frame only and come in order.

    Frames flushed at the end of a stream often carry 0.
    """
    counts = Counter(stamps.tolist())
    highest = np.maximum.accumulate(np.concatenate(([-np.inf], stamps[:-1])))
    return {
        stamp: number
        for number, stamp in enumerate(stamps.tolist())
        if counts[stamp] == 1 and stamp > highest[number]
    }
