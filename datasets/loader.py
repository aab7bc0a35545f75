"""Clips cut from recordings for a ``DataLoader``: seeded, sharded, read on demand."""

from __future__ import annotations

from collections.abc import Sequence as Indices

import torch
from torch.utils.data import Dataset

from datasets.clip import Clip, Sequence, mirror, reverse


class ClipDataset(Dataset):
    """Windows of ``length`` frames at a ``stride``; a recording that is shorter is one window.

    With ``augment`` every window comes four times, as in the published HART's training: as it is,
    backwards, mirrored, and both. Nothing is read before it is asked for, so memory holds the clips
    in flight and the recordings' bounded caches. For example::

        dataset = ClipDataset(kitti.load(root), length=30, stride=15)
        sampler = dataset.order(epoch, seed=0, rank=rank, world=world)
        DataLoader(dataset, batch_size=8, sampler=sampler, collate_fn=collate, num_workers=2)

    Raises:
        ValueError: a length or stride below 1, or no recordings.
    """

    def __init__(
        self, recordings: Indices[Sequence], length: int, stride: int, augment: bool = False
    ) -> None:
        if length < 1 or stride < 1:
            raise ValueError(f"windows of {length} frames at stride {stride}: expected 1 or more")
        if not recordings:
            raise ValueError("no recordings to cut clips from")
        self.recordings, self.length = list(recordings), length
        self.variants = 4 if augment else 1
        self.windows = [
            (number, start)
            for number, recording in enumerate(self.recordings)
            for start in range(0, max(len(recording) - length, 0) + 1, stride)
        ]

    def __len__(self) -> int:
        return self.variants * len(self.windows)

    def __getitem__(self, index: int) -> Clip:
        """Clip ``index``; the variants of a window follow one another."""
        window, variant = divmod(range(len(self))[index], self.variants)
        number, start = self.windows[window]
        recording = self.recordings[number]
        clip = recording.clip(start, min(start + self.length, len(recording)))
        clip = reverse(clip) if variant % 2 else clip
        return mirror(clip) if variant >= 2 else clip

    def order(self, epoch: int, seed: int, rank: int = 0, world: int = 1) -> list[int]:
        """One process's clips in one epoch: its share of a permutation that all processes agree on.

        Shares are disjoint, cover every clip, and differ in length by at most one.

        Raises:
            ValueError: not ``0 <= rank < world``.
        """
        if not 0 <= rank < world:
            raise ValueError(f"process {rank} of {world}")
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        return torch.randperm(len(self), generator=generator)[rank::world].tolist()
