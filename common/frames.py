"""Random access to the frames of a recording, behind a cache bounded in bytes.

What a recording is (video file, folder of images) is the business of ``common/video.py``; here is
what they share: decode only what is missing, in one forward pass, and hold no more than was asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

DEFAULT_CACHE_BYTES = 512 * 2**20


class FrameCache:
    """Least-recently-used decoded frames, at most ``capacity`` bytes of them."""

    def __init__(self, capacity: int) -> None:
        if capacity < 0:
            raise ValueError(f"cache_bytes must not be negative, got {capacity}")
        self.capacity = capacity
        self.bytes = 0
        self._frames: OrderedDict[int, np.ndarray] = OrderedDict()

    def __contains__(self, index: int) -> bool:
        return index in self._frames

    def __len__(self) -> int:
        return len(self._frames)

    def get(self, index: int) -> np.ndarray | None:
        """The frame, now the most recently used one, or None."""
        frame = self._frames.get(index)
        if frame is not None:
            self._frames.move_to_end(index)
        return frame

    def put(self, index: int, frame: np.ndarray) -> None:
        """Keep a frame, dropping the least recently used ones that no longer fit."""
        if index in self._frames or frame.nbytes > self.capacity:
            return
        self._frames[index] = frame
        self.bytes += frame.nbytes
        while self.bytes > self.capacity:
            self.bytes -= self._frames.popitem(last=False)[1].nbytes


class FrameStore:
    """Frames by index. Subclasses give name, size, frame_rate, ``__len__`` and ``_decode``.

    Safe to pickle and to use after a fork: the cache stays behind, each process fills its own.
    """

    name: str
    size: tuple[int, int]  # (H, W) pixels
    frame_rate: float  # frames per second

    def __init__(self, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.cache = FrameCache(cache_bytes)

    def __len__(self) -> int:
        raise NotImplementedError

    def _decode(self, indices: Sequence[int]) -> Iterable[tuple[int, np.ndarray]]:
        """Yield ``(index, (C, H, W) uint8 RGB)`` for each of ``indices``, which increase.

        May yield others that were decoded on the way; they are cached.
        """
        raise NotImplementedError

    @property
    def fits_in_cache(self) -> bool:
        """Whether the cache can hold every frame: then those passed on the way are kept."""
        return len(self) * 3 * self.size[0] * self.size[1] <= self.cache.capacity

    def read(self, indices: Sequence[int]) -> Tensor:
        """Frames in the order asked, repeats allowed: ``(T, C, H, W)`` uint8 RGB.

        Raises:
            IndexError: an index is outside ``0 .. len - 1``.
        """
        indices = [int(index) for index in indices]
        for index in indices:
            if not 0 <= index < len(self):
                raise IndexError(f"{self.name}: frame {index} asked for, it has 0..{len(self) - 1}")
        frames = torch.empty((len(indices), 3, *self.size), dtype=torch.uint8)
        rows: dict[int, list[int]] = {}
        for row, index in enumerate(indices):
            rows.setdefault(index, []).append(row)
        target = frames.numpy()
        for index, frame in self._get(sorted(rows)):
            for row in rows.get(index, ()):
                target[row] = frame
        return frames

    def _get(self, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        missing = []
        for index in indices:
            frame = self.cache.get(index)
            if frame is None:
                missing.append(index)
            else:
                yield index, frame
        for index, frame in self._decode(missing) if missing else ():
            self.cache.put(index, frame)
            yield index, frame

    def __getstate__(self) -> dict:
        return {**self.__dict__, "cache": FrameCache(self.cache.capacity)}
