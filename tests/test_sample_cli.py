"""``attend sample``: files that agree with the model, from every source; errors name the option."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from PIL import Image
from sqair_small import CONFIGS, small, video

import sqair
from common import tracks
from common.checkpoint import save_weights
from common.stream import Stream
from common.writer import write_video
from experiments import cli, sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of every model, and a film."""
    folder = tmp_path_factory.mktemp("given")
    for name, config in CONFIGS.items():
        values = {"model": name, **asdict(config)}
        save_weights(folder / f"{name}.pt", f"tiny-{name}", values, small(name).state_dict())
    frames = video(6)[:, 0].repeat_interleave(6, -1).repeat_interleave(4, -2).expand(-1, 3, -1, -1)
    write_video(folder / "film.avi", frames, 12.5)
    (folder / "file").touch()
    return folder


def attend(folder: Path, output: Path, options: str, weights: str = "sqair.pt") -> int:
    words = options.replace("FOLDER", str(folder)).split()
    return cli.main(["sample", str(folder / weights), "--output", str(output), *words])


def same(ours: tracks.Tracks, theirs: tracks.Tracks) -> None:
    order = np.lexsort((theirs.id, theirs.frame))
    ours = tracks.take(ours, np.lexsort((ours.id, ours.frame)))
    theirs = tracks.take(theirs, order)
    np.testing.assert_array_equal(ours.frame, theirs.frame)
    np.testing.assert_array_equal(ours.id, theirs.id)
    np.testing.assert_allclose(ours.box, theirs.box, atol=1e-4)


def test_samples_from_the_prior(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "new" / "samples"
    assert attend(folder, output, "--frames 4 --count 3 --seed 5") == 0
    names = ["strip.png", "sample.gif", *(f"tracks-{n}.txt" for n in (1, 2, 3)), "sample.json"]
    assert sorted(path.name for path in output.iterdir()) == sorted(names)
    first, *wrote = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"3 videos of 4 frames: \d\.\d objects at first, \d\.\d at the end", first)
    assert wrote == [f"wrote {output / name}" for name in names]
    expected = sqair.load(folder / "sqair.pt").sample(4, 3, seed=5)
    for number, one in enumerate(expected.tracks, 1):
        same(tracks.read_mot(output / f"tracks-{number}.txt"), one)
    record = json.loads((output / "sample.json").read_text())
    assert record["objects"] == expected.slots.presence.sum(-1).T.int().tolist()
    assert record["sha256"] == sha256((folder / "sqair.pt").read_bytes()).hexdigest()
    about = {"preset": "tiny-sqair", "model": "sqair", "seed": 5, "condition": None}
    assert about.items() <= record.items()
    assert record["files"] == names[:-1]
    assert not {"after", "digits", "particles"} & set(record)
    with Image.open(output / "sample.gif") as gif:
        assert gif.n_frames == 4
    image = imread(output / "strip.png")
    assert image.shape[1] > image.shape[0] and image[..., :3].std() > 0.1


def test_equal_words_give_equal_files(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        torch.manual_seed(ord(name))
        assert attend(folder, tmp_path / name, "--frames 3 --count 2 --seed 1") == 0
    assert attend(folder, tmp_path / "c", "--frames 3 --count 2 --seed 2") == 0
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    other = (tmp_path / "c" / "strip.png").read_bytes()
    assert (tmp_path / "a" / "strip.png").read_bytes() != other


def test_futures_of_a_video(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options = "--condition video:FOLDER/film.avi --after 3 --frames 8 --count 2 --video mp4"
    assert attend(folder, tmp_path, f"{options} --particles 7 --columns 4") == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith(
        "2 futures of 5 frames after 3 watched (72 x 48 pixels, seen as 12 x 12): "
    )
    film = torch.stack(list(Stream(folder / "film.avi")))
    inference = sqair.load(folder / "sqair.pt")
    expected = inference.predict(film[:3], 5, 2, particles=7, resize=True)
    for number, one in enumerate(expected.tracks, 1):
        same(tracks.read_mot(tmp_path / f"tracks-{number}.txt"), one)
    with Stream(tmp_path / "sample.mp4") as stream:
        assert len(list(stream)) == 8
        assert stream.frame_rate == pytest.approx(12.5)
    record = json.loads((tmp_path / "sample.json").read_text())
    assert (record["after"], record["particles"]) == (3, 7)
    assert record["condition"].endswith("film.avi")


def test_futures_of_digits(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Blocks:
        """Stands for the generator of digits, which do not fit on so small a canvas."""

        def __init__(self, config: object, digits: object) -> None:
            self.size = config.size
            assert config.counts == (2,) and len(digits.labels)

        def batch(self, seed: int, batch: int, length: int) -> object:
            assert (seed, batch, length) == (3, 1, 7)
            return type("Batch", (), {"frames": video(length, size=self.size)})

    monkeypatch.setattr("datasets.moving_mnist.MovingMnist", Blocks)
    options = "--condition moving-mnist --frames 7 --count 2 --seed 3"
    assert attend(folder, tmp_path, options, "air.pt") == 0
    expected = sqair.load(folder / "air.pt").predict(video(5)[:, 0], 2, 2, seed=3)
    same(tracks.read_mot(tmp_path / "tracks-2.txt"), expected.tracks[1])
    record = json.loads((tmp_path / "sample.json").read_text())
    assert (record["after"], record["digits"], record["model"]) == (5, None, "air")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--frames 0", "--frames 0: expected 1 or more"),
        ("--count 0", "--count 0: expected 1 or more"),
        ("--seed -1", "--seed -1: expected 0 or more"),
        ("--columns 0", "--columns 0"),
        ("--after 3", "--after: without --condition there is nothing to watch"),
        ("--particles 3", "--particles: without --condition"),
        ("--digits FOLDER", "--digits: only --condition moving-mnist has digits"),
        ("--condition video:x.mp4 --digits FOLDER", "--digits: only --condition moving-mnist"),
        ("--condition film.mp4", "--condition film.mp4: expected video:FILE or moving-mnist"),
        ("--condition video:", "--condition video:: expected video:FILE"),
        ("--condition moving-mnist --after 20", "--after 20: expected less than --frames 20"),
        ("--condition moving-mnist --frames 5", "--after 5: expected less than --frames 5"),
        ("--condition moving-mnist --digits FOLDER", "--digits: .*t10k"),
        ("--condition moving-mnist", "--digits: moving MNIST: size 12"),
        ("--condition video:FOLDER/no.avi", "--condition: no video file .*no.avi"),
        ("--condition video:FOLDER/sqair.pt", "--condition: .*sqair.pt: not a video"),
        (
            "--condition video:FOLDER/film.avi --after 7",
            "--condition: .*film.avi: 6 frames, expected at least 7 .--after.",
        ),
        ("--output FOLDER/file", "--output .*file: a file, expected a folder"),
        ("--output FOLDER/file/x --frames 2 --count 1", "--output: "),
    ],
)
def test_errors_name_the_option(
    options: str, message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert attend(folder, tmp_path, options) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("vrnn.pt", "WEIGHTS: a Vrnn knows no objects"),
        ("film.avi", "WEIGHTS: .*film.avi: damaged, or not a checkpoint"),
        ("none.pt", "WEIGHTS: .*none.pt: neither a weight file nor a run folder"),
    ],
)
def test_weights_that_cannot_be_used(
    weights: str, message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert attend(folder, tmp_path, "--frames 2", weights) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error


def test_options_are_checked_before_weights_are_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--frames 0"):
        sample.main(["no-such-file.pt", "--frames", "0"])
