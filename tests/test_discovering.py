"""Objects that SQAIR finds: followed by it (``find``), or handed to HART (``discover``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from common.boxes import clip
from common.checkpoint import save_weights
from common.overlay import colour
from common.stream import Stream
from common.tracks import by_id, read_mot
from experiments import cli, discovering, track
from experiments.discovering import CHUNK, Handover, Sighting, discover, find
from experiments.following import follow
from hart.config import HartConfig
from hart.model import Hart
from sqair.air import Air, AirConfig
from sqair.config import SqairConfig
from sqair.follower import Follower, Found
from sqair.inference import Inference
from sqair.model import Sqair
from sqair.vrnn import Vrnn, VrnnConfig

SIZE, LENGTH = (80, 100), 25  # (H, W), frames
LEVELS, WIDE, HIGH = (100, 200), 20, 16  # two rectangles
SECOND = 14  # frame in which the second one is there all at once
SMALL = {"size": 8, "slots": 2, "what": 3, "glimpse": 4, "hidden": 8}


def truth(time: int) -> np.ndarray:
    """``(2, 4)`` whole boxes: one comes in from the left, one stands on the right."""
    return np.array([(-12.0 + 3 * time, 10, WIDE, HIGH), (70, 40, WIDE, HIGH)])


def film(length: int = LENGTH) -> Tensor:
    """``(T, 3, H, W)`` uint8."""
    frames = torch.zeros(length, 3, *SIZE, dtype=torch.uint8)
    for time, frame in enumerate(frames):
        for (x, y, w, h), level in list(zip(truth(time).astype(int), LEVELS))[
            : 1 + (time >= SECOND)
        ]:
            frame[:, y : y + h, max(x, 0) : max(x + w, 0)] = level
    return frames


class Spotter:
    """In place of SQAIR: tells rectangles by brightness, the brightest is in the first slot."""

    def __init__(self) -> None:
        self.names: dict[int, int] = {}
        self.parts: list[int] = []

    def update(self, frames: Tensor) -> Found:
        self.parts.append(len(frames))
        ids = torch.full((len(frames), 2), -1)
        boxes, visible = torch.zeros(len(frames), 2, 4), torch.zeros(len(frames), 2)
        for time, frame in enumerate(frames):
            for slot, level in enumerate(reversed(LEVELS)):
                y, x = (frame[0] == level).nonzero().unbind(-1)
                if len(x):
                    ids[time, slot] = self.names.setdefault(level, len(self.names))
                    corner, end = (
                        torch.stack((x.min(), y.min())),
                        torch.stack((x.max(), y.max())) + 1,
                    )
                    boxes[time, slot] = torch.cat((corner, end - corner))
                    visible[time, slot] = len(x) / (WIDE * HIGH)
        return Found(ids, boxes, boxes + torch.tensor((-1.0, -1, 2, 2)), visible)


class Still:
    """In place of HART: boxes stay; that of an id is lost at the update that ``lose`` says."""

    def __init__(self, lose: dict[int, int] | None = None) -> None:
        self.ids: list[int] = []
        self.boxes, self.updates, self.lose = torch.zeros(0, 4), 0, lose or {}

    @property
    def lost(self) -> Tensor:
        return torch.tensor([self.lose.get(name) == self.updates for name in self.ids])

    def init(self, frame: Tensor, boxes: Any, ids: list[int]) -> None:
        self.ids, self.boxes = [], torch.zeros(0, 4)
        self.add(boxes, ids)

    def add(self, boxes: Any, ids: list[int]) -> None:
        self.ids, self.boxes = self.ids + ids, torch.cat((self.boxes, torch.tensor(boxes)))

    def drop(self, ids: list[int]) -> None:
        keep = [n for n, name in enumerate(self.ids) if name not in ids]
        self.ids, self.boxes = [self.ids[n] for n in keep], self.boxes[keep]

    def update(self, frame: Tensor, return_glimpses: bool = False) -> Tensor:
        self.updates += 1
        return self.boxes


def write(folder: Path, frames: Tensor) -> Path:
    """Frames as a folder of images, without loss."""
    folder.mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number:03d}.png"), frame.permute(1, 2, 0).numpy())
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write(tmp_path / "film", film())


@pytest.fixture
def spotter(monkeypatch: pytest.MonkeyPatch) -> Spotter:
    """Takes the place of whatever ``--weights`` or ``--discover`` would load."""
    made = Spotter()
    monkeypatch.setattr(discovering, "load", lambda *_: made)
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained models of every kind, by name."""
    torch.manual_seed(0)
    folder, vrnn = tmp_path_factory.mktemp("weights"), VrnnConfig()
    models = {
        "sqair": (SqairConfig(**SMALL, discovery_bias=50.0, propagation_bias=50.0), Sqair),
        "air": (AirConfig(**SMALL), Air),
        "vrnn": (vrnn, Vrnn),
        "hart": (HartConfig(), Hart),
    }
    return {
        name: save_weights(
            folder / f"{name}.pt",
            name,
            {**asdict(config), "model": name},
            make(config).state_dict(),
        )
        for name, (config, make) in models.items()
    }


def test_found_objects_frame_by_frame(spotter: Spotter) -> None:
    seen = list(find(spotter, film(), 2, 24, windows=True))
    assert [item.number for item in seen] == list(range(2, 24))
    assert spotter.parts == [CHUNK, CHUNK, 2]
    for item in seen:
        both = truth(item.number)
        expected = {1: clip(torch.tensor(both[:1]), *SIZE)[0].tolist()}
        if item.number >= SECOND:
            expected[2] = both[1].tolist()
        assert dict(zip(item.ids, item.boxes.tolist())) == expected
        np.testing.assert_array_equal(item.windows, item.boxes + (-1, -1, 2, 2))
        assert (item.frame.shape, item.lost) == ((3, *SIZE), [])
    assert seen[-1].ids == [2, 1]
    assert next(find(Spotter(), film(), 0, None, windows=False)).windows is None


def test_no_more_than_a_part_is_held() -> None:
    taken = 0

    def frames() -> Iterator[Tensor]:
        nonlocal taken
        for frame in film(40):
            taken += 1
            yield frame

    for item in find(Spotter(), frames(), 3, None, windows=False):
        assert taken <= item.number + CHUNK


def test_objects_are_handed_over_where_they_are_well_visible() -> None:
    plan = discover(Spotter(), film(), 1, None, persistence=3)
    assert plan.first == 1
    begun = {time: plan.due(time, [], np.zeros((0, 4))) for time in range(1, LENGTH)}
    shown = [time for time, starts in begun.items() if any(start.id == 1 for start in starts)]
    assert shown == list(range(4, LENGTH))  # 18 of 20 columns are in the frame then
    assert begun[4][0].box == (0, 10, WIDE, HIGH)
    assert [start.id for start in begun[SECOND]] == [2, 1]  # whose order is Spotter's


def test_fleeting_objects_are_not_handed_over() -> None:
    frames = film()
    for persistence, count in ((LENGTH - SECOND, 2), (LENGTH - SECOND + 1, 1)):
        plan = discover(Spotter(), frames, 0, None, persistence)
        names = {
            start.id for time in range(LENGTH) for start in plan.due(time, [], np.zeros((0, 4)))
        }
        assert len(names) == count


def sighting(frame: int, name: int, x: float, visible: float = 1.0) -> Sighting:
    return Sighting(frame, name, (x, 10.0, 20.0, 20.0), visible)


def test_ids_are_in_the_order_of_beginning() -> None:
    late = [sighting(time, 0, 0, 0.3 + time / 10) for time in range(6)]  # well visible in frame 6
    soon = [sighting(time, 3, 50) for time in range(2, 6)]
    seen = list(follow(Still(), film(8), Handover(late + soon, 0, 1)))
    assert [item.ids for item in seen] == [[], [], [1], [1], [1], [1, 2], [1, 2], [1, 2]]
    assert seen[5].boxes.tolist() == [[50, 10, 20, 20], [0, 10, 20, 20]]  # at its best


def test_what_is_followed_is_not_begun_again() -> None:
    first = [sighting(time, 0, 10) for time in range(3)]
    # Under another id: at first over the followed object, then beside it.
    second = [sighting(time, 1, 10 + 8 * (time - 2)) for time in range(2, 6)]
    seen = list(follow(Still(), film(6), Handover(first + second, 0, 1)))
    assert [item.ids for item in seen] == [[1], [1], [1], [1], [1, 2], [1, 2]]
    assert seen[4].boxes[1].tolist() == [26, 10, 20, 20]
    both = [sighting(0, 0, 10), sighting(0, 1, 12), sighting(0, 2, 40)]  # two at a time
    assert [s.box[0] for s in Handover(both, 0, 1).due(0, [], np.zeros((0, 4)))] == [10, 40]


def test_lost_objects_begin_again_under_their_id() -> None:
    seen_by_sqair = [sighting(time, 7, 10, 1.0 if time != 3 else 0.5) for time in range(6)]
    seen = list(follow(Still({1: 2}), film(6), Handover(seen_by_sqair, 0, 1)))
    assert [item.ids for item in seen] == [[1], [1], [1], [1], [1], [1]]
    assert [item.lost for item in seen] == [[], [], [1], [], [], []]
    gone = [sighting(time, 7, 10) for time in (0, 1, 4)]
    seen = list(follow(Still({1: 2}), film(6), Handover(gone, 0, 1)))
    assert [item.ids for item in seen] == [[1], [1], [], [], [1], [1]]


def test_discover_writes_what_hart_follows(
    video: Path, spotter: Spotter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("experiments.following.load_tracker", lambda *_: Still({1: 3}))
    overlay, tracks = tmp_path / "overlay.avi", tmp_path / "tracks.txt"
    options = f"--source {video} --discover S --output {overlay} --tracks {tracks} --last-frame 20"
    assert track.main(options.split()) == 0
    found = by_id(read_mot(tracks))
    assert {name: one.frame.tolist() for name, one in found.items()} == {
        1: list(range(4, 20)),
        2: list(range(SECOND, 20)),
    }
    # Lost at the third update, in frame 7, it begins again where it is then.
    left = [max(-12 + 3 * (4 if time < 7 else 7), 0) for time in range(4, 20)]
    assert found[1].box[:, 0].tolist() == left
    with Stream(overlay) as stream:  # three times as large as the video
        frames = [frame.numpy().astype(int) for frame in stream]
    assert (len(frames), frames[0].shape) == (20, (3, 240, 300))
    edge = [frame[:, 125:165, 210].mean(1) for frame in frames]
    assert np.abs(edge[SECOND] - colour(2)).max() < 60
    assert edge[SECOND - 1].max() < 30
    out = capsys.readouterr().out
    assert "followed 2 objects through 20 frames" in out
    assert "lost" not in out


@pytest.mark.parametrize("option", ["--weights", "--discover"])
def test_a_video_without_objects(
    option: str, spotter: Spotter, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source, tracks = write(tmp_path / "empty", torch.zeros(3, 3, 40, 40)), tmp_path / "tracks.txt"
    overlay = tmp_path / "overlay.gif"
    model = {"--weights": "sqair", "--discover": "hart"}[option]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.kinds.kind", lambda weights: model)
        patch.setattr("experiments.following.load_tracker", lambda *_: Still())
        options = f"--source {source} {option} S --tracks {tracks} --output {overlay}"
        assert track.main(options.split()) == 0
    assert tracks.read_text() == ""
    assert "found no object in 3 frames" in capsys.readouterr().out
    assert overlay.is_file()


def test_weights_of_sqair_find_their_own_objects(
    video: Path, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tracks, overlay = tmp_path / "tracks.txt", tmp_path / "overlay.avi"
    options = f"--source {video} --weights {files['sqair']} --tracks {tracks} --output {overlay}"
    chosen = "--first-frame 3 --last-frame 16 --particles 2 --seed 4 --device cpu --windows"
    assert track.main(f"{options} {chosen}".split()) == 0
    model = discovering.load(str(files["sqair"]), "--weights", "cpu", 2, 4).model
    again = Follower(Inference(model), particles=2, seed=4)
    found = [again.update(part) for part in film()[2:16].split(CHUNK)]
    ids, boxes = torch.cat([part.ids for part in found]), torch.cat([part.boxes for part in found])
    there = (boxes[..., 2:] > 0).all(-1)
    written = read_mot(tracks)
    assert len(written.id) > 10
    assert written.id.tolist() == (ids[there] + 1).tolist()
    assert written.frame.tolist() == (there.nonzero()[:, 0] + 2).tolist()
    np.testing.assert_allclose(written.box, boxes[there], atol=1e-5)
    with Stream(overlay) as stream:
        assert len(list(stream)) == 14
    assert re.search(r"followed \d objects through 14 frames", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--weights sqair --box 1,2,3,4", "--box: SQAIR finds its own objects, leave it out"),
        ("--weights air --boxes B", "--boxes: AIR finds its own objects"),
        ("--weights sqair --discover sqair", "--discover: SQAIR finds its own objects"),
        ("--weights vrnn", "--weights: a Vrnn knows no objects"),
        ("--weights hart", "give the objects by --box x,y,w,h ..., --boxes FILE or --discover"),
        ("--discover sqair --box 1,2,3,4", "--box: --discover finds the objects"),
        ("--discover hart", "--discover: .*hart.pt: not the weights of one of sqair, air, vrnn"),
        ("--discover air", "--discover: AIR keeps no object from frame to frame"),
        ("--discover missing", "--discover: .*missing: neither a weight file nor a run"),
        ("--discover sqair --source 0", "--discover reads the video twice, --source 0"),
        ("--discover sqair --source rtsp://x", "--discover reads the video twice"),
        ("--discover sqair --persistence 0", "--persistence 0: expected 1 or more"),
        ("--weights sqair --particles 0", "--particles 0: expected 1 or more"),
        ("--weights sqair --seed -1", "--seed -1: expected 0 or more"),
        ("--weights sqair --first-frame 99", "--source .*: ended before frame 99"),
        ("--discover sqair --first-frame 99", "--source .*: ended before frame 99"),
    ],
)
def test_errors_name_the_option(
    options: str,
    message: str,
    video: Path,
    files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    words = [str(files.get(word, word)) for word in options.split()]
    if "--source" not in words:
        words += ["--source", str(video)]
    assert cli.main(["track", *words, "--tracks", str(tmp_path / "t.txt")]) == 2
    said = capsys.readouterr()
    assert re.search(message, said.err), said.err
    assert not (tmp_path / "t.txt").exists()
