"""``attend visualise``: a figure for each object, of the frames that were asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from common.checkpoint import save_weights
from common.writer import write_video
from experiments import cli, visualise
from experiments.following import follow
from experiments.visualise import collect, generated_clip, names, spaced, true_starts
from hart.config import HartConfig
from hart.model import Hart
from hart.tracker import Tracker


@pytest.fixture(scope="module")
def model() -> Hart:
    torch.manual_seed(0)
    return Hart(HartConfig())


@pytest.fixture(scope="module")
def weights(model: Hart, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "untrained.pt"
    values = {**dataclasses.asdict(model.config), "model": "hart"}
    return save_weights(path, "hart", values, model.state_dict())


def test_frames_are_spaced_evenly() -> None:
    assert spaced(40, 2) == {0, 39}
    assert spaced(9, 5) == {0, 2, 4, 6, 8}
    assert spaced(7, 7) == set(range(7))


def test_one_file_for_one_object_else_one_each() -> None:
    assert names(Path("a/b.png"), [7]) == [Path("a/b.png")]
    assert names(Path("a/b.png"), [1, 12]) == [Path("a/b-1.png"), Path("a/b-12.png")]


def test_looks_hold_what_the_tracker_saw(model: Hart) -> None:
    clip = generated_clip(9, 0)
    starts = true_starts(clip)
    assert [start.id for start in starts] == list(range(1, len(clip.ids) + 1))
    seen = list(follow(Tracker(model), clip.frames, starts, steps=True))
    looks = collect(seen, 9, 5, clip)
    assert set(looks) == {start.id for start in starts}
    first, *rest = looks[1]
    assert [look.number for look in looks[1]] == [1, 3, 5, 7, 9]
    np.testing.assert_allclose(first.box, clip.boxes[0, 0])
    assert first.mask is None
    for look in rest:
        step = seen[look.number - 1].step
        np.testing.assert_array_equal(look.window, step.windows[0])
        np.testing.assert_array_equal(look.glimpse, step.glimpses[0])
        np.testing.assert_array_equal(look.mask, step.mask[0])
        np.testing.assert_array_equal(look.truth, clip.boxes[look.number - 1, 0])
        frame = clip.frames[look.number - 1].permute(1, 2, 0)
        np.testing.assert_array_equal(look.frame, frame)


def test_generated_clip(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "new" / "figure.png"
    options = f"--source sprites --weights {weights} --output {output} --length 6 --columns 3"
    assert visualise.main(options.split()) == 0
    files = sorted(output.parent.iterdir())
    assert len(files) >= 3
    assert capsys.readouterr().out.splitlines() == [f"wrote {path}" for path in files]
    for path in files:
        image = imread(path)
        assert image.shape[1] > image.shape[0] / 1.5
        assert image[..., :3].std() > 0.05


def test_video(weights: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    video = tmp_path / "film.avi"
    write_video(video, rng.integers(0, 255, (8, 64, 80, 3), np.uint8), 25.0)
    output = tmp_path / "figure.pdf"
    options = f"--source {video} --weights {weights} --output {output} --box 20,20,24,24"
    assert visualise.main(f"{options} --first-frame 3 --length 5 --columns 4".split()) == 0
    assert output.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--source V", "give the objects by --box"),
        ("--source V --box 1,2,3,4 --columns 50", "--columns 50: expected 2 to 40"),
        ("--source V --box 1,2,3,4 --length 1", "--length 1"),
        ("--source V --box 1,2,3,4 --first-frame 0", "--first-frame 0"),
        ("--source sprites --first-frame 2", "--first-frame: a generated clip"),
        ("--source V --box 1,2,3,4", "--source: no video file .*V"),
        ("--source sprites --output F.xyz --length 2 --columns 2", "--output: .*F-1.xyz: a figure"),
    ],
)
def test_errors_name_the_option(
    options: str, message: str, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    import re

    options = options.replace(" V", f" {tmp_path / 'V'}").replace(" F", f" {tmp_path / 'F'}")
    if "--output" not in options:
        options += f" --output {tmp_path / 'figure.png'}"
    assert cli.main(["visualise", *options.split(), "--weights", str(weights)]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
