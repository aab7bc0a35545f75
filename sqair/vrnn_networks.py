"""The networks of the VRNN: what its prior, posterior, decoder and recurrence compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pyro import distributions as dist
from torch import Tensor, nn
from torch.nn import functional

from sqair.convolutions import ConvEncoder, SubpixelDecoder

LEAST_STD = 0.01  # of every latent, in the prior and in the posterior


@dataclass(frozen=True)
class VrnnConfig:
    """Settings of the VRNN.

    With a latent of 100, the two appearances of 50 that a SQAIR has on two digits, MLP and CONV
    have 2.5 and 2.8 million parameters, as many as SQAIR's; the sizes of both are our choice.

    Raises:
        ValueError: a size below 1, a deviation that is not positive, another kind.
    """

    kind: Literal["mlp", "conv"] = "mlp"  # of the image encoder and decoder
    size: int = 50  # side of the square canvas, pixels
    channels: int = 1
    latent: int = 100  # numbers in a frame's latent, Z
    hidden: int = 256  # units of the recurrent state and of every layer, H
    output_std: float = 0.3  # of a pixel

    def __post_init__(self) -> None:
        for name in ("size", "channels", "latent", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.kind not in ("mlp", "conv"):
            raise ValueError(f"kind must be 'mlp' or 'conv', got {self.kind!r}")
        if self.output_std <= 0:
            raise ValueError(f"output_std must be above 0, got {self.output_std}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of a frame."""
        return self.channels, self.size, self.size


class VrnnNetworks(nn.Module):
    """Chung et al. 2015, eqs. 5 to 9, with a GRU; leading dimensions ``...`` broadcast."""

    def __init__(self, config: VrnnConfig) -> None:
        super().__init__()
        shape, latent, hidden = config.shape, config.latent, config.hidden
        pixels = shape[0] * shape[1] * shape[2]
        if config.kind == "conv":
            self.image = ConvEncoder(shape, hidden)
            paint: nn.Module = SubpixelDecoder(hidden, shape)
        else:
            self.image = nn.Sequential(nn.Flatten(-3), *_layers(pixels, hidden, hidden))
            paint = nn.Sequential(
                *_layers(hidden, hidden), nn.Linear(hidden, pixels), nn.Unflatten(-1, shape)
            )
        self.latent = nn.Sequential(*_layers(latent, hidden, hidden))
        self.prior_head = nn.Sequential(*_layers(hidden, hidden), nn.Linear(hidden, 2 * latent))
        self.posterior_joint = Joint((hidden, hidden), hidden)
        self.posterior_head = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 2 * latent))
        self.decoder_joint = Joint((hidden, hidden), hidden)
        self.decoder = nn.Sequential(nn.SiLU(), paint)
        self.gru_input = Joint((hidden, hidden), 3 * hidden)
        self.gru_state = nn.Linear(hidden, 3 * hidden)
        self.start = nn.Parameter(torch.zeros(hidden))  # h_0

    def embed(self, frames: Tensor) -> Tensor:
        """Features phi_x ``(..., H)`` of frames ``(..., C, H, W)`` in ``[0, 1]``."""
        return self.image(frames)

    def prior(self, state: Tensor) -> dist.Normal:
        """p(z_t | h_{t-1}) over ``(..., Z)``, given the state ``(..., H)``."""
        return _gaussian(self.prior_head(state))

    def posterior(self, state: Tensor, features: Tensor) -> dist.Normal:
        """q(z_t | h_{t-1}, x_t) over ``(..., Z)``, given state and image features ``(..., H)``."""
        return _gaussian(self.posterior_head(self.posterior_joint(features, state)))

    def paint(self, latent: Tensor, state: Tensor) -> Tensor:
        """Mean of p(x_t | z_t, h_{t-1}), ``(..., C, H, W)``; linear, as SQAIR's, so unbounded."""
        return _exact(self.decoder(self.decoder_joint(self.latent(latent), state)))

    def advance(self, state: Tensor, features: Tensor, latent: Tensor) -> Tensor:
        """h_t ``(..., H)`` from h_{t-1}, phi_x(x_t) and z_t: a gated recurrent unit."""
        reset, update, new = self.gru_input(features, self.latent(latent)).chunk(3, -1)
        old_reset, old_update, old_new = self.gru_state(state).chunk(3, -1)
        update = torch.sigmoid(update + old_update)
        candidate = torch.tanh(new + torch.sigmoid(reset + old_reset) * old_new)
        return torch.lerp(candidate, state.to(candidate.dtype), update)


class Joint(nn.Module):
    """An affine layer of several inputs: that of their concatenation, which is never built.

    Inputs ``(..., F_i)`` broadcast, so what particles share is multiplied once for all of them.
    """

    def __init__(self, inputs: Sequence[int], outputs: int) -> None:
        super().__init__()
        whole = nn.Linear(sum(inputs), outputs)
        self.weights = nn.ParameterList(w.detach().clone() for w in whole.weight.split(inputs, 1))
        self.bias = whole.bias

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        """``(..., outputs)`` of inputs in the order of their widths."""
        total = functional.linear(first, self.weights[0], self.bias)
        for value, weight in zip(others, self.weights[1:], strict=True):
            total = total + functional.linear(value, weight)
        return total


def _layers(*widths: int) -> list[nn.Module]:
    """Affine layers of these widths, each with its activation."""
    pairs = zip(widths, widths[1:])
    return [layer for a, b in pairs for layer in (nn.Linear(a, b), nn.SiLU())]


def _gaussian(raw: Tensor) -> dist.Normal:
    """A Gaussian of ``(..., 2 Z)`` means and raw deviations, floored."""
    mean, deviation = _exact(raw).chunk(2, -1)
    # Not validated: a step that is not finite is the trainer's to skip, not an error.
    return dist.Normal(mean, functional.softplus(deviation) + LEAST_STD, validate_args=False)


def _exact(values: Tensor) -> Tensor:
    """Full precision of what densities are computed from, under autocast too."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
