"""The benchmark command: its parts, an honest baseline, a report that says what was measured."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch

from common.glimpse import extract
from experiments import benchmark, benchmark_glimpse
from experiments.benchmark_glimpse import backward, grid_sampled, random_input


def test_parts_are_named_and_there(capsys: pytest.CaptureFixture) -> None:
    assert benchmark.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in benchmark.PARTS:
        assert f"  {name} " in shown
        assert callable(importlib.import_module(f"experiments.benchmark_{name}").main)
    with pytest.raises(ValueError, match="benchmark glimpses: expected one of glimpse, "):
        benchmark.main(["glimpses"])


def test_the_baseline_does_the_same_work() -> None:
    frames, boxes = random_input((2, 3), (187, 621), (25.0, 56.0), "cpu")
    exact = grid_sampled(frames, boxes, 56, 1)
    torch.testing.assert_close(extract(frames, boxes, 56), exact, atol=0.1, rtol=0)  # of 255
    ramp = torch.arange(621.0).expand(1, 3, 187, 621)
    boxes = torch.tensor([[[40.3, 30.1, 100.0, 90.0]]])
    filtered = grid_sampled(ramp, boxes, 56, 4)
    torch.testing.assert_close(extract(ramp, boxes, 56), filtered, atol=0.02, rtol=0)


def test_backward_reaches_the_boxes() -> None:
    frames, boxes = random_input((1, 1), (30, 30), (9.0, 20.0), "cpu")
    with pytest.raises(RuntimeError, match="does not require grad"):
        backward(lambda: extract(frames, boxes, 8), boxes)
    backward(lambda: extract(frames, boxes, 8), boxes.requires_grad_())


def test_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(benchmark_glimpse, "LOADS", ((32, 1),))
    file, threads = tmp_path / "glimpse.json", torch.get_num_threads()
    options = ["--rounds", "3", "--seconds", "0.01", "--json", str(file)]
    assert benchmark.main(["glimpse", *options]) == 0
    assert torch.get_num_threads() == threads
    shown, record = capsys.readouterr().out, json.loads(file.read_text())
    assert record["torch"] == torch.__version__
    assert record["threads"] == 1
    assert len(record["rows"]) == 6
    for row in record["rows"]:
        assert row["what"] in shown
        assert 0 < row["ratio"] < 1.5, row  # the exact bounds are an acceptance test's
        assert row["ratio"] == pytest.approx(row["milliseconds"] / row["baseline"], rel=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "0"], "--rounds 0: expected more than 0"),
        (["--shrink", "9"], "--shrink 9.0: expected more than 1 and at most 3"),
    ],
)
def test_wrong_options(options: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        benchmark_glimpse.main(options)


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--device cuda: there is no GPU"):
        benchmark_glimpse.main(["--device", "cuda"])
