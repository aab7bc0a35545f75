"""What the shipped tracker must reach: accuracy on video it was not trained on, speed, size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.sprites import SpritesConfig, make_clip
from experiments import cli
from experiments.peers import Scene, speed
from experiments.protocol import Contender, Window, cut, evaluate_windows, mean_iou
from hart.baselines import ConstantVelocity, StaticBox
from hart.pretrained import load, resolve

pytestmark = pytest.mark.slow
CSRT = 39  # updates per CPU-second and object of OpenCV's CSRT at best, for 18 x 50 px objects
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def held_back(data_dir: Path) -> list[Window]:
    from datasets import mot

    return cut([mot.load(data_dir / "mot15" / "PETS09-S2L1", 401, 500)], 30, 15)


def test_weights_are_small() -> None:
    assert resolve("default:hart").stat().st_size <= 6 * MEBIBYTE


def test_held_back_frames_of_pets(held_back: list[Window]) -> None:
    assert len(held_back) == 15
    ours = mean_iou(evaluate_windows(load, held_back)).mean
    static = mean_iou(evaluate_windows(StaticBox, held_back)).mean
    moving = mean_iou(evaluate_windows(ConstantVelocity, held_back, velocity=True)).mean
    assert ours >= 0.75
    assert ours > static + 0.4
    assert ours > moving + 0.1


def test_a_scene_left_out(data_dir: Path, tmp_path: Path) -> None:
    """Twenty minutes on PETS and generated clips, then a street never trained on.

    .71 was measured; other machines and seeds differ by some .03. OpenCV's best has .64.
    """
    pets, street = (data_dir / "mot15" / name for name in ("PETS09-S2L1", "TUD-Stadtmitte"))
    run, file = tmp_path / "run", tmp_path / "scores.json"
    asked = ["train", "hart", "--data", f"mot:{pets}:1-400", "--output", str(run)]
    asked += ["--validate", f"mot:{pets}:401-500", "sprites", "--steps", "1350"]
    assert cli.main([*asked, "--curriculum.gate", "--threads", "1", "--seed", "0"]) == 0
    asked = ["evaluate", str(run), "--data", f"mot:{street}", "--json", str(file)]
    assert cli.main([*asked, "--windows", "30", "--stride", "15"]) == 0
    found = json.loads(file.read_text())
    assert found["windows"] == 62
    assert found["mean_iou"] >= 0.67


def test_eight_objects_are_five_times_as_fast_as_csrt() -> None:
    torch.set_num_threads(1)
    config = SpritesConfig(size=(360, 480), length=12, objects=(8, 8))
    clips = [make_clip(config, seed) for seed in range(40)]
    clip = next(c for c in clips if c.presence[0].sum() == 8)
    scene = Scene(clip.frames, clip.boxes[0].numpy(), np.zeros((8, 2)))
    rate = speed([Contender("hart", load)], [scene], rounds=5, seconds=1.0)["hart"]
    assert np.median(rate) >= 5 * CSRT
