"""Random access to the frames of a recording, behind a cache bounded in bytes.

What a recording is (video file, folder of images) is the business of ``common/video.py``; here is
what they share: decode only what is missing, in one forward pass, and hold no more than was asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

DEFAULT_CACHE_BYTES = 512 * 2**20


class FrameCache:
    """Least-recently-used decoded frames of one or several stores, at most ``capacity`` bytes.

    A copy made by pickling begins empty: every process fills its own.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 0:
            raise ValueError(f"a frame cache cannot have {capacity} bytes")
        self.capacity = capacity
        self.bytes = 0
        self._stores = 0
        self._frames: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()

    def __contains__(self, key: tuple[int, int]) -> bool:
        return key in self._frames

    def __len__(self) -> int:
        return len(self._frames)

    def register(self) -> int:
        """A number for another store that shares this cache: the first part of its keys."""
        self._stores += 1
        return self._stores

    def get(self, key: tuple[int, int]) -> np.ndarray | None:
        """The frame, now the most recently used one, or None."""
        frame = self._frames.get(key)
        if frame is not None:
            self._frames.move_to_end(key)
        return frame

    def put(self, key: tuple[int, int], frame: np.ndarray) -> None:
        """Keep a frame, dropping the least recently used ones that no longer fit."""
        if key in self._frames or frame.nbytes > self.capacity:
            return
        self._frames[key] = frame
        self.bytes += frame.nbytes
        while self.bytes > self.capacity:
            self.bytes -= self._frames.popitem(last=False)[1].nbytes

    def __getstate__(self) -> dict:
        return {**self.__dict__, "bytes": 0, "_frames": OrderedDict()}


class FrameStore(ABC):
    """Frames by index. Subclasses give name, size, frame_rate, ``__len__`` and ``_decode``.

    Args:
        cache: the bound on decoded frames kept, bytes; or a cache to share with other stores.
    """

    name: str
    size: tuple[int, int]  # (H, W) pixels
    frame_rate: float  # frames per second

    def __init__(self, cache: FrameCache | int = DEFAULT_CACHE_BYTES) -> None:
        self.cache = cache if isinstance(cache, FrameCache) else FrameCache(cache)
        self._key = self.cache.register()

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @abstractmethod
    def _decode(self, indices: Sequence[int]) -> Iterable[tuple[int, np.ndarray]]:
        """Yield ``(index, (C, H, W) uint8 RGB)`` for each of ``indices``, which increase.

        May yield others that were decoded on the way; they are cached.
        """

    def is_cached(self, index: int) -> bool:
        """Whether a frame is in the cache."""
        return (self._key, index) in self.cache

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
            frame = self.cache.get((self._key, index))
            if frame is None:
                missing.append(index)
            else:
                yield index, frame
        for index, frame in self._decode(missing) if missing else ():
            self.cache.put((self._key, index), frame)
            yield index, frame
