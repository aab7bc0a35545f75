"""MNIST's files: what is wrong with them is said, and what is missing is fetched."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from mnist import write_idx, write_split

from datasets import mnist_files
from experiments import cli

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands in for the second of two mirrors; the first has nothing."""
    folder = tmp_path / "mirror"
    write_split(folder, "train", 30, packed=True)
    write_split(folder, "test", 20, packed=True)
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert set(sums) == set(mnist_files.MD5)
    monkeypatch.setattr(mnist_files, "MD5", sums)
    bare = (tmp_path / "bare").as_uri() + "/"
    monkeypatch.setattr(mnist_files, "MIRRORS", (bare, folder.as_uri() + "/"))
    return folder


def run(capsys: pytest.CaptureFixture[str], root: Path, *options: str) -> tuple[int, str, str]:
    """``attend data mnist``: exit code, what it prints, what it complains."""
    code = cli.main(["data", "mnist", "--root", str(root), *options])
    return code, *capsys.readouterr()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    write_split(tmp_path, "train", 12)
    images, labels = tmp_path / IMAGES, tmp_path / LABELS
    whole, tags = images.read_bytes(), labels.read_bytes()

    def complains(path: Path, data: bytes, message: str) -> None:
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(data)
        with pytest.raises(ValueError, match=message) as caught:
            mnist_files.read(tmp_path, "train")
        assert str(path) in str(caught.value)
        path.unlink() if before is None else path.write_bytes(before)

    complains(images, whole[:-1], r"9407 bytes of data, expected 9408 \(12 x 28 x 28 as the header")
    complains(images, whole + b"x", "9409 bytes of data, expected 9408")
    complains(images, tags, r"begins with 00000801, expected .* 3 dimensions \(00000803\)")
    complains(images, whole[:9], "begins with 00000803, expected an idx file")
    complains(images, b"", "begins with nothing, expected an idx file")
    complains(labels, whole, r"begins with 00000803, expected .* 1 dimensions \(00000801\)")
    short = tags[:7] + bytes([11]) + tags[8:-1]
    complains(labels, short, f"11 labels, expected 12 as in {IMAGES}")
    complains(labels, tags[:10] + b"\x0b" + tags[11:], "label 2 is 11, expected 0 to 9")
    small = write_idx(tmp_path / "small", 0x803, np.ones((12, 27, 28), np.uint8))
    complains(images, small.read_bytes(), r"shape \(12, 27, 28\), expected \(1 or more, 28, 28\)")
    none = write_idx(tmp_path / "none", 0x803, np.ones((0, 28, 28), np.uint8))
    complains(images, none.read_bytes(), r"shape \(0, 28, 28\), expected \(1 or more")

    images.unlink()
    packed = gzip.compress(whole)
    for data in (packed[:-20], whole, packed[:30] + b"xxxx" + packed[34:]):
        complains(tmp_path / f"{IMAGES}.gz", data, "not a whole gzip file")


def test_a_plain_file_goes_first(tmp_path: Path) -> None:
    write_split(tmp_path, "train", 5, packed=True)
    write_split(tmp_path, "train", 7)
    assert len(mnist_files.read(tmp_path, "train")[0]) == 7


def test_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, complaint = run(capsys, tmp_path / "none")
    assert code == 2 and "none: not a folder, expected MNIST's files (--fetch gets" in complaint
    write_split(tmp_path, "train", 21)
    code, text, _ = run(capsys, tmp_path)
    assert code == 1
    assert text.startswith("train: 21 digits (3 of 0, 2 of 1, 2 of 2,")
    assert f"test: {tmp_path / 't10k-images-idx3-ubyte'}: not found, plain or with .gz" in text
    write_split(tmp_path, "test", 10, packed=True)
    code, text, _ = run(capsys, tmp_path)
    assert code == 0 and "test: 10 digits (1 of 0," in text


def test_missing_files_are_fetched(
    mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "a" / "b"
    code, text, _ = run(capsys, root, "--fetch")
    assert code == 0
    assert f"{IMAGES}.gz: fetched from {mirror.as_uri()}/{IMAGES}.gz" in text
    assert "train: 30 digits" in text and "test: 20 digits" in text
    assert {p.name: p.read_bytes() for p in root.iterdir()} == {
        p.name: p.read_bytes() for p in mirror.iterdir()
    }
    code, text, _ = run(capsys, root, "--fetch")
    assert code == 0 and "fetched" not in text


def test_only_what_is_wrong_is_replaced(
    mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "mine"
    write_split(root, "test", 4)  # whole, though not as published: stays
    write_split(root, "train", 30)
    (root / IMAGES).write_bytes(b"damaged")
    labels = (root / LABELS).stat().st_mtime_ns
    code, text, _ = run(capsys, root, "--fetch")
    assert code == 0 and "train: 30 digits" in text and "test: 4 digits" in text
    assert (root / IMAGES).read_bytes() == gzip.decompress(
        (mirror / f"{IMAGES}.gz").read_bytes()  # in place of the damaged one, unpacked like it
    )
    assert text.count("fetched") == 1 and (root / LABELS).stat().st_mtime_ns == labels
    assert not list(root.glob("*.gz")) and not list(root.glob(".*"))

    write_split(root, "train", 12)
    write_idx(root / LABELS, 0x801, np.zeros(11, np.uint8))
    code, text, _ = run(capsys, root, "--fetch")  # do not belong together: both are wrong
    assert code == 0 and text.count("fetched") == 2 and "train: 30 digits" in text


def test_what_is_fetched_is_checked(
    mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mirror / f"{IMAGES}.gz").write_bytes(b"a page that says no")
    root = tmp_path / "mine"
    code, _, complaint = run(capsys, root, "--fetch")
    assert code == 2 and not root.exists()
    assert f"{root / IMAGES}.gz: cannot be fetched" in complaint
    assert "bare" in complaint and "MD5" in complaint and "expected" in complaint


def test_the_published_checksums() -> None:
    assert set(mnist_files.MD5) == {
        f"{split}-{kind}.gz"
        for split in ("train", "t10k")
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    }
    assert all(mirror.startswith("https://") for mirror in mnist_files.MIRRORS)
