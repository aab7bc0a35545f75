"""Every unsupervised preset trains for two steps from the command line; stages, validation."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from common.checkpoint import load_weights, save_weights
from common.curriculum import Ramp
from datasets import digits, variations
from datasets.moving_mnist import MnistBatch
from experiments import cli, presets, sqair_presets, sqair_recipe, sqair_validation
from experiments import train as train_command
from experiments.report import RunReporter
from experiments.runs import read_config, read_metrics
from experiments.sqair_presets import PlainCurriculum, QuickCurriculum, make_stages
from sqair.config import SqairConfig
from sqair.geometry import where_of
from sqair.mode import Mode
from sqair.state import Slots
from tests.mnist import write_split

QUICK = [
    *("--curriculum.single", "1", "--curriculum.pair", "1", "--curriculum.grow", "0"),
    *("--curriculum.free", "1", "--curriculum.length", "2", "--curriculum.batch", "4", "4", "2"),
]
PLAIN = ["--curriculum.lengths", "2", "--curriculum.batch", "4", "--steps", "2"]
SHORT = {"sqair": QUICK, "sqair-conv": QUICK, "air": QUICK}


def train(name: str, folder: Path, *more: str) -> int:
    often = ("--log-every", "1", "--validate-every", "1")
    short = SHORT.get(name, PLAIN)
    return cli.main(["train", name, "--output", str(folder), *often, *short, *more])


@pytest.mark.parametrize("name", sqair_presets.SQAIR_PRESETS)
def test_every_preset_trains_for_two_steps(name: str, tmp_path: Path) -> None:
    from sqair.pretrained import load_model

    assert train(name, tmp_path / "run") == 0
    losses = [r["loss"] for r in read_metrics(tmp_path / "run")]
    assert len(losses) >= 2  # more where the first stage starts anew, as so short a one must
    assert all(math.isfinite(loss) for loss in losses)
    assert read_config(tmp_path / "run")["preset"] == name
    model, preset = load_model(tmp_path / "run" / "checkpoints" / "last.pt")
    assert preset == name and model.config == presets.PRESETS[name].model
    assert list((tmp_path / "run" / "figures").glob("step-*.png"))


@pytest.mark.gpu
def test_a_gpu_trains_validates_draws_and_evaluates(gpu: torch.device, tmp_path: Path) -> None:
    run, file = tmp_path / "run", tmp_path / "scores.json"
    assert train("sqair", run, "--device", "cuda", "--curriculum.free", "8") == 0
    assert list((run / "figures").glob("step-*.png"))
    asked = ("--data", "moving-mnist", "--sequences", "8", "--length", "3", "--device", "cuda")
    assert cli.main(["evaluate", str(run), *asked, "--json", str(file)]) == 0
    assert math.isfinite(json.loads(file.read_text())["iwae_k5"])


def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train("sqair", whole) == 0
    assert train("sqair", parts, "--max-minutes", "1e-9") == 0
    assert len(read_metrics(parts)) < len(read_metrics(whole))
    assert cli.main(["train", "sqair", "--resume", str(parts), "--max-minutes", "0"]) == 0
    one, two = (load_weights(f / "checkpoints" / "last.pt")["model"] for f in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_digits_of_a_folder_are_trained_on_and_mistakes_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_split(tmp_path / "digits", "train", 64)
    folder = str(tmp_path / "digits")
    assert train("vrnn", tmp_path / "run", "--digits", folder, "--variations", "1") == 0
    assert train("vrnn", tmp_path / "no", "--digits", str(tmp_path / "nowhere")) == 2
    assert "nowhere" in capsys.readouterr().err and not (tmp_path / "no").exists()
    for name, wrong in (
        ("sqair", ("--data", "sprites")),
        ("vrnn", ("--curriculum.objective", "x")),
    ):
        with pytest.raises(SystemExit):
            train(name, tmp_path / "no", *wrong)
    assert not (tmp_path / "no").exists()


def small_paper() -> sqair_presets.SqairPreset:
    """The published recipe for a model of few units."""
    preset = presets.find("sqair-paper")
    return replace(preset, model=replace(preset.model, hidden=8))


def test_the_mean_image_begins_as_the_mean_of_the_clips(tmp_path: Path) -> None:
    """As released; its peak is about .057 there. Given weights have their own."""
    preset, options = small_paper(), sqair_recipe.TrainOptions()
    objective = presets.make_objective(preset)
    assert not objective.model.mean_image.any()
    sqair_recipe.begin(objective, "sqair-paper", options, preset)
    image = objective.model.mean_image.detach().numpy()
    clips = sqair_recipe.make_batches(options, preset).data  # others of them: by their seeds
    wanted = np.mean([clips.batch(s, 100, 10).frames.numpy() for s in range(9)], (0, 1, 2)) / 255
    assert image.shape == (1, 50, 50)
    assert np.abs(image - wanted).max() < 0.02
    assert np.abs(image - wanted).mean() < 0.004
    assert image.mean() == pytest.approx(wanted.mean(), rel=0.08)
    assert 0.045 < image.max() < 0.07
    given, config = presets.make_objective(preset), presets.model_record(preset.model)
    path = save_weights(tmp_path / "w.pt", "sqair-paper", config, given.model.state_dict())
    sqair_recipe.begin(objective, "sqair-paper", replace(options, init=str(path)), preset)
    assert not objective.model.mean_image.any()


def test_a_restart_begins_with_the_mean_image_and_without_given_weights(tmp_path: Path) -> None:
    write_split(tmp_path / "digits", "train", 64)
    options = sqair_recipe.TrainOptions(digits=str(tmp_path / "digits"), init="not read")
    one, two = (train_command.fresh_weights("x", options, small_paper(), seed) for seed in (1, 2))
    assert one["model.mean_image"].any()
    assert torch.equal(one["model.mean_image"], two["model.mean_image"])  # the run's digits
    differ = [name for name in one if not torch.equal(one[name], two[name])]
    assert "model.discovery.recurrent.weight" in differ


def test_digits_are_loaded_and_varied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_split(tmp_path / "digits", "train", 64)
    calls = []
    for module, name in ((digits, "load"), (variations, "vary")):
        monkeypatch.setattr(module, name, _counted(getattr(module, name), name, calls))
    options = sqair_recipe.TrainOptions(digits=str(tmp_path / "digits"), variations=2)
    preset = presets.find("vrnn")
    batches = sqair_recipe.make_batches(options, preset)
    sqair_recipe.make_picture(torch.nn.Identity(), options, preset)
    sqair_recipe.make_validate(torch.nn.Identity(), options, preset)
    assert calls.count("load") == 1
    assert len(batches.data.labels) - 1 == 60 * 3  # of 64 every sixteenth is held out
    sqair_recipe.make_batches(options, preset)
    assert calls.count("vary") == 2  # of the digits trained on, and none of those held out
    more = sqair_recipe.make_batches(replace(options, variations=1), preset)
    assert len(more.data.labels) - 1 == 60 * 2


def _counted(function: Callable, name: str, calls: list[str]) -> Callable:
    def call(*arguments: object) -> object:
        calls.append(name)
        return function(*arguments)

    return call


def test_the_quick_stages_are_those_of_the_recipe() -> None:
    stages = make_stages(QuickCurriculum())
    assert [s.length for s in stages] == [1, 2, 3, 4, 6, 8, 10, 10]
    single, pair, *grown, free = stages
    assert single.restarts == 3 and set(single.gate) == {"elbo", "counting"}
    assert all(set(s.gate) == {"same_id"} for s in (pair, *grown))
    assert all(Mode.of(s.at(0).settings).keep for s in (pair, *grown))
    mode = Mode.of(free.settings)
    assert not mode.keep and mode.particles == 2 and mode.what_weight == 2
    assert isinstance(free.rate, Ramp) and free.max_steps == 2000
    assert [s.name for s in make_stages(QuickCurriculum(single=0, grow=0))] == ["pairs", "free"]


@pytest.mark.parametrize(
    ("longest", "lengths"),
    [(1, [1, 1]), (2, [1, 2, 2]), (3, [1, 2, 3, 3]), (5, [1, 2, 3, 4, 5, 5])],
)
def test_clips_grow_up_to_the_longest(longest: int, lengths: list[int]) -> None:
    assert [s.length for s in make_stages(QuickCurriculum(length=longest))] == lengths


def test_a_plain_curriculum_grows_by_a_frame_and_ends_with_the_run() -> None:
    stages = make_stages(PlainCurriculum())
    assert [s.length for s in stages] == list(range(3, 11))
    assert [s.max_steps for s in stages] == [100_000] * 7 + [None]
    assert Mode.of(stages[0].settings) == Mode("released", 5, 32)


def test_a_run_is_as_long_as_its_stages_may_last() -> None:
    preset = presets.find("sqair")
    objective = torch.nn.Linear(1, 1)
    most = presets.trainer_config(preset, objective).steps
    assert most == 3 * 700 + 3000 + 1000 + 2 * 600 + 3 * 300 + 2000
    assert presets.trainer_config(presets.find("sqair-paper"), objective).steps == 2_000_000


def test_every_stage_setting_is_known() -> None:
    with pytest.raises(ValueError, match="no stage settings colour"):
        Mode.of({"colour": 1})
    with pytest.raises(ValueError, match="at least 2"):
        Mode("vimco", particles=1)


def test_new_ids_after_the_first_frame_are_counted() -> None:
    ids = torch.tensor([[[0, 1, -1]], [[1, 2, -1]], [[1, 3, 4]], [[1, -1, -1]]])
    assert sqair_validation.late(ids) == pytest.approx((1 + 2 + 0) / 3)
    assert sqair_validation.late(ids[:1]) == 0


def test_every_number_of_digits_weighs_the_same() -> None:
    values, group = torch.tensor([1.0, 3.0, 10.0]), torch.tensor([0, 0, 2])
    assert sqair_validation.evenly(values, group) == 6


class Geometry:
    """What a model says of its windows."""

    config = SqairConfig()


def test_an_id_is_the_same_where_the_nearest_slot_has_kept_it() -> None:
    """Two digits; the slots swap in the last frame, and the second digit is out of sight there."""
    truth = torch.tensor([[[5, 5, 20, 20], [30, 30, 18, 18]]]).repeat(3, 1, 1).float()[:, None]
    boxes = torch.stack((truth[0], truth[1], truth[2].flip(1)))
    boxes = torch.cat((boxes, torch.zeros(3, 1, 1, 4) + 20), 2)
    slots = Slots(
        torch.zeros(3, 1, 3, 2),
        where_of(boxes, 50, 20),
        torch.tensor([1.0, 1.0, 0.0]).expand(3, 1, 3),
        torch.tensor([0, 1, -1]).expand(3, 1, 3),
    )
    visible = torch.tensor([[1, 1], [1, 1], [1, 0.1]])[:, None]
    yes = torch.ones(3, 1, 2, dtype=torch.bool)
    batch = MnistBatch(torch.zeros(0), truth, yes, torch.zeros(0), visible, torch.zeros(0), truth)
    assert sqair_validation.same_id(slots, batch, Geometry) == pytest.approx(2 / 3)
    far = slots._replace(where=where_of(boxes + torch.tensor([11.0, 0, 0, 0]), 50, 20))
    assert sqair_validation.same_id(far, batch, Geometry) == 0


def test_the_presets_can_be_written_to_a_run_folder() -> None:
    for name, preset in sqair_presets.SQAIR_PRESETS.items():
        record = presets.model_record(preset.model)
        assert record["model"] == {"air": "air"}.get(name, name.split("-")[0])
        json.dumps(record)


def test_a_collapse_is_named_once(tmp_path: Path) -> None:
    watch = sqair_recipe.make_watch(presets.find("sqair"))
    assert watch({"present": 1.0}) == "" and watch({"loss": 1.0}) == ""
    assert "no object is found" in watch({"present": 0.01})
    assert "every slot is always on (2.99 of 3)" in watch({"present": 2.99})
    assert sqair_recipe.make_watch(presets.find("vrnn"))({"present": 0.0}) == ""
    stream = io.StringIO()
    reporter = RunReporter(tmp_path, stream, watch=watch)
    reporter.start(0, 9)
    for step, present in enumerate((0.0, 0.0, 1.0, 0.0), 1):
        reporter.log(step, {"present": present})
    reporter.close()
    assert stream.getvalue().count("collapsed: no object") == 2
