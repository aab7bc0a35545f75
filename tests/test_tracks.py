"""common/tracks.py: the formats' conventions, what is refused, and that written files read back."""

from __future__ import annotations

import os

import numpy as np
import pytest

from common import text
from common import tracks as tk

KITTI_TAIL = "1.7 1.6 3.5 -21.1 1.9 46.4 -1.5"
GOOD = {
    "mot": ["1,3,10.5,20,30,40,1,-1,-1,-1", "2,3,11,21,30,40,0.5,-1,-1,-1"],
    "kitti": [
        f"0 3 Car 0 1 -1.1 10 20 40 60 {KITTI_TAIL}",
        f"1 3 Car 2 0 -1.1 11 21 41 61 {KITTI_TAIL}",
    ],
    "boxes": ["10.5,20,30,40", "11,21,30,40"],
}
READ = {
    "mot": tk.read_mot,
    "kitti": lambda path: tk.read_kitti(path).tracks,
    "boxes": tk.read_boxes,
}
WRITE = {"mot": tk.write_mot, "kitti": tk.write_kitti, "boxes": tk.write_boxes}


def lines(path, rows):
    path.write_text("".join(row + "\n" for row in rows))
    return path


def random_tracks(rng, label=None):
    frame = np.repeat(np.arange(7), 4)
    box = np.concatenate((rng.uniform(-50, 2000, (28, 2)), rng.uniform(0.01, 900, (28, 2))), 1)
    return tk.build(frame, np.tile([9, 2, 40, 0], 7), box, rng.uniform(-1, 1, 28), label)


def assert_same(a: tk.Tracks, b: tk.Tracks, atol=1e-6):
    np.testing.assert_array_equal(a.frame, b.frame)
    np.testing.assert_array_equal(a.id, b.id)
    np.testing.assert_allclose(a.box, b.box, rtol=0, atol=atol)
    np.testing.assert_allclose(a.score, b.score, rtol=0, atol=atol)


def test_mot_counts_frames_and_pixels_from_one(tmp_path):
    tracks = tk.read_mot(lines(tmp_path / "a.txt", GOOD["mot"]))
    assert tracks.frame.tolist() == [0, 1] and tracks.id.tolist() == [3, 3]
    assert tracks.box.tolist() == [[9.5, 19, 30, 40], [10, 20, 30, 40]]
    assert tracks.score.tolist() == [1, 0.5] and tracks.label is None


@pytest.mark.parametrize("row", ["1,3,2,2,3,4", "1 3 2 2 3 4", "1, 3, 2, 2, 3, 4, 1, 1, 0.8"])
def test_mot_takes_short_and_spaced_rows(tmp_path, row):
    tracks = tk.read_mot(lines(tmp_path / "a.txt", ["", row, "  "]))
    assert tracks.box.tolist() == [[1, 1, 3, 4]] and tracks.score.tolist() == [1]


def test_mot_ground_truth_leaves_out_rows_of_confidence_zero(tmp_path):
    path = lines(tmp_path / "gt.txt", ["1,1,1,1,5,5,1,-1,-1,-1", "1,2,1,1,5,5,0,-1,-1,-1"])
    assert tk.read_mot(path).id.tolist() == [1, 2]
    assert tk.read_mot_ground_truth(path).id.tolist() == [1]


def test_kitti_keeps_dont_care_apart(tmp_path):
    region = f"0 -1 DontCare -1 -1 -10 1 2 4 8 {KITTI_TAIL}"
    labels = tk.read_kitti(lines(tmp_path / "a.txt", [region, region, *GOOD["kitti"]]))
    assert labels.tracks.frame.tolist() == [0, 1] and labels.tracks.label.tolist() == ["Car"] * 2
    assert labels.tracks.box.tolist() == [[10, 20, 30, 40], [11, 21, 30, 40]]
    assert labels.ignore.id.tolist() == [-1, -1]
    assert labels.ignore.box.tolist() == [[1, 2, 3, 6]] * 2
    assert labels.truncated.tolist() == [0, 2] and labels.occluded.tolist() == [1, 0]


def test_kitti_result_has_a_score(tmp_path):
    path = lines(tmp_path / "a.txt", [GOOD["kitti"][0] + " 0.25"])
    assert tk.read_kitti(path).tracks.score.tolist() == [0.25]


@pytest.mark.parametrize("separator", [",", "\t", " "])
def test_boxes_are_one_object_by_line(tmp_path, separator):
    path = lines(tmp_path / "a.txt", [row.replace(",", separator) for row in GOOD["boxes"]])
    tracks = tk.read_boxes(path)
    assert tracks.frame.tolist() == [0, 1] and tracks.id.tolist() == [0, 0]
    assert tracks.box.tolist() == [[9.5, 19, 30, 40], [10, 20, 30, 40]]


@pytest.mark.parametrize("kind", ["mot", "kitti", "boxes"])
def test_an_empty_file_holds_no_tracks(tmp_path, kind):
    tracks = READ[kind](lines(tmp_path / "a.txt", []))
    assert len(tracks.id) == 0 and tracks.box.shape == (0, 4)


BAD = [
    ("mot", "1,4,10,20,30", r"line 3: 5 columns, expected 6 to 10 \(frame id left"),
    ("mot", "1,4,1,2,3,4,1,-1,-1,-1,7", "line 3: 11 columns, expected 6 to 10"),
    ("mot", "1,4,ten,2,3,4,1", "line 3: left is 'ten', expected a finite number"),
    ("mot", "1,4,1,2,3,4,1,", "line 3: x is '', expected a finite number"),
    ("mot", "1,4,nan,2,3,4,1", "line 3: left is 'nan', expected a finite number"),
    ("mot", "1,4,1,2,3,4,inf", "line 3: confidence is 'inf', expected a finite number"),
    ("mot", "1,4,1,2,0,4,1", "line 3: width 0 and height 4, expected both above 0"),
    ("mot", "1,4,1,2,3,-4,1", "line 3: width 3 and height -4, expected both above 0"),
    ("mot", "0,4,1,2,3,4,1", "line 3: frame 0, expected 1 or more"),
    ("mot", "1.5,4,1,2,3,4,1", "line 3: frame is 1.5, expected a whole number"),
    ("mot", "1,4.5,1,2,3,4,1", "line 3: id is 4.5, expected a whole number"),
    ("mot", "1,-1,1,2,3,4,1", "line 3: id -1, expected 0 or more"),
    ("mot", "2,3,1,2,3,4,1", "line 3: id 3 is in frame 2 already, expected once"),
    ("kitti", f"0 4 Car 0 0 0 1 2 3 {KITTI_TAIL}", "line 3: 16 columns, expected 17 to 18"),
    ("kitti", f"0 4 Car 0 0 0 1 2 x 4 {KITTI_TAIL}", "line 3: right is 'x', expected a finite"),
    ("kitti", f"0 4 Car 0 0 0 5 2 5 4 {KITTI_TAIL}", "line 3: width 0 and height 2, expected"),
    ("kitti", f"-1 4 Car 0 0 0 1 2 3 4 {KITTI_TAIL}", "line 3: frame -1, expected 0 or more"),
    ("kitti", f"0 -1 Car 0 0 0 1 2 3 4 {KITTI_TAIL}", "line 3: id -1, expected 0 or more"),
    ("kitti", f"1 3 Van 0 0 0 1 2 3 4 {KITTI_TAIL}", "line 3: id 3 is in frame 1 already"),
    ("boxes", "1,2,3", r"line 3: 3 columns, expected 4 \(left top width height\)"),
    ("boxes", "1,2,0,4", "line 3: width 0 and height 4, expected both above 0"),
    ("boxes", "1,2,nan,4", "line 3: width is 'nan', expected a finite number"),
    ("boxes", "\n1,2,3,4", "line 3: empty, expected a box in every frame"),
]


@pytest.mark.parametrize(("kind", "row", "message"), BAD)
def test_a_bad_line_is_named(tmp_path, kind, row, message):
    path = lines(tmp_path / "some.txt", [*GOOD[kind], row])
    with pytest.raises(ValueError, match=f"some.txt, {message}"):
        READ[kind](path)


def test_bytes_that_are_no_text_are_a_bad_line(tmp_path):
    path = tmp_path / "some.txt"
    path.write_bytes(b"1,1,1,1,5,5,1\n1,2,\xff\xfe,1,5,5,1\n")
    with pytest.raises(ValueError, match="some.txt, line 2: left is"):
        tk.read_mot(path)


@pytest.mark.parametrize("kind", ["mot", "kitti"])
def test_written_tracks_read_back(tmp_path, rng, kind):
    names = np.array(["Car", "Van", "Tram", "Cyclist"] * 7)
    tracks = random_tracks(rng, names if kind == "kitti" else None)
    shuffled = tk.take(tracks, np.argsort(rng.random(28), kind="stable"))
    path = tmp_path / "new" / "a.txt"
    WRITE[kind](path, shuffled)
    read = READ[kind](path)
    order = np.lexsort((read.id, read.frame)), np.lexsort((tracks.id, tracks.frame))
    assert_same(tk.take(read, order[0]), tk.take(tracks, order[1]))
    assert (np.diff(read.frame) >= 0).all()
    if kind == "kitti":
        assert read.label[order[0]].tolist() == tracks.label[order[1]].tolist()


def test_written_boxes_read_back(tmp_path, rng):
    track = tk.by_id(random_tracks(rng))[40]
    tk.write_boxes(tmp_path / "a.txt", track)
    read = tk.read_boxes(tmp_path / "a.txt")
    assert_same(read, track._replace(id=read.id, score=read.score))


def test_numbers_are_written_short(tmp_path):
    tk.write_mot(tmp_path / "a.txt", tk.build([0], [7], [[112.84, -1, 1e-7, 57.307]], [0.1]))
    assert text.read(tmp_path / "a.txt") == "1,7,113.84,0,1e-07,57.307,0.1,-1,-1,-1\n"
    assert tk.read_mot(tmp_path / "a.txt").box[0, 2] == 1e-7


def test_kitti_rows_without_label_are_misc(tmp_path):
    tk.write_kitti(tmp_path / "a.txt", tk.build([0], [7], [[1, 2, 3, 4]]))
    assert text.read(tmp_path / "a.txt").startswith("0 7 Misc -1 -1 -10 1 2 4 6 -1 ")
    assert len(text.read(tmp_path / "a.txt").split()) == 18


@pytest.mark.parametrize(
    ("kind", "tracks", "message"),
    [
        ("mot", tk.build([0], [-1], [[1, 2, 3, 4]], label=["DontCare"]), "negative id"),
        ("mot", tk.empty()._replace(score=np.ones(2)), r"columns of lengths \[0, 0, 0, 2\]"),
        ("kitti", tk.build([0], [1], [[1, 2, 3, 4]], label=["big car"]), "expected one word"),
        ("boxes", tk.build([0, 1], [1, 2], [[1, 2, 3, 4]] * 2), "expected one object"),
        ("boxes", tk.build([0, 2], [1, 1], [[1, 2, 3, 4]] * 2), "expected one object"),
        ("mot", tk.build([0], [1], [[1, 2, 3, 4]])._replace(score=np.array([np.nan])), "finite"),
    ],
)
def test_tracks_a_format_cannot_hold_are_refused(tmp_path, kind, tracks, message):
    with pytest.raises(ValueError, match=message):
        WRITE[kind](tmp_path / "a.txt", tracks)
    assert list(tmp_path.iterdir()) == []


def test_writing_is_all_or_nothing(tmp_path, rng, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail(*_):
        raise OSError("disk")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk"):
        tk.write_mot(path, random_tracks(rng))
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"] and path.read_text() == "before"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0, 0], [1, 1], [[1, 2, 3, 4]] * 2), "row 1: id 1 is in frame 0 already"),
        (([0], [1], [[1, 2, 0, 4]]), "row 0: width 0"),
        (([0], [1], [[1, np.inf, 2, 4]]), "row 0: expected finite"),
        (([-1], [1], [[1, 2, 2, 4]]), "row 0: frame -1, expected 0 or more"),
        (([0, 1], [1], [[1, 2, 2, 4]]), "columns of lengths"),
    ],
)
def test_build_refuses_what_readers_refuse(columns, message):
    with pytest.raises(ValueError, match=message):
        tk.build(*columns)


def test_runs_cut_where_frames_are_not_consecutive():
    frame, ids = [5, 0, 1, 2, 7, 0, 6, 9], [1, 1, 1, 1, 1, 8, 1, 8]
    box = np.arange(32.0).reshape(8, 4) + 1
    tracks = tk.build(frame, ids, box)
    pieces = tk.runs(tracks)
    assert [p.frame.tolist() for p in pieces] == [[0, 1, 2], [5, 6, 7], [0], [9]]
    assert [set(p.id.tolist()) for p in pieces] == [{1}, {1}, {8}, {8}]
    assert pieces[1].box.tolist() == box[[0, 6, 4]].tolist()
    groups = tk.by_id(tracks)
    assert list(groups) == [1, 8] and groups[1].frame.tolist() == [0, 1, 2, 5, 6, 7]
    assert tk.runs(tk.empty()) == [] and tk.by_id(tk.empty()) == {}


def test_concatenate_keeps_labels_all_have():
    a = tk.build([0], [1], [[1, 2, 3, 4]], label=["Van"])
    b = tk.build([1], [1], [[1, 2, 3, 4]])
    assert tk.concatenate([a, tk.empty(), a]).label.tolist() == ["Van", "Van"]
    assert tk.concatenate([a, b]).label is None
    assert tk.concatenate([a, b]).frame.tolist() == [0, 1]
    assert len(tk.concatenate([]).id) == 0


@pytest.mark.parametrize("kind", ["mot", "kitti"])
def test_format_is_detected(tmp_path, kind):
    assert tk.detect_format(lines(tmp_path / "a.txt", ["", *GOOD[kind]])) == kind


def test_real_files_read_and_write(data_dir, tmp_path):
    pets = data_dir / "mot15" / "PETS09-S2L1" / "gt" / "gt.txt"
    rows = [row.split(",") for row in pets.read_text().split()]
    assert len(tk.read_mot(pets).id) == len(rows)
    assert len(tk.read_mot_ground_truth(pets).id) == sum(float(row[6]) != 0 for row in rows)
    label = data_dir / "kitti_tracking" / "training" / "label_02" / "0005.txt"
    objects = tk.read_kitti(label).tracks
    assert len(objects.id) == label.read_text().count("\n") - label.read_text().count("DontCare")
    tk.write_kitti(tmp_path / "a.txt", objects)
    assert_same(tk.read_kitti(tmp_path / "a.txt").tracks, objects)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
