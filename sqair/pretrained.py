"""Models from configurations, and models ready for use from weight files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common import pretrained
from sqair.air import Air, AirConfig
from sqair.config import SqairConfig
from sqair.inference import Inference
from sqair.model import Sqair
from sqair.vrnn import Vrnn, VrnnConfig

WEIGHTS = Path(__file__).parent / "weights"  # shipped as package data
Config = SqairConfig | AirConfig | VrnnConfig
# By the name of the model in weight files: its configuration, and what is built of it.
MODELS = {"sqair": (SqairConfig, Sqair), "air": (AirConfig, Air), "vrnn": (VrnnConfig, Vrnn)}


def build(config: Config) -> nn.Module:
    """The untrained model of a configuration, its weights drawn from the global generator."""
    return next(model for kind, model in MODELS.values() if type(config) is kind)(config)


def config_from(values: Mapping[str, Any]) -> Config:
    """A configuration from the plain values stored beside weights.

    Args:
        values: its settings, and ``model``: ``sqair``, ``air`` or ``vrnn``.

    Raises:
        ValueError: another model or none, or a setting that it does not have.
    """
    return pretrained.config_from(values, {name: kinds[0] for name, kinds in MODELS.items()})


def resolve(weights: str | Path) -> Path:
    """The file that ``default`` (``default:sqair``), ``default:NAME`` (shipped) or a path means.

    Raises:
        FileNotFoundError: nothing of that name is shipped; the message lists what is. A path is not
            looked at.
    """
    return pretrained.resolve(weights, WEIGHTS, "sqair")


def load_model(weights: str | Path) -> tuple[nn.Module, str]:
    """The trained model in evaluation mode and in float32 on the CPU, and its preset's name.

    Args:
        weights: ``default``, ``default:NAME``, a weight file or a training checkpoint.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: damaged, or not of one of these models.
    """
    expected = f"one of {', '.join(MODELS)}"
    return pretrained.load_model(resolve(weights), lambda v: build(config_from(v)), expected)


def load(weights: str | Path = "default", device: str | torch.device = "cpu") -> Inference:
    """A model ready to find objects and to imagine: ``sqair.load()`` uses the shipped weights.

    Args:
        weights: as for ``load_model``, which says what is raised.
        device: where to compute.

    Raises:
        ValueError: a VRNN, which knows no objects.
    """
    return Inference(load_model(weights)[0], device)
