"""Several processes train like one; a single process pays and needs nothing."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as multiprocessing

from common import distributed
from common.curriculum import Stage
from common.distributed import World
from common.training import TrainerConfig
from datasets.windows import TrackingWindows, WindowsConfig
from hart.config import HartConfig
from hart.model import Hart
from hart.objective import HartObjective
from tests import toy


def _process(rank: int, world: int, port: int, folder: Path) -> None:
    """One of two gloo processes, described by the environment as torchrun does."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.manual_seed(rank)  # what differs at the start must not differ later
    run = _parallel(folder)
    fit = run.fit()
    again = _parallel(folder, steps=16)
    again.fit(resume=True)
    torch.save((fit.best, run.objective.state_dict(), again.objective.state_dict()),
               folder / f"rank{rank}.pt")  # fmt: skip
    torch.save(_hart(rank, world), folder / f"hart{rank}.pt")
    torch.save(run.reporter.logs if rank == 0 else [], folder / f"logs{rank}.pt")
    distributed.leave()


def _hart(rank: int, world: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and gradient of a process's share of a batch whose objects leave at different times."""
    torch.manual_seed(0)
    config = HartConfig(glimpse=24, stem=(8, 16, 16), keys=8, features=16, reach=2)
    objective = HartObjective(Hart(config), jitter=0)
    # On some clips a change of weights by rounding alone moves the gradient by more than the bound.
    batches = TrackingWindows([], WindowsConfig(batch=4, side=64, glide=0), seed=2)
    batch = batches(0, Stage("test", 5), rank, world)
    if rank == 0:
        batch.presence[1:, 0] = False  # the joint batch's first clip
    loss, _ = objective(batch)
    loss.backward()
    gradients = [p.grad.flatten() for p in objective.parameters() if p.grad is not None]
    return loss.detach(), torch.cat(gradients)


def _parallel(folder: Path, steps: int = 12) -> Any:
    objective = toy.Objective(dropout=0, norm=False)
    first = os.environ.get("RANK", "0") == "0"
    return toy.trainer(
        folder if first else folder / "not used",
        TrainerConfig(steps=steps, log_every=4, validate_every=6, accumulate=2, clip_norm=1.0),
        objective=objective,
        reporter=toy.Diary(),
        validate=(lambda stage: {"score": -toy.error_of(objective)}) if first else None,
    )


def test_two_processes_equal_one_with_the_joint_batch(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "two").mkdir()
    multiprocessing.spawn(_process, args=(2, port, tmp_path / "two"), nprocs=2)
    ranks = [torch.load(tmp_path / "two" / f"rank{r}.pt", weights_only=True) for r in (0, 1)]
    for part in (1, 2):
        assert all(torch.equal(ranks[0][part][k], ranks[1][part][k]) for k in ranks[0][part])
    assert ranks[0][0] == ranks[1][0]  # the best validation is known to both
    torch.manual_seed(0)
    one = _parallel(tmp_path / "one")
    one.fit()
    logs = torch.load(tmp_path / "two" / "logs0.pt", weights_only=True)
    assert len(logs) == len(one.reporter.logs) == 3
    for (step, together), (expected, alone) in zip(logs, one.reporter.logs):
        assert step == expected
        assert together == pytest.approx(alone, rel=1e-4)
    for name, value in one.objective.state_dict().items():
        torch.testing.assert_close(ranks[0][1][name], value, rtol=1e-4, atol=1e-5)

    loss, gradient = _hart(0, 1)
    parts = [torch.load(tmp_path / "two" / f"hart{r}.pt", weights_only=True) for r in (0, 1)]
    torch.testing.assert_close((parts[0][0] + parts[1][0]) / 2, loss, rtol=1e-4, atol=0)
    torch.testing.assert_close((parts[0][1] + parts[1][1]) / 2, gradient, rtol=1e-3, atol=1e-5)


def test_a_single_process_keeps_its_values() -> None:
    world = distributed.join(torch.device("cpu"))
    assert world == World(0, 1)
    assert world.first
    assert distributed.gather("x", world) == ["x"]
    assert distributed.from_first("x", world) == "x"
    assert distributed.total(torch.tensor(3), world).item() == 3
    assert distributed.any_of(torch.tensor(1), world).item() == 1
    distributed.leave()


def test_choose_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert distributed.choose_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert distributed.choose_device().type == "cpu"
    with pytest.raises(ValueError, match="no GPU here"):
        distributed.choose_device("cuda")
    with pytest.raises(ValueError, match="must be auto, cpu or cuda, got 'tpu'"):
        distributed.choose_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert distributed.choose_device("auto") == torch.device("cuda", 3)
