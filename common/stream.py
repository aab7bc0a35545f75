"""Frames in order, one at a time: files, image folders, cameras, network streams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import torch
from torch import Tensor

from common.images import list_images, read_image
from common.video import DEFAULT_FRAME_RATE, VideoError, open_capture, rate_from_stamps, to_rgb

PROBED_FRAMES = 64  # decoded ahead of a file to learn its frame rate from time stamps


class Stream:
    """An open source of frames; iterate over it once. Holds one frame at a time.

    Iterating gives ``(3, H, W)`` uint8 RGB tensors. A context manager: leaving it frees the camera.

    Args:
        source: a video file, a folder of images, a camera's number (``0`` or ``"0"``), or an
            address such as ``rtsp://...``.
        frame_rate: frames per second of an image folder, or to overrule what the source says.

    Raises:
        FileNotFoundError: no such file or folder.
        VideoError: it cannot be opened, or holds no frame.
    """

    def __init__(self, source: str | Path | int, frame_rate: float | None = None) -> None:
        self.name = str(source)
        self._capture: cv2.VideoCapture | None = None
        path = Path(str(source))
        if path.is_dir():
            paths = list_images(path)
            rate = None
            self._frames = (read_image(image) for image in paths)
        elif self.name.isdigit() or "://" in self.name:
            self._capture = _open_live(int(source) if self.name.isdigit() else self.name)
            rate = self._capture.get(cv2.CAP_PROP_FPS)
            self._frames = self._captured()
        else:
            rate = _probe_rate(path)
            self._capture = open_capture(path)
            self._frames = self._captured()
        self.frame_rate = frame_rate or rate or DEFAULT_FRAME_RATE
        self._first = next(self._frames, None)
        if self._first is None:
            raise VideoError(f"{self.name}: holds no frame that can be decoded")
        self.size = self._first.shape[1:]  # (H, W)

    def __iter__(self) -> Iterator[Tensor]:
        while self._first is not None:
            frame, self._first = self._first, None
            if frame.shape[1:] != self.size:
                raise VideoError(
                    f"{self.name}: a frame of {frame.shape[2]} x {frame.shape[1]} pixels, "
                    f"expected {self.size[1]} x {self.size[0]}"
                )
            yield torch.from_numpy(frame)
            self._first = next(self._frames, None)

    def _captured(self) -> Iterator[np.ndarray]:
        number = 0
        while self._capture is not None and self._capture.grab():
            ok, frame = self._capture.retrieve()
            if not ok:
                raise VideoError(f"{self.name}: frame {number} cannot be decoded")
            yield to_rgb(frame)
            number += 1

    def close(self) -> None:
        """Free the camera or file; iteration ends."""
        self._first = None
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_live(source: int | str) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        what = f"camera {source}" if isinstance(source, int) else source
        raise VideoError(f"{what} cannot be opened")
    return capture


def _probe_rate(path: Path) -> float | None:
    capture = open_capture(path)
    stamps = []
    while len(stamps) < PROBED_FRAMES and capture.grab():
        stamps.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    rate = rate_from_stamps(np.array(stamps)) or capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return rate
