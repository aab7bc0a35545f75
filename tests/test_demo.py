"""``attend demo``: the shipped weights track a generated clip that a box standing still loses.

And they find, count and follow digits without a box, and imagine how it goes on.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from common.looks import Look
from common.stream import Stream
from common.tracks import build, read_mot
from datasets.moving_mnist import MnistBatch
from experiments import cli, demo, demo_sqair
from sqair.inference import Inferred
from sqair.state import Slots


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The demo's folder and what it printed."""
    import contextlib
    import io

    folder, said = tmp_path_factory.mktemp("demo") / "out", io.StringIO()
    begin = time.process_time()
    with contextlib.redirect_stdout(said):
        assert cli.main(["demo", "--output", str(folder)]) == 0
    assert time.process_time() - begin < 90  # of the CPU, whatever else runs; idle, it is seconds
    return folder, said.getvalue()


def test_table_says_that_tracking_pays(finished: tuple[Path, str]) -> None:
    rows = re.findall(r"^(hart|static|constant velocity)[ *]+(\.\d{3}) \[", finished[1], re.M)
    scores = {name: float(iou) for name, iou in rows}
    assert len(scores) == 3
    assert scores["hart"] > scores["static"] + 0.2
    assert scores["hart"] > 0.5


def test_files_show_the_clip_and_its_tracks(finished: tuple[Path, str]) -> None:
    folder, said = finished
    clip = demo.make_clip()
    length, objects, _ = clip.boxes.shape
    assert objects >= 4
    for name in (demo.CLIP, demo.OVERLAY):
        with Stream(folder / name) as stream:
            assert sum(1 for _ in stream) == length
            assert stream.size == tuple(clip.frames.shape[-2:])
    starts = read_mot(folder / demo.BOXES)
    np.testing.assert_allclose(starts.box, clip.boxes[0], atol=1e-3)
    tracks = read_mot(folder / demo.TRACKS)
    assert set(tracks.id.tolist()) == set(range(1, objects + 1))
    assert len(np.unique(tracks.frame)) > length / 2
    image = imread(folder / demo.GLIMPSES)[..., :3]
    assert image.std() > 0.05
    for name in (demo.OVERLAY, demo.GLIMPSES, demo.TRACKS):
        assert str(folder / name) in said


def test_the_object_that_is_drawn_is_followed() -> None:
    """One whose box runs away goes farther, and shows less."""
    nothing, truth = np.zeros(0), [np.array([2.0 * t, 0, 20, 20]) for t in range(8)]
    good = [Look(t, nothing, box + 1, box, nothing, None, box) for t, box in enumerate(truth)]
    lost = [look._replace(box=look.box + 90 * look.number) for look in good]
    assert demo.interest(good) > demo.interest(lost)
    still = [look._replace(box=truth[0], truth=truth[0]) for look in good]
    assert demo.interest(good) > demo.interest(still)
    assert demo.interest([look._replace(truth=None) for look in good]) == (0, 0)


def test_says_how_to_go_on(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder, said = finished
    command = re.search(r"^  attend (track --source \S+clip.*)$", said, re.M)[1].split()
    command[-1] = str(tmp_path / command[-1])
    assert cli.main([*command, "--last-frame", "3"]) == 0
    with Stream(tmp_path / "again.mp4") as stream:
        assert sum(1 for _ in stream) == 3
    assert "attend train hart" in said
    assert f"--boxes {folder / demo.BOXES}" in said


def test_digits_are_found_counted_and_followed(finished: tuple[Path, str]) -> None:
    row = r"^ +([012]) +(\d+) +(\d+) +(\d\.\d\d) +([\d.]+)% +(-|[\d.]+%) +(\d+)$"
    rows = re.findall(row, finished[1], re.M)
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert {int(frames) for _, _, frames, *_ in rows} == {demo_sqair.CLIPS * demo_sqair.LENGTH}
    for digits, _, _, counted, right, same, _ in rows:
        assert float(counted) == pytest.approx(int(digits), abs=0.1)
        assert float(right) > 90
        assert same == "-" if digits == "0" else float(same[:-1]) > 80


def test_files_show_digits_and_futures(finished: tuple[Path, str]) -> None:
    folder, said = finished
    clip = demo_sqair.make_clips(50, seed=demo.SEED).frames[:, -1]
    with Stream(folder / demo_sqair.CLIP) as stream:
        written = torch.stack(list(stream))[:, :1]
    assert written.shape == clip.shape
    assert (written.float() - clip).abs().mean() < 3  # of 255; a GIF has 256 colours
    lengths = {
        demo_sqair.OVERLAY: demo_sqair.LENGTH,
        demo_sqair.FUTURE_OVERLAY: demo_sqair.WATCHED + demo_sqair.IMAGINED,
    }
    for name, length in lengths.items():
        with Stream(folder / name) as stream:
            assert sum(1 for _ in stream) == length
    for name in (demo_sqair.FIGURE, demo_sqair.FUTURE):
        image = imread(folder / name)[..., :3]
        colours = image.max(-1) - image.min(-1)
        assert (colours > 0.5).mean() > 0.005  # boxes
        assert (image < 0.1).all(-1).mean() > 0.3  # canvases
    for name in (*lengths, demo_sqair.FIGURE, demo_sqair.FUTURE):
        assert str(folder / name) in said


def test_what_is_said_of_digits_runs(finished: tuple[Path, str], tmp_path: Path) -> None:
    command = re.search(r"^  attend (track --source \S+gif .*)$", finished[1], re.M)[1].split()
    command[-1] = str(tmp_path / command[-1])
    assert cli.main([*command, "--last-frame", "3"]) == 0
    assert (tmp_path / "found.gif").exists()
    assert "attend sample default:sqair --condition video:" in finished[1]


def test_clips_of_each_number_by_what_can_be_seen() -> None:
    batch = demo_sqair.make_clips(50, seed=3)
    number = batch.presence[0].sum(-1).tolist()
    assert number == [n for n in demo_sqair.COUNTS for _ in range(demo_sqair.CLIPS)]
    sight = demo_sqair.in_sight(batch, demo_sqair.WATCHED).tolist()
    for n in (1, 2):
        own = sight[n * demo_sqair.CLIPS : (n + 1) * demo_sqair.CLIPS]
        assert own == sorted(own) and own[0] < own[-1] <= 1
    again = demo_sqair.make_clips(50, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(batch, again))
    assert not torch.equal(batch.frames, demo_sqair.make_clips(50, seed=4).frames)


def test_lines_count_what_goes_wrong() -> None:
    """Two digits that stand still; half-way one object goes, and one has a new id."""
    boxes = torch.tensor([[5.0, 5, 10, 10], [30, 30, 10, 10]]).expand(4, 1, 2, 4)
    there, ids = torch.ones(4, 1, 2, dtype=torch.bool), torch.arange(2)[None]
    sight, frames = torch.ones(4, 1, 2), torch.zeros(4, 1, 1, 50, 50, dtype=torch.uint8)
    batch = MnistBatch(frames, boxes, there, ids, sight, ids, boxes)
    rows = [(t, 0 if t < 2 else 7, boxes[t, 0, 0].tolist()) for t in range(4)]
    rows += [(t, 1, boxes[t, 0, 1].tolist()) for t in range(2)]
    presence = torch.tensor([[2, 2, 1, 1]]).T[..., None] > torch.arange(2)
    slots = Slots(None, None, presence.float(), None)
    (line,) = demo_sqair.score(batch, Inferred((build(*zip(*rows)),), slots, None, None))
    assert line[:6] == (2, 1, 4, 1.5, 2, 2 / 6)
    assert line.switches == 1
    row = demo_sqair.table([line]).split("\n")[1]
    assert " ".join(row.split()) == "2 1 4 1.50 50.0% 33.3% 1"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--sqair", "default:hart", "--sqair: "), ("--digits", "nowhere", "--digits: ")],
)
def test_says_which_option_is_wrong(
    option: str,
    value: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    assert cli.main(["demo", "--output", str(tmp_path / "out"), option, value]) == 2
    assert message in capsys.readouterr().err


def test_output_must_be_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["demo", "--output", str(tmp_path / "file")]) == 2
    assert "expected a folder" in capsys.readouterr().err
