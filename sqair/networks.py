"""Layers of SQAIR, with the initial values of the published model, and its small networks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sqair.config import SqairConfig
from sqair.convolutions import GLIMPSE, ConvEncoder, ConvStack, SubpixelDecoder
from sqair.fused import gated_unit, tanh
from sqair.packing import Packing

STD_FLOOR = 0.01  # of every standard deviation that a layer gives


def linear(inputs: int, outputs: int, fan_in: int = 0, bias: bool = True) -> nn.Linear:
    """A layer with Sonnet's initial values: a normal of deviation ``1 / sqrt(fan_in)`` cut at two.

    Args:
        inputs, outputs: its sizes.
        fan_in: inputs of the whole layer where this is a part of it; ``inputs`` by default.
        bias: whether there is one; zero at first.
    """
    layer = nn.Linear(inputs, outputs, bias=bias)
    std = 1 / math.sqrt(fan_in or inputs)
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def activation(config: SqairConfig) -> nn.Module:
    """The nonlinearity between layers: ELU as published; SiLU is quicker on a CPU."""
    return nn.SiLU() if config.activation == "silu" else nn.ELU()


def mlp(sizes: Sequence[int], config: SqairConfig, last: bool = False) -> nn.Sequential:
    """Layers of ``sizes``, with an activation after each, after the ``last`` one only if asked."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [linear(inputs, outputs), activation(config)]
    return nn.Sequential(*(layers if last else layers[:-1]))


def std(raw: Tensor) -> Tensor:
    """A standard deviation from an unconstrained number."""
    return F.softplus(raw) + STD_FLOOR


class GRU(nn.Module):
    """Sonnet's gated recurrent unit: resets the state before the matrix product.

    ``z = s(x Wz + h Uz + bz)``, ``r = s(x Wr + h Ur + br)``, ``n = tanh(x Wn + (r h) Un + bn)``,
    ``h' = (1 - z) h + z n``. The products with ``h`` alone are left to the caller, who may have
    made them together with others.
    """

    def __init__(self, inputs: int, hidden: int, glorot: bool) -> None:
        super().__init__()
        self.inputs = nn.Parameter(torch.empty(3 * hidden, inputs))
        self.gates = nn.Parameter(torch.empty(2 * hidden, hidden))
        self.candidate = nn.Parameter(torch.empty(hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(3 * hidden))
        for weight, fan_in in (
            (self.inputs, inputs),
            (self.gates, hidden),
            (self.candidate, hidden),
        ):
            limit = math.sqrt(6 / (fan_in + hidden)) if glorot else 1 / math.sqrt(fan_in)
            if glorot:
                nn.init.uniform_(weight, -limit, limit)
            else:
                nn.init.trunc_normal_(weight, std=limit, a=-2 * limit, b=2 * limit)
        if glorot:
            nn.init.uniform_(self.bias, -math.sqrt(3 / hidden), math.sqrt(3 / hidden))

    def step(self, inputs: Tensor, recurrent: Tensor, state: Tensor) -> Tensor:
        """New state ``(M, H)``.

        Args:
            inputs: ``(M, 3 H)`` products of the input with ``self.inputs``, and the bias.
            recurrent: ``(M, 2 H)`` products of the state with ``self.gates``.
            state: ``(M, H)``.
        """
        if inputs.is_cuda or torch.is_autocast_enabled(inputs.device.type):
            hidden = state.shape[-1]
            gates, new = inputs.split((2 * hidden, hidden), -1)
            update, reset = torch.sigmoid(gates + recurrent).chunk(2, -1)
            new = tanh(torch.addmm(new, reset * state, self.candidate.T))
            return torch.lerp(state, new, update)
        return gated_unit(inputs, recurrent, state, self.candidate)

    def forward(self, inputs: Tensor, state: Tensor) -> Tensor:
        """New state ``(M, H)`` from an input ``(M, I)`` and a state ``(M, H)``."""
        products = torch.addmm(self.bias, inputs, self.inputs.T)
        return self.step(products, state @ self.gates.T, state)


def encoder(side: int, stack: ConvStack, config: SqairConfig) -> nn.Sequential:
    """From flat pictures ``(M, side side)`` to features ``(M, H)``."""
    if config.encoder == "mlp":
        return mlp((side**2, config.hidden, config.hidden), config, last=True)
    shape = (1, side, side)
    convolutions = ConvEncoder(shape, config.hidden, stack, config.activation)
    return nn.Sequential(nn.Unflatten(-1, shape), convolutions)


def decoder(side: int, config: SqairConfig) -> nn.Sequential:
    """From appearances ``(M, D)`` to flat pictures ``(M, side side)``."""
    hidden = config.hidden
    if config.encoder == "mlp":
        return mlp((config.what, hidden, hidden, side**2), config)
    pixels = SubpixelDecoder(hidden, (1, side, side), GLIMPSE, config.activation)
    return nn.Sequential(*mlp((config.what, hidden), config, last=True), pixels, nn.Flatten())


class GlimpseEncoder(nn.Module):
    """What glimpses show: mean and standard deviation ``(M, D)`` of an appearance."""

    def __init__(self, config: SqairConfig) -> None:
        super().__init__()
        self.body = encoder(config.glimpse, GLIMPSE, config)
        self.head = linear(config.hidden, 2 * config.what)

    def mean(self, glimpses: Tensor) -> Tensor:
        """The mean alone, of ``(M, G G)``."""
        half = self.head.out_features // 2
        return F.linear(self.body(glimpses), self.head.weight[:half], self.head.bias[:half])

    def forward(self, glimpses: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, of ``(M, G G)``."""
        mean, raw = self.head(self.body(glimpses)).chunk(2, -1)
        return mean, std(raw)


class Context(nn.Module):
    """What is there already, for the discovery: a sum over objects (SQAIR sec. 3.2, eq. 10)."""

    def __init__(self, config: SqairConfig) -> None:
        super().__init__()
        self.body = mlp((config.what + 4, config.hidden, config.hidden), config, last=True)

    def forward(self, what: Tensor, where: Tensor, presence: Tensor, packing: Packing) -> Tensor:
        """``(P, B, H)`` of the present ones of objects ``(P, B, K, ...)``.

        Args:
            packing: slots that may be filled.
        """
        if not packing.counts:
            return what.new_zeros(*presence.shape[:2], self.body[-2].out_features)
        rows = packing.gather(torch.cat((what, where, presence[..., None]), -1))
        objects = self.body(rows[:, :-1]) * rows[:, -1:]
        total = objects.new_zeros(presence.shape[:2].numel(), objects.shape[-1])
        total = total.index_add(0, packing.index // presence.shape[-1], objects)
        return total.view(*presence.shape[:2], -1)


class Decoder(nn.Module):
    """Paints an appearance: glimpses ``(M, 1, G, G)`` from ``(M, D)``, in units of intensity."""

    def __init__(self, config: SqairConfig) -> None:
        super().__init__()
        side = config.glimpse
        self.body = decoder(side, config)
        self.contrast = nn.Parameter(torch.tensor(config.output_scale))
        self.side = side

    def forward(self, what: Tensor) -> Tensor:
        """Glimpses ``(M, 1, G, G)`` of appearances ``(M, D)``."""
        return (self.contrast * self.body(what)).unflatten(-1, (1, self.side, self.side))
