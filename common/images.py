"""Image files and folders of them as frames."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from common.frames import DEFAULT_CACHE_BYTES, FrameCache, FrameStore
from common.video import DEFAULT_FRAME_RATE, IMAGE_SUFFIXES, VideoError, to_rgb


class ImageFolder(FrameStore):
    """Image files as frames, in natural order of their names (``2.png`` before ``10.png``).

    Args:
        paths: the files; all of one size.
        frame_rate: frames per second, which images do not know.
        cache: the bound on decoded frames kept, bytes; or a cache to share with other stores.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        frame_rate: float = DEFAULT_FRAME_RATE,
        cache: FrameCache | int = DEFAULT_CACHE_BYTES,
    ) -> None:
        super().__init__(cache)
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
    data = np.fromfile(path, dtype=np.uint8)
    # imdecode, unlike imread, refuses a JPEG whose end is missing instead of painting it grey.
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
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
