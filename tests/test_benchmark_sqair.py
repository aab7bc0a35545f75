"""The benchmark of SQAIR's training step: what it measures is the step, and the report says so."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pyro
import pytest
import torch

from datasets.digits import Digits
from datasets.moving_mnist import MovingMnist, MovingMnistConfig
from experiments import benchmark, benchmark_sqair
from experiments.sqair_step import TrainingStep, as_they_are, without_handlers
from sqair.config import PAPER, SqairConfig
from sqair.model import Sqair

SMALL = {"what": 3, "glimpse": 4, "hidden": 8, "size": 16}


@pytest.fixture
def clips() -> MovingMnist:
    images = torch.zeros(3, 28, 28, dtype=torch.uint8)
    images[:, :6, :5] = 200
    digits = Digits(images, torch.tensor([[6, 5]] * 3), torch.arange(3))
    return MovingMnist(MovingMnistConfig(size=16), digits)


@pytest.mark.parametrize("preset", ["sqair", "sqair-paper"])
@pytest.mark.parametrize("forced", [True, False])
def test_both_steps_do_the_same(clips: MovingMnist, preset: str, forced: bool) -> None:
    """With handlers and without: loss, gradients and what is reported of them are equal."""
    torch.manual_seed(0)
    config = PAPER if preset == "sqair-paper" else SqairConfig()
    model = Sqair(type(config)(**{**vars(config), **SMALL}))
    step = TrainingStep(preset, model, forced, clips, (3, 4, 2))
    before = {name: p.clone() for name, p in model.named_parameters()}
    seen = []
    for handlers in (True, False):
        step(1, handlers)
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        seen.append((step.read(), gradients))
    assert seen[0][0].pop("loss") == seen[1][0].pop("loss")
    assert seen[0][0] == pytest.approx(seen[1][0], nan_ok=True)
    torch.testing.assert_close(seen[0][1], seen[1][1])
    assert max(float(g.abs().max()) for g in seen[0][1].values()) > 0
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name  # the next step has the same work


def test_forced_objects_are_those_of_the_ground_truth(clips: MovingMnist) -> None:
    torch.manual_seed(0)
    model = Sqair(SqairConfig(**SMALL))
    batch = clips.batch(3, 16, 3)
    with torch.no_grad():
        slots = model.guide(batch.frames, 2, values=as_they_are(batch, 2, 3)).slots
    wanted = batch.presence.sum(-1)
    assert wanted.unique().tolist() == [0, 1, 2]
    assert torch.equal(slots.presence.sum(-1).long(), wanted[:, None].expand(3, 2, 16))
    assert as_they_are(batch, 2, 1)["discovered_count_0"].max() == 1


def test_without_handlers() -> None:
    with without_handlers(), pyro.plate("batch", 2):
        drawn = pyro.sample("x", pyro.distributions.Normal(torch.zeros(2), 1.0))
        assert pyro.sample("x", None) is drawn
        assert pyro.sample("y", None, obs=3) == 3
    trace = pyro.poutine.trace(lambda: pyro.sample("x", pyro.distributions.Normal(0.0, 1.0)))
    assert "x" in trace.get_trace().nodes


def test_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(benchmark_sqair, "SIDE", 64)
    monkeypatch.setattr(benchmark_sqair, "SIZES", (2, 2, 2))
    file, threads = tmp_path / "sqair.json", torch.get_num_threads()
    options = [
        "--threads",
        "1",
        "--lengths",
        "2",
        "1",
        "--batch",
        "2",
        "--particles",
        "2",
        "--quick",
    ]
    assert benchmark.main(["sqair", *options, "--json", str(file)]) == 0
    assert torch.get_num_threads() == threads
    shown, record = capsys.readouterr().out, json.loads(file.read_text())
    rows = record["rows"]
    assert [(r["preset"], r["frames"]) for r in rows] == [
        (preset, length) for preset in ("sqair", "sqair-paper") for length in (2, 1)
    ]
    for row in rows:
        assert row["preset"] in shown
        assert row["rate"] == pytest.approx(2 * row["frames"] / row["seconds"])
        assert row["gflops"] == pytest.approx(row["gflop"] / row["seconds"])
        assert 0.001 < row["gflop"] < 1
        assert row["share"] > 0
        assert -1 < row["pyro"] < 1
        assert 0.1 < row["gigabytes"] < 8
        assert math.isfinite(row["present"])
        # What is aimed at grows with the machine and is known for one size only.
        assert (row["target"] is None) == (row["frames"] == 1)
    assert rows[0]["gflop"] > rows[1]["gflop"]
    assert "aimed at are" in shown
    assert "sqair-paper:" in shown


def test_lines() -> None:
    row = benchmark_sqair.Row(
        "sqair", 10, 0.5, None, 640.0, 30.0, 60.0, 0.34, 0.05, 0.9, 1.0, 700.0
    )
    words = "sqair 10 0.5000 - 640 30.0 60.0 34% 5% 0.90 1.00"
    assert benchmark_sqair.line(row).split() == words.split()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "0"], "--rounds 0: expected more than 0"),
        (["--particles", "1"], "--particles 1: expected 2 or more"),
        (["--lengths", "0"], "--lengths .0,.: expected 1 or more"),
        (["--presets", "air"], "--presets air: expected sqair or sqair-paper"),
    ],
)
def test_wrong_options(options: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        benchmark_sqair.main(options)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none.pt"):
        benchmark_sqair.main(["--weights", str(tmp_path / "none.pt")])


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--device cuda: there is no GPU"):
        benchmark_sqair.main(["--device", "cuda"])
