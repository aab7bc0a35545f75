"""The trainer: exact resume, stages, skipped steps, stops, precision, and many processes."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from common import checkpoint
from common.curriculum import Ramp, Stage
from common.training import Fit, TrainerConfig
from tests import toy

STAGES = (
    Stage("one", 1, max_steps=7, settings={"scale": Ramp(2.0, 1.0, 5)}),
    Stage("two", 2, min_steps=5, max_steps=100, gate={"score": -1e9}, rate=Ramp(1.0, 0.1, 20)),
    Stage("three", 3),
)


def build(folder: Path, steps: int, **changes: Any) -> Any:
    """A trainer that uses everything there is state for."""
    torch.manual_seed(1)
    objective = toy.Objective()
    config = {"validate_every": 6, "save_every": 5, "log_every": 4, "clip_norm": 1.0}
    config |= {"ema_decay": 0.9, "accumulate": 2} | changes.pop("config", {})
    changes.setdefault("optimiser", torch.optim.AdamW(objective.parameters(), 1e-2))
    return toy.trainer(
        folder,
        TrainerConfig(steps=steps, **config),
        objective=objective,
        stages=STAGES,
        learning_rate=lambda step: 1 - step / 100,
        validate=lambda stage: {"score": -toy.error_of(objective), "noise": float(torch.rand(1))},
        metadata={"preset": "toy", "config": {"size": 16}},
        **changes,
    )


def same(a: dict, b: dict) -> bool:
    """Whether two checkpoints hold the same, but for the trainer's own configuration."""
    return checkpoint.digest(a | {"trainer": None}) == checkpoint.digest(b | {"trainer": None})


@pytest.mark.parametrize("stop", [3, 7, 12, 13, 22])
def test_stopping_and_resuming_equals_an_unbroken_run(tmp_path: Path, stop: int) -> None:
    unbroken = build(tmp_path / "a", 30)
    unbroken.fit()

    class StopsAt(toy.Diary):
        def tick(self, step: int) -> None:
            super().tick(step)
            if step == stop:
                signal.raise_signal(signal.SIGINT)

    first = build(tmp_path / "b", 30, reporter=StopsAt())
    assert first.fit()[:2] == (stop, "interrupted")
    torch.rand(5)  # the resumed process has another random state
    second = build(tmp_path / "b", 30)
    assert second.fit(resume=True)[:2] == (30, "finished")
    for name in ("last", "best"):
        a, b = (checkpoint.load_training(t.path(name)) for t in (unbroken, second))
        assert same(a, b), name
    assert first.reporter.logs + second.reporter.logs == unbroken.reporter.logs
    told = first.reporter.validations + second.reporter.validations
    assert told == unbroken.reporter.validations


def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    build(tmp_path / "a", 20).fit()
    build(tmp_path / "b", 20, config={"workers": 1}).fit()
    a, b = (checkpoint.load_training(tmp_path / n / "checkpoints/last.pt") for n in "ab")
    assert same(a, b)


def test_it_learns_and_tells_of_it(tmp_path: Path) -> None:
    run = build(tmp_path, 150, config={"log_every": 30, "validate_every": 30})
    before = toy.error_of(run.objective)
    fit = run.fit()
    diary = run.reporter
    assert fit == Fit(150, "finished", run.best, 0)
    assert toy.error_of(run.objective.eval()) < 0.4 * before
    assert [step for step, _ in diary.logs] == [30, 60, 90, 120, 150]
    assert {"loss", "error", "gradient_norm", "skipped", "rate", "stage"} == set(diary.logs[0][1])
    assert diary.logs[-1][1]["error"] < 0.3 * diary.logs[0][1]["error"]
    assert diary.stages == [(0, "one"), (7, "two"), (30, "three")]
    assert diary.ticks == 150
    assert diary.closed
    scores = [metrics["score"] for _, metrics, _ in diary.validations]
    assert fit.best["score"] == max(scores)
    assert [best for _, _, best in diary.validations] == [
        score > max(scores[:i], default=-1e9) for i, score in enumerate(scores)
    ]


def test_checkpoints_hold_what_evaluation_needs(tmp_path: Path) -> None:
    run = build(tmp_path, 12)
    run.fit()
    loaded = checkpoint.load_weights(run.path("last"))
    assert (loaded["preset"], loaded["config"]) == ("toy", {"size": 16})
    objective = toy.Objective().eval()
    objective.model.load_state_dict(loaded["model"])  # averaged weights, which were validated
    assert -toy.error_of(objective) == pytest.approx(run.reporter.validations[-1][1]["score"])
    raw = checkpoint.load_training(run.path("last"))
    assert not torch.equal(raw["model"]["model.0.weight"], loaded["model"]["0.weight"])


def test_rates_follow_schedule_and_stage(tmp_path: Path) -> None:
    objective = toy.Objective()
    first, *others = objective.parameters()
    run = toy.trainer(
        tmp_path,
        TrainerConfig(steps=12, log_every=1),
        objective=objective,
        optimiser=torch.optim.AdamW([{"params": [first], "lr": 5e-3}, {"params": others}], 1e-2),
        learning_rate=lambda step: 1 - step / 100,
        stages=(Stage("one", 1, max_steps=7), Stage("two", 1, rate=Ramp(1.0, 0.1, 20))),
    )
    run.fit()
    rates = [metrics["rate"] for _, metrics in run.reporter.logs]
    one = [1 - step / 100 for step in range(7)]
    two = [(1 - step / 100) * (1 - 0.9 * (step - 7) / 20) for step in range(7, 12)]
    assert rates == pytest.approx(one + two)
    assert [g["lr"] for g in run.optimiser.param_groups] == pytest.approx(
        [5e-3 * rates[-1], 1e-2 * rates[-1]]
    )


def test_a_bad_first_stage_restarts_from_fresh_weights(tmp_path: Path) -> None:
    """The first start cannot learn (its weights are all zero behind a ReLU); the second can."""
    objective = toy.Objective(dropout=0, norm=False)
    for parameter in objective.parameters():
        parameter.data.zero_()
    objective.model[4].bias.requires_grad_(False)
    seeds = []

    def fresh(seed: int) -> dict:
        seeds.append(seed)
        return toy.Objective(dropout=0, norm=False).state_dict()

    stages = (
        Stage("start", 1, max_steps=300, gate={"score": -1.0}, restarts=3, restart_after=40,
              restart_gate={"score": -8.0}),
    )  # fmt: skip
    run = toy.trainer(
        tmp_path,
        TrainerConfig(steps=1000, validate_every=20, ema_decay=0.9, seed=5, best_of="stage"),
        objective=objective,
        stages=stages,
        validate=lambda stage: {"score": -toy.error_of(objective)},
        fresh=fresh,
    )
    fit = run.fit()
    assert len(seeds) == 1
    assert seeds[0] != 5
    assert run.reporter.stages == [(0, "start"), (40, "start")]
    assert (
        "stage 'start' missed its gate at step 40: restart 1 of at most 3" in run.reporter.notices
    )
    assert fit.reason == "finished"
    assert fit.best["score"] > -1.0
    assert run.progress.restarts == 1
    assert run.optimiser.state[objective.model[0].weight]["step"] == fit.step - 40


def test_a_later_stage_restarts_from_where_it_began(tmp_path: Path) -> None:
    scores = iter([0.0, 0.0, 1.0])
    weights: dict[int, torch.Tensor] = {}
    stages = (Stage("a", 1, max_steps=3), Stage("b", 2, max_steps=4, gate={"s": 0.5}, restarts=2))

    class Watches(toy.Diary):
        def stage(self, step: int, stage: Stage) -> None:
            super().stage(step, stage)
            weights[step] = objective.model[0].weight.detach().clone()

    objective = toy.Objective()
    run = toy.trainer(
        tmp_path,
        TrainerConfig(steps=100, validate_every=100),
        objective=objective,
        stages=stages,
        reporter=Watches(),
        validate=lambda stage: {"s": 0.0 if stage.name == "a" else next(scores)},
    )
    assert run.fit()[:2] == (15, "finished")
    assert run.reporter.stages == [(0, "a"), (3, "b"), (7, "b"), (11, "b")]
    assert torch.equal(weights[3], weights[7])
    assert torch.equal(weights[3], weights[11])
    assert not torch.equal(weights[0], weights[3])
    assert run.fit(resume=True)[:2] == (15, "finished")  # nothing left to do


def test_a_run_that_stays_not_finite_ends_with_its_last_good_checkpoint(tmp_path: Path) -> None:
    config = TrainerConfig(steps=100, log_every=2, save_every=5, nonfinite_limit=6)
    run = toy.trainer(tmp_path, config, batches=toy.nan_at(range(12, 1000)))
    with pytest.raises(FloatingPointError, match=r"6 steps in a row .* up to step 18.*last\.pt"):
        run.fit()
    assert run.reporter.closed
    kept = checkpoint.load_training(run.path("last"))
    assert kept["step"] == 10
    resumed = toy.trainer(tmp_path, config)  # the data are mended
    assert resumed.fit(resume=True)[:2] == (100, "finished")


def test_time_only_stops(tmp_path: Path) -> None:
    run = build(tmp_path, 10**6, config={"max_minutes": 1e-9})
    assert run.fit()[:2] == (1, "time")
    assert run.reporter.notices == ["stopped at step 1: time"]
    assert checkpoint.load_training(run.path("last"))["step"] == 1
    assert build(tmp_path, 3).fit(resume=True)[:2] == (3, "finished")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_stop_and_handlers_come_back(tmp_path: Path, number: int) -> None:
    class Asks(toy.Diary):
        def tick(self, step: int) -> None:
            if step == 3:
                signal.raise_signal(number)

    before = signal.getsignal(number)
    run = build(tmp_path, 1000, reporter=Asks(), config={"workers": 1})
    assert run.fit()[:2] == (3, "interrupted")
    assert signal.getsignal(number) is before
    assert checkpoint.load_training(run.path("last"))["step"] == 3


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    class Insists(toy.Diary):
        def tick(self, step: int) -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, 1000, reporter=Insists()).fit()


def test_misuse_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"last\.pt"):
        build(tmp_path, 5).fit(resume=True)
    build(tmp_path, 5).fit()
    with pytest.raises(ValueError, match="already holds a run: resume it or choose another"):
        build(tmp_path, 5).fit()
    other = toy.trainer(tmp_path, TrainerConfig(steps=9))
    with pytest.raises(ValueError, match="trained with stages one, two, three, not with all"):
        other.fit(resume=True)
    toy.trainer(tmp_path / "toy", TrainerConfig(steps=1)).fit()
    other = toy.trainer(
        tmp_path / "toy", TrainerConfig(steps=9), objective=toy.Objective(norm=False)
    )
    with pytest.raises(ValueError, match=r"(?s)of another model: .*model\.2"):
        other.fit(resume=True)
    gated = (Stage("a", 1, gate={"iou": 0.5}),)
    with pytest.raises(ValueError, match="there is no validation"):
        toy.trainer(tmp_path, TrainerConfig(), stages=gated)
    with pytest.raises(ValueError, match="best_metric 'iou': validation measures score"):
        config = TrainerConfig(validate_every=1, best_metric="iou")
        toy.trainer(tmp_path / "b", config, validate=lambda stage: {"score": 1.0}).fit()
    with pytest.raises(ValueError, match="steps must be at least 1"):
        TrainerConfig(steps=0)
    with pytest.raises(ValueError, match="workers must not be negative"):
        TrainerConfig(workers=-1)
