"""What the shipped SQAIR reaches, and what its recipe reaches in ten minutes, on MNIST's digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sqair.pretrained
from experiments import cli

pytestmark = pytest.mark.slow


def scores(weights: str, digits: Path, folder: Path, *more: str) -> dict[str, Any]:
    """What ``attend evaluate`` finds on 512 sequences of ten frames of the ``t10k`` digits."""
    data = ["--data", "moving-mnist", "--digits", str(digits), "--length", "10"]
    file = folder / "scores.json"
    asked = ["evaluate", weights, *data, "--sequences", "512", "--json", str(file), *more]
    assert cli.main(asked) == 0
    return json.loads(file.read_text())


def test_weights_are_small() -> None:
    files = list(sqair.pretrained.WEIGHTS.glob("*.pt"))
    assert files and all(file.stat().st_size <= 6 * 2**20 for file in files)


def test_the_shipped_weights(data_dir: Path, tmp_path: Path) -> None:
    found = scores("default:sqair", data_dir / "mnist", tmp_path)
    assert found["iwae_k5"] >= 6400
    assert found["counting"] >= 0.997
    assert found["idf1"] >= 0.95
    assert found["late_discoveries"] < 0.01


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ten_minutes_are_enough_to_count(seed: int, data_dir: Path, tmp_path: Path) -> None:
    digits, run = data_dir / "mnist", tmp_path / "run"
    short = ["--curriculum.grow", "400", "--curriculum.free", "1100", "--max-minutes", "10"]
    asked = ["train", "sqair", "--digits", str(digits), "--output", str(run), "--seed", str(seed)]
    assert cli.main([*asked, *short]) == 0
    found = scores(str(run), digits, tmp_path)
    assert found["counting"] >= 0.99
    assert found["late_discoveries"] < 0.01


def test_half_an_hour_is_enough_to_keep_identities(data_dir: Path, tmp_path: Path) -> None:
    digits, run = data_dir / "mnist", tmp_path / "run"
    single = ["--curriculum.single", "6000", "--curriculum.single-elbo", "600"]
    longer = [*single, "--curriculum.free", "5500", "--max-minutes", "30", "--seed", "3"]
    asked = ["train", "sqair", "--digits", str(digits), "--threads", "1", "--output", str(run)]
    assert cli.main([*asked, *longer]) == 0
    found = scores(str(run), digits, tmp_path)
    assert found["iwae_k5"] >= 6250
    assert found["idf1"] >= 0.93
    assert found["mota"] >= 0.93
