"""attend metrics: which files it finds, what it writes, and what it says of bad ones."""

from __future__ import annotations

import importlib.resources
import json
import re

import numpy as np
import pytest

from common import tracks as tk
from common.metrics import mot
from experiments.metrics import main

ORDER = "HOTA DetA AssA LocA MOTA MOTP IDF1 IDP IDR IDSW MT PT ML Frag FP FN"
KEYS = ORDER.split()
TAIL = "-1 -1 -1 -1000 -1000 -1000 -10"


def some_tracks(shift: float, frames: int = 5) -> tk.Tracks:
    frame = np.repeat(np.arange(frames), 2)
    box = np.tile([[10.0, 10, 20, 40], [100, 10, 20, 40]], (frames, 1)) + [shift, 0, 0, 0]
    return tk.build(frame, np.tile([1, 2], frames), box)


@pytest.fixture
def folders(tmp_path):
    """Ground truth of two sequences as flat files, their tracks, and the same in MOT folders."""
    for name, shift, frames in (("one", 1.0, 5), ("two", 4.0, 3)):
        tk.write_mot(tmp_path / "flat" / f"{name}.txt", some_tracks(0, frames))
        tk.write_mot(tmp_path / "deep" / name / "gt" / "gt.txt", some_tracks(0, frames))
        tk.write_mot(tmp_path / "tracks" / f"{name}.txt", some_tracks(shift, frames))
    return tmp_path


def run(capsys, *argv) -> tuple[int, str, str]:
    status = main([str(a) for a in argv])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.mark.parametrize("layout", ["flat", "deep"])
def test_folders_give_a_row_per_sequence_and_combined(folders, capsys, layout):
    output = folders / "out" / "m.json"
    status, out, err = run(
        *(capsys, "--ground-truth", folders / layout, "--tracks", folders / "tracks"),
        *("--json", output),
    )
    assert status == 0 and err == ""
    lines = out.splitlines()
    assert lines[0].split() == ["sequence", *KEYS]
    assert [line.split()[0] for line in lines[1:4]] == ["one", "two", "COMBINED"]
    assert "MOTP is the mean IoU of matches" in out and "CLEAR as trackeval" in out
    scores = json.loads(output.read_text())
    assert list(scores) == ["one", "two", "COMBINED"]
    assert all(list(row) == KEYS for row in scores.values())
    expected = mot.evaluate(some_tracks(0), some_tracks(1.0))
    assert scores["one"] == pytest.approx(expected)
    assert scores["COMBINED"]["MOTP"] == pytest.approx(100 * (10 * 19 / 21 + 6 * 16 / 24) / 16)
    assert lines[1].split()[1:] == [f"{expected[key]:.5g}" for key in KEYS]
    assert isinstance(scores["one"]["FP"], int)


def test_files_are_one_sequence(folders, capsys):
    output = folders / "m.json"
    for truth in (folders / "flat" / "two.txt", folders / "deep" / "two"):
        status, _, _ = run(
            *(capsys, "--ground-truth", truth, "--tracks", folders / "tracks" / "two.txt"),
            *("--clear", "motmetrics", "--threshold", "0.7", "--json", output),
        )
        scores = json.loads(output.read_text())
        assert status == 0 and list(scores) == ["two", "COMBINED"]
        assert scores["two"] == scores["COMBINED"]
        assert scores["two"]["FN"] == 6  # IoU 2/3 is no match at 0.7


def test_rows_of_confidence_zero_do_not_count(folders, capsys):
    gt = folders / "flat" / "one.txt"
    gt.write_text(gt.read_text() + "1,7,500,500,9,9,0,-1,-1,-1\n")
    status, out, _ = run(
        *(capsys, "--ground-truth", gt, "--tracks", folders / "tracks" / "one.txt")
    )
    assert status == 0 and out.splitlines()[1].split()[-1] == "0"


@pytest.fixture
def kitti(tmp_path):
    """A car, a van, a DontCare region; a result that finds all three and misplaces one."""
    rows = [
        f"0 1 Car 0 0 0 10 10 30 30 {TAIL}",
        f"0 2 Van 0 0 0 100 10 130 30 {TAIL}",
        f"0 -1 DontCare -1 -1 -10 200 10 260 50 {TAIL}",
    ]
    (tmp_path / "gt.txt").write_text("\n".join(rows))
    boxes = ["10 10 30 30", "100 10 130 30", "210 10 230 30", "300 10 330 30"]
    found = [f"0 {k} Car -1 -1 -10 {box} {TAIL} 0.9" for k, box in enumerate(boxes)]
    (tmp_path / "found.txt").write_text("\n".join(found))
    return tmp_path


@pytest.mark.parametrize(
    ("options", "category", "fp", "fn"),
    [
        ([], "Car", "1", "0"),
        (["--format", "kitti", "--category", "car"], "car", "1", "0"),
        (["--category", "all"], "all", "1", "0"),
        (["--category", "van"], "van", "0", "1"),  # the result holds no vans
    ],
)
def test_kitti_scores_a_category(kitti, capsys, options, category, fp, fn):
    status, out, _ = run(
        *(capsys, "--ground-truth", kitti / "gt.txt", "--tracks", kitti / "found.txt", *options)
    )
    assert status == 0 and f"Category: {category}." in out
    assert out.splitlines()[1].split()[-2:] == [fp, fn]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["flat", "tracks/one.txt"], "one.txt is a file, .*flat a folder"),
        (["flat/one.txt", "tracks"], "one.txt is a file, .*tracks a folder"),
        (["nowhere", "tracks"], "nowhere: no such file or folder"),
        (["flat", "out"], "out/one.txt: missing, expected the tracks of .*flat/one.txt"),
        (["out", "tracks"], "out: no SEQUENCE.txt or SEQUENCE/gt/gt.txt"),
        (["flat", "tracks", "--threshold", "2"], "threshold is 2.0, expected above 0"),
        (["flat", "tracks", "--category", "Car"], "flat: no categories in it, expected Car"),
        (["flat", "tracks", "--format", "kitti"], "one.txt, line 1: 10 columns, expected 17 to 18"),
        (["flat", "bad"], "bad/one.txt, line 2: width 0 and height 4, expected both above 0"),
    ],
)
def test_what_is_wrong_is_named(folders, capsys, options, message):
    (folders / "out").mkdir()
    (folders / "bad").mkdir()
    for name in ("one", "two"):
        (folders / "bad" / f"{name}.txt").write_text("1,1,1,1,5,5,1\n2,1,1,1,0,4,1\n")
    truth, tracks = (folders / part for part in options[:2])
    status, out, err = run(capsys, "--ground-truth", truth, "--tracks", tracks, *options[2:])
    assert status == 1 and out == ""
    assert re.search(message, err), err


@pytest.mark.parametrize("options", [["--unknown", "1"], ["--clear", "other"], []])
def test_unknown_options_are_errors(options, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--ground-truth", "a", *options])
    assert exit_.value.code == 2


def test_real_reference_by_command(data_dir, tmp_path, capsys):
    shipped = importlib.resources.files("motmetrics") / "data"
    for name in ("TUD-Campus", "TUD-Stadtmitte"):
        (tmp_path / f"{name}.txt").write_text((shipped / name / "gt.txt").read_text())
    results = data_dir / "mot_results"
    status, _, _ = run(
        *(capsys, "--ground-truth", tmp_path, "--tracks", results / "noisy"),
        *("--json", tmp_path / "m.json"),
    )
    scores = json.loads((tmp_path / "m.json").read_text())
    expected = json.loads((results / "trackeval_reference.json").read_text())["noisy"]
    assert status == 0
    for name, row in expected.items():
        for key in set(row) & set(KEYS):
            assert scores[name][key] == pytest.approx(row[key], abs=1e-3)
