"""KITTI's tracking data: scales, filters, runs of frames, tracks that come back, both splits."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from common.boxes import iou
from common.video import VideoError
from datasets import kitti
from datasets.recording import REAPPEARED
from datasets.splits import split_sequences, split_time

ROW = "{} {} {} {} {} -1.5 {:.6f} {:.6f} {:.6f} {:.6f} 1.5 1.6 3.9 -2.1 1.9 46.4 -1.5\n"
# frame, id, class, truncated, occluded; the box tells frame and id
OBJECTS = [
    *((frame, 0, "Car", 0, 0) for frame in (0, 1, 2, 3, 6, 7)),
    *((frame, 1, "Pedestrian", 1, 1) for frame in range(8)),
    *((frame, 2, "Car", 0, 2 if frame in (3, 4) else 0) for frame in range(2, 8)),
    *((frame, 3, "Van", 2, 0) for frame in range(8)),
    *((frame, -1, "DontCare", -1, -1) for frame in (0, 0, 5)),
]


def corners(frame: int, name: int) -> tuple[float, float, float, float]:
    """Left, top, right, bottom in native pixels."""
    left, top = 100.0 + 10 * frame, 50.0 + 40 * name if name >= 0 else 10.0
    return left, top, left + 60, top + 30


def write_labels(root: Path, name: str, rows: list[tuple]) -> Path:
    path = root / "training" / "label_02" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(ROW.format(*row, *corners(row[0], row[1])) for row in sorted(rows)))
    return path


def write_images(root: Path, name: str, numbers: list[int], size: tuple[int, int]) -> Path:
    """Images of ``size (W, H)`` whose blue, green and red are the frame's number times 10."""
    folder = root / "training" / "image_02" / name
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        image = np.full((size[1], size[0], 3), 10 * number, np.uint8)
        cv2.imwrite(str(folder / f"{number:06d}.png"), image)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sequence 0005 at half size, frames 0 to 7."""
    write_labels(tmp_path, "0005", OBJECTS)
    write_images(tmp_path, "0005", list(range(8)), (621, 188))
    return tmp_path


def test_labels_are_scaled_to_the_images_and_filtered(root: Path) -> None:
    (recording,) = kitti.load(root)
    assert (recording.name, len(recording), recording.size) == ("0005", 8, (188, 621))
    assert recording.frame_rate == 10.0
    assert recording.read([3, 1])[:, 0, 0, 0].tolist() == [30, 10]
    tracks = recording.tracks
    assert recording.skipped == {"occluded": 2, "truncated": 8}
    assert set(tracks.label[tracks.id % REAPPEARED == 1]) == {"Pedestrian"}
    scale = np.array([0.5, 188 / 375, 0.5, 188 / 375])
    for frame, name, box in zip(tracks.frame, tracks.id % REAPPEARED, tracks.box):
        left, top, right, bottom = corners(frame, name)
        expected = np.array([left, top, right - left, bottom - top]) * scale
        np.testing.assert_allclose(box, expected, atol=1e-5)


def test_a_track_that_is_gone_or_hidden_comes_back_as_another(root: Path) -> None:
    (recording,) = kitti.load(root)
    tracks = recording.tracks
    found = {int(i): tracks.frame[tracks.id == i].tolist() for i in np.unique(tracks.id)}
    assert found == {
        0: [0, 1, 2, 3],  # gone in frames 4 and 5
        REAPPEARED: [6, 7],
        1: list(range(8)),
        2: [2],  # too much hidden in 3 and 4
        2 + REAPPEARED: [5, 6, 7],
    }
    clip = recording.clip(2, 7)
    assert clip.ids.tolist() == [0, 1, 2, REAPPEARED, 2 + REAPPEARED]
    assert clip.presence[:, 0].tolist() == [True, True, False, False, False]


def test_dont_care_regions_are_kept_apart(root: Path) -> None:
    (recording,) = kitti.load(root)
    assert recording.ignore.frame.tolist() == [0, 0, 5]
    clip = recording.clip(0, 6)
    assert [len(boxes) for boxes in clip.ignore] == [2, 0, 0, 0, 0, 1]
    assert clip.ignore[5][0].tolist() == pytest.approx([75, 5 * 376 / 375, 30, 15 * 376 / 375])
    assert clip.boxes.shape[1] == 4  # no object among them


def test_filters_can_be_chosen(root: Path) -> None:
    def ids(**choice: object) -> list[int]:
        (recording,) = kitti.load(root, keep=kitti.Filter(**choice))
        return np.unique(recording.tracks.id).tolist()

    assert ids(max_occluded=2, max_truncated=2) == [0, 1, 2, 3, REAPPEARED]
    assert ids(classes=("Van", "Pedestrian"), max_truncated=2) == [1, 3]
    assert ids(max_truncated=0) == [0, 2, REAPPEARED, 2 + REAPPEARED]
    (recording,) = kitti.load(root, keep=kitti.Filter(classes=("Cyclist",)))
    assert not len(recording.tracks.id) and recording.skipped == {"class": 28}


def test_missing_frames_leave_contiguous_runs(root: Path) -> None:
    for number in (0, 3, 5):
        (root / "training" / "image_02" / "0005" / f"{number:06d}.png").unlink()
    runs = kitti.load(root)
    names = ["0005_000001-000002", "0005_000004-000004", "0005_000006-000007"]
    assert [run.name for run in runs] == names
    assert [run.source_first for run in runs] == [1, 4, 6]
    assert runs[2].read([0, 1])[:, 0, 0, 0].tolist() == [60, 70]
    assert runs[0].tracks.frame.min() == 0 and runs[0].tracks.frame.max() == 1
    assert runs[1].skipped == {"occluded": 1, "truncated": 1}
    clip = runs[2].clip(0, 2)
    assert clip.first_frame == 6 and clip.ids.tolist() == [0, 1, 2]  # nobody has left this run
    assert [run.name for run in kitti.load(root, min_frames=2)] == [names[0], names[2]]
    with pytest.raises(FileNotFoundError, match="no sequence with 3 frames in a row"):
        kitti.load(root, min_frames=3)


@pytest.mark.parametrize(
    ("name", "size"),
    [("0000", (1242, 375)), ("0014", (1224, 370)), ("0019", (1238, 374)), ("0020", (1241, 376))],
)
def test_native_sizes(name: str, size: tuple[int, int]) -> None:
    assert kitti.native_size(name) == size
    width, height = size
    assert kitti.scale(name, (height, width)) == (1.0, 1.0)
    assert kitti.scale(name, (187, 621)) == (621 / width, 187 / height)


def test_images_of_another_shape_are_refused(root: Path, tmp_path: Path) -> None:
    assert kitti.scale("0005", (375, 1266)) == (1266 / 1242, 1.0)  # 1.9 % wider
    for size in ((375, 1268), (383, 1242)):  # 2.1 % wider, higher
        with pytest.raises(kitti.KittiError, match=rf"{size[1]} x {size[0]} .* same factor"):
            kitti.scale("0005", size)
    write_labels(tmp_path, "0016", OBJECTS)
    write_images(tmp_path, "0016", [0, 1], (621, 180))
    with pytest.raises(kitti.KittiError, match="sequence 0016: images of 621 x 180"):
        kitti.load(root)
    with pytest.raises(
        kitti.KittiError, match="0021: native size unknown, expected .* 0000 to 0020"
    ):
        kitti.native_size("0021")


def test_bad_files_are_named(root: Path) -> None:
    images = root / "training" / "image_02" / "0005"
    labels = root / "training" / "label_02" / "0005.txt"
    good = labels.read_text()
    labels.write_text(good + ROW.format(7, 9, "Car", 0, 0, 5, 5, 5, 9))
    with pytest.raises(ValueError, match=r"0005\.txt, line 32: .*0"):
        kitti.load(root)
    labels.write_text(good + ROW.format(7, 1, "Car", 0, 0, 5, 5, 9, 9))
    with pytest.raises(ValueError, match=r"0005\.txt, line 32: id 1 "):
        kitti.load(root)
    labels.write_text(good + "7 4 Car 0 0\n")
    with pytest.raises(ValueError, match=r"0005\.txt, line 32: 5 columns, expected"):
        kitti.load(root)
    labels.write_text(good + ROW.format(7, 9, "Car", 0, 0, 1300, 5, 1310, 9))
    assert kitti.load(root)[0].skipped["outside the frame"] == 1
    cv2.imwrite(str(images / "000003.jpg"), np.zeros((188, 621, 3), np.uint8))
    with pytest.raises(
        kitti.KittiError, match=r"000003\.\w+ and 000003\.\w+: the same frame twice"
    ):
        kitti.load(root)
    (images / "000003.jpg").rename(images / "thumb.jpg")
    with pytest.raises(kitti.KittiError, match=r"thumb\.jpg: expected a frame number"):
        kitti.load(root)
    (images / "thumb.jpg").unlink()
    cv2.imwrite(str(images / "000002.png"), np.zeros((100, 100, 3), np.uint8))
    with pytest.raises(VideoError, match=r"000002\.png: 100 x 100 pixels, expected 621 x 188"):
        kitti.load(root)[0].read([2])


def test_a_folder_of_something_else_says_what_was_expected(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not KITTI tracking data; expected training/image"):
        kitti.load(root / "training" / "image_02")
    assert len(kitti.load(root / "training")) == 1
    with pytest.raises(FileNotFoundError, match="no sequence 0007 .*; there are 0005"):
        kitti.load(root, ["0005", "0007"])
    (tmp_path / "training" / "label_02" / "0005.txt").unlink()
    with pytest.raises(FileNotFoundError, match="no sequence has both images and labels"):
        kitti.load(root)


def test_the_papers_split_cuts_every_recording_in_time(root: Path) -> None:
    write_labels(root, "0014", OBJECTS)
    write_images(root, "0014", [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], (612, 185))
    recordings = kitti.load(root)
    train, test = split_time(recordings)
    assert [len(part) for part in train] == [6, 2, 8]
    assert [len(part) for part in test] == [2, 2]  # a run of two frames is not divided
    assert test[0].source_first == 6 and test[1].source_first == 11
    assert test[0].clip(0, 2).frames[:, 0, 0, 0].tolist() == [60, 70]
    assert (test[0].clip(0, 2).boxes == recordings[0].clip(6, 8).boxes).all()
    whole, none = split_time([recordings[0].part(0, 4)])  # a rest of one frame stays with its part
    assert [len(part) for part in whole] == [4] and none == []
    with pytest.raises(ValueError, match="share of training frames"):
        split_time(recordings, 1.0)


def test_a_split_by_sequence_shares_no_scene(root: Path) -> None:
    write_labels(root, "0014", OBJECTS)
    write_images(root, "0014", [0, 1, 3, 4], (612, 185))
    train, test = split_sequences(kitti.load(root))
    assert [r.name for r in train] == ["0005"]
    assert [r.name for r in test] == ["0014_000000-000001", "0014_000003-000004"]
    assert split_sequences(kitti.load(root), ["0005"])[0][1].name == test[1].name
    with pytest.raises(ValueError, match="0099"):
        split_sequences([], ["0099"])


def test_the_real_sample(data_dir: Path) -> None:
    runs = {run.name: run for run in kitti.load(data_dir / "kitti_tracking")}
    assert len(runs) == 7
    clip = runs["0005_000280-000289"]
    assert (len(clip), clip.size) == (10, (188, 621))
    lengths = sorted(int((clip.tracks.id == i).sum()) for i in np.unique(clip.tracks.id))
    long = [length for length in lengths if length >= 5]
    assert (len(long), sum(long) - len(long)) == (4, 28)  # as the measured protocol counts them
    white_car = torch.tensor([250.0, 88, 25, 18])  # the published demo's, drawn by hand
    overlap = iou(clip.clip(0, 1).boxes[0], white_car)
    assert overlap.max() > 0.7 and (overlap > 0.1).sum() == 1
    assert runs["0016_000007-000007"].size == (370, 1224)
