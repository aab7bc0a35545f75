"""Weight files of models: shipped ones by name, configurations from what is stored beside weights.

What the packages of models share; each says which models it has and where its weights are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from common.checkpoint import CheckpointError, load_weights

Config = TypeVar("Config")


def resolve(weights: str | Path, folder: Path, default: str) -> Path:
    """The file that ``default`` or ``default:NAME`` (shipped) or a path means.

    Args:
        weights: one of these.
        folder: where shipped weights are, ``NAME.pt`` each.
        default: the name that ``default`` alone means.

    Raises:
        FileNotFoundError: nothing of that name is shipped; the message lists what is. A path is not
            looked at.
    """
    text = str(weights)
    if text != "default" and not text.startswith("default:"):
        return Path(weights)
    name = text.partition(":")[2] or default
    path = folder / f"{name}.pt"
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in folder.glob("*.pt"))) or "none"
        raise FileNotFoundError(f"no shipped weights {name!r}; there are {shipped}")
    return path


def config_from(
    values: Mapping[str, Any], kinds: Mapping[str, type[Config]], default: str | None = None
) -> Config:
    """A configuration from the plain values stored beside weights.

    Args:
        values: its settings, and ``model``, the name of its kind.
        kinds: dataclasses by that name.
        default: the name where there is none.

    Raises:
        ValueError: another model, or a setting that it does not have.
    """
    values = dict(values)
    model = values.pop("model", default)
    if model not in kinds:
        raise ValueError(f"model {model!r}: expected one of {', '.join(kinds)}")
    kind = kinds[model]
    unknown = set(values) - set(kind.__dataclass_fields__)
    if unknown:
        raise ValueError(f"{kind.__name__} has no settings {', '.join(sorted(unknown))}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def load_model(
    path: Path, build: Callable[[Mapping[str, Any]], nn.Module], expected: str
) -> tuple[nn.Module, str]:
    """The trained model in evaluation mode and in float32 on the CPU, and its preset's name.

    Args:
        path: a weight file or a training checkpoint.
        build: makes the untrained model from the values stored beside the weights.
        expected: what models these may be, for the error.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: damaged, or not of such a model.
    """
    record = load_weights(path)
    try:
        model = build(record["config"])
        model.load_state_dict(record["model"])
    except (RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: not the weights of {expected}: {_reason(error)}") from error
    return model.eval(), record["preset"]


def begin_with(
    model: nn.Module, name: str, weights: str, load: Callable[[str], tuple[nn.Module, str]]
) -> None:
    """Give a model of preset ``name`` the weights that ``load(weights)`` finds.

    Raises:
        FileNotFoundError: no such file.
        ValueError: they are of another model.
    """
    found, preset = load(weights)
    try:
        model.load_state_dict(found.state_dict())
    except RuntimeError as error:
        other = f"{name} with other settings" if preset == name else f"{preset}, not {name}"
        raise ValueError(f"--init {weights} is {other}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Of every tensor's mismatch the first."""
    return " ".join(str(error).split("\n\t")[:2])
