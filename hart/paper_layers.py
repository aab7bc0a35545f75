"""Small published parts of HART that differ from PyTorch's: initialisers, batch norm, contrast."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

CONTRAST_EPSILON = 1e-5


def glorot(module: nn.Module) -> None:
    """Redraw a dense or convolutional layer as TensorFlow 1.1 does by default: biases too.

    Uniform within ``sqrt(6 / (fan in + fan out))``, where the fans do not know of groups (a kernel
    has ``in / groups`` inputs and all outputs) and a vector of ``n`` has ``n`` in and ``n`` out.
    """
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return
    outputs, inputs = module.weight.shape[:2]
    limit = math.sqrt(6 / ((inputs + outputs) * module.weight[0, 0].numel()))
    nn.init.uniform_(module.weight, -limit, limit)
    limit = math.sqrt(3 / outputs)
    nn.init.uniform_(module.bias, -limit, limit)


def perceptron(*widths: int) -> nn.Sequential:
    """Dense layers with ELU in between, the last one linear, all with Glorot's initialisation."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ELU()]
    return nn.Sequential(*layers[:-1]).apply(glorot)


def stretch_contrast(glimpses: Tensor) -> Tensor:
    """``(R, C, h, w)`` to ``[0, 1)``: minimum and maximum over pixels and channels jointly."""
    low = glimpses.amin((-3, -2, -1), keepdim=True)
    high = glimpses.amax((-3, -2, -1), keepdim=True)
    return (glimpses - low) / (high - low + CONTRAST_EPSILON)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation with TensorFlow's moving variance (biased) over the rows that count.

    Rows that stand for no object (padding of the object axis) are normalised like the others but
    leave no trace in the statistics. PyTorch keeps the unbiased variance instead.
    """

    def forward(self, features: Tensor, counts: Tensor) -> Tensor:
        """Normalise ``features (R, C, h, w)``; ``counts (R,)`` bool says which rows count."""
        if not self.training:
            return super().forward(features)
        features = features.float()  # half precision cannot add up a batch
        share = counts.float() / (counts.sum().clamp_min(1) * features[0, 0].numel())
        share = share[:, None, None, None]
        mean = (features * share).sum((0, 2, 3))
        centred = features - mean[:, None, None]
        variance = (centred.square() * share).sum((0, 2, 3))
        with torch.no_grad():
            momentum = self.momentum * counts.any()
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance, momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None, None] + self.bias[:, None, None]
