"""A recording: frames of some source with their annotation, and how to clean and divide it."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Indices
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from common.frames import FrameStore
from common.tracks import Tracks, build, concatenate, empty, runs, take
from datasets.clip import Clip, clip_from_tracks, regions

# A track that comes back after a gap is another object: its k-th return has id + k * REAPPEARED.
REAPPEARED = 1_000_000


@dataclass(frozen=True, eq=False)
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
            tracks=within(self.tracks, start, stop),
            ignore=within(self.ignore, start, stop),
            skipped=self.skipped,
        )


class _ClipFrames(FrameStore):
    """The frames of a clip that is in memory anyway; nothing to cache."""

    def __init__(self, clip: Clip) -> None:
        super().__init__(cache=0)
        self.name, self.frame_rate = clip.name, clip.frame_rate
        self.size = tuple(clip.frames.shape[-2:])
        self._frames = clip.frames.numpy()

    def __len__(self) -> int:
        return len(self._frames)

    def _decode(self, indices: Indices[int]) -> Iterator[tuple[int, np.ndarray]]:
        return ((index, self._frames[index]) for index in indices)


def from_clip(clip: Clip) -> Recording:
    """A clip as what windows are cut from."""
    time, column = clip.presence.nonzero(as_tuple=True)
    ignore = empty()
    if clip.ignore is not None:
        found = [(t, box) for t, boxes in enumerate(clip.ignore) for box in boxes.tolist()]
        ignore = Tracks(
            frame=np.array([t for t, _ in found], dtype=np.int64),
            id=np.full(len(found), -1, dtype=np.int64),
            box=np.array([box for _, box in found]).reshape(-1, 4),
            score=np.ones(len(found)),
        )
    return Recording(
        name=clip.name,
        store=_ClipFrames(clip),
        length=len(clip.frames),
        frame_rate=clip.frame_rate,
        source_first=clip.first_frame,
        tracks=build(time, clip.ids[column], clip.boxes[time, column]),
        ignore=ignore,
    )


def leave_out(tracks: Tracks, reasons: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, int]]:
    """Which rows stay, ``(M,)`` bool, and how many leave for which reason: the first that applies.

    Args:
        reasons: ``(M,)`` bool each, true for rows that must go.
    """
    keep, skipped = np.ones(len(tracks.frame), dtype=bool), {}
    for reason, rows in reasons.items():
        if count := int((rows & keep).sum()):
            skipped[reason] = count
        keep &= ~rows
    return keep, skipped


def outside(tracks: Tracks, size: tuple[int, int]) -> np.ndarray:
    """``(M,)`` bool: boxes that share nothing with a frame of ``size (H, W)`` pixels."""
    x, y, w, h = tracks.box.T
    return (x >= size[1]) | (y >= size[0]) | (x + w <= 0) | (y + h <= 0)


def within(tracks: Tracks, start: int, stop: int) -> Tracks:
    """The rows of frames ``start .. stop - 1``, numbered from 0."""
    kept = take(tracks, (tracks.frame >= start) & (tracks.frame < stop))
    return kept._replace(frame=kept.frame - start)


def separate_runs(tracks: Tracks) -> Tracks:
    """Tracks cut at their gaps: the k-th return of an object has its id plus ``k * REAPPEARED``.

    The first stretch keeps the id, and ``id % REAPPEARED`` is always the file's. Rows are sorted by
    id and time.

    Raises:
        ValueError: an id of ``REAPPEARED`` or more.
    """
    if len(tracks.id) and tracks.id.max() >= REAPPEARED:
        raise ValueError(f"id {tracks.id.max()}, expected less than {REAPPEARED}")
    pieces, returns = [], {}
    for piece in runs(tracks):
        number = int(piece.id[0])
        pieces.append(piece._replace(id=piece.id + REAPPEARED * returns.get(number, 0)))
        returns[number] = returns.get(number, 0) + 1
    return concatenate(pieces) if pieces else tracks
