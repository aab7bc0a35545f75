"""What every test gets: seeds, a fixed number of threads, real data where there is some."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from common.loading import seed_everything

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same global random state, whatever ran before it."""
    seed_everything(0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data that the environment variable ATTEND_DATA names, else a skip."""
    name = os.environ.get("ATTEND_DATA")
    if not name:
        pytest.skip("real data: set ATTEND_DATA to its folder")
    folder = Path(name)
    if not folder.is_dir():
        pytest.fail(f"ATTEND_DATA is {name}, which is not a folder")
    return folder


@pytest.fixture
def gpu() -> torch.device:
    """A GPU, else a skip."""
    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    return torch.device("cuda")


@contextmanager
def _no_waiting() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode")  # is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def no_waiting(gpu: torch.device) -> Callable[[], AbstractContextManager]:
    """Contexts in which it is an error to wait for the GPU."""
    return _no_waiting
