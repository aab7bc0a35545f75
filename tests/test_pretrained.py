"""Models from configurations, trackers from weight files, and files that are none."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

import hart
from common.checkpoint import CheckpointError, save_weights
from hart import pretrained
from hart.paper import HartPaper, PaperConfig
from tests.hart_variants import SMALL, VARIANTS

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)


def write(path: Path, config: dict, model: dict) -> Path:
    return save_weights(path, "some-preset", config, model)


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_come_back_in_half_precision(name: str, tmp_path: Path) -> None:
    model = pretrained.build(VARIANTS[name])
    stored = {"model": "hart", **asdict(VARIANTS[name])}
    path = write(tmp_path / "w.pt", stored, model.state_dict())
    loaded, preset = pretrained.load_model(path)
    assert preset == "some-preset" and type(loaded) is type(model) and not loaded.training
    assert loaded.config == VARIANTS[name]
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value.half().float())
    tracker = hart.load(path)
    tracker.init(FRAMES[0], [[10.0, 8, 12, 20]])
    again = hart.Tracker(loaded)
    again.init(FRAMES[0], [[10.0, 8, 12, 20]])
    assert torch.equal(tracker.update(FRAMES[1]), again.update(FRAMES[1]))


def test_the_published_model_is_built_from_its_settings() -> None:
    config = pretrained.config_from({"model": "paper"})
    assert config == PaperConfig() and isinstance(pretrained.build(config), HartPaper)
    assert pretrained.config_from(asdict(SMALL)) == SMALL
    assert pretrained.config_from({"stem": [8, 16, 16]}).stem == (8, 16, 16)


def test_shipped_weights_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    with pytest.raises(FileNotFoundError, match="no shipped weights 'hart'; there are none"):
        hart.load()
    for name in ("hart", "other"):
        write(tmp_path / f"{name}.pt", asdict(SMALL), pretrained.build(SMALL).state_dict())
    assert pretrained.resolve("default") == pretrained.resolve("default:hart")
    assert pretrained.resolve("default:other") == tmp_path / "other.pt"
    with pytest.raises(FileNotFoundError, match="'missing'; there are hart, other"):
        pretrained.load_model("default:missing")
    assert pretrained.resolve("some/where.pt") == Path("some/where.pt")
    assert hart.load().model.config == SMALL


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"glimpses": 3, "model": "hart"}, "HartConfig has no settings glimpses"),
        ({"model": "sqair", "slots": 3}, "model 'sqair': expected one of hart, paper"),
        ({"features": 17}, "size mismatch"),
        ({"stem": (7, 7, 7)}, "stem must be multiples"),
    ],
)
def test_weights_of_another_model_are_refused(config: dict, words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "w.pt", config, pretrained.build(SMALL).state_dict())
    with pytest.raises(CheckpointError, match=f"w.pt: not the weights of a HART.*{words}"):
        pretrained.load_model(path)


def test_what_is_no_weight_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.pt"
    path.write_text("not weights")
    with pytest.raises(CheckpointError, match="notes.pt"):
        hart.load(path)
    with pytest.raises(FileNotFoundError, match="nowhere.pt"):
        hart.load(tmp_path / "nowhere.pt")
