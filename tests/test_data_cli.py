"""Data named on a command line: source strings, and ``attend data``."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from test_kitti import OBJECTS, write_images, write_labels
from test_mot import INFO, ROWS
from videos import SIZE, decoded, write_coded

from datasets import source
from experiments import cli


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A MOTChallenge sequence of six frames, below a folder of sequences."""
    folder = tmp_path / "mot" / "film"
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt.txt").write_text(ROWS)
    (folder / "seqinfo.ini").write_text(INFO.format(6, SIZE[1], SIZE[0]))
    write_coded(folder / "film.mp4", 6)
    return folder


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """``attend data ARGV``: exit code, what it prints, what it complains."""
    code = cli.main(["data", *argv])
    return code, *capsys.readouterr()


def test_source_strings_come_apart() -> None:
    assert source.parse("sprites") == ("sprites", "", None, None)
    assert source.parse("kitti:/a/b") == ("kitti", "/a/b", None, None)
    assert source.parse("video:a:b.mp4") == ("video", "a:b.mp4", None, None)
    assert source.parse("video:rush:1-2") == ("video", "rush:1-2", None, None)
    assert source.parse("mot:DIR") == ("mot", "DIR", None, None)
    assert source.parse("mot:DIR:501-795") == ("mot", "DIR", 501, 795)
    assert source.parse("mot:C:x:7-7") == ("mot", "C:x", 7, 7)
    for bad in ("", "mot", "mot:", "kitti", "coco:DIR", "sprites:5", "/some/path"):
        with pytest.raises(ValueError, match="expected kitti:DIR .* mot:DIR:FIRST-LAST .* sprites"):
            source.parse(bad)
    for bad in ("mot:DIR:5-", "mot:DIR:-5", "mot:DIR:5", "mot:DIR:"):
        with pytest.raises(ValueError, match="expected mot:DIR or mot:DIR:FIRST-LAST"):
            source.parse(bad)
    for bad in ("mot:DIR:0-5", "mot:DIR:9-5"):
        with pytest.raises(ValueError, match="1 <= FIRST <= LAST"):
            source.parse(bad)


def test_sources_load_what_they_name(film: Path, tmp_path: Path) -> None:
    (part,) = source.load(f"mot:{film}:3-5")
    assert decoded(part.read([0, 2])) == [2, 4]
    (whole,) = source.load(f"mot:{film}", cache_bytes=1000)
    assert len(whole) == 6 and whole.store.cache.capacity == 1000
    (bare,) = source.load(f"video:{film / 'film.mp4'}")
    assert len(bare) == 6 and not len(bare.tracks.id)
    write_coded(film.parent / "other" / "other.mp4", 3)
    (film.parent / "other" / "gt").mkdir()
    (film.parent / "other" / "gt" / "gt.txt").write_text("1,1,1,1,9,9\n")
    both = source.load(f"mot:{film.parent}")
    assert [s.name for s in both] == ["film", "other"]
    assert both[0].store.cache is both[1].store.cache
    write_labels(tmp_path, "0005", OBJECTS)
    write_images(tmp_path, "0005", [0, 2, 3], (621, 188))
    assert [s.name for s in source.load(f"kitti:{tmp_path}")] == ["0005_000002-000003"]


def test_sprites_are_a_fixed_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "SPRITE_CLIPS", 2)
    monkeypatch.setattr(source, "SPRITE_FRAMES", 5)
    one, other = source.load("sprites"), source.load("sprites")
    assert len(one) == 2 and all(len(s) == 5 and len(s.tracks.id) for s in one)
    for a, b in zip(one, other):
        assert torch.equal(a.clip(0, 5).frames, b.clip(0, 5).frames)
    assert not torch.equal(one[0].clip(0, 5).frames, one[1].clip(0, 5).frames)


def test_kitti_report_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_labels(tmp_path, "0005", OBJECTS)
    write_images(tmp_path, "0005", [0, 2, 3, 5], (621, 188))
    code, text, _ = run(capsys, "kitti", "--root", str(tmp_path))
    rows = {line[:4]: line.split() for line in text.splitlines()}
    assert code == 0
    assert " ".join(rows["0005"]) == (
        "0005 4 of 8 621 x 188 1242 x 375 0.5000 0.5013 28 3"  # frames, sizes, scales, boxes
    )
    assert "missing frames: 1, 4, 6-7" in text
    assert rows["0020"][-2:] == ["no", "images"] and len([r for r in rows if r.isdigit()]) == 21
    assert "1 of 21 sequences can be used; 4 of 8 labelled frames" in text
    assert "cvlibs.net/datasets/kitti/eval_tracking.php" in text and "training/label_02" in text


def test_kitti_report_names_what_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, size in (("0005", (621, 188)), ("0006", (621, 150)), ("0007", (621, 188))):
        write_labels(tmp_path, name, OBJECTS)
        write_images(tmp_path, name, [0, 1], size)
    with (tmp_path / "training" / "label_02" / "0007.txt").open("a") as file:
        file.write("7 4 Car\n")
    write_images(tmp_path, "0008", [0, 1], (621, 188))
    write_labels(tmp_path, "0009", OBJECTS)
    write_images(tmp_path, "0009", [0], (621, 188))
    write_images(tmp_path, "0009", [1], (620, 188))
    write_labels(tmp_path, "0010", [])
    code, text, _ = run(capsys, "kitti", "--root", str(tmp_path / "training"))
    assert code == 1
    assert "problem: sequence 0006: images of 621 x 150" in text
    assert "0007.txt, line 32: 3 columns" in text
    assert "problem: no labels:" in text
    assert "000001.png: 620 x 188 pixels, expected 621 x 188 as in 000000.png" in text
    assert "with a problem: 0006, 0007, 0008, 0009" in text
    assert "1 of 21 sequences can be used" in text


def test_a_folder_that_is_not_kitti_says_where_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, complaint = run(capsys, "kitti", "--root", str(tmp_path))
    assert code == 2
    assert "not KITTI tracking data" in complaint and "cvlibs.net" in complaint


def test_mot_report(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "mot", "--root", str(film.parent))
    assert code == 0
    assert text == (
        "film: 6 frames, 96 x 32, 10 a second; 5 boxes of 2 objects; left out 1 (confidence 0); "
        "left out 1 (outside the frame)\n"
    )
    (film / "seqinfo.ini").write_text(INFO.format(9, SIZE[1], SIZE[0]))
    code, text, _ = run(capsys, "mot", "--root", str(film))
    assert code == 1 and "truncated, 6 frames of 9" in text
    code, _, complaint = run(capsys, "mot", "--root", str(film / "gt"))
    assert code == 2 and "no MOTChallenge sequence" in complaint
    (film / "gt" / "gt.txt").unlink()
    (film / "gt").rmdir()
    (film / "seqinfo.ini").write_text(INFO.format(6, SIZE[1], SIZE[0]))
    code, text, _ = run(capsys, "mot", "--root", str(film))
    assert code == 0 and "no ground truth" in text


def test_video_report_compares_with_the_claims(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_coded(tmp_path / "film.avi", 30)
    data = bytearray(path.read_bytes())
    for place in (data.index(b"avih") + 24, data.index(b"strh") + 40):
        struct.pack_into("<I", data, place, 77)
    path.write_bytes(data)
    code, text, _ = run(capsys, "video", "--file", str(path))
    assert code == 0
    assert "film.avi: 96 x 32" in text and "frames: 30 decode, 77 claimed\n" in text
    assert "25 by time stamps, 25 claimed" in text and "1.2 seconds" in text
    path.write_bytes(data[:-400])
    code, _, complaint = run(capsys, "video", "--file", str(path))
    assert code == 2 and "film.avi: truncated, 400 bytes are missing" in complaint
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "1.png"), np.zeros((8, 9, 3), np.uint8))
    code, text, _ = run(capsys, "video", "--file", str(tmp_path / "images"))
    assert code == 0 and "9 x 8\n  1 images" in text


def test_the_real_sample(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "kitti", "--root", str(data_dir / "kitti_tracking"))
    assert code == 0
    assert "3 of 21 sequences can be used; 16 of 8008 labelled frames" in text
    assert "missing frames: 0-279, 290-296" in text
    code, text, _ = run(capsys, "video", "--file", str(data_dir / "cctv" / "concourse.avi"))
    assert "frames: 341 decode, 682 claimed\n" in text
    assert "25 by time stamps, 50 claimed" in text
