"""The evaluation protocol: windows cut from tracks, one pass per sequence, known scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from common.tracks import Tracks, build, empty
from experiments.protocol import (
    Window,
    compare,
    cut,
    evaluate_windows,
    mean_iou,
    summarise,
    velocities,
)
from hart.baselines import ConstantVelocity, StaticBox

SIZE = (40, 60)  # (H, W)


class Film(NamedTuple):
    """A sequence whose frame ``t`` holds the value ``t`` everywhere."""

    tracks: Tracks
    name: str = "film"
    size: tuple[int, int] = SIZE

    def read(self, indices: Sequence[int]) -> Tensor:
        return torch.stack([torch.full((3, *SIZE), i, dtype=torch.uint8) for i in indices])


class Oracle(StaticBox):
    """Says where it is told that each object is, and remembers which frames it saw with whom."""

    def __init__(self, true: dict[int, Window], offset: float = 0.0) -> None:
        super().__init__()
        self.true, self.offset, self.seen = true, offset, []

    def init(self, frame, boxes, ids=None) -> None:
        self.frame = int(frame[0, 0, 0])
        super().init(frame, boxes, ids)

    def add(self, boxes, ids=None) -> list[int]:
        names = super().add(boxes, ids)
        for name, box in zip(names, np.asarray(boxes), strict=True):
            assert box == pytest.approx(self.true[name].boxes[self.frame - self.true[name].first])
        self.seen += [(name, self.frame) for name in names]
        return names

    def update(self, frame) -> Tensor:
        self.frame = int(frame[0, 0, 0])
        self.seen += [(name, self.frame) for name in self.ids]
        rows = [self.true[n].boxes[self.frame - self.true[n].first] for n in self.ids]
        return torch.as_tensor(np.array(rows)) + torch.tensor([self.offset, 0, 0, 0])


def line(name: int, frames: Sequence[int]) -> Tracks:
    """A 10 x 10 box that moves one pixel a frame to the right."""
    frames = np.asarray(frames)
    box = np.stack((frames + name, np.full(len(frames), 8.0), *np.full((2, len(frames)), 10)), 1)
    return build(frames, np.full(len(frames), name), box)


def film(*tracks: Tracks) -> Film:
    columns = [np.concatenate([t[k] for t in tracks]) for k in range(4)]
    order = np.random.default_rng(0).permutation(len(columns[0]))  # files are in no order
    return Film(Tracks(*(column[order] for column in columns)))


def test_windows_are_complete_and_do_not_cross_gaps() -> None:
    gap = line(4, [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11])
    windows = cut([film(gap, line(2, range(3, 12)))], length=4, stride=3)
    assert [(w.object, w.first) for w in windows] == [(0, 3), (0, 6), (1, 0), (1, 3), (1, 8)]
    for window in windows:
        name = (2, 4)[window.object]
        assert window.boxes[:, 0].tolist() == [window.first + i + name for i in range(4)]


def test_short_pieces_are_kept_where_asked_for() -> None:
    tracks = film(line(1, range(6)), line(2, range(4)), line(3, range(3)), line(5, range(13)))
    found = [(w.object, w.first, len(w.boxes)) for w in cut([tracks], 10, 3, shortest=4)]
    assert found == [(0, 0, 6), (1, 0, 4), (2, 0, 10), (2, 3, 10)]
    assert [len(w.boxes) for w in cut([tracks], 10, 3)] == [10, 10]


def test_the_same_id_in_two_sequences_is_two_objects() -> None:
    windows = cut([film(line(1, range(5))), film(line(1, range(5)))], 5, 5)
    assert [w.object for w in windows] == [0, 1]


@pytest.mark.parametrize(("length", "stride", "shortest"), [(1, 1, None), (5, 0, None), (9, 2, 1)])
def test_windows_without_a_scored_frame_are_refused(length, stride, shortest) -> None:
    with pytest.raises(ValueError, match="expected at least 2 and 1"):
        cut([film(line(1, range(9)))], length, stride, shortest)


def test_no_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="no track is long enough"):
        evaluate_windows(StaticBox, cut([Film(empty())], 5, 5))


def test_every_window_is_followed_through_its_own_frames_only() -> None:
    sequence = film(line(1, range(20)), line(2, range(4, 12)), line(3, [0, 1, 2, 17, 18, 19]))
    windows = cut([sequence], 5, 2, shortest=3)
    true = dict(enumerate(windows))
    oracle = Oracle(true)
    result = evaluate_windows(lambda: oracle, windows)
    expected = {(n, w.first + t) for n, w in true.items() for t in range(len(w.boxes))}
    assert len(oracle.seen) == len(expected)
    assert set(oracle.seen) == expected
    lengths = np.isfinite(result.iou).sum(1)
    assert lengths.tolist() == [len(w.boxes) for w in windows]
    assert np.nanmin(result.iou) == pytest.approx(1)
    for row, window in zip(result.boxes, windows, strict=True):
        assert row[: len(window.boxes)] == pytest.approx(window.boxes)


def test_each_sequence_gets_a_tracker_and_its_own_frames() -> None:
    films = [film(line(1, range(6))), film(line(1, range(3, 9)))]
    windows = cut(films, 4, 2)
    made = []

    def make() -> Oracle:
        made.append(Oracle(dict(enumerate(windows))))
        return made[-1]

    evaluate_windows(make, windows)
    assert [sorted({frame for _, frame in o.seen}) for o in made] == [
        [0, 1, 2, 3, 4, 5],
        [3, 4, 5, 6, 7, 8],
    ]


def test_scores_of_a_tracker_that_is_off_by_a_known_amount() -> None:
    windows = cut([film(line(1, range(20)))], 5, 5)
    result = evaluate_windows(lambda: Oracle(dict(enumerate(windows)), offset=5.0), windows)
    assert result.iou[:, 0] == pytest.approx(1)
    assert result.iou[:, 1:] == pytest.approx(1 / 3)  # 5 of 15 columns are shared
    scores = summarise(result)
    assert scores["mean_iou"].mean == pytest.approx(1 / 3)  # the given box does not count
    assert scores["auc"].mean == pytest.approx(7 / 21)  # thresholds 0, .05 ... .30 are below 1/3
    assert scores["over_50"].mean == scores["lost"].mean == 0


def test_both_boxes_are_clipped_to_the_frame() -> None:
    box = np.tile([50.0, 10, 20, 10], (3, 1))  # 10 of its 20 columns are inside
    windows = [Window(Film(empty()), 0, 0, box)]
    tracker = Oracle({0: windows[0]._replace(boxes=box + [0, 0, 30, 0])})
    tracker.add = StaticBox.add.__get__(tracker)
    tracker.seen = []
    assert evaluate_windows(lambda: tracker, windows).iou == pytest.approx(np.ones((1, 3)))


def test_boxes_that_are_no_numbers_overlap_nothing_and_count() -> None:
    windows = cut([film(line(1, range(5)))], 5, 5)
    result = evaluate_windows(lambda: Oracle({0: windows[0]}, offset=float("nan")), windows)
    assert result.iou.tolist() == [[1, 0, 0, 0, 0]]
    assert mean_iou(result).mean == 0
    assert summarise(result)["lost"].mean == 1


def test_constant_velocity_sees_the_second_box_and_is_right_on_a_line() -> None:
    windows = cut([film(line(1, range(20)), line(7, range(3, 17)))], 8, 3)
    assert velocities(windows).tolist() == [[1, 0]] * len(windows)
    moving = evaluate_windows(ConstantVelocity, windows, velocity=True)
    assert np.nanmin(moving.iou) == pytest.approx(1)
    static = evaluate_windows(StaticBox, windows)
    shift = np.arange(8)
    assert static.iou == pytest.approx(np.tile((10 - shift) / (10 + shift), (len(windows), 1)))
    ahead = compare(moving, static)["mean_iou"]
    assert ahead.mean == pytest.approx(1 - static.iou[:, 1:].mean())
    assert ahead.low == pytest.approx(ahead.high)  # both objects differ alike


def test_the_tracker_gets_frames_as_it_wants_them() -> None:
    windows = cut([film(line(1, range(4)))], 4, 4)
    seen = []

    class Looker(StaticBox):
        def update(self, frame):
            seen.append(frame)
            return self.boxes

    evaluate_windows(Looker, windows, prepare=lambda frame: int(frame[0, 0, 0]) + 100)
    assert seen == [101, 102, 103]


def test_means_are_over_frames_and_intervals_over_objects() -> None:
    tracks = [line(1, range(30)), *(line(n, range(5)) for n in range(2, 6))]
    windows = cut([film(*tracks)], 5, 5)
    oracle = Oracle(dict(enumerate(windows)))
    result = evaluate_windows(lambda: oracle, windows)
    iou = result.iou.copy()
    iou[result.objects == 0, 1:] = 0.25
    worse = result._replace(iou=iou)
    found = mean_iou(worse)
    assert found.mean == pytest.approx((6 * 0.25 + 4) / 10)
    # Object 0 is absent from a third of the resamples (0.8^5), so the interval reaches 1.
    assert found.high == pytest.approx(1)
    assert found.low < 0.45
    assert mean_iou(worse) == found
    alone = mean_iou(worse._replace(objects=np.zeros(len(iou), int)))
    assert np.isnan([alone.low, alone.high]).all()


@pytest.mark.parametrize(
    ("folder", "windows", "static", "velocity"),
    [("PETS09-S2L1", 148, (0.188, 0.188, 0.18), 0.472), ("TUD-Stadtmitte", 62, (0.470,), 0.760)],
)
def test_trivial_trackers_on_real_video(data_dir: Path, folder, windows, static, velocity) -> None:
    from datasets.mot import load

    found = cut([load(data_dir / "mot15" / folder)], 30, 15)
    assert len(found) == windows
    scores = [s.mean for s in summarise(evaluate_windows(StaticBox, found)).values()]
    assert scores[: len(static)] == pytest.approx(static, abs=0.005)
    assert scores[0] == pytest.approx(static[0], abs=5e-4)
    moving = mean_iou(evaluate_windows(ConstantVelocity, found, velocity=True))
    assert moving.mean == pytest.approx(velocity, abs=5e-4)


def test_trivial_trackers_on_a_short_kitti_clip(data_dir: Path) -> None:
    from datasets.source import load

    windows = cut(load(f"kitti:{data_dir / 'kitti_tracking'}"), 30, 15, shortest=5)
    static = evaluate_windows(StaticBox, windows)
    assert len(np.unique(static.objects)) == 4
    assert np.isfinite(static.iou[:, 1:]).sum() == 28
    scores = summarise(static)
    assert scores["mean_iou"].mean == pytest.approx(0.426, abs=5e-4)
    assert scores["auc"].mean == pytest.approx(0.422, abs=5e-4)
    assert scores["over_50"].mean == pytest.approx(0.43, abs=5e-3)
    moving = summarise(evaluate_windows(ConstantVelocity, windows, velocity=True))
    assert moving["mean_iou"].mean == pytest.approx(0.664, abs=5e-4)
    assert moving["auc"].mean == pytest.approx(0.655, abs=5e-4)
