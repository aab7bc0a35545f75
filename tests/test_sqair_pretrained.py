"""Models from configurations, ready ones from weight files, and files that are none."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from sqair_small import CONFIGS, MODELS, SIZES, small, video

import sqair
from common.checkpoint import CheckpointError, save_weights
from sqair import pretrained


def write(path: Path, name: str, **changes: object) -> Path:
    values = {"model": name, **asdict(CONFIGS[name]), **changes}
    return save_weights(path, f"some-{name}", values, small(name).state_dict())


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_come_back_from_half_precision(name: str, tmp_path: Path) -> None:
    model, preset = pretrained.load_model(write(tmp_path / "w.pt", name))
    assert type(model) is MODELS[name] and not model.training
    assert (preset, model.config) == (f"some-{name}", CONFIGS[name])
    for key, value in small(name).state_dict().items():
        assert model.state_dict()[key].dtype == value.dtype
        assert torch.equal(model.state_dict()[key], value.half().float())


def test_a_loaded_model_works(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pt", "sqair")
    frames = video(3)
    found = sqair.load(path).infer(frames)
    again = sqair.Inference(pretrained.load_model(path)[0]).infer(frames)
    assert torch.equal(found.slots.where, again.slots.where)
    with pytest.raises(ValueError, match="knows no objects"):
        sqair.load(write(tmp_path / "v.pt", "vrnn"))
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        _ = sqair.lode


def test_defaults_are_the_projects() -> None:
    assert pretrained.config_from({"model": "sqair"}) == sqair_config()
    assert type(pretrained.config_from({"model": "air"})) is pretrained.AirConfig


def sqair_config() -> object:
    from sqair.config import SqairConfig

    return SqairConfig()


def test_shipped_weights_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    with pytest.raises(FileNotFoundError, match="no shipped weights 'sqair'; there are none"):
        sqair.load()
    write(tmp_path / "sqair.pt", "sqair")
    write(tmp_path / "air.pt", "air")
    assert pretrained.resolve("default") == pretrained.resolve("default:sqair")
    assert pretrained.resolve("default:air") == tmp_path / "air.pt"
    with pytest.raises(FileNotFoundError, match="'hart'; there are air, sqair"):
        pretrained.load_model("default:hart")
    assert pretrained.resolve("some/where.pt") == Path("some/where.pt")
    assert sqair.load().model.config == CONFIGS["sqair"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model": "hart"}, "model 'hart': expected one of sqair, air, vrnn"),
        ({**SIZES}, "model None: expected"),
        ({"model": "sqair", **SIZES, "slotz": 3}, "SqairConfig has no settings slotz"),
        ({"model": "sqair", **SIZES, "hidden": 9}, "size mismatch"),
        ({"model": "sqair", **SIZES, "what": 0}, "what must be at least 1"),
        ({"model": "air", **SIZES}, "Unexpected key"),
    ],
)
def test_weights_of_another_model_are_refused(config: dict, words: str, tmp_path: Path) -> None:
    path = save_weights(tmp_path / "w.pt", "x", config, small().state_dict())
    with pytest.raises(CheckpointError, match=f"w.pt: not the weights of one of .*{words}"):
        pretrained.load_model(path)


def test_what_is_no_weight_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.pt").write_text("not weights")
    with pytest.raises(CheckpointError, match="notes.pt"):
        sqair.load(tmp_path / "notes.pt")
    with pytest.raises(FileNotFoundError, match="nowhere.pt"):
        sqair.load(tmp_path / "nowhere.pt")
