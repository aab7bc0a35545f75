"""Small untrained models whose prior has births, moves and deaths, and videos for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sqair.air import Air, AirConfig
from sqair.config import SqairConfig
from sqair.model import Sqair
from sqair.vrnn import Vrnn, VrnnConfig

SIZES = {"size": 12, "slots": 2, "what": 3, "glimpse": 4, "hidden": 8}
CONFIGS = {
    "sqair": SqairConfig(**SIZES, survival_bias=1.0),
    "air": AirConfig(**SIZES),
    "vrnn": VrnnConfig(size=12, latent=3, hidden=8),
}
MODELS = {"sqair": Sqair, "air": Air, "vrnn": Vrnn}


def small(name: str = "sqair", seed: int = 0) -> nn.Module:
    """A model with parameters far enough from their initial values for all of them to matter."""
    torch.manual_seed(seed)
    model = MODELS[name](CONFIGS[name])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        if name == "sqair":
            model.discovery_prior.later[0] = 0.5  # discoveries after the first frame
            model.discovery.steps[-1].bias.fill_(0.3)
            model.propagation.steps[-1].bias.fill_(1.0)
        if name != "vrnn":
            model.decoder.contrast.fill_(1.5)
    return model.eval()


def video(length: int, batch: int = 1, size: int = 12, seed: int = 0) -> Tensor:
    """``(T, B, 1, H, W)`` uint8: a bright square that moves to the right."""
    frames = torch.zeros(length, batch, 1, size, size, dtype=torch.uint8)
    for t in range(length):
        for b in range(batch):
            row, column = (2 + b + seed) % (size - 4), (1 + t + b) % (size - 4)
            frames[t, b, 0, row : row + 4, column : column + 4] = 230
    return frames
