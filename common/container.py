"""What the bytes of a video file say before any decoder sees them: is all of it there.

A container's frame count is a claim that honest files break. The lengths of its byte blocks are
kept: a block that reaches past the end of the file was cut off.
"""

from __future__ import annotations

import string
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

UNKNOWN_SIZE = (
    0x7FFFFFF0  # writers that never came back to fill in a size leave more than this, or 0
)
PRINTABLE = set(string.printable.encode())


def missing_bytes(path: Path) -> int:
    """How many bytes an AVI or MP4 file lacks at its end; 0 for other containers."""
    with path.open("rb") as file:
        head = file.read(12)
        end = path.stat().st_size
        if head[:4] == b"RIFF":
            blocks = _riff_blocks(file, end)
        elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"styp"):
            blocks = _mp4_blocks(file, end)
        else:
            return 0
        return max((stop - end for stop in blocks), default=0)


def is_text(path: Path) -> bool:
    """Whether the file begins like text, which some decoders take for a film of a terminal."""
    with path.open("rb") as file:
        head = file.read(512)
    return bool(head) and PRINTABLE.issuperset(head)


def _riff_blocks(file: BinaryIO, end: int) -> Iterator[int]:
    """Where each top-level RIFF chunk ends, but for its padding to an even length."""
    start = 0
    while start + 8 <= end:
        file.seek(start)
        name, size = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or not 0 < size < UNKNOWN_SIZE:
            return
        yield start + 8 + size
        start += 8 + size + size % 2


def _mp4_blocks(file: BinaryIO, end: int) -> Iterator[int]:
    """Where each top-level box ends (ISO/IEC 14496-12, sec. 4.2)."""
    start = 0
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        size, name = struct.unpack(">I4s", head[:8])
        if size == 1 and len(head) == 16:
            size = struct.unpack(">Q", head[8:])[0]
        if size < 8 or not PRINTABLE.issuperset(name):  # 0 is "to the end of the file"
            return
        yield start + size
        start += size
