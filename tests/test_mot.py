"""MOTChallenge folders: frames from images or video, boxes shifted by one, bad input named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from videos import SIZE, coded, decoded, write_coded

from common.video import VideoError
from datasets import mot

INFO = "[Sequence]\nname=film\nimDir=img1\nframeRate=10\nseqLength={}\nimWidth={}\nimHeight={}\n"
ROWS = """\
1,1,11,6,20,10,1,-1,-1,-1
1,2,31,6,20,10,0,-1,-1,-1
2,1,12,6,20,10,1,-1,-1,-1
4,1,14,6,20,10,1,-1,-1,-1
4,3,-9,6,20,10,1,-1,-1,-1
5,3,-39,6,20,10,1,-1,-1,-1
6,1,16.5,6,20,10,1,-1,-1,-1
"""


@pytest.fixture(params=["images", "video"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A sequence of six frames that show 0 to 5."""
    folder = tmp_path / "film"
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt.txt").write_text(ROWS)
    (folder / "seqinfo.ini").write_text(INFO.format(6, SIZE[1], SIZE[0]))
    if request.param == "video":
        write_coded(folder / "anything.mp4", 6)
        return folder
    (folder / "img1").mkdir()
    for number in range(6):
        cv2.imwrite(str(folder / "img1" / f"{number + 1:06d}.png"), coded(number))
    return folder


def test_frames_and_boxes_count_from_zero(folder: Path) -> None:
    film = mot.load(folder)
    assert (film.name, len(film), film.size, film.frame_rate) == ("film", 6, SIZE, 10.0)
    assert decoded(film.read([5, 0, 3])) == [5, 0, 3]
    assert film.tracks.frame.tolist() == [0, 1, 3, 3, 5]
    assert film.tracks.id.tolist() == [1, 1, 1, 3, 1]
    assert film.tracks.box[0].tolist() == [10, 5, 20, 10]
    assert film.tracks.box[3].tolist() == [-10, 5, 20, 10]  # partly in the frame
    assert film.skipped == {"confidence 0": 1, "outside the frame": 1}
    clip = film.clip(2, 6)
    assert clip.first_frame == 2 and clip.ids.tolist() == [1, 3]
    assert clip.presence.tolist() == [[False, False], [True, True], [False] * 2, [True, False]]
    assert clip.boxes[3, 0].tolist() == [15.5, 5, 20, 10]


def test_a_range_counts_from_one_and_includes_its_ends(folder: Path) -> None:
    film = mot.load(folder, 2, 4)
    assert (len(film), film.source_first) == (3, 1)
    assert decoded(film.read(range(3))) == [1, 2, 3]
    assert film.tracks.frame.tolist() == [0, 2, 2] and film.tracks.id.tolist() == [1, 1, 3]
    assert film.skipped == {}  # what lies outside the range is not asked about
    assert film.clip(1, 3).first_frame == 2
    assert len(mot.load(folder, 5)) == 2 and len(mot.load(folder, last=2)) == 2
    for first, last in ((0, 3), (4, 3), (3, 7)):
        with pytest.raises(ValueError, match=rf"frames {first}-{last} asked for, it has 1-6"):
            mot.load(folder, first, last)


def test_missing_frames_are_an_error_against_the_known_length(folder: Path) -> None:
    (folder / "seqinfo.ini").write_text(INFO.format(9, SIZE[1], SIZE[0]))
    with pytest.raises(VideoError, match=r"film: truncated, 6 frames of 9 \(seqinfo\.ini\)"):
        mot.load(folder)
    assert len(mot.load(folder, 1, 6)) == 6  # a range that is there can be used


def test_rows_of_frames_that_are_not_there_are_counted(folder: Path) -> None:
    with (folder / "gt" / "gt.txt").open("a") as file:
        file.write("7,1,16,6,20,10,1,-1,-1,-1\n")
    assert mot.load(folder).skipped["no such frame"] == 1


def test_another_size_than_the_boxes_are_in_is_an_error(folder: Path) -> None:
    (folder / "seqinfo.ini").write_text(INFO.format(6, 1920, 1080))
    with pytest.raises(ValueError, match=r"96 x 32 pixels, seqinfo\.ini says 1920 x 1080"):
        mot.load(folder)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2,1,12,6,20,ten,1,-1,-1,-1", "line 8: height is 'ten'"),
        ("2,1,12", "line 8: 3 columns"),
        ("3,1,12,6,0,10,1,-1,-1,-1", "line 8: width 0 and height 10"),
        ("2,1,13,6,20,10,1,-1,-1,-1", "line 8: id 1 "),
        ("0,1,13,6,20,10,1,-1,-1,-1", "line 8: frame 0, expected 1 or more"),
    ],
)
def test_bad_rows_are_named(folder: Path, line: str, message: str) -> None:
    with (folder / "gt" / "gt.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=rf"gt\.txt, {message}"):
        mot.load(folder)


def test_a_gap_between_the_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "img1").mkdir()
    for number in (501, 502, 504):
        cv2.imwrite(str(tmp_path / "img1" / f"{number:06d}.jpg"), coded(number))
    with pytest.raises(ValueError, match=r"000504\.jpg: expected frame 000503 here"):
        mot.load(tmp_path)
    (tmp_path / "img1" / "000504.jpg").unlink()
    film = mot.load(tmp_path)  # without seqinfo.ini and gt/: numbers begin where the images do
    assert (film.name, len(film), film.source_first) == (tmp_path.name, 2, 500)
    assert decoded(mot.load(tmp_path, 502, 502).read([0])) == [502]
    assert not len(film.tracks.id)
    cv2.imwrite(str(tmp_path / "img1" / "cover.jpg"), coded(0))
    with pytest.raises(ValueError, match=r"cover\.jpg: expected frame"):
        mot.load(tmp_path)


def test_a_folder_without_frames_or_truth_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no MOTChallenge folder .*nowhere"):
        mot.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="expected img1/ or one video file, found 0"):
        mot.load(tmp_path)
    write_coded(tmp_path / "film.mp4", 3)
    (tmp_path / "gt").mkdir()
    with pytest.raises(FileNotFoundError, match=r"gt\.txt"):
        mot.load(tmp_path)
    (tmp_path / "seqinfo.ini").write_text("[Other]\n")
    with pytest.raises(ValueError, match=r"seqinfo\.ini: not a \[Sequence\]"):
        mot.load(tmp_path)
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nseqLength=many\n")
    with pytest.raises(ValueError, match=r"seqinfo\.ini.*many"):
        mot.load(tmp_path)


def test_sequences_are_found_one_folder_down(folder: Path) -> None:
    assert mot.find(folder) == [folder]
    assert mot.find(folder.parent) == [folder]
    with pytest.raises(FileNotFoundError, match="no MOTChallenge sequence"):
        mot.find(folder / "gt")


def test_the_real_sequences(data_dir: Path) -> None:
    pets = mot.load(data_dir / "mot15" / "PETS09-S2L1")
    assert (len(pets), pets.frame_rate, pets.skipped) == (500, 10.0, {"confidence 0": 174})
    assert len(pets.tracks.id) == 2538
    first = pets.clip(0, 1)
    np.testing.assert_allclose(first.boxes[0, 0], [310.875, 97.75, 19.394, 46.981])
    training = mot.load(data_dir / "mot15" / "PETS09-S2L1", 1, 400)
    held = mot.load(data_dir / "mot15" / "PETS09-S2L1", 401, 500)
    assert (len(training), len(held)) == (400, 100)
    assert len(training.tracks.id) + len(held.tracks.id) == 2538
    both = pets.read([400]), held.read([0])
    assert (both[0] == both[1]).all()
    town = mot.load(data_dir / "mot15" / "TUD-Stadtmitte")
    assert (len(town), town.size, len(town.tracks.id)) == (179, (480, 640), 1156)
