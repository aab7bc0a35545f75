"""Models from configurations, and ready trackers from weight files."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from torch import nn

from common.checkpoint import CheckpointError, load_weights
from hart.config import HartConfig
from hart.model import Hart
from hart.paper import HartPaper, PaperConfig
from hart.soft import SoftHart
from hart.tracker import Tracker


def build(config: HartConfig | PaperConfig) -> nn.Module:
    """The untrained model of a configuration."""
    if isinstance(config, PaperConfig):
        return HartPaper(config)
    return SoftHart(config) if config.look == "soft" else Hart(config)


def config_from(values: Mapping[str, Any]) -> HartConfig | PaperConfig:
    """A configuration from the plain values stored beside weights.

    Raises:
        ValueError: a name that the configuration does not have.
    """
    values = dict(values)
    kind = PaperConfig if values.pop("model", "hart") == "paper" else HartConfig
    unknown = set(values) - set(kind.__dataclass_fields__)
    if unknown:
        raise ValueError(f"unknown settings {sorted(unknown)} for {kind.__name__}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def resolve(weights: str | Path) -> Path:
    """The file that ``default``, ``default:NAME`` (shipped) or a path means.

    Raises:
        FileNotFoundError: nothing of that name is shipped; the message lists what is.
    """
    text = str(weights)
    if text != "default" and not text.startswith("default:"):
        return Path(weights)
    name = text.partition(":")[2] or "hart"
    folder = resources.files("hart") / "weights"
    path = Path(str(folder / f"{name}.pt"))
    if not path.is_file():
        shipped = sorted(p.name[:-3] for p in Path(str(folder)).glob("*.pt"))
        raise FileNotFoundError(
            f"no shipped weights {name!r}; there are {', '.join(shipped) or 'none'}"
        )
    return path


def load_model(weights: str | Path) -> tuple[nn.Module, str]:
    """The trained model in evaluation mode and its preset's name, from what ``resolve`` takes.

    Raises:
        CheckpointError: damaged, or not of a HART model.
    """
    path = resolve(weights)
    record = load_weights(path)
    try:
        model = build(config_from(record["config"]))
        model.load_state_dict(record["model"])
    except (RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: not the weights of a HART model: {error}") from error
    return model.eval(), record["preset"]


def load(weights: str | Path = "default", device: str = "cpu") -> Tracker:
    """A tracker ready for ``init``: ``hart.load()`` uses the shipped weights."""
    return Tracker(load_model(weights)[0], device)
