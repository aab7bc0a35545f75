"""What the options of several subcommands have in common."""

from __future__ import annotations

from typing import Any


def check_least(config: Any, **least: int) -> None:
    """Raise ValueError for the first of these options whose value is below its least one."""
    for name, smallest in least.items():
        value = getattr(config, name)
        if value < smallest:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} {value}: expected {smallest} or more")


def check_files(config: Any, *names: str) -> None:
    """Raise ValueError where one of these options, a file to write or None, is a folder."""
    for name in names:
        path = getattr(config, name)
        if path is not None and path.is_dir():
            raise ValueError(f"--{name} {path}: a folder, expected a file's name")


def check_suffix(config: Any, name: str, suffixes: tuple[str, ...]) -> None:
    """Raise ValueError where this option is a file of another suffix."""
    path = getattr(config, name)
    if path is not None and path.suffix.lower() not in suffixes:
        raise ValueError(f"--{name} {path}: expected a name in {', '.join(suffixes)}")


def use_threads(threads: int) -> None:
    """Let torch and OpenCV use so many threads of the CPU; 0: as many as there are."""
    if threads:
        import cv2
        import torch

        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
