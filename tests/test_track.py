"""``attend track``: objects begin where they are given, are followed, lost, drawn and written."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from common.checkpoint import save_weights
from common.overlay import colour
from common.stream import Stream
from common.tracks import read_mot
from common.writer import write_video
from experiments import cli, track
from experiments.following import Start, follow, read_starts
from hart.config import HartConfig
from hart.model import Hart

SIZE = (72, 96)  # (H, W)


class Scripted:
    """A tracker that moves every box by one pixel to the right and loses what passes ``wall``."""

    def __init__(self, wall: float = 60) -> None:
        self.ids: list[int] = []
        self.wall, self.begun, self.updates = wall, 0, 0
        self.boxes = torch.zeros(0, 4)

    @property
    def lost(self) -> Tensor:
        return self.boxes[:, 0] > self.wall

    def init(self, frame: Tensor, boxes: object, ids: list[int]) -> None:
        self.ids, self.boxes, self.begun = [], torch.zeros(0, 4), self.begun + 1
        self.add(boxes, ids)

    def add(self, boxes: object, ids: list[int]) -> None:
        self.ids = self.ids + list(ids)
        self.boxes = torch.cat((self.boxes, torch.tensor(boxes, dtype=torch.float32)))

    def drop(self, ids: list[int]) -> None:
        keep = [n for n, name in enumerate(self.ids) if name not in ids]
        self.ids, self.boxes = [self.ids[n] for n in keep], self.boxes[keep]

    def update(self, frame: Tensor, return_glimpses: bool = False) -> Tensor:
        self.updates += 1
        self.boxes = self.boxes + torch.tensor((1.0, 0, 0, 0))
        return self.boxes.clone()


def film(length: int = 12) -> np.ndarray:
    """``(T, H, W, 3)``: a textured patch of 20 x 16 pixels moves over a dim ground."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 90, (*SIZE, 3), np.uint8)
    patch = np.kron(rng.integers(0, 255, (4, 5, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
    frames = np.repeat(ground[None], length, 0)
    for time, frame in enumerate(frames):
        frame[30:46, 20 + time : 40 + time] = patch
    return frames


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "film.avi"
    write_video(path, film(), 20.0)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model's: it finds the first frame's pixels again, no more."""
    torch.manual_seed(0)
    config = HartConfig()
    values = {**dataclasses.asdict(config), "model": "hart"}
    path = tmp_path_factory.mktemp("weights") / "untrained.pt"
    return save_weights(path, "hart", values, Hart(config).state_dict())


def numbered(count: int) -> Iterator[Tensor]:
    for _ in range(count):
        yield torch.zeros(3, *SIZE, dtype=torch.uint8)


def start(frame: int, name: int, x: float = 10) -> Start:
    return Start(frame, name, (x, 20, 10, 12), "a test")


def test_objects_begin_in_their_own_frames() -> None:
    tracker = Scripted()
    seen = list(follow(tracker, numbered(6), [start(2, 7), start(4, 3, 30)]))
    assert [(item.number, item.ids) for item in seen] == [
        (2, [7]),
        (3, [7]),
        (4, [7, 3]),
        (5, [7, 3]),
    ]
    np.testing.assert_array_equal([item.boxes[0, 0] for item in seen], (10, 11, 12, 13))
    np.testing.assert_array_equal(seen[-1].boxes[1], (31, 20, 10, 12))
    assert tracker.begun == 1


def test_lost_objects_are_let_go_and_others_can_begin_later() -> None:
    tracker = Scripted(wall=11)
    seen = list(follow(tracker, numbered(6), [start(0, 1), start(4, 2)]))
    assert [item.ids for item in seen] == [[1], [1], [], [], [2], [2]]
    assert [item.lost for item in seen] == [[], [], [1], [], [], []]
    assert (tracker.updates, tracker.begun) == (3, 2)  # nothing is computed for nobody
    assert seen[2].boxes.shape == (0, 4)


def test_frames_are_taken_one_at_a_time() -> None:
    taken = 0

    def frames() -> Iterator[Tensor]:
        nonlocal taken
        for frame in numbered(100):
            taken += 1
            yield frame

    for count, _ in zip(range(1, 6), follow(Scripted(), frames(), [start(0, 1)])):
        assert taken == count


def test_boxes_on_the_command_line() -> None:
    starts = read_starts([("1,2,3,4", "-5,6.5,7,8"), ("9,9,9,9",)], None, 4)
    assert [(s.frame, s.id, s.box) for s in starts] == [
        (4, 1, (1, 2, 3, 4)),
        (4, 2, (-5, 6.5, 7, 8)),
        (4, 3, (9, 9, 9, 9)),
    ]
    for wrong in ("1,2,3", "1,2,3,x", "1,2,0,4", "1,2,nan,4", ""):
        with pytest.raises(ValueError, match=f"--box {wrong}: expected x,y,w,h"):
            read_starts([(wrong,)], None, 0)


def test_boxes_from_files(tmp_path: Path) -> None:
    file = tmp_path / "boxes.txt"
    file.write_text("10,20,30,40\n\n1.5 2 3 4\n")
    starts = read_starts([], file, 2)
    assert [s[:3] for s in starts] == [(2, 1, (10, 20, 30, 40)), (2, 2, (1.5, 2, 3, 4))]
    file.write_text(
        "1,9,11,21,5,6,1\n2,9,12,21,5,6,1\n5,9,1,1,5,6,1\n4,3,7,8,2,2,1\n4,4,7,8,2,2,0\n"
    )
    assert [s[:3] for s in read_starts([], file, 0)] == [
        (3, 3, (6, 7, 2, 2)),
        (0, 9, (10, 20, 5, 6)),
    ]
    assert [s[:3] for s in read_starts([], file, 2)] == [
        (3, 3, (6, 7, 2, 2)),
        (4, 9, (0, 0, 5, 6)),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty, expected boxes"),
        ("1,2,3,4\n1,2,3\n", "line 2: 3 columns, expected 4"),
        ("1,2,3,4\n1,2,3,-4\n", "line 2: expected x,y,w,h with w and h above 0"),
        ("1,1,2,3,4,5,1\n1,1,2,3,4,5,1\n", "line 2: id 1 is in frame 1 already"),
        ("1,1,2,3,4,5,1\n", "no box in frame 3 or later"),
    ],
)
def test_bad_files_of_boxes(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "boxes.txt"
    file.write_text(content)
    with pytest.raises(ValueError, match=f"--boxes: .*boxes.txt.*{message}"):
        read_starts([], file, 2)


def test_exactly_one_source_of_boxes(tmp_path: Path) -> None:
    for given, file in (([], None), ([("1,2,3,4",)], tmp_path / "boxes.txt")):
        with pytest.raises(ValueError, match=r"--box .* or by --boxes FILE"):
            read_starts(given, file, 0)


def test_track_writes_video_and_tracks(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    overlay, tracks = tmp_path / "new" / "overlay.mp4", tmp_path / "new" / "tracks.txt"
    options = f"--source {video} --weights {weights} --box 20,30,20,16 --first-frame 3 --threads 1"
    outputs = f"--output {overlay} --tracks {tracks} --last-frame 10 --windows"
    assert track.main(f"{options} {outputs}".split()) == 0
    written = read_mot(tracks)
    np.testing.assert_array_equal(written.frame, np.arange(2, 10))
    assert set(written.id.tolist()) == {1}
    np.testing.assert_allclose(written.box[0], (20, 30, 20, 16))
    assert tracks.read_text().startswith("3,1,21,31,20,16,1,")
    with Stream(overlay) as stream:
        frames = [frame.numpy() for frame in stream]
        large = (3 * SIZE[0], 3 * SIZE[1])  # at least 200 pixels high
        assert (len(frames), stream.size, stream.frame_rate) == (8, large, 20)
    edge = frames[0][:, 102:132, 60].mean(1)  # the box's left side, through the video's coding
    assert np.abs(edge - colour(1)).max() < 90
    assert np.abs(frames[0][:, 102:132, 210].mean(1) - 75).max() < 12
    out = capsys.readouterr().out
    assert "followed 1 object through 8 frames" in out
    assert f"wrote {overlay}" in out


def test_lost_objects_are_neither_written_nor_drawn(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("experiments.following.load_tracker", lambda *_: Scripted(wall=12))
    overlay, tracks = tmp_path / "overlay.avi", tmp_path / "tracks.txt"
    boxes = tmp_path / "boxes.txt"
    boxes.write_text("1,5,11,21,10,12,1\n3,8,2,3,10,12,1\n")
    options = f"--source {video} --boxes {boxes} --output {overlay} --tracks {tracks}"
    assert track.main(options.split()) == 0
    written = read_mot(tracks)
    rows = list(zip(written.frame.tolist(), written.id.tolist()))
    assert [row for row in rows if row[1] == 5] == [(0, 5), (1, 5), (2, 5)]
    assert [frame for frame, name in rows if name == 8] == list(range(2, 12))
    with Stream(overlay) as stream:
        frames = [frame.numpy().astype(int) for frame in stream]
    left = [frame[:, 72:84, 30:42] - 75 for frame in frames]
    assert np.abs(left[0]).max() > 60
    assert np.abs(left[4]).max() < 40
    assert "object 5 was lost in frame 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--box 1,2,3,4", "nothing to make: give --output, --tracks or --show"),
        ("--box 1,2,3 --tracks T", "--box 1,2,3: expected x,y,w,h"),
        ("--box 500,2,3,4 --tracks T", "--box 500,2,3,4: the box is outside the 96 x 72 frame"),
        ("--box 1,2,3,4 --output T.webp", "--output .*T.webp: expected a name in .gif"),
        ("--boxes T --tracks T", "--boxes: no file .*T"),
        ("--box 1,2,3,4 --tracks T --first-frame 0", "--first-frame 0: frames count from 1"),
        ("--box 1,2,3,4 --tracks T --first-frame 99", "--source .*: ended before frame 99"),
        ("--box 1,2,3,4 --tracks T --first-frame 9 --last-frame 3", "--last-frame 3: before"),
        ("--box 1,2,3,4 --tracks T --threads -1", "--threads -1"),
        (
            "--box 1,2,3,4 --tracks T --weights T.pt",
            "--weights: .*T.pt: neither a weight file nor a run",
        ),
        ("--box 1,2,3,4 --tracks T --source T.mp4", "--source: no video file .*T.mp4"),
    ],
)
def test_errors_name_the_option(
    options: str,
    message: str,
    video: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    words = [str(tmp_path / word) if word.startswith("T") else word for word in options.split()]
    given = dict(zip(words[::2], words[1::2]))
    for name, value in (("--source", video), ("--weights", weights)):
        if name not in given:
            words += [name, str(value)]
    assert cli.main(["track", *words]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert re.search(message, said.err), said.err


def test_no_display_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ValueError, match="--show: no display"):
        track.main(["--source", "x", "--box", "1,2,3,4", "--show"])
