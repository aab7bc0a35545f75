"""MOTChallenge folders: ``gt/gt.txt``, ``seqinfo.ini`` and ``img1/`` or one video file.

Frames and pixels in the files count from 1, here from 0. Rows whose confidence (7th column) is 0
are not to be considered (MOTChallenge 2015, sec. 2.2) and are left out, with a count.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.frames import DEFAULT_CACHE_BYTES, FrameCache, FrameStore
from common.images import ImageFolder, list_images
from common.tracks import Tracks, empty, read_mot, take
from common.video import VideoError, VideoFile
from datasets.recording import Recording, leave_out, outside, within

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm")


@dataclass(frozen=True)
class Info:
    """What ``seqinfo.ini`` says; None where it says nothing."""

    name: str
    frame_rate: float | None = None
    length: int | None = None
    size: tuple[int, int] | None = None  # (H, W)
    images: str = "img1"
    video: str | None = None


def load(
    folder: str | Path,
    first: int | None = None,
    last: int | None = None,
    *,
    cache_bytes: FrameCache | int = DEFAULT_CACHE_BYTES,
) -> Recording:
    """A MOTChallenge sequence, or frames ``first .. last`` of it (from 1, both included).

    Left out and counted in ``skipped``: rows with confidence 0, boxes entirely outside the frame,
    rows of frames that the sequence does not have. A folder without ``gt/`` (a test sequence) gives
    an empty annotation.

    Raises:
        FileNotFoundError: the folder, its images or its video are missing.
        ValueError: fewer frames than ``seqLength``, another size than ``imWidth`` x ``imHeight``, a
            malformed line, a box without area, an id twice in a frame, or a range outside the
            sequence.
    """
    folder = Path(folder)
    info = read_info(folder)
    store, number = _open(folder, info, cache_bytes)
    final = number + len(store) - 1
    if info.size is not None and info.size != store.size:
        raise ValueError(
            f"{folder}: frames of {store.size[1]} x {store.size[0]} pixels, seqinfo.ini says "
            f"{info.size[1]} x {info.size[0]}; the boxes would not fit"
        )
    if first is None and last is None and info.length is not None and len(store) < info.length:
        raise VideoError(f"{folder}: truncated, {len(store)} frames of {info.length} (seqinfo.ini)")
    asked = (number if first is None else first, final if last is None else last)
    if not number <= asked[0] <= asked[1] <= final:
        raise ValueError(
            f"{folder}: frames {asked[0]}-{asked[1]} asked for, it has {number}-{final}"
        )
    tracks, skipped = _truth(folder, store.size, asked, whole=first is None and last is None)
    return Recording(
        name=info.name,
        store=store,
        length=asked[1] - asked[0] + 1,
        frame_rate=info.frame_rate or store.frame_rate,
        first=asked[0] - number,
        source_first=asked[0] - 1,
        tracks=within(tracks, asked[0] - 1, asked[1]),
        skipped=skipped,
    )


def find(folder: str | Path) -> list[Path]:
    """The sequences of a folder: itself, or those directly below it, by name.

    Raises:
        FileNotFoundError: no such folder, or no sequence in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no MOTChallenge folder {folder}")
    if _is_sequence(folder):
        return [folder]
    found = sorted(path for path in folder.iterdir() if path.is_dir() and _is_sequence(path))
    if not found:
        raise FileNotFoundError(
            f"{folder}: no MOTChallenge sequence (looked for seqinfo.ini, gt/gt.txt or img1/, "
            "here and one folder below)"
        )
    return found


def _is_sequence(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("seqinfo.ini", "gt/gt.txt", "img1"))


def _truth(
    folder: Path, size: tuple[int, int], numbers: tuple[int, int], whole: bool
) -> tuple[Tracks, dict[str, int]]:
    """The boxes to consider in frames ``numbers`` (first and last, from 1); what was left out."""
    path = folder / "gt" / "gt.txt"
    if not path.parent.is_dir():
        return empty(), {}
    rows = read_mot(path)
    absent = (rows.frame + 1 < numbers[0]) | (rows.frame + 1 > numbers[1])
    if not whole:
        rows, absent = take(rows, ~absent), np.zeros(int((~absent).sum()), dtype=bool)
    reasons = {
        "no such frame": absent,
        "confidence 0": rows.score == 0,
        "outside the frame": outside(rows, size),
    }
    keep, skipped = leave_out(rows, reasons)
    return take(rows, keep), skipped


def read_info(folder: Path) -> Info:
    """``seqinfo.ini`` of a sequence, or what the folder's name gives where there is none.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: the file cannot be understood.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no MOTChallenge folder {folder}")
    path = folder / "seqinfo.ini"
    if not path.is_file():
        return Info(folder.name)
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path)
        section = parser["Sequence"]
        width, height = section.getint("imWidth"), section.getint("imHeight")
        return Info(
            name=section.get("name", folder.name),
            frame_rate=section.getfloat("frameRate"),
            length=section.getint("seqLength"),
            size=(height, width) if height and width else None,
            images=section.get("imDir", "img1"),
            video=section.get("video"),
        )
    except (configparser.Error, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not a [Sequence] description: {error}") from error


def _open(folder: Path, info: Info, cache_bytes: FrameCache | int) -> tuple[FrameStore, int]:
    """The frames and the number (from 1) of the first."""
    rate = info.frame_rate or 25.0
    if (folder / info.images).is_dir():
        paths = list_images(folder / info.images)
        numbers = [int(path.stem) if path.stem.isdigit() else None for path in paths]
        for expected, (path, found) in enumerate(zip(paths, numbers), start=numbers[0] or 0):
            if found != expected:
                raise ValueError(f"{path}: expected frame {expected:06d} here; frames are missing")
        return ImageFolder(paths, rate, cache_bytes), numbers[0]
    if info.video is not None:
        return VideoFile(folder / info.video, cache_bytes), 1
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    if len(videos) != 1:
        raise FileNotFoundError(
            f"{folder}: expected {info.images}/ or one video file, found {len(videos)} videos"
        )
    return VideoFile(videos[0], cache_bytes), 1
