"""Appearance attention: convolutions whose filters are made from what the object looked like.

A dynamic filter network (De Brabandere et al. 2016) as HART's dorsal stream uses it (sec. 3.2): one
filter bank per object, shared over the positions of that object's feature map.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class DynamicFilter(nn.Module):
    """A convolution with filters and biases generated from an appearance vector, then ELU.

    ``z = ELU(W a)``, filters ``= W_f z``, biases ``= W_b z``; a learned bias that does not depend
    on the object is added. Starts as an ordinary convolution (He-uniform filters in the generator's
    bias) with a small part of the appearance; ``initialise_as_published`` gives HART's own start.

    Args:
        in_channels: channels ``C`` of the features.
        out_channels: channels of the output.
        kernel_size: odd side of the filters; the output keeps the features' size.
        appearance_size: length ``D`` of the appearance vector.

    Raises:
        ValueError: when ``kernel_size`` is not odd.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, appearance_size: int
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd to keep the map's size, got {kernel_size}")
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.fan_in = in_channels * kernel_size**2
        self.hidden = nn.Linear(appearance_size, appearance_size)
        self.filters = nn.Linear(appearance_size, out_channels * self.fan_in)
        self.biases = nn.Linear(appearance_size, out_channels)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        limit = math.sqrt(6 / self.fan_in)
        nn.init.uniform_(self.filters.bias, -limit, limit)
        # z has about unit variance or less: the object's part is a third of the filters' scale
        spread = limit / 3 * math.sqrt(1 / appearance_size)
        nn.init.uniform_(self.filters.weight, -spread, spread)
        nn.init.zeros_(self.biases.bias)

    def forward(self, features: Tensor, appearance: Tensor) -> tuple[Tensor, Tensor]:
        """Filter each row's features with the filters made for that row.

        Args:
            features: ``(R, C, h, w)``.
            appearance: ``(R, D)``.

        Returns:
            ``(R, out_channels, h, w)`` after ELU, and ``(R,)`` squared norms of the generated
            filters and biases (a regulariser may decay them).
        """
        rows, _, height, width = features.shape
        hidden = functional.elu(self.hidden(appearance))
        filters = self.filters(hidden)  # (R, out * C * k * k)
        biases = self.biases(hidden)  # (R, out)
        # Columns and one batched product: any number of rows, no loop over them.
        if self.kernel_size == 1:
            columns = features.flatten(2)
        else:
            columns = functional.unfold(features, self.kernel_size, padding=self.kernel_size // 2)
        output = torch.bmm(filters.view(rows, self.out_channels, self.fan_in), columns)
        output = output + (biases + self.bias).unsqueeze(-1)
        norms = filters.float().square().sum(1) + biases.float().square().sum(1)
        return functional.elu(output.view(rows, self.out_channels, height, width)), norms


def initialise_as_published(layer: DynamicFilter) -> None:
    """Redraw a dynamic filter's parameters from HART's distributions (uniform, biases included).

    The generator of filters has limits ``0.1 sqrt(3 / n)``, that of biases ``sqrt(2) sqrt(3 / n)``,
    with ``n`` the inputs of a matrix and 1 for a vector; the rest is Glorot-uniform, a vector of
    ``n`` counting as ``n`` in and ``n`` out.
    """
    inputs = layer.filters.in_features
    limits = (
        (layer.hidden.weight, math.sqrt(6 / sum(layer.hidden.weight.shape))),
        (layer.hidden.bias, math.sqrt(3 / layer.hidden.out_features)),
        (layer.filters.weight, 0.1 * math.sqrt(3 / inputs)),
        (layer.filters.bias, 0.1 * math.sqrt(3)),
        (layer.biases.weight, math.sqrt(2) * math.sqrt(3 / inputs)),
        (layer.biases.bias, math.sqrt(2) * math.sqrt(3)),
        # stored by the original as (1, 1, 1, out): fans out and out of a kernel with one position
        (layer.bias, math.sqrt(6 / (1 + layer.out_channels))),
    )
    for parameter, limit in limits:
        nn.init.uniform_(parameter, -limit, limit)
