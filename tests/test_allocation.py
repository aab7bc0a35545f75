"""Memory that is kept by the process."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest

from common import allocation


def test_glibc_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    library = SimpleNamespace(mallopt=lambda *arguments: told.append(arguments))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    allocation.keep_freed()
    assert told == [(-1, 2**30), (-3, 2**30)]


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One without ``mallopt`` is asked for it, once, and for nothing else."""
    asked = []

    class Other:
        def __getattr__(self, name: str) -> None:
            asked.append(name)
            raise AttributeError(name)

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Other())
    allocation.keep_freed()
    assert asked == ["mallopt"]


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_systems_that_do_not_give_their_library_are_left_alone(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows knows no library without a name."""
    asked = []

    def missing(name: str | None) -> None:
        asked.append(name)
        raise error("no such library")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    allocation.keep_freed()
    assert asked == [None]  # the process's own
