"""Run folders: ``config.json``, ``metrics.jsonl``, ``checkpoints/``, ``figures/``."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

CONFIG, METRICS = "config.json", "metrics.jsonl"


def new_folder(preset: str, root: str | Path = "runs") -> Path:
    """A name not in use under ``root``: preset and time, ``runs/hart-20260131-120000``."""
    stem = Path(root) / f"{preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, number = stem, 1
    while folder.exists():
        number += 1
        folder = stem.with_name(f"{stem.name}-{number}")
    return folder


def create(folder: str | Path, preset: str, config: Any, seed: int) -> Path:
    """Make a run folder and write its ``config.json``.

    Args:
        folder: where; it may exist, but must not hold a run.
        preset: name of the preset that is trained.
        config: the whole configuration, a dataclass or a dict; unknown types are stored as text.
        seed: the run's seed.

    Raises:
        ValueError: the folder already holds a run.
    """
    import torch

    folder = Path(folder)
    if (folder / CONFIG).exists():
        raise ValueError(f"{folder} already holds a run: resume it, or choose another folder")
    for name in ("checkpoints", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    record = {
        "preset": preset,
        "seed": seed,
        "git": git_hash(),
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "config": plain(config),
    }
    part = folder / f".{CONFIG}.part"
    part.write_text(json.dumps(record, indent=2) + "\n")
    os.replace(part, folder / CONFIG)
    return folder


def read_config(folder: str | Path) -> dict[str, Any]:
    """What :func:`create` wrote; raises FileNotFoundError or ValueError that name the file."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a run folder: no {CONFIG} in it")
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error


def read_metrics(folder: str | Path, kind: str = "train") -> list[dict[str, Any]]:
    """Records of ``metrics.jsonl`` of one kind (train, validation, stage, notice), in order.

    A last line cut short by a crash is left out.
    """
    return [r for r in _records(Path(folder) / METRICS) if r["kind"] == kind]


def forget_metrics_after(folder: str | Path, step: int) -> None:
    """Drop the records of steps after ``step``, which a resumed run makes again."""
    path = Path(folder) / METRICS
    if path.exists():
        kept = [r for r in _records(path) if r["step"] <= step]
        part = path.with_name(f".{METRICS}.part")
        part.write_text("".join(json.dumps(r) + "\n" for r in kept))
        os.replace(part, path)


def find_checkpoint(path: str | Path) -> Path:
    """The file that ``path`` means: itself, or a run folder's best checkpoint, else its last.

    Raises FileNotFoundError when there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    for name in ("best", "last"):
        file = path / "checkpoints" / f"{name}.pt"
        if file.is_file():
            return file
    raise FileNotFoundError(f"{path}: neither a weight file nor a run folder with a checkpoint")


def git_hash() -> str:
    """Commit of the source this runs from, ``-dirty`` when it is changed; "unknown" outside git."""
    where = Path(__file__).parent
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", str(where), *what],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for what in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{head}-dirty" if changes else head


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: dataclasses as dicts, nan and infinity as null, else text."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _records(path: Path) -> list[dict[str, Any]]:
    records = []
    lines = path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{path}, line {number}: not valid JSON ({error})") from error
    return records
