"""Any video file or folder of images as a recording without annotation."""

from __future__ import annotations

from pathlib import Path

from common.frames import DEFAULT_CACHE_BYTES, FrameCache
from common.images import ImageFolder, list_images
from common.video import VideoFile, count_packets
from datasets.recording import Recording


def load(path: str | Path, *, cache_bytes: FrameCache | int = DEFAULT_CACHE_BYTES) -> Recording:
    """A video file, decoded once to index it, or a folder of images in order of their names.

    Packets of a file that decode to no frame are counted in ``skipped``. For a camera, or to see
    each frame once, use ``common.stream.Stream``, which needs no index.

    Raises:
        FileNotFoundError: no such file or folder.
        VideoError: it cannot be opened, is cut short or holds no frame.
    """
    path = Path(path)
    if path.is_dir():
        store, skipped = ImageFolder(list_images(path), cache=cache_bytes), {}
    else:
        store = VideoFile(path, cache_bytes)
        lost = (count_packets(path) or 0) - len(store)
        skipped = {"packets without a frame": lost} if lost > 0 else {}
    return Recording(store.name, store, len(store), store.frame_rate, skipped=skipped)
