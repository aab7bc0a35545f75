"""Video files, image folders and cameras in, videos out: the only file that knows BGR.

What decoding yields counts, never what a container claims: its frame counts, frame rates and seeks
are often wrong. So frames are counted by decoding, the frame rate comes from the time stamps, and
after a seek the time stamp of the frame that came out says where the decoder really is.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from common.frames import DEFAULT_CACHE_BYTES, FrameStore

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
SEEK_ATTEMPTS = 4
SEEK_MARGIN = 16  # frames; OpenCV itself starts a seek that much before its target

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


def open_capture(path: Path) -> cv2.VideoCapture:
    """Open a video file.

    Raises:
        FileNotFoundError: no such file.
        VideoError: no decoder can open it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no video file {path}")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise VideoError(
            f"{path}: not a video that OpenCV can open (damaged, truncated or no video)"
        )
    return capture


def rate_from_stamps(stamps: np.ndarray) -> float | None:
    """Frames per second from ``(frames,)`` milliseconds: the median step forward."""
    steps = np.diff(np.asarray(stamps, dtype=np.float64))
    steps = steps[steps > 0]
    return round(float(1000 / np.median(steps)), 4) if len(steps) else None


def build_index(path: Path) -> VideoIndex:
    """Decode a video once, keeping time stamps only.

    Raises:
        VideoError: it cannot be opened or yields no frame.
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


class VideoFile(FrameStore):
    """A video file with random access through an index of time stamps made once.

    Safe to pickle and to use after a fork: captures are opened in the process that reads.

    Args:
        path: anything OpenCV decodes.
        cache_bytes: bound on the decoded frames kept.
    """

    def __init__(self, path: str | Path, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        super().__init__(cache_bytes)
        self.path = Path(path)
        self.name = self.path.stem
        self.index = build_index(self.path)
        self.size = self.index.size
        rate = rate_from_stamps(self.index.stamps)
        self._capture: cv2.VideoCapture | None = None
        self._owner = -1
        self._next = 0  # number of the frame that the next grab gives
        self.frame_rate = rate or self._open().get(cv2.CAP_PROP_FPS) or 25.0
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
                if current == target or (keep_passed and current not in self.cache):
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
        key = int(np.searchsorted(self.index.keys, max(target - SEEK_MARGIN, 0), side="right")) - 1
        start = int(self.index.keys[key]) if key >= 0 else 0
        if start <= self._next <= target or self._next <= target < self._next + SEEK_MARGIN:
            return
        if start > 0 and self._seek(target):
            return
        if self._next > target:
            self._capture = None
            self._open()

    def _seek(self, target: int) -> bool:
        """Seek to ``target`` or before; the time stamp that comes out says where we are.

        Containers with wrong frame rates and streams with delayed frames land elsewhere, so a miss
        is tried again further ahead, and False means that decoding from the start is the way.
        """
        wish = target - 1
        for _ in range(SEEK_ATTEMPTS):
            capture = self._open()
            capture.set(cv2.CAP_PROP_POS_FRAMES, wish)
            landed = None
            if capture.grab():
                landed = self._numbers.get(capture.get(cv2.CAP_PROP_POS_MSEC))
            if landed is not None and landed < target:
                self._next = landed + 1
                return True
            wish -= SEEK_MARGIN + (landed - target if landed is not None else SEEK_MARGIN)
            if wish <= 0:
                break
        self._capture = None
        self._open()
        return False

    def __getstate__(self) -> dict:
        return {**super().__getstate__(), "_capture": None}


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


class ImageFolder(FrameStore):
    """Image files as frames, in natural order of their names (``2.png`` before ``10.png``).

    Args:
        paths: the files; all of one size.
        frame_rate: frames per second, which images do not know.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        frame_rate: float = 25.0,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        super().__init__(cache_bytes)
        if not paths:
            raise VideoError("no images to read")
        self.paths = tuple(Path(path) for path in paths)
        self.name = self.paths[0].parent.name
        self.frame_rate = frame_rate
        self.size = read_image(self.paths[0]).shape[1:]

    def __len__(self) -> int:
        return len(self.paths)

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for index in indices:
            image = read_image(self.paths[index])
            if image.shape[1:] != self.size:
                raise VideoError(
                    f"{self.paths[index]}: {image.shape[2]} x {image.shape[1]} pixels, "
                    f"expected {self.size[1]} x {self.size[0]} as in {self.paths[0].name}"
                )
            yield index, image


def read_image(path: Path) -> np.ndarray:
    """One image file: ``(3, H, W)`` uint8 RGB.

    Raises:
        FileNotFoundError: no such file.
        VideoError: not an image.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no image file {path}")
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise VideoError(f"{path}: not an image that OpenCV can read (damaged or truncated)")
    return to_rgb(image)


def list_images(folder: str | Path) -> list[Path]:
    """The image files of a folder in natural order of their names.

    Raises:
        FileNotFoundError: no such folder.
        VideoError: it holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no image folder {folder}")
    paths = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        raise VideoError(f"{folder}: no images (looked for {', '.join(IMAGE_SUFFIXES)})")
    return sorted(paths, key=_natural_order)


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
