"""The one type that every dataset yields, its collation, the protocol of recordings."""

from __future__ import annotations

from collections.abc import Sequence as Indices
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from common.tracks import Tracks


class Clip(NamedTuple):
    """Consecutive frames and the objects in them.

    Shapes: T frames, N objects (each has one column in every per-object tensor).
    """

    frames: Tensor  # (T, C, H, W) uint8 RGB
    boxes: Tensor  # (T, N, 4) float32 xywh pixels, zeros where absent
    presence: Tensor  # (T, N) bool
    ids: Tensor  # (N,) int64
    frame_rate: float  # frames per second
    ignore: tuple[Tensor, ...] | None = None  # per frame (R, 4) float32 xywh, not to be judged
    name: str = ""
    first_frame: int = 0  # number of frames[0] in its source, 0-based


class Batch(NamedTuple):
    """Clips side by side, time-major, padded at the end of time, at the right and at the bottom."""

    frames: Tensor  # (T, B, C, H, W) uint8 RGB, zeros where padded
    boxes: Tensor  # (T, B, N, 4) float32 xywh pixels
    presence: Tensor  # (T, B, N) bool, false where padded
    mask: Tensor  # (T, B) bool, true for real frames
    ids: Tensor  # (B, N) int64, -1 = padding


class Sequence(Protocol):
    """A recording with random access, from which training windows are cut."""

    name: str
    frame_rate: float  # frames per second
    size: tuple[int, int]  # (H, W) pixels
    tracks: Tracks  # frame numbers 0-based into this sequence; empty for bare videos
    ignore: Tracks  # regions not to be judged, numbered likewise
    skipped: dict[str, int]  # label rows left out, by reason

    def __len__(self) -> int:
        """Number of frames."""

    def read(self, indices: Indices[int]) -> Tensor:
        """Frames in the order asked: ``(T, C, H, W)`` uint8 RGB."""

    def clip(self, start: int, stop: int) -> Clip:
        """Frames ``start .. stop - 1`` (0-based) with the objects annotated in them."""


def clip_from_tracks(frames: Tensor, tracks: Tracks, start: int, **fields: object) -> Clip:
    """A clip of ``frames (T, C, H, W)``, the first of which is number ``start`` in ``tracks``.

    Objects are the ids with a box in these frames, in increasing order. ``fields`` are the clip's
    others (``frame_rate`` at least).

    Raises:
        ValueError: an id has two boxes in one frame.
    """
    length = frames.shape[0]
    inside = (tracks.frame >= start) & (tracks.frame < start + length)
    times, boxes = tracks.frame[inside] - start, tracks.box[inside]
    ids, columns = np.unique(tracks.id[inside], return_inverse=True)
    presence = np.zeros((length, len(ids)), dtype=bool)
    presence[times, columns] = True
    if presence.sum() != len(times):
        raise ValueError(f"{fields.get('name', 'tracks')}: an id has two boxes in one frame")
    dense = np.zeros((length, len(ids), 4), dtype=np.float32)
    dense[times, columns] = boxes
    return Clip(
        frames=frames,
        boxes=torch.from_numpy(dense),
        presence=torch.from_numpy(presence),
        ids=torch.from_numpy(ids.astype(np.int64)),
        **fields,
    )


def regions(tracks: Tracks, start: int, stop: int) -> tuple[Tensor, ...]:
    """The boxes of frames ``start .. stop - 1``, one ``(R, 4)`` float32 tensor per frame."""
    return tuple(
        torch.from_numpy(tracks.box[tracks.frame == frame].astype(np.float32).reshape(-1, 4))
        for frame in range(start, stop)
    )


def collate(clips: Indices[Clip]) -> Batch:
    """Pad clips to their longest, largest and most crowded, and stack them along B.

    Boxes need no change: padding is at the right and at the bottom. Masks: a padded frame has
    ``mask`` false, a padded object has id -1 and is never present.

    Raises:
        ValueError: no clips, or clips that differ in their number of channels.
    """
    if not clips:
        raise ValueError("collate: no clips")
    channels = {clip.frames.shape[1] for clip in clips}
    if len(channels) > 1:
        raise ValueError(f"collate: clips with different numbers of channels, {sorted(channels)}")
    length, height, width = (max(clip.frames.shape[axis] for clip in clips) for axis in (0, 2, 3))
    objects = max(clip.boxes.shape[1] for clip in clips)
    size = (length, len(clips))
    batch = Batch(
        frames=torch.zeros(*size, channels.pop(), height, width, dtype=torch.uint8),
        boxes=torch.zeros(*size, objects, 4),
        presence=torch.zeros(*size, objects, dtype=torch.bool),
        mask=torch.zeros(size, dtype=torch.bool),
        ids=torch.full((len(clips), objects), -1, dtype=torch.int64),
    )
    for column, clip in enumerate(clips):
        steps, _, rows, columns = clip.frames.shape
        count = len(clip.ids)
        batch.frames[:steps, column, :, :rows, :columns] = clip.frames
        batch.boxes[:steps, column, :count] = clip.boxes
        batch.presence[:steps, column, :count] = clip.presence
        batch.mask[:steps, column] = True
        batch.ids[column, :count] = clip.ids
    return batch


def mirror(clip: Clip) -> Clip:
    """The clip seen in a mirror: left and right exchanged, in pixels, boxes and ignore regions."""
    width = clip.frames.shape[-1]
    ignore = clip.ignore and tuple(_mirror_boxes(boxes, width) for boxes in clip.ignore)
    boxes = _mirror_boxes(clip.boxes, width) * clip.presence[..., None]
    return clip._replace(frames=clip.frames.flip(-1), boxes=boxes, ignore=ignore)


def reverse(clip: Clip) -> Clip:
    """The clip backwards in time. ``first_frame`` stays the lowest frame number of the clip."""
    ignore = clip.ignore and clip.ignore[::-1]
    return clip._replace(
        frames=clip.frames.flip(0),
        boxes=clip.boxes.flip(0),
        presence=clip.presence.flip(0),
        ignore=ignore,
    )


def _mirror_boxes(boxes: Tensor, width: int) -> Tensor:
    mirrored = boxes.clone()
    mirrored[..., 0] = width - boxes[..., 0] - boxes[..., 2]
    return mirrored
