"""Every preset trains for two steps from the command line; resume, init, errors, schedules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from common.checkpoint import load_weights
from experiments import cli, hart_recipe, optimisers, presets, sqair_recipe
from experiments.runs import read_config, read_metrics

TINY = ["--validate", "--log-every", "1", "--windows.batch", "2", "--windows.side", "64"]
SHORT = ["--curriculum.lengths", "3", "--curriculum.time", "1", "--curriculum.gate", "--steps", "2"]


def train(name: str, folder: Path, *more: str) -> int:
    return cli.main(["train", name, "--output", str(folder), *TINY, *SHORT, *more])


HART = [name for name, preset in presets.PRESETS.items() if isinstance(preset, presets.Preset)]


@pytest.mark.parametrize("name", HART)
def test_every_preset_trains_for_two_steps(name: str, tmp_path: Path) -> None:
    from hart.pretrained import load

    assert train(name, tmp_path / "run") == 0
    record = read_config(tmp_path / "run")
    assert record["preset"] == name and record["config"]["options"]["validate"] == []
    losses = [r["loss"] for r in read_metrics(tmp_path / "run")]
    assert len(losses) == 2 and all(loss == loss for loss in losses)
    tracker = load(tmp_path / "run" / "checkpoints" / "last.pt")  # what was trained can be used
    assert tracker.model.config == presets.PRESETS[name].model
    assert (tmp_path / "run" / "figures" / "training.png").stat().st_size > 1000


def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    short = ["--model.glimpse", "16", "--model.reach", "1", "--windows.pool", "2"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train("hart", whole, *short, "--steps", "4") == 0
    assert train("hart", parts, *short, "--steps", "4", "--max-minutes", "1e-9") == 0
    stopped = len(read_metrics(parts))
    assert stopped < 4
    assert cli.main(["train", "hart", "--resume", str(parts), "--max-minutes", "0"]) == 0
    one, two = (load_weights(f / "checkpoints" / "last.pt")["model"] for f in (whole, parts))
    assert all((one[name] == two[name]).all() for name in one)
    assert [r["loss"] for r in read_metrics(whole)] == [r["loss"] for r in read_metrics(parts)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hrt"], "no preset 'hrt'"),
        (["hart", "--alexnet-weights", "x.npy"], "hart has no AlexNet"),
        (["hart", "--shares", "1", "2"], "--shares has 2 numbers for 0 sources"),
        (["hart", "--resume", "nowhere"], "not a run folder"),
        (["hart", "--init", "nowhere.pt"], "nowhere.pt"),
        (["hart", "--data", "kitty:x"], "kitty:x"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["train", *arguments, "--output", str(tmp_path / "run")]) == 2
    assert words in capsys.readouterr().err


def test_a_resumed_run_keeps_its_options(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    short = ["--model.glimpse", "16", "--model.reach", "1"]
    assert train("hart", tmp_path / "run", *short) == 0
    command = ["train", "hart", "--resume", str(tmp_path / "run"), "--windows.batch", "3"]
    assert cli.main(command) == 2
    assert "cannot change batch" in capsys.readouterr().err
    assert cli.main(["train", "hart-soft", "--resume", str(tmp_path / "run")]) == 2
    assert "is a run of hart" in capsys.readouterr().err


def test_a_run_begins_with_given_weights(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    short = ["--model.glimpse", "16", "--model.reach", "1"]
    assert train("hart", tmp_path / "one", *short, "--steps", "3") == 0
    weights = tmp_path / "one" / "checkpoints" / "last.pt"
    frozen = ["--optimiser.rate", "0", "--init", str(weights)]
    assert train("hart", tmp_path / "two", *short, *frozen) == 0
    one, two = (
        load_weights(tmp_path / f / "checkpoints" / "last.pt")["model"] for f in ("one", "two")
    )
    assert all((one[name] == two[name]).all() for name in one)
    assert json.loads((tmp_path / "two" / "config.json").read_text())["config"]["options"]["init"]
    capsys.readouterr()
    weights.unlink()  # what a run began with is not needed to resume it
    assert cli.main(["train", "hart", "--resume", str(tmp_path / "two")]) == 0
    assert "begins with" not in capsys.readouterr().out


def test_stages_share_the_time_and_gates_open_them() -> None:
    config = presets.CurriculumConfig(lengths=(4, 8), time=(0.5, 0.5), gate=(0.5,))
    first, last = presets.make_stages(config, 300)
    assert (first.max_steps, first.min_steps, first.gate) == (200, 100, {"mean_iou": 0.5})
    assert last.max_steps is None and not last.gate
    with pytest.raises(ValueError, match="2 lengths have 1 gates"):
        presets.make_stages(presets.CurriculumConfig((4, 8), (1.0, 1.0), (0.5, 0.6)), 300)
    with pytest.raises(ValueError, match="need as many shares"):
        presets.make_stages(presets.CurriculumConfig((4, 8), (1.0,), ()), 300)


def test_the_rate_rises_then_falls_to_zero() -> None:
    rate = optimisers.learning_rate(optimisers.OptimiserConfig(warmup=10), 100)
    assert rate(0) == pytest.approx(0.1, rel=1e-3)
    assert rate(50) == pytest.approx(0.5) and rate(100) == pytest.approx(0)
    steady = optimisers.OptimiserConfig(warmup=0, schedule="constant")
    constant = optimisers.learning_rate(steady, 100)
    assert constant(0) == constant(99) == 1


def test_learned_loss_weights_have_a_rate_of_their_own_and_only_matrices_decay() -> None:
    objective = presets.make_objective(presets.find("hart"))
    config = optimisers.OptimiserConfig(rate=1e-3, weight_decay=0.1)
    groups = optimisers.make_optimiser(config, objective).param_groups
    found = {
        id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]
    }
    for name, parameter in objective.named_parameters():
        rate = 1e-2 if name == "log_scale" else 1e-3
        decay = 0.1 if parameter.ndim > 1 else 0.0
        assert found.pop(id(parameter)) == pytest.approx((rate, decay)), name
    assert not found


@pytest.mark.parametrize(("name", "recipe"), [("hart", hart_recipe), ("sqair", sqair_recipe)])
def test_shipped_weights_can_be_trained_on(name: str, recipe: ModuleType) -> None:
    preset = presets.find(name)
    objective = presets.make_objective(preset)
    before = objective.model.state_dict()
    before = {key: value.clone() for key, value in before.items()}
    options = recipe.TrainOptions(init=f"default:{name}")
    recipe.begin(objective, name, options, preset)
    assert any(
        not torch.equal(value, before[k]) for k, value in objective.model.state_dict().items()
    )
    with pytest.raises(ValueError, match=f"default:{name} is {name}, not {name}-other"):
        small = (
            replace(preset.model, hidden=8) if name == "sqair" else replace(preset.model, keys=8)
        )
        recipe.begin(
            presets.make_objective(replace(preset, model=small)), f"{name}-other", options, preset
        )
