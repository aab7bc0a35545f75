"""The KITTI tracking benchmark's training set (Geiger et al. 2012), left colour camera.

Layout: ``training/image_02/0005/000280.png`` and ``training/label_02/0005.txt``. Frames may have
any size: labels are in the original's pixels and are scaled to the images, per sequence and axis.

Every contiguous run of frames is a recording. One that is a whole sequence is called ``0005``, one
of several or of a part ``0005_000280-000289``; ``source_first`` is the number of its first frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.frames import DEFAULT_CACHE_BYTES, FrameCache
from common.images import ImageFolder, list_images
from common.tracks import read_kitti, take
from datasets.recording import Recording, leave_out, outside, separate_runs, within

FRAME_RATE = 10.0  # frames per second
# (W, H) pixels of the original images: first and last sequence number, size.
NATIVE_SIZES = (
    (0, 13, (1242, 375)),
    (14, 17, (1224, 370)),
    (18, 19, (1238, 374)),
    (20, 20, (1241, 376)),
)
SCALE_TOLERANCE = 0.02  # by which the scales of the two axes may differ


class KittiError(ValueError):
    """A folder that is not, or not consistently, KITTI's tracking data."""


@dataclass(frozen=True)
class Filter:
    """Which labelled objects count; the defaults are the published HART's (DontCare never does).

    Occlusion: 0 visible, 1 partly, 2 largely occluded, 3 unknown. Truncation: 0 none, 1 partly, 2
    largely.
    """

    classes: tuple[str, ...] | None = None  # None: all
    max_occluded: int = 1
    max_truncated: int = 1


class Files(NamedTuple):
    """One sequence on disk."""

    name: str  # four digits
    labels: Path
    numbers: np.ndarray  # (F,) int64, frame numbers that have an image, increasing
    images: tuple[Path, ...]  # (F,)


def load(
    root: str | Path,
    sequences: Sequence[str] | None = None,
    keep: Filter | None = None,
    *,
    min_frames: int = 1,
    cache_bytes: FrameCache | int = DEFAULT_CACHE_BYTES,
) -> list[Recording]:
    """The contiguous runs of all sequences that have images and labels, by sequence and time.

    Left out and counted in each recording's ``skipped``: other classes, more occluded, more
    truncated objects, and boxes entirely outside the frame. DontCare regions become ``ignore``.
    Labels of frames without an image do not count (``attend data kitti`` lists those frames). An
    object that is gone for a frame, or left out in it, comes back under another id: see
    ``datasets.recording.separate_runs``.

    Args:
        root: the folder that holds ``training/``, or that folder itself.
        sequences: names (``"0005"``) to load; by default all there are.
        keep: which objects count; by default the published HART's choice.
        min_frames: shorter runs are left out.
        cache_bytes: bound on the decoded frames kept, all sequences together; or a cache to share.

    Raises:
        FileNotFoundError: no such folder, no sequences in it, or not the ones asked for.
        KittiError: a sequence's image size does not fit its native size.
        ValueError: a malformed label line, a box without area, an id twice in a frame.
    """
    files = find(root)
    if sequences is not None:
        known = {item.name: item for item in files}
        absent = [name for name in sequences if name not in known]
        if absent:
            raise FileNotFoundError(
                f"{root}: no sequence {', '.join(absent)} with images and labels; "
                f"there are {', '.join(known)}"
            )
        files = [known[name] for name in sequences]
    cache = cache_bytes if isinstance(cache_bytes, FrameCache) else FrameCache(cache_bytes)
    recordings = []
    for item in files:
        recordings += _load_sequence(item, keep or Filter(), min_frames, cache)
    if not recordings:
        raise FileNotFoundError(f"{root}: no sequence with {min_frames} frames in a row")
    return recordings


def find(root: str | Path) -> list[Files]:
    """The sequences that have a folder of images and a label file, by name.

    Raises:
        FileNotFoundError: no such folder, or not KITTI's layout.
        KittiError: an image whose name is no frame number, or a frame that is there twice.
    """
    training = training_folder(root)
    found = []
    for labels in sorted((training / "label_02").glob("*.txt")):
        folder = training / "image_02" / labels.stem
        if folder.is_dir() and any(folder.iterdir()):
            images = list_images(folder)
            found.append(Files(labels.stem, labels, frame_numbers(images), tuple(images)))
    if not found:
        raise FileNotFoundError(f"{training}: no sequence has both images and labels")
    return found


def training_folder(root: str | Path) -> Path:
    """Where ``image_02`` and ``label_02`` are.

    Raises:
        FileNotFoundError: they are not there.
    """
    root = Path(root)
    for folder in (root / "training", root):
        if (folder / "image_02").is_dir() and (folder / "label_02").is_dir():
            return folder
    raise FileNotFoundError(
        f"{root}: not KITTI tracking data; expected training/image_02/0000/000000.png and "
        "training/label_02/0000.txt below it"
    )


def native_size(name: str) -> tuple[int, int]:
    """``(W, H)`` pixels of a training sequence's original images, which its labels are in.

    Raises:
        KittiError: not one of the 21 training sequences.
    """
    number = int(name) if name.isdigit() else -1
    for first, last, size in NATIVE_SIZES:
        if first <= number <= last:
            return size
    raise KittiError(f"sequence {name}: native size unknown, expected one of 0000 to 0020")


def scale(name: str, size: tuple[int, int]) -> tuple[float, float]:
    """Factors ``(x, y)`` from a sequence's labels to images of ``size (H, W)``.

    Raises:
        KittiError: they differ by more than 2 %: the images were cropped or stretched.
    """
    width, height = native_size(name)
    x, y = size[1] / width, size[0] / height
    if abs(x - y) > SCALE_TOLERANCE * min(x, y):
        raise KittiError(
            f"sequence {name}: images of {size[1]} x {size[0]} pixels are {x:.4f} and {y:.4f} "
            f"times the native {width} x {height}, expected the same factor within 2 %"
        )
    return x, y


def frame_numbers(images: Sequence[Path]) -> np.ndarray:
    """``(F,)`` int64, the numbers that name the images, increasing like them.

    Raises:
        KittiError: an image whose name is no frame number, or a frame that is there twice.
    """
    for image in images:
        if not image.stem.isdigit():
            raise KittiError(f"{image}: expected a frame number as name, such as 000000.png")
    numbers = np.array([int(image.stem) for image in images], dtype=np.int64)
    for again in np.flatnonzero(np.diff(numbers) == 0)[:1]:
        raise KittiError(f"{images[again]} and {images[again + 1].name}: the same frame twice")
    return numbers


def _load_sequence(
    files: Files, keep: Filter, min_frames: int, cache: FrameCache
) -> Iterator[Recording]:
    store = ImageFolder(files.images, FRAME_RATE, cache)
    factors = np.tile(scale(files.name, store.size), 2)
    labels = read_kitti(files.labels)
    objects = labels.tracks._replace(box=labels.tracks.box * factors)
    ignore = labels.ignore._replace(box=labels.ignore.box * factors)
    classes = objects.label if keep.classes is None else keep.classes
    reasons = {
        "class": ~np.isin(objects.label, classes),
        "occluded": ~((labels.occluded >= 0) & (labels.occluded <= keep.max_occluded)),
        "truncated": ~((labels.truncated >= 0) & (labels.truncated <= keep.max_truncated)),
        "outside the frame": outside(objects, store.size),
    }
    cuts = np.flatnonzero(np.diff(files.numbers) != 1) + 1
    for run in np.split(np.arange(len(files.numbers)), cuts):
        first, last = (int(number) for number in files.numbers[run[[0, -1]]])
        if len(run) < min_frames:
            continue
        inside = (objects.frame >= first) & (objects.frame <= last)
        kept, skipped = leave_out(
            take(objects, inside), {why: rows[inside] for why, rows in reasons.items()}
        )
        tracks = take(take(objects, inside), kept)
        whole = first == 0 and len(run) == len(files.numbers)
        yield Recording(
            name=files.name if whole else f"{files.name}_{first:06d}-{last:06d}",
            store=store,
            length=len(run),
            frame_rate=FRAME_RATE,
            first=int(run[0]),
            source_first=first,
            tracks=separate_runs(within(tracks, first, last + 1)),
            ignore=within(ignore, first, last + 1),
            skipped=skipped,
        )
