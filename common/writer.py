"""Frames out: MP4 (H.264 by PyAV where installed, else MPEG-4 by OpenCV) and GIF (Pillow)."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol

import cv2
import numpy as np
from torch import Tensor

from common.video import VideoError, to_bgr

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4")


class Encoder(Protocol):
    """Takes ``(H, W, 3)`` uint8 RGB images of one size with even sides, one by one."""

    def write(self, image: np.ndarray) -> None:
        """Add an image."""

    def close(self) -> None:
        """Finish the file."""


def as_image(frame: Tensor | np.ndarray) -> np.ndarray:
    """A ``(3, H, W)`` tensor or ``(H, W, 3)`` array, uint8 RGB, as contiguous ``(H, W, 3)``.

    Raises:
        ValueError: another shape or type.
    """
    image = frame.cpu().permute(1, 2, 0).numpy() if isinstance(frame, Tensor) else np.asarray(frame)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            "expected a (3, H, W) tensor or an (H, W, 3) array of uint8 RGB, "
            f"got {type(frame).__name__} {tuple(frame.shape)} of {frame.dtype}"
        )
    return np.ascontiguousarray(image)


class VideoWriter:
    """Writes frames to a file as they come; a context manager, finished when it is left.

    The suffix chooses the format: ``.gif``, or one of ``VIDEO_SUFFIXES``. Odd sides are widened by
    a repeated row or column, as the coding of colour asks for even ones. A GIF is kept in memory
    (one byte a pixel) until it is closed, is meant for short clips, and shows equal frames in a row
    as a single longer one.

    Raises:
        ValueError: an unknown suffix, a frame rate that is not positive, frames of different sizes.
        VideoError: the encoder cannot write there.
    """

    def __init__(self, path: str | Path, frame_rate: float) -> None:
        self.path, self.frame_rate = Path(path), float(frame_rate)
        self.count = 0  # frames written
        self._encoder: Encoder | None = None
        self._size: tuple[int, int] | None = None
        if self.path.suffix.lower() not in (".gif", *VIDEO_SUFFIXES):
            raise ValueError(
                f"{path}: cannot write {self.path.suffix or 'a file without suffix'}; "
                f"expected one of .gif {' '.join(VIDEO_SUFFIXES)}"
            )
        if not 0 < self.frame_rate < float("inf"):
            raise ValueError(f"{path}: the frame rate must be positive, got {frame_rate}")

    def write(self, frame: Tensor | np.ndarray) -> None:
        """Add a frame, ``(3, H, W)`` tensor or ``(H, W, 3)`` array, uint8 RGB."""
        image = as_image(frame)
        if self._size is None:
            self._size = image.shape[:2]
            self._encoder = _encoder(self.path, self._size, self.frame_rate)
        if image.shape[:2] != self._size:
            raise ValueError(
                f"{self.path}: frame {self.count} is {image.shape[1]} x {image.shape[0]} pixels, "
                f"expected {self._size[1]} x {self._size[0]} as before"
            )
        height, width = self._size
        self._encoder.write(np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))
        self.count += 1

    def close(self) -> None:
        """Finish the file; without a frame there is none."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_video(path: str | Path, frames: Iterable[Tensor | np.ndarray], frame_rate: float) -> int:
    """Write all frames (see ``VideoWriter``) and return how many there were."""
    with VideoWriter(path, frame_rate) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.count


def _encoder(path: Path, size: tuple[int, int], frame_rate: float) -> Encoder:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".gif":
        return _Gif(path, frame_rate)
    size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
    try:
        import av  # noqa: F401
    except ImportError:
        return _Mpeg4(path, size, frame_rate)
    return _H264(path, size, frame_rate)


class _Mpeg4:
    def __init__(self, path: Path, size: tuple[int, int], frame_rate: float) -> None:
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), code, frame_rate, (size[1], size[0]))
        if not self._writer.isOpened():
            raise VideoError(f"{path}: OpenCV cannot write a video there")

    def write(self, image: np.ndarray) -> None:
        self._writer.write(to_bgr(image))

    def close(self) -> None:
        self._writer.release()


class _H264:
    def __init__(self, path: Path, size: tuple[int, int], frame_rate: float) -> None:
        import av

        try:
            self._container = av.open(str(path), "w")
        except (OSError, ValueError) as error:
            raise VideoError(f"{path}: PyAV cannot write a video there: {error}") from error
        rate = Fraction(frame_rate).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate)
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = "yuv420p"  # what browsers play

    def write(self, image: np.ndarray) -> None:
        import av

        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


class _Gif:
    def __init__(self, path: Path, frame_rate: float) -> None:
        self._path = path
        self._images = []
        # GIF counts hundredths of a second, and viewers slow down what asks for less than two.
        self._duration = max(round(100 / frame_rate), 2) * 10  # milliseconds

    def write(self, image: np.ndarray) -> None:
        from PIL import Image

        self._images.append(Image.fromarray(image).quantize(256))

    def close(self) -> None:
        first, *rest = self._images
        first.save(self._path, save_all=True, append_images=rest, duration=self._duration, loop=0)
