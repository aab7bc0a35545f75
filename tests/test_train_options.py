"""Options of ``attend train`` survive the run folder's JSON."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import pytest

from experiments import presets
from experiments.hart_recipe import TrainOptions
from experiments.runs import plain
from experiments.train_options import parse, rebuild


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_preset_is_rebuilt_from_its_record(name: str) -> None:
    preset = presets.find(name)
    if isinstance(preset, presets.SqairPreset):
        data = {"clips": replace(preset.clips, counts=(1, 3), noise=0.1)}
    else:
        data = {"windows": replace(preset.windows, object_size=(10.0, 20.0), strides=(4,))}
    changed = replace(preset, trainer=replace(preset.trainer, steps=7), **data)
    record = json.loads(json.dumps(plain(changed)))
    assert rebuild(preset, record) == changed
    assert math.isinf(rebuild(preset, record).trainer.clip_norm) == (name == "hart-paper")


def test_what_a_record_lacks_stays_as_it_is() -> None:
    preset = presets.find("hart")
    record = {"model": {"glimpse": 32}, "retired": 3}  # of an older version
    assert rebuild(preset, record) == replace(preset, model=replace(preset.model, glimpse=32))


def test_options_and_overrides_are_told_apart() -> None:
    preset = presets.find("hart")
    arguments = ["--data", "mot:a", "sprites", "--model.keys", "8", "--steps", "9"]
    options, changed = parse("hart", preset, arguments)
    assert options == TrainOptions(data=("mot:a", "sprites"))
    assert (changed.model.keys, changed.trainer.steps) == (8, 9)
    same = {field.name for field in fields(preset)} - {"model", "trainer"}
    assert all(getattr(changed, name) == getattr(preset, name) for name in same)
