"""One process or many under ``torchrun``: ranks, devices and the few exchanges training needs.

Every function also works, and costs nothing, in a single process.
"""

from __future__ import annotations

import atexit
import os
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class World(NamedTuple):
    """This process's rank among ``size`` processes."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0


def choose_device(name: str = "auto") -> torch.device:
    """The device named ``auto`` (a GPU when there is one), ``cpu`` or ``cuda``.

    Under torchrun each process has its own GPU. Raises ValueError for another name, or for ``cuda``
    without a GPU.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device cuda: PyTorch sees no GPU here")
    if name == "cpu" or not available:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def join(device: torch.device) -> World:
    """Join the process group that ``torchrun`` describes in the environment, if it does."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 and not dist.is_initialized():
        return World()
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(leave)
    return World(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def total(values: Tensor, world: World) -> Tensor:
    """Sum of ``values`` over processes."""
    if world.size > 1:
        dist.all_reduce(values)
    return values


def mean_count(count: Tensor) -> Tensor:
    """A count as its mean over processes; as it is in a single one. To be called by all of them.

    A sum divided by it is, averaged over processes, the mean over what all of them hold: gradients
    are averaged that way, so processes with little to score do not weigh as much as the others.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return count
    shared = count.float()
    dist.all_reduce(shared)
    return shared / dist.get_world_size()


def any_of(flag: Tensor, world: World) -> Tensor:
    """Elementwise maximum of a flag (0 or 1, any number type) over processes."""
    if world.size > 1:
        dist.all_reduce(flag, dist.ReduceOp.MAX)
    return flag


def from_first(value: Any, world: World) -> Any:
    """The first process's ``value``, on every process."""
    if world.size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather(value: Any, world: World) -> list[Any]:
    """Every process's ``value``, in order of rank, on every process."""
    if world.size == 1:
        return [value]
    box: list[Any] = [None] * world.size
    dist.all_gather_object(box, value)
    return box
