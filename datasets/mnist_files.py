"""MNIST's idx files: read, checked, fetched."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import zlib
from pathlib import Path

import numpy as np

SIDE = 28  # pixels
PREFIXES = {"train": "train", "test": "t10k"}
KINDS = {"images": ("images-idx3-ubyte", 0x803), "labels": ("labels-idx1-ubyte", 0x801)}
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
MD5 = {  # of the published files
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
TIMEOUT = 60  # seconds without an answer


def read(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """``images (M, 28, 28)`` uint8 and ``labels (M,)`` uint8 of a split, "train" or "test".

    Raises:
        FileNotFoundError: a file is missing, plain and with ``.gz``.
        ValueError: a file is damaged or of another kind, or the two do not match.
    """
    paths = {kind: find(folder, name_of(split, kind)) for kind in KINDS}
    images, labels = (read_idx(paths[kind], KINDS[kind][1]) for kind in KINDS)
    if images.shape[1:] != (SIDE, SIDE) or not len(images):
        raise ValueError(
            f"{paths['images']}: images of shape {images.shape}, expected (1 or more, 28, 28)"
        )
    if len(labels) != len(images):
        raise ValueError(
            f"{paths['labels']}: {len(labels)} labels, expected {len(images)} as in "
            f"{paths['images'].name}"
        )
    if labels.max() > 9:
        place = int((labels > 9).argmax())
        raise ValueError(f"{paths['labels']}: label {place} is {labels[place]}, expected 0 to 9")
    return images, labels


def name_of(split: str, kind: str) -> str:
    """What a file is called, plain, such as ``t10k-labels-idx1-ubyte``."""
    return f"{PREFIXES[split]}-{KINDS[kind][0]}"


def find(folder: Path, name: str) -> Path:
    """The file ``name`` or ``name.gz`` in ``folder``; the plain one if both are there.

    Raises:
        FileNotFoundError: neither is there.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{folder / name}: not found, plain or with .gz, expected MNIST's idx file "
        "(attend data mnist --root DIR --fetch)"
    )


def read_idx(path: Path, magic: int) -> np.ndarray:
    """The bytes of an idx file as an array of the shape that its header states.

    Args:
        path: the file, gzip-compressed if its name ends in ``.gz``.
        magic: what the file must begin with: 0x801 for labels, 0x803 for images.

    Raises:
        ValueError: another kind of file, or one that is shorter or longer than its header states.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzip file ({error})") from error
    dimensions = magic & 0xFF
    start = 4 * (1 + dimensions)
    if len(data) < start or int.from_bytes(data[:4], "big") != magic:
        raise ValueError(
            f"{path}: begins with {data[:4].hex() or 'nothing'}, expected an idx file of uint8 "
            f"with {dimensions} dimensions ({magic:08x})"
        )
    shape = tuple(np.frombuffer(data, ">u4", dimensions, 4).tolist())
    expected = math.prod(shape)
    if len(data) - start != expected:
        raise ValueError(
            f"{path}: {len(data) - start} bytes of data, expected {expected} "
            f"({' x '.join(map(str, shape))} as the header states)"
        )
    return np.frombuffer(bytearray(data), np.uint8, expected, start).reshape(shape)


def unusable(folder: Path) -> list[Path]:
    """Files in ``folder`` that are missing or wrong, as they lie or should lie there.

    Whole files that do not belong together, such as more images than labels, are both wrong.
    """
    found = []
    for split in PREFIXES:
        try:
            read(folder, split)
        except (ValueError, FileNotFoundError):
            checked = [_look(folder, split, kind) for kind in KINDS]
            wrong = [path for path, whole in checked if not whole]
            found += wrong or [path for path, _ in checked]
    return found


def _look(folder: Path, split: str, kind: str) -> tuple[Path, bool]:
    """Where a file lies or should lie, and whether it is whole."""
    name = name_of(split, kind)
    path = folder / f"{name}.gz"
    try:
        path = find(folder, name)
        read_idx(path, KINDS[kind][1])
    except (ValueError, FileNotFoundError):
        return path, False
    return path, True


def fetch(path: Path) -> str:
    """Fetch what belongs at ``path`` from the first mirror that has it; returns the URL.

    The file appears whole or not at all, in the place of what was there; unpacked, unless the name
    ends in ``.gz``.

    Raises:
        OSError: no mirror gave the published file; the message says what each one did.
    """
    import http.client
    import urllib.request

    name = path.name.removesuffix(".gz") + ".gz"
    failures = []
    for mirror in MIRRORS:
        url = mirror + name
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
                data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{url}: {error}")
            continue
        found = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if found != MD5[name]:
            failures.append(f"{url}: MD5 {found}, expected {MD5[name]}")
            continue
        _write(path, data if path.suffix == ".gz" else gzip.decompress(data))
        return url
    raise OSError(f"{path}: cannot be fetched: {'; '.join(failures)}")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
