"""``attend evaluate``, OpenCV's trackers, and their speed: what is printed is what was scored."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from common import tracks
from common.checkpoint import save_weights
from experiments import benchmark_peers, cli, peers, scores
from experiments.evaluate import EvaluateConfig, check, cut_all
from experiments.peers import OpenCVTracker, Scene, speed
from experiments.protocol import Contender, Result
from hart.baselines import StaticBox

FRAMES, LENGTH, STRIDE = 14, 6, 3
BOX, SPEED = np.array([10.0, 12, 20, 24]), np.array([2.0, 1])  # of the moving object


def film() -> np.ndarray:
    """``(T, H, W, 3)`` RGB: one textured object moves over a flat ground, another stands still."""
    rng = np.random.default_rng(0)
    frames = np.full((FRAMES, 72, 96, 3), 90, np.uint8)
    textures = [cv2.resize(rng.integers(0, 255, (6, 6, 3), np.uint8), (20, 24)) for _ in "ab"]
    for time, frame in enumerate(frames):
        x, y = (BOX[:2] + time * SPEED).astype(int)
        frame[44:68, 70:90] = textures[1]
        frame[y : y + 24, x : x + 20] = textures[0]
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A MOTChallenge folder of the film."""
    root = tmp_path_factory.mktemp("film")
    (root / "img1").mkdir()
    (root / "gt").mkdir()
    rows = []
    for time, frame in enumerate(film()):
        cv2.imwrite(str(root / "img1" / f"{time + 1:06d}.png"), frame[..., ::-1])
        x, y = BOX[:2] + time * SPEED
        rows.append(f"{time + 1},1,{x + 1},{y + 1},20,24,1,-1,-1,-1")
        rows.append(f"{time + 1},2,71,45,20,24,1,-1,-1,-1")
    (root / "gt" / "gt.txt").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """An untrained model."""
    from hart.config import HartConfig
    from hart.model import Hart

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "untrained.pt"
    config = HartConfig(glimpse=16, stem=(4, 8, 8), features=16)
    return save_weights(
        path, "tiny", {"model": "hart", **asdict(config)}, Hart(config).state_dict()
    )


@pytest.fixture(autouse=True)
def _quick(monkeypatch) -> None:
    """Speed is measured, but not well."""
    monkeypatch.setattr("experiments.evaluate.TURN", 0.01)


def evaluate(folder: Path, weights: Path, *options: str) -> int:
    return cli.main(
        ["evaluate", str(weights), "--data", f"mot:{folder}", "--threads", "1", *options]
    )


def static_iou() -> np.ndarray:
    """``(2, L)`` of the moving and of the standing object, by geometry."""
    shift = np.arange(LENGTH)[:, None] * SPEED
    shared = (BOX[2:] - shift).prod(1)
    return np.stack((shared / (2 * 20 * 24 - shared), np.ones(LENGTH)))


def test_the_json_holds_what_was_scored(folder, weights, tmp_path, capsys) -> None:
    options = ["--windows", str(LENGTH), "4", "--stride", str(STRIDE)]
    file, picture = tmp_path / "new" / "e.json", tmp_path / "new" / "e.png"
    code = evaluate(folder, weights, *options, "--json", str(file), "--figure", str(picture))
    assert code == 0
    found = json.loads(file.read_text())
    assert (found["model"], found["windows"], found["objects"]) == ("tiny", 6, 2)
    assert len(found["iou_by_step"]) == LENGTH
    assert found["iou_by_step"][0] == 1
    assert found["samples_by_step"] == [6] * LENGTH
    assert found["mean_iou"] == pytest.approx(np.mean(found["iou_by_step"][1:]))
    assert 0 <= found["interval"]["mean_iou"][0] <= found["mean_iou"]
    assert 0 <= found["lost"] <= 1 > found["auc"] > 0
    assert found["updates_per_second"] > 0
    static, velocity = found["trackers"]["static"], found["trackers"]["constant velocity"]
    expected = static_iou()
    assert static["iou_by_step"] == pytest.approx(expected.mean(0))
    assert static["mean_iou"] == pytest.approx(expected[:, 1:].mean())
    assert static["over_50"] == pytest.approx((expected[:, 1:] > 0.5).mean())
    ahead = static["ahead"]["mean_iou"]["mean"]
    assert ahead == pytest.approx(found["mean_iou"] - static["mean_iou"])
    assert velocity["mean_iou"] == pytest.approx(1)
    assert found["trackers"]["tiny"]["mean_iou"] == found["mean_iou"]
    assert [found["lengths"][n]["windows"] for n in (str(LENGTH), "4")] == [6, 8]
    assert picture.stat().st_size > 10_000
    out = capsys.readouterr().out
    assert f"{found['mean_iou']:.3f}"[1:] in out
    assert f"{static['mean_iou']:.3f}"[1:] in out


def test_several_sources_are_shown_together_and_apart(folder, weights, tmp_path, capsys) -> None:
    file = tmp_path / "e.json"
    options = ["--windows", "4", "--stride", "2", "--json", str(file)]
    part = f"mot:{folder}:5-10"
    code = cli.main(["evaluate", str(weights), "--data", f"mot:{folder}", part, *options])
    assert code == 0
    found = json.loads(file.read_text())
    rows = found["sources"]
    assert [row["windows"] for row in rows.values()] == [16, 12, 4]
    assert list(rows) == ["all", f"mot:{folder}", part]
    assert found["objects"] == 4
    assert found["mean_iou"] == rows["all"]["mean_iou"]
    mean = (12 * rows[f"mot:{folder}"]["mean_iou"] + 4 * rows[part]["mean_iou"]) / 16
    assert found["mean_iou"] == pytest.approx(mean)
    out = capsys.readouterr().out
    assert all(f"{source}: " in out for source in rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"windows": (1,)}, "--windows"),
        ({"windows": ()}, "--windows"),
        ({"windows": (5, 5)}, "--windows"),
        ({"stride": 0}, "--stride"),
        ({"threads": -1}, "--threads"),
        ({"data": ()}, "--data"),
        ({"data": ("sprites", "sprites")}, "--data"),
        ({"figure": Path("a.txt")}, "--figure"),
        ({"json": Path("/")}, "--json"),
    ],
)
def test_wrong_options_are_named_at_once(change, message) -> None:
    check(EvaluateConfig("w.pt"))
    with pytest.raises(ValueError, match=message):
        check(EvaluateConfig("w.pt", **change))


def test_wrong_files_are_one_line(folder, weights, tmp_path, capsys) -> None:
    assert evaluate(folder, tmp_path / "none.pt") == 2
    assert "WEIGHTS" in capsys.readouterr().err
    assert evaluate(tmp_path / "none", weights) == 2
    assert "--data" in capsys.readouterr().err
    assert evaluate(folder, weights, "--windows", "30") == 2
    assert "no track of 30 frames" in capsys.readouterr().err


def test_video_without_boxes_is_not_blamed_on_the_windows() -> None:
    bare = SimpleNamespace(tracks=tracks.empty())
    with pytest.raises(ValueError, match="video:street.mp4: no boxes in it"):
        cut_all({"video:street.mp4": [bare]}, LENGTH, STRIDE)


class Scripted:
    """Stands for one of OpenCV's trackers: answers from a list, one a frame."""

    def __init__(self, answers: list) -> None:
        self.answers, self.given = list(answers), None

    def init(self, _frame, box) -> None:
        self.given = box

    def update(self, _frame) -> tuple:
        answer = self.answers.pop(0)
        if answer is None:
            raise cv2.error("inside OpenCV")
        return answer


def test_a_failing_tracker_holds_its_last_box() -> None:
    answers = [(True, (1, 2, 8, 9)), (False, (0, 0, 0, 0)), None, (True, (5, 6, 8, 9))]
    tracker = OpenCVTracker(lambda: Scripted(answers), whole=True)
    frame = np.zeros((40, 60, 3), np.uint8)
    tracker.init(frame, [[1.6, 2.4, 8.2, 8.7]])
    assert tracker.boxes.numpy()[0] == pytest.approx([1.6, 2.4, 8.2, 8.7])
    found = [tracker.update(frame)[0].tolist() for _ in answers]
    assert found == [[1, 2, 8, 9]] * 3 + [[5, 6, 8, 9]]


def test_boxes_are_given_to_opencv_as_it_takes_them() -> None:
    frame = np.zeros((40, 60, 3), np.uint8)
    for whole, expected in ((True, (2, 0, 8, 9)), (False, (1.6, 0.0, 8.25, 8.75))):
        made = []
        tracker = OpenCVTracker(lambda made=made: made.append(Scripted([])) or made[-1], whole)
        tracker.init(frame, [[1.6, -2.0, 8.25, 10.75]])
        assert made[0].given == pytest.approx(expected)
        assert {type(value) for value in made[0].given} == {int if whole else float}


def test_a_box_too_small_for_opencv_stays() -> None:
    tracker = OpenCVTracker(cv2.TrackerMIL_create, whole=True)
    frame = np.zeros((40, 60, 3), np.uint8)
    tracker.init(frame, [[57.0, 2, 20, 20]])  # 3 of its columns are in the frame
    assert tracker.update(frame).tolist() == [[57.0, 2, 20, 20]]


def test_dropped_objects_take_their_own_tracker_with_them() -> None:
    scripts = iter([[(True, (n, n, 5, 5))] for n in (1, 2, 3)])
    tracker = OpenCVTracker(lambda: Scripted(next(scripts)), whole=True)
    frame = np.zeros((40, 60, 3), np.uint8)
    tracker.init(frame, np.full((2, 4), 9.0), ids=[10, 20])
    tracker.add(np.full((1, 4), 9.0), ids=[30])
    tracker.drop([20])
    assert tracker.update(frame)[:, 0].tolist() == [1, 3]
    assert tracker.ids == [10, 30]


def test_opencv_follows_the_object_in_the_frames_it_is_given() -> None:
    found = {contender.name: contender for contender in peers.opencv()}
    assert "MIL" in found
    assert set(found) <= set(peers.OPENCV)
    mil = found["MIL"]
    frames = [mil.prepare(torch.from_numpy(f).permute(2, 0, 1)) for f in film()[:8]]
    assert frames[3][..., ::-1] == pytest.approx(film()[3])
    tracker = mil.make()
    tracker.init(frames[0], BOX)
    for frame in frames[1:]:
        box = tracker.update(frame)[0].numpy()
    assert np.abs(box[:2] - BOX[:2] - 7 * SPEED).max() <= 3  # of 14 pixels


class Slow(StaticBox):
    """Takes ``cost`` seconds of a simulated clock to update."""

    clock = 0.0

    def __init__(self, cost: float) -> None:
        super().__init__()
        self.cost = cost

    def init(self, frame, boxes, ids=None) -> None:
        Slow.clock += 100  # not to be counted
        super().init(frame, boxes, ids)

    def update(self, frame):
        Slow.clock += self.cost
        return super().update(frame)


def test_speed_counts_objects_and_leaves_initialisation_out(monkeypatch) -> None:
    monkeypatch.setattr(peers.time, "process_time", lambda: Slow.clock)
    scene = Scene(torch.zeros(5, 3, 8, 8, dtype=torch.uint8), np.ones((8, 4)), np.zeros((8, 2)))
    contenders = [Contender("quick", lambda: Slow(0.01)), Contender("slow", lambda: Slow(0.4))]
    rates = speed(contenders, [scene], rounds=3, seconds=1.0)
    assert rates["quick"] == pytest.approx(np.full(3, 800.0))
    assert rates["slow"] == pytest.approx(np.full(3, 20.0))
    found = benchmark_peers.record(rates)
    assert found["slow"]["ratio"] == pytest.approx(40)
    assert "quick is 40 x as fast" in benchmark_peers.table(rates)


def test_benchmark_runs_on_one_thread_and_writes_what_it_shows(weights, tmp_path, capsys) -> None:
    file = tmp_path / "speed.json"
    before = torch.get_num_threads(), cv2.getNumThreads()
    options = ["--objects", "2", "--size", "160", "120", "--rounds", "1", "--seconds", "0.05"]
    assert benchmark_peers.main(["--weights", str(weights), *options, "--json", str(file)]) == 0
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before
    found = json.loads(file.read_text())
    assert found["objects"] == 2
    assert set(found["trackers"]) == {"tiny", *(c.name for c in peers.opencv())}
    assert f"{found['trackers']['MIL']['updates_per_second']:,.0f}" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--rounds"):
        benchmark_peers.main(["--weights", str(weights), "--rounds", "0"])


def test_table_has_a_line_for_each_tracker_in_order() -> None:
    iou = np.array([[1.0, 0.75, 0.5], [1.0, 0.25, 0.0]])
    objects, boxes = np.array([0, 1]), np.zeros((2, 3, 4))
    rows = [
        scores.Row("ours", Result(iou, objects, boxes), 1234.5),
        scores.Row("other *", Result(iou * [1, 0.5, 0.5], objects, boxes)),
    ]
    lines = scores.table(rows).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["ours", "other"]
    # AUC: of 21 thresholds 15, 10, 5 and 0 lie below these four overlaps.
    assert " ".join(lines[1].split()) == "ours .375 [.125, .625] .357 .250 .500 1,234"
    assert lines[2].split()[2:5] == [".188", "[.062,", ".312]"]
    assert "+.188 [+.062, +.312]" in lines[2]
    assert set(scores.record(rows)["trackers"]) == {"ours", "other"}


def test_a_part_of_the_windows_keeps_rows_together() -> None:
    iou = np.arange(6.0).reshape(3, 2)
    row = scores.Row("a", Result(iou, np.array([5, 6, 7]), np.zeros((3, 2, 4))), 2.0)
    (found,) = scores.part([row], np.array([True, False, True]), {"a": 3.0})
    assert (found.name, found.rate) == ("a", 3.0)
    expected = "2 windows of 2 frames at stride 1, 2 objects, 2 scored frames"
    assert scores.describe([found], 2, 1) == expected
    iou[0, 1] = np.nan
    (shorter,) = scores.part([row], np.array([True, False, True]), {})
    expected = "2 windows of 1 to 2 frames at stride 1, 2 objects, 1 scored frames"
    assert scores.describe([shorter], 2, 1) == expected
    assert found.result.iou.tolist() == [[0, 1], [4, 5]]
    assert found.result.objects.tolist() == [5, 7]
