"""``attend demo``: the shipped weights track a generated clip that a box standing still loses."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from common.stream import Stream
from common.tracks import read_mot
from experiments import cli, demo


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


def test_says_how_to_go_on(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder, said = finished
    command = re.search(r"^  attend (track --source \S+clip.*)$", said, re.M)[1].split()
    command[-1] = str(tmp_path / command[-1])
    assert cli.main([*command, "--last-frame", "3"]) == 0
    with Stream(tmp_path / "again.mp4") as stream:
        assert sum(1 for _ in stream) == 3
    assert "attend train hart" in said
    assert f"--boxes {folder / demo.BOXES}" in said


def test_output_must_be_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["demo", "--output", str(tmp_path / "file")]) == 2
    assert "expected a folder" in capsys.readouterr().err
