"""Steps as CUDA graphs: the same as without, only launched as one."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

from common.curriculum import Stage
from common.distributed import World
from common.graphs import WARM, GradientGraphs, layout, overwrite
from common.stepper import Stepper
from common.training import TrainerConfig
from datasets import digits
from datasets.moving_mnist import MovingMnist, MovingMnistConfig
from experiments.sqair_presets import SQAIR_PRESETS, make_objective
from tests import toy


class Capturable(toy.Objective):
    """The toy model, without what differs from call to call."""

    capturable = True


def test_calls_of_a_kind_have_equal_layouts() -> None:
    one = toy.Pair(torch.zeros(2, 3), torch.zeros(2))
    assert layout([one]) == layout([toy.Pair(torch.ones(2, 3), torch.ones(2))])
    assert layout([one]) != layout([one, one])
    assert layout(one) != layout(one._replace(inputs=torch.zeros(3, 2)))
    assert layout(one) != layout(one._replace(inputs=torch.zeros(2, 3, dtype=torch.float64)))
    assert layout({"a": torch.zeros(1), "b": 2}) != layout({"a": torch.zeros(1), "b": 3})


def test_a_cpu_has_no_graphs(tmp_path: Path) -> None:
    objective = Capturable()
    run = toy.trainer(tmp_path, TrainerConfig(), objective=objective)
    assert run.stepper._graphs is None


@pytest.mark.gpu
def test_inputs_are_overwritten_in_place(gpu: torch.device) -> None:
    old = [toy.Pair(torch.zeros(2, device=gpu), torch.zeros(3, device=gpu)), {"a": 1}]
    places = [part.data_ptr() for part in old[0]]
    overwrite(old, [toy.Pair(torch.ones(2), torch.full((3,), 2.0)), {"a": 1}])
    assert [part.data_ptr() for part in old[0]] == places
    assert old[0].inputs.tolist() == [1, 1] and old[0][1].tolist() == [2, 2, 2]


def steps(objective: Any, batches: list, stage: Stage, graphs: bool, rate: float) -> Stepper:
    """Steps with rising rates, each from a seed of its own."""
    parameters = [p for p in objective.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, rate, weight_decay=0.0, fused=True)
    config = TrainerConfig(clip_norm=1.0, cuda_graphs=graphs)
    stepper = Stepper(objective, optimiser, config, World())
    for number, batch in enumerate(batches):
        torch.manual_seed(number)
        stepper.step([batch], stage, 0.5 + number / 10)
    assert (stepper._graphs is not None) == graphs
    return stepper


@pytest.mark.gpu
def test_steps_are_the_same_with_and_without_graphs(gpu: torch.device) -> None:
    stage = Stage("only", 1)
    batches = [toy.nan_at(range(5, 6))(n, stage, 0, 1) for n in range(9)]
    found = []
    for graphs in (False, True):
        torch.manual_seed(0)
        objective = Capturable(dropout=0).to(gpu)
        stepper = steps(objective, batches, stage, graphs, 1e-2)
        found.append((list(objective.parameters()), stepper.skips(), stepper.read()["loss"]))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-6)
    assert found[0][1] == found[1][1] == (1, 0)
    assert found[0][2] == pytest.approx(found[1][2], rel=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("preset", list(SQAIR_PRESETS))
def test_every_model_trains_as_a_graph_with_the_same_random_numbers(
    gpu: torch.device, preset: str
) -> None:
    clips = MovingMnist(MovingMnistConfig(), digits.load(None, "train"))
    batches = [clips.batch(seed, 8, 3) for seed in range(WARM + 3)]
    settings: dict[str, Any] = {"particles": 2, "batch": 8}
    if preset == "sqair-paper":
        settings["objective"] = "released"
    stage = Stage("only", 3, settings={} if preset.startswith("vrnn") else settings)
    torch.manual_seed(0)
    objective = make_objective(SQAIR_PRESETS[preset].model).to(gpu)
    losses, gradients = [], []
    with pyro.validation_enabled(False):
        for graphs in (False, True):
            stepper = steps(objective, batches, stage, graphs, 0.0)  # the weights stay
            losses.append(stepper.read()["loss"])
            gradients.append([p.grad for p in objective.parameters() if p.grad is not None])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert len(gradients[0]) == len(gradients[1]) > 10
    one, other = (torch.cat([g.flatten() for g in part]) for part in gradients)
    assert (one - other).norm() < 1e-3 * one.norm()


@pytest.mark.gpu
def test_stages_change_and_nothing_waits(gpu: torch.device, no_waiting: Any) -> None:
    clips = MovingMnist(MovingMnistConfig(), digits.load(None, "train"))
    objective = make_objective(SQAIR_PRESETS["sqair"].model).to(gpu)
    optimiser = torch.optim.AdamW(objective.parameters(), 1e-3, fused=True)
    stepper = Stepper(objective, optimiser, TrainerConfig(clip_norm=1.0), World())
    stages = [
        Stage("single", 1, settings={"batch": 8, "explore": 0.5}),
        Stage("kept", 2, settings={"batch": 8, "keep": True, "late": 1}),
        Stage("free", 3, settings={"batch": 8, "particles": 2, "late": 1}),
    ]
    with pyro.validation_enabled(False):
        for stage in stages:
            batches = [clips.batch(seed, 8, stage.length) for seed in range(WARM + 3)]
            for number, batch in enumerate(batches):
                with no_waiting() if number > WARM else nullcontext():
                    stepper.step([batch], stage, 1.0)
            assert stepper.read()["loss"] == pytest.approx(0, abs=1e4)  # a number
    assert stepper.skips() == (0, 0)


@pytest.mark.gpu
def test_random_numbers_differ_from_call_to_call_and_follow_the_seed(gpu: torch.device) -> None:
    weight = torch.nn.Parameter(torch.ones(3, device=gpu))
    graphs = GradientGraphs([weight], gpu)

    def draw(inputs: list[Tensor]) -> Tensor:
        weight.grad = None
        (weight * torch.rand(3, device=gpu) * inputs[0]).sum().backward()
        return weight.grad.sum()

    drawn = []
    for seed in [None] * 6 + [7, 7]:
        if seed is not None:
            torch.manual_seed(seed)
        result = graphs(draw, [torch.ones(1)], "draw")
        assert torch.equal(weight.grad.sum(), result)
        drawn.append(result.item())
    assert len(set(drawn[:6])) == 6 and drawn[-1] == drawn[-2]


WAITS = """
import torch
from common.graphs import WARM, GradientGraphs

graphs = GradientGraphs([], torch.device("cuda"))
for _ in range(WARM + 1):
    graphs(lambda inputs: inputs[0].sum().item(), [torch.ones(3)], "wait")
"""


@pytest.mark.gpu
def test_what_waits_for_a_value_is_refused_by_name(gpu: torch.device) -> None:
    """In a process of its own: the one that fails draws no random number after it."""
    run = subprocess.run([sys.executable, "-c", WAITS], capture_output=True, text=True)
    assert run.returncode == 1 and "--no-cuda-graphs" in run.stderr
