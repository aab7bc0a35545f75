"""Checkpoints and weight files: written atomically with a checksum, read strictly.

Both are ordinary ``torch.save`` files that load with ``weights_only=True``: a dict with the keys
``kind`` ("training" or "weights") and ``sha256`` beside the content. The digest covers every
tensor's bytes and every other value, so damage shows as an error instead of as bad numbers.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

TRAINING, WEIGHTS = "training", "weights"

# What torch.load raises for a file that is cut short, has wrong bytes or is something else.
_DAMAGE = (
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
)


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: damaged, of another kind, or of another model."""


def save(path: str | Path, content: Mapping[str, Any], kind: str = TRAINING) -> Path:
    """Write ``content`` (tensors, plain values, dicts, lists, tuples) to ``path``, all or nothing.

    The file is written beside its place, flushed to disk, then renamed: whoever reads ``path`` sees
    the old file or the new one, never a part.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {**content, "kind": kind}
    record["sha256"] = digest(record)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            torch.save(record, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def load(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a file written by :func:`save`.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is damaged, or was not written by :func:`save`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        record = torch.load(path, map_location=device, weights_only=True)
    except _DAMAGE as error:
        raise CheckpointError(f"{path}: damaged, or not a checkpoint of this project") from error
    if not isinstance(record, dict) or not {"kind", "sha256"} <= record.keys():
        raise CheckpointError(f"{path}: not a checkpoint of this project (no kind, no sha256)")
    expected = record.pop("sha256")
    if digest(record) != expected:
        raise CheckpointError(f"{path}: damaged (its checksum does not match its content)")
    return record


def load_training(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a training checkpoint; raises like :func:`load`, also for a mere weight file."""
    record = load(path, device)
    if record["kind"] != TRAINING:
        raise CheckpointError(f"{path}: holds weights only, training cannot resume from it")
    return record


def save_weights(
    path: str | Path, preset: str, config: Mapping[str, Any], model: Mapping[str, Tensor]
) -> Path:
    """Write a model for others to use; floating tensors are stored in half precision.

    Args:
        preset: name of the preset the model was built from.
        config: the model's configuration as plain values.
        model: its state dict.

    Raises:
        ValueError: a value is not finite, or too large for half precision.
    """
    stored = {}
    for name, value in model.items():
        value = value.detach().cpu()
        stored[name] = value.half() if value.is_floating_point() else value
        if value.is_floating_point() and not bool(stored[name].isfinite().all()):
            raise ValueError(f"{name}: not finite in half precision, cannot be shipped")
    return save(path, {"preset": preset, "config": dict(config), "model": stored}, WEIGHTS)


def load_weights(path: str | Path) -> dict[str, Any]:
    """``dict(preset=str, config=dict, model=state dict)`` in float32, on the CPU.

    ``path`` is a weight file, or a training checkpoint: then the model is what the objective keeps
    under ``model``, with its averaged parameters where the run kept an average.
    """
    record = load(path)
    state = dict(record["model"])
    if record["kind"] == TRAINING:
        state.update((record.get("ema") or {}).get("average", {}))
        prefix = "model."
        if any(name.startswith(prefix) for name in state):
            state = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    return {
        "preset": record.get("preset", ""),
        "config": record.get("config", {}),
        "model": {n: v.float() if v.is_floating_point() else v for n, v in state.items()},
    }


def random_states() -> dict[str, Any]:
    """States of every global generator: Python's, NumPy's, PyTorch's on the CPU and on each GPU."""
    kind, key, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(key.astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Undo to the states of :func:`random_states`; GPU states are kept where the count agrees."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, key, *rest = states["numpy"]
    np.random.set_state((kind, key.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"].cpu())
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


def digest(content: Any) -> str:
    """SHA-256 (hex) of nested containers of tensors and plain values."""
    sha = hashlib.sha256()
    _feed(sha, content)
    return sha.hexdigest()


def _feed(sha: Any, value: Any) -> None:
    """Add one value with its type and extent, so that no two different contents read alike."""
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        sha.update(f"tensor {value.dtype} {tuple(value.shape)};".encode())
        sha.update(flat.numpy())
    elif isinstance(value, Mapping):
        sha.update(f"dict {len(value)};".encode())
        for key, item in value.items():
            _feed(sha, key)
            _feed(sha, item)
    elif isinstance(value, (list, tuple)):
        sha.update(f"list {len(value)};".encode())
        for item in value:
            _feed(sha, item)
    elif isinstance(value, float):
        sha.update(b"float" + struct.pack("<d", value))  # -0.0, nan: bytes, not repr
    elif value is None or isinstance(value, (bool, int, str)):
        text = str(value).encode()
        sha.update(f"{type(value).__name__} {len(text)};".encode() + text)
    else:
        raise TypeError(f"cannot be stored in a checkpoint: {type(value).__name__}")
