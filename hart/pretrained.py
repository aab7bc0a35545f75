"""Models from configurations, and ready trackers from weight files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common import pretrained
from hart.config import HartConfig
from hart.model import Hart
from hart.paper import HartPaper, PaperConfig
from hart.soft import SoftHart
from hart.tracker import Tracker

WEIGHTS = Path(__file__).parent / "weights"  # shipped as package data
CONFIGS = {"hart": HartConfig, "paper": PaperConfig}  # by the name of the model in weight files


def build(config: HartConfig | PaperConfig) -> nn.Module:
    """The untrained model of a configuration, its weights drawn from the global generator."""
    if isinstance(config, PaperConfig):
        return HartPaper(config)
    return SoftHart(config) if config.look == "soft" else Hart(config)


def config_from(values: Mapping[str, Any]) -> HartConfig | PaperConfig:
    """A configuration from the plain values stored beside weights.

    Args:
        values: its settings, and ``model``: ``hart`` (without it too) or ``paper``.

    Raises:
        ValueError: another model, or a setting that it does not have.
    """
    return pretrained.config_from(values, CONFIGS, default="hart")


def resolve(weights: str | Path) -> Path:
    """The file that ``default`` (``default:hart``), ``default:NAME`` (shipped) or a path means.

    Raises:
        FileNotFoundError: nothing of that name is shipped; the message lists what is. A path is not
            looked at.
    """
    return pretrained.resolve(weights, WEIGHTS, "hart")


def load_model(weights: str | Path) -> tuple[nn.Module, str]:
    """The trained model in evaluation mode on the CPU, and its preset's name.

    Args:
        weights: ``default``, ``default:NAME``, a weight file or a training checkpoint.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: damaged, or not of a HART model.
    """
    path = resolve(weights)
    return pretrained.load_model(path, lambda values: build(config_from(values)), "a HART model")


def load(weights: str | Path = "default", device: str | torch.device = "cpu") -> Tracker:
    """A tracker ready for ``init``: ``hart.load()`` uses the shipped weights.

    Args:
        weights: as for ``load_model``, which says what is raised.
        device: where to compute.
    """
    return Tracker(load_model(weights)[0], device)
