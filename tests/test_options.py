"""``experiments.options``: what is wrong with an option is said with its name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch

from experiments.options import check_files, check_least, check_suffix, use_threads


def test_numbers() -> None:
    config = SimpleNamespace(threads=0, bound_particles=1)
    check_least(config, threads=0, bound_particles=1)
    with pytest.raises(ValueError, match="^--bound-particles 1: expected 2 or more$"):
        check_least(config, threads=0, bound_particles=2)


def test_files(tmp_path: Path) -> None:
    config = SimpleNamespace(json=None, figure=tmp_path / "a.PNG", output=tmp_path)
    check_files(config, "json", "figure")
    check_suffix(config, "json", (".txt",))
    check_suffix(config, "figure", (".pdf", ".png"))
    with pytest.raises(ValueError, match="^--output .*: a folder, expected a file's name$"):
        check_files(config, "json", "output")
    with pytest.raises(ValueError, match=r"^--figure .*a.PNG: expected a name in .pdf, .svg$"):
        check_suffix(config, "figure", (".pdf", ".svg"))


def test_threads() -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        use_threads(0)
        assert (torch.get_num_threads(), cv2.getNumThreads()) == before
        use_threads(3)
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (3, 3)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
