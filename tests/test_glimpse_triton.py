"""The glimpse core's Triton kernels: equal to the CPU's arithmetic, waiting for nothing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import common
from common import _fused
from common.glimpse import extract, paste
from tests.glimpse_kernels import CASES, CHECKS, compare, outcomes, ramp

ROOT = Path(__file__).parents[1]
HERE = importlib.util.find_spec("triton") is not None


def run(*arguments: str, **environment: str) -> str:
    """What a new Python prints."""
    command, environment = (sys.executable, *arguments), {**os.environ, **environment}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.skipif(not HERE, reason="no Triton")
def test_interpreted_kernels_equal_the_cpu() -> None:
    answer = run("-m", "tests.glimpse_kernels", TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")
    assert len(answer.splitlines()) == len(CHECKS)


def test_triton_is_loaded_for_a_gpu_only() -> None:
    code = "import sys, torch; before = set(sys.modules); from common.glimpse import extract;"
    code += "extract(torch.rand(1, 4, 4), torch.rand(1, 4), 2);"
    code += "print(*(name for name in {*sys.modules} - before if 'triton' in name))"
    assert run("-c", code).split() == []


def test_without_triton_there_are_other_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels, gpu = _fused.kernels.__wrapped__, torch.device("cuda")
    monkeypatch.setitem(sys.modules, "common._triton", None)
    monkeypatch.delattr(common, "_triton", raising=False)
    assert kernels(gpu) is None
    assert kernels(torch.device("cpu")) is None


def test_where_triton_fails_there_are_other_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(common, "_triton", types.SimpleNamespace(), raising=False)
    monkeypatch.setattr(_fused, "_glimpses", fail)  # without a GPU something else fails before
    with pytest.warns(UserWarning, match="glimpses are slow on cuda, Triton fails: "):
        assert _fused.kernels.__wrapped__(torch.device("cuda")) is None


@pytest.fixture
def device() -> str:
    """A GPU with kernels."""
    if not torch.cuda.is_available() or not HERE:
        pytest.skip("no NVIDIA GPU, or no Triton")
    assert _fused.kernels(torch.device("cuda", 0)) is not None
    return "cuda:0"


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "antialias"), CHECKS)
def test_kernels_equal_the_cpu_every_time(name: str, antialias: bool, device: str) -> None:
    found = outcomes(CASES[name], antialias, device)
    compare(found, outcomes(CASES[name], antialias, "cpu"))
    for one, other in zip(found, outcomes(CASES[name], antialias, device), strict=True):
        assert torch.equal(one.nan_to_num(), other.nan_to_num())


def random_boxes(count: int, side: float, device: str) -> Tensor:
    start, sides = 90 * torch.rand(count, 2), side * (0.5 + torch.rand(count, 2))
    return torch.cat((start, sides), -1).to(device).requires_grad_()


@pytest.mark.gpu
@pytest.mark.parametrize("frame", [(3, 2160, 3840), (1, 50, 50)])
def test_nothing_waits_for_the_host(
    frame: tuple[int, int, int], device: str, no_waiting: Any
) -> None:
    frames, boxes = torch.rand(frame, device=device), random_boxes(4, 60, device)

    def step() -> None:
        glimpses = extract(frames, boxes, 20)
        canvas = paste(glimpses, boxes, (50, 50))
        torch.autograd.grad((glimpses * ramp(glimpses)).sum() + canvas.sum(), boxes)

    step()
    with no_waiting():
        step()


@pytest.mark.gpu
@pytest.mark.parametrize("side", [30.0, 160.0, 2000.0])
def test_a_large_batch_equals_the_cpu(side: float, device: str) -> None:
    """Offsets beyond 32 bits, samples that average much, many boxes of a frame."""
    frame = torch.randint(0, 256, (1, 3, 2160, 3840), dtype=torch.uint8)
    boxes = random_boxes(5, side, "cpu")[None] + torch.tensor([1500.0, 800, 0, 0])
    few = extract(frame, boxes.detach(), 24)
    large = torch.empty(100, 3, 2160, 3840, dtype=torch.uint8, device=device)
    large[97] = frame[0].to(device)
    found = extract(large, boxes.detach().to(device).expand(100, -1, -1), 24)[97]
    torch.testing.assert_close(found.cpu(), few[0], atol=0.2, rtol=1e-3)


@pytest.mark.gpu
def test_a_cuda_graph_replays_both_ways(device: str) -> None:
    frames, boxes = torch.rand(4, 3, 90, 120, device=device), random_boxes(8, 60, device)
    boxes = boxes.detach().view(4, 2, 4).requires_grad_()

    def step() -> tuple[Tensor, Tensor]:
        glimpses = extract(frames, boxes, 20)
        # Detached: what lives on keeps the stream that its gradients were to be added on.
        return glimpses.detach(), *torch.autograd.grad((glimpses * ramp(glimpses)).sum(), boxes)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    with torch.no_grad():
        boxes.add_(1.7)
    graph.replay()
    for one, other in zip(found, step(), strict=True):
        assert torch.equal(one, other)
