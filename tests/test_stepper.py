"""One step: accumulation, precision, and leaving out what is not finite."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from common.curriculum import Stage
from common.optim import TFRMSProp
from common.training import TrainerConfig
from tests import toy


def test_accumulated_batches_equal_one_large_batch(tmp_path: Path) -> None:
    def joint(number: int, stage: Stage, rank: int, world: int) -> toy.Pair:
        parts = [toy.batches(2 * number + i, stage, rank, world) for i in range(2)]
        return toy.Pair(*(torch.cat(p) for p in zip(*parts)))

    runs = []
    for name, accumulate, source in (("a", 2, toy.batches), ("b", 1, joint)):
        torch.manual_seed(3)
        objective = toy.Objective(dropout=0, norm=False)
        config = TrainerConfig(steps=10, accumulate=accumulate)
        toy.trainer(tmp_path / name, config, objective=objective, batches=source).fit()
        runs.append(objective)
    for a, b in zip(runs[0].parameters(), runs[1].parameters()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimiser", [torch.optim.AdamW, TFRMSProp])
def test_steps_that_are_not_finite_change_nothing_and_are_counted(
    tmp_path: Path, optimiser: Any
) -> None:
    """With batches 4 and 5 spoilt, everything ends as in a run that never saw them."""

    def without(number: int, stage: Stage, rank: int, world: int) -> toy.Pair:
        return toy.batches(number if number < 4 else number + 2, stage, rank, world)

    states, fits = [], []
    for name, steps, source in (("spoilt", 8, toy.nan_at(range(4, 6))), ("without", 6, without)):
        torch.manual_seed(0)
        objective = toy.Objective(dropout=0)
        run = toy.trainer(
            tmp_path / name,
            TrainerConfig(steps=steps, log_every=4, clip_norm=1.0),
            objective=objective,
            batches=source,
            optimiser=optimiser(objective.parameters(), lr=1e-2),
        )
        fits.append(run.fit())
        states.append({k: v for k, v in objective.state_dict().items() if v.is_floating_point()})
        if name == "spoilt":
            assert [metrics["skipped"] for _, metrics in run.reporter.logs] == [0, 2]
            assert all(math.isfinite(v) for _, logs in run.reporter.logs for v in logs.values())
    assert [fit.skipped for fit in fits] == [2, 0]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_a_poisoned_input_leaves_weights_and_statistics_as_they_were(tmp_path: Path) -> None:
    def poisoned(number: int, stage: Stage, rank: int, world: int) -> toy.Pair:
        pair = toy.batches(number, stage, rank, world)
        return pair._replace(inputs=pair.inputs * float("inf"))

    objective = toy.Objective()
    before = {k: v.clone() for k, v in objective.state_dict().items() if v.is_floating_point()}
    run = toy.trainer(tmp_path, TrainerConfig(steps=3), objective=objective, batches=poisoned)
    assert run.fit().skipped == 3
    assert all(torch.equal(objective.state_dict()[k], v) for k, v in before.items())


def test_bf16_autocast_trains(tmp_path: Path) -> None:
    seen = []

    class Watched(toy.Objective):
        def forward(self, batch: toy.Pair, stage: Stage) -> Any:
            seen.append(self.model[0](batch.inputs).dtype)
            return super().forward(batch, stage)

    objective = Watched(dropout=0)
    before = toy.error_of(objective)
    config = TrainerConfig(steps=100, precision="bf16", clip_norm=10)
    toy.trainer(tmp_path, config, objective=objective).fit()
    assert set(seen) == {torch.bfloat16}
    assert objective.model[0].weight.dtype == torch.float32
    assert toy.error_of(objective.eval()) < 0.5 * before


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["fused", "rmsprop"])
def test_on_a_gpu_a_step_skips_what_is_not_finite_without_waiting(
    tmp_path: Path, gpu: torch.device, no_waiting: Any, kind: str
) -> None:
    objective = toy.Objective().to(gpu)
    parameters = objective.parameters()
    optimiser = (
        torch.optim.AdamW(parameters, 1e-2, fused=True)
        if kind == "fused"
        else TFRMSProp(parameters)
    )
    run = toy.trainer(
        tmp_path,
        TrainerConfig(clip_norm=1.0, ema_decay=0.9, precision="bf16"),
        objective=objective,
        optimiser=optimiser,
    )
    stage = run.stages[0]
    good, bad = (toy.nan_at(range(1, 2))(n, stage, 0, 1) for n in (0, 1))
    run.stepper.step([good], stage, 1.0)  # first use allocates, which may wait
    before = {k: v.clone() for k, v in objective.state_dict().items() if v.is_floating_point()}
    with no_waiting():
        run.stepper.step([bad], stage, 1.0)
        kept = {k: objective.state_dict()[k].clone() for k in before}
        run.stepper.step([good], stage, 1.0)
    assert all(torch.equal(kept[k], before[k]) for k in before)
    assert not torch.equal(objective.model[0].weight, before["model.0.weight"])
    assert run.stepper.skips() == (1, 0)
