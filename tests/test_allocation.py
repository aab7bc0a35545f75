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
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    allocation.keep_freed()

    def missing(_: None) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    allocation.keep_freed()
