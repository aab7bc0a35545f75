"""``attend data``: check data folders and files, and say what is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

WHERE_TO_GET_KITTI = """\
KITTI's tracking data: https://www.cvlibs.net/datasets/kitti/eval_tracking.php (free, after
registration): "left color images of tracking data set" (15 GB) and "training labels of tracking
data set" (9 MB). Unpack both into one folder DIR, so that there are
DIR/training/image_02/0000/000000.png and DIR/training/label_02/0000.txt.
The images may be made smaller, all of a sequence alike."""

KITTI_ROW = "{:<8}  {:>13}  {:>12}  {:>11}  {:>13}  {:>6}  {:>7}  {}"
SEQUENCES = [f"{number:04d}" for number in range(21)]


class Survey(NamedTuple):
    """One KITTI sequence as it lies on disk."""

    name: str
    frames: int  # that have an image
    expected: int  # frames up to the last label
    missing: list[range]
    size: str  # of the images, W x H
    scales: str  # of the images, relative to the native size
    objects: int  # labelled, without DontCare
    ignored: int  # DontCare regions
    problem: str  # what keeps it from being loaded; empty if nothing does


def main(argv: list[str]) -> int:
    """Check what the options name; returns the exit status (1: something there cannot be used).

    Args:
        argv: ``kitti --root DIR``, ``mot --root DIR``, ``mnist --root DIR [--fetch]`` or
            ``video --file FILE``.

    Raises:
        ValueError, FileNotFoundError: there is nothing to check, or the video cannot be used.
    """
    import tyro

    checks = {"kitti": kitti, "mot": mot, "mnist": mnist, "video": video}
    return tyro.extras.subcommand_cli_from_dict(
        checks, args=argv, prog="attend data", description="Check data and say what is missing."
    )


def kitti(root: Path) -> int:
    """Check KITTI's tracking data: sequences, frames, labels, image sizes and scales.

    Args:
        root: The folder that holds training/, or that folder itself.
    """
    from datasets.kitti import training_folder

    try:
        training = training_folder(root)
    except FileNotFoundError as error:
        print(f"attend: error: {error}\n\n{WHERE_TO_GET_KITTI}", file=sys.stderr)
        return 2
    found = [survey(training, name) for name in kitti_names(training)]
    print(KITTI_ROW.format("sequence", "frames", "size", "native", "scale", "boxes", "ignored", ""))
    for item in found:
        print_survey(item)
    usable = [item for item in found if item.frames and not item.problem]
    frames, expected = (sum(item[k] for item in found) for k in (1, 2))
    print(f"\n{len(usable)} of 21 sequences can be used; {frames} of {expected} labelled frames")
    broken = [item.name for item in found if item.problem]
    if broken:
        print(f"with a problem: {', '.join(broken)}")
    if len(usable) < len(SEQUENCES) or any(item.missing for item in found):
        print(f"\n{WHERE_TO_GET_KITTI}")
    return 0 if usable and not broken else 1


def kitti_names(training: Path) -> list[str]:
    """The benchmark's sequences, and whatever else has images or labels there."""
    images = {path.name for path in (training / "image_02").iterdir() if path.is_dir()}
    labels = {path.stem for path in (training / "label_02").glob("*.txt")}
    return sorted({*SEQUENCES, *images, *labels})


def survey(training: Path, name: str) -> Survey:
    """Look at one sequence's images and labels without loading it."""
    from common.images import list_images
    from common.tracks import read_kitti
    from datasets.kitti import frame_numbers, scale

    labels, folder = training / "label_02" / f"{name}.txt", training / "image_02" / name
    expected = objects = ignored = 0
    numbers, size, scales, problem = [], "", "", ""
    try:
        if labels.is_file():
            rows = read_kitti(labels)
            objects, ignored = len(rows.tracks.id), len(rows.ignore.id)
            expected = 1 + max((int(t.frame.max()) for t in rows[:2] if len(t.id)), default=-1)
        if folder.is_dir() and any(folder.iterdir()):
            images = list_images(folder)
            numbers = frame_numbers(images).tolist()
            width, height = common_size(images)
            size = f"{width} x {height}"
            scales = "{:.4f} {:.4f}".format(*scale(name, (height, width)))
            if not labels.is_file():
                problem = f"no labels: {labels} is missing"
    except (ValueError, OSError) as error:
        problem = str(error)
    missing = list(gaps(numbers, expected))
    return Survey(name, len(numbers), expected, missing, size, scales, objects, ignored, problem)


def common_size(images: list[Path]) -> tuple[int, int]:
    """Width and height of all images, from their headers.

    Raises:
        ValueError: one cannot be read, or has another size than the first.
    """
    from PIL import Image, UnidentifiedImageError

    first = None
    for path in images:
        try:
            with Image.open(path) as image:
                size = image.size
        except UnidentifiedImageError as error:
            raise ValueError(f"{path}: not an image") from error
        first = first or size
        if size != first:
            raise ValueError(
                f"{path}: {size[0]} x {size[1]} pixels, expected {first[0]} x {first[1]} "
                f"as in {images[0].name}"
            )
    return first


def gaps(numbers: list[int], expected: int) -> Iterator[range]:
    """The frame numbers below ``expected`` that are not among the increasing ``numbers``."""
    start = 0
    for number in [*numbers, expected]:
        if number > start:
            yield range(start, min(number, expected))
        start = number + 1


def print_survey(item: Survey) -> None:
    """A row for a sequence, and lines for what is missing or wrong."""
    from datasets.kitti import KittiError, native_size

    try:
        native = "{} x {}".format(*native_size(item.name))
    except KittiError:
        native = "unknown"
    counts = f"{item.frames} of {item.expected}"
    row = (item.name, counts, item.size, native, item.scales, item.objects, item.ignored)
    print(KITTI_ROW.format(*row, "" if item.frames else "no images").rstrip())
    if item.missing and item.frames:
        spans = [str(s[0]) if len(s) == 1 else f"{s[0]}-{s[-1]}" for s in item.missing]
        print(f"{'':10}missing frames: {', '.join(spans)}")
    if item.problem:
        print(f"{'':10}problem: {item.problem}")


def mot(root: Path) -> int:
    """Check a MOTChallenge sequence, or a folder of them.

    Args:
        root: The folder with gt/gt.txt, seqinfo.ini and img1/ or a video; or one that holds such
            (from https://motchallenge.net/data).
    """
    from datasets import mot as loader

    failed = 0
    for folder in loader.find(root):
        try:
            recording = loader.load(folder)
        except (ValueError, OSError) as error:
            failed += 1
            print(f"{folder.name}: {error}")
            continue
        height, width = recording.size
        tracks = recording.tracks
        print(
            f"{recording.name}: {len(recording)} frames, {width} x {height}, "
            f"{recording.frame_rate:g} a second; {len(tracks.id)} boxes of "
            f"{len(set(tracks.id.tolist()))} objects{left_out(recording.skipped)}"
        )
        if not (folder / "gt" / "gt.txt").is_file():
            print(f"  no ground truth: {folder / 'gt' / 'gt.txt'} is missing")
    return 1 if failed else 0


def mnist(root: Path, fetch: bool = False) -> int:
    """Check MNIST's files, and fetch those that are missing or damaged.

    Args:
        root: The folder of the four idx files, plain or with .gz.
        fetch: Download what is missing, replace what is damaged, leave the rest as it is.
    """
    from datasets import mnist_files

    if not root.is_dir() and not fetch:
        raise FileNotFoundError(f"{root}: not a folder, expected MNIST's files (--fetch gets them)")
    for path in mnist_files.unusable(root) if fetch else ():
        print(f"{path.name}: fetched from {mnist_files.fetch(path)}", flush=True)
    failed = 0
    for split in mnist_files.PREFIXES:
        try:
            images, labels = mnist_files.read(root, split)
        except (ValueError, FileNotFoundError) as error:
            failed += 1
            print(f"{split}: {error}")
            continue
        each = ", ".join(f"{(labels == digit).sum()} of {digit}" for digit in range(10))
        print(f"{split}: {len(images)} digits ({each})")
    return 1 if failed else 0


def video(file: Path) -> int:
    """Check a video file, or a folder of images: what decodes, against what the container claims.

    Args:
        file: The video, or the folder.
    """
    from common.video import claims
    from datasets import video as loader

    recording = loader.load(file)
    height, width = recording.size
    seconds = len(recording) / recording.frame_rate
    print(f"{file}: {width} x {height}")
    if file.is_dir():
        print(f"  {len(recording)} images")
        return 0
    count, rate = claims(file)
    print(f"  frames: {len(recording)} decode, {count} claimed{left_out(recording.skipped)}")
    print(f"  frames a second: {recording.frame_rate:g} by time stamps, {rate:g} claimed")
    print(f"  {seconds:.1f} seconds, {len(recording.store.index.keys)} intra-coded frames")
    return 0


def left_out(skipped: dict[str, int]) -> str:
    """What a loader left out, to go after a list; empty if nothing."""
    return "".join(f"; left out {count} ({reason})" for reason, count in skipped.items())
