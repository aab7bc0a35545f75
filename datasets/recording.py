"""A recording: a stretch of frames of some source, with the annotation that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence as Indices
from dataclasses import dataclass, field

from torch import Tensor

from common.frames import FrameStore
from common.tracks import Tracks, empty, take
from datasets.clip import Clip, clip_from_tracks, regions


@dataclass(frozen=True)
class Recording:
    """Frames ``first .. first + length - 1`` of a frame store, renumbered from 0; a ``Sequence``.

    Args:
        store: where the frames come from; recordings may share one and its cache.
        length: number of frames.
        first: number of this recording's frame 0 in the store.
        source_first: number of this recording's frame 0 in the data set's own files, 0-based.
        tracks, ignore: objects and regions not to be judged, frames numbered from 0 here.
        skipped: label rows left out, by reason.
    """

    name: str
    store: FrameStore
    length: int
    frame_rate: float
    first: int = 0
    source_first: int = 0
    tracks: Tracks = field(default_factory=empty)
    ignore: Tracks = field(default_factory=empty)
    skipped: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"{self.name}: an empty sequence")
        for kind, tracks in (("box", self.tracks), ("ignore region", self.ignore)):
            if (
                len(tracks.frame)
                and not 0 <= tracks.frame.min() <= tracks.frame.max() < self.length
            ):
                raise ValueError(f"{self.name}: a {kind} outside its {self.length} frames")

    def __len__(self) -> int:
        return self.length

    @property
    def size(self) -> tuple[int, int]:
        """``(H, W)`` pixels."""
        return self.store.size

    def read(self, indices: Indices[int]) -> Tensor:
        """Frames in the order asked, repeats allowed: ``(T, C, H, W)`` uint8 RGB.

        Raises:
            IndexError: an index is outside ``0 .. len - 1``.
        """
        for index in indices:
            if not 0 <= index < self.length:
                raise IndexError(
                    f"{self.name}: frame {index} asked for, it has 0..{self.length - 1}"
                )
        return self.store.read([self.first + int(index) for index in indices])

    def clip(self, start: int, stop: int) -> Clip:
        """Frames ``start .. stop - 1`` (0-based) with the objects annotated in them.

        Raises:
            IndexError: not ``0 <= start < stop <= len``.
        """
        if not 0 <= start < stop <= self.length:
            raise IndexError(f"{self.name}: clip {start}..{stop} of {self.length} frames")
        return clip_from_tracks(
            self.read(range(start, stop)),
            self.tracks,
            start,
            frame_rate=self.frame_rate,
            ignore=regions(self.ignore, start, stop) if len(self.ignore.frame) else None,
            name=self.name,
            first_frame=self.source_first + start,
        )

    def part(self, start: int, stop: int) -> Recording:
        """Frames ``start .. stop - 1`` as a recording of its own, sharing the frame store.

        Raises:
            IndexError: not ``0 <= start < stop <= len``.
        """
        if not 0 <= start < stop <= self.length:
            raise IndexError(f"{self.name}: part {start}..{stop} of {self.length} frames")
        return Recording(
            name=self.name,
            store=self.store,
            length=stop - start,
            frame_rate=self.frame_rate,
            first=self.first + start,
            source_first=self.source_first + start,
            tracks=_within(self.tracks, start, stop),
            ignore=_within(self.ignore, start, stop),
            skipped=self.skipped,
        )


def _within(tracks: Tracks, start: int, stop: int) -> Tracks:
    kept = take(tracks, (tracks.frame >= start) & (tracks.frame < stop))
    return kept._replace(frame=kept.frame - start)
