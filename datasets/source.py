"""Data named by one word on a command line, such as ``kitti:DIR`` or ``mot:DIR:501-795``."""

from __future__ import annotations

import re
from typing import NamedTuple

from common.frames import DEFAULT_CACHE_BYTES, FrameCache
from datasets.recording import Recording

ACCEPTED = (
    "kitti:DIR (the folder with training/), mot:DIR (a MOTChallenge sequence or a folder of them), "
    "mot:DIR:FIRST-LAST (its frames FIRST to LAST, from 1, both included), video:FILE (or a folder "
    "of images), sprites (generated)"
)
# Sprites as a source are a fixed set of clips, other than those drawn for training.
SPRITE_SEED = 2**40
SPRITE_CLIPS = 24
SPRITE_FRAMES = 60


class Source(NamedTuple):
    """A source string, taken apart."""

    kind: str  # kitti, mot, video or sprites
    path: str = ""
    first: int | None = None  # frames from 1, both included
    last: int | None = None


def parse(source: str) -> Source:
    """Take a source string apart, without looking at the disk.

    Raises:
        ValueError: not one of the accepted forms, which it lists.
    """
    kind, colon, path = source.partition(":")
    if source == "sprites":
        return Source("sprites")
    if kind not in ("kitti", "mot", "video") or not path:
        raise ValueError(f"data source {source!r}: expected {ACCEPTED}")
    span = re.fullmatch(r"(.+):(\d+)-(\d+)", path) if kind == "mot" else None
    if span is None:
        if kind == "mot" and re.search(r":[\d-]*$", path):
            raise ValueError(f"data source {source!r}: expected mot:DIR or mot:DIR:FIRST-LAST")
        return Source(kind, path)
    first, last = int(span[2]), int(span[3])
    if not 1 <= first <= last:
        raise ValueError(
            f"data source {source!r}: frames {first}-{last}, expected FIRST-LAST with "
            "1 <= FIRST <= LAST"
        )
    return Source(kind, span[1], first, last)


def load(source: str, *, cache_bytes: FrameCache | int = DEFAULT_CACHE_BYTES) -> list[Recording]:
    """The recordings that a source string names; at least one.

    Args:
        source: see ``ACCEPTED``.
        cache_bytes: bound on the decoded frames kept for this source; or a cache to share.

    Raises:
        ValueError: a string that is not accepted, or data that is not as it should be.
        FileNotFoundError: nothing there.
    """
    kind, path, first, last = parse(source)
    if kind == "kitti":
        from datasets import kitti

        return kitti.load(path, min_frames=2, cache_bytes=cache_bytes)
    if kind == "mot":
        from datasets import mot

        if first is not None:
            return [mot.load(path, first, last, cache_bytes=cache_bytes)]
        cache = cache_bytes if isinstance(cache_bytes, FrameCache) else FrameCache(cache_bytes)
        return [mot.load(folder, cache_bytes=cache) for folder in mot.find(path)]
    if kind == "video":
        from datasets import video

        return [video.load(path, cache_bytes=cache_bytes)]
    from datasets.recording import from_clip
    from datasets.sprites import SpritesConfig, sprites

    clips = sprites(SpritesConfig(length=SPRITE_FRAMES), SPRITE_SEED, SPRITE_CLIPS)
    return [from_clip(clip) for clip in clips]
