"""VRNN (Chung et al. 2015, arXiv 1506.02216) in Pyro: the baseline that knows no objects.

One latent a frame for the whole image, on the same data, likelihood and interface as SQAIR. The
state after frame t depends on the image x_t itself. Where there is no image, in frames that are
generated, the decoder's mean, clipped to ``[0, 1]``, stands for it: a sample has noise on every
pixel, which no training frame has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import NamedTuple

import pyro
import torch
from pyro import distributions as dist
from pyro import poutine
from torch import Tensor, nn

from sqair.state import Unrolled
from sqair.vrnn_networks import VrnnConfig, VrnnNetworks


class Inferred(NamedTuple):
    """What the guide returns."""

    latents: Tensor  # (T, P, B, Z)
    log_density: Tensor  # (T, P, B) log q(z_t | z_<t, x_<=t), nats
    features: Tensor  # (T, B, H) of the images, which the model needs too


class Generated(NamedTuple):
    """What the model returns."""

    latents: Tensor  # (T, P, B, Z)
    log_prior: Tensor  # (T, P, B) log p(z_t | z_<t, x_<t), nats
    canvas: Tensor  # (T, P, B, C, H, W) mean images
    frames: Tensor  # (T, P, B, C, H, W) observed or sampled
    log_likelihood: Tensor  # (T, P, B) log p(x_t | z_<=t, x_<t), nats


class Vrnn(nn.Module):
    """A variational recurrent network of images."""

    def __init__(self, config: VrnnConfig | None = None) -> None:
        super().__init__()
        self.config = config or VrnnConfig()
        self.networks = VrnnNetworks(self.config)

    def model(
        self,
        length: int,
        batch: int,
        particles: int = 1,
        frames: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Generated:
        """Pyro model: sites ``latent_t`` (batch shape ``(P, B)``, event ``(Z,)``), then ``frames``.

        ``frames`` (event ``(T, C, H, W)``) follows the loop, so all images are decoded and scored
        in one batch. To condition on images give them here, not by ``poutine.condition``: the
        state depends on them.

        Args:
            length: T.
            batch: B.
            particles: P.
            frames: ``(n, B, C, H, W)`` uint8 or float in ``[0, 1]``, observed. Fewer than T: the
                rest is generated from there, as one more site ``future_frames``.
            features: ``(n, B, H)``, those of ``frames`` if the guide has them already.

        Raises:
            ValueError: frames of another shape or batch, or more than T.
        """
        seen = None if frames is None else self._pixels(frames, length, batch)
        if seen is not None and features is None:
            features = self.networks.embed(seen)
        states, priors, latents = [], [], []
        with _plates(particles, batch):
            state = self.networks.start.expand(particles, batch, -1)
            for t in range(length):
                states.append(state)
                priors.append(self.networks.prior(state))
                latents.append(pyro.sample(f"latent_{t}", priors[t].to_event(1)))
                if t + 1 < length:
                    known = features is not None and t < len(features)
                    look = features[t] if known else self._imagine(latents[t], state)
                    state = self.networks.advance(state, look, latents[t])
            stacked = _stack(latents)
            canvas = self.networks.paint(stacked, _stack(states))
            images = self._emit(canvas, seen)
        density = _log_density(priors, stacked)
        return Generated(stacked, density, canvas, images, self._score(images, canvas))

    def guide(
        self, frames: Tensor, particles: int = 1, values: Mapping[str, Tensor] | None = None
    ) -> Inferred:
        """Pyro guide: samples the sites ``latent_t`` given all images up to t.

        Args:
            frames: ``(T, B, C, H, W)`` uint8 or float in ``[0, 1]``.
            particles: P.
            values: by site, values ``(P, B, Z)`` to take instead of samples.

        Raises:
            ValueError: frames of another shape, or values of sites that there are not.
        """
        length, batch = frames.shape[:2]
        features = self.networks.embed(self._pixels(frames, length, batch))
        latents, posteriors = [], []
        with _forced(values or {}, length), _plates(particles, batch):
            state = self.networks.start.expand(particles, batch, -1)
            for t in range(length):
                posteriors.append(self.networks.posterior(state, features[t]))
                latents.append(pyro.sample(f"latent_{t}", posteriors[t].to_event(1)))
                if t + 1 < length:
                    state = self.networks.advance(state, features[t], latents[t])
        stacked = _stack(latents)
        return Inferred(stacked, _log_density(posteriors, stacked), features)

    def unroll(self, frames: Tensor, particles: int = 1) -> Unrolled:
        """Infer and score ``frames (T, B, C, H, W)``; the features for a probe are the latents."""
        return account(*run(self.model, self.guide, frames, particles))

    def _pixels(self, frames: Tensor, length: int, batch: int) -> Tensor:
        """Frames as floats in [0, 1], their shape checked."""
        fits = frames.ndim == 5 and 1 <= len(frames) <= length and frames.shape[1] == batch
        if not fits or tuple(frames.shape[2:]) != self.config.shape:
            c, h, w = self.config.shape
            raise ValueError(
                f"expected 1 to {length} frames of shape (T, {batch}, {c}, {h}, {w}), "
                f"got {tuple(frames.shape)}"
            )
        pixels = frames.to(self.networks.start.dtype)
        return pixels if frames.is_floating_point() else pixels / 255

    def _imagine(self, latent: Tensor, state: Tensor) -> Tensor:
        """Features of the expected image, where no image is observed."""
        return self.networks.embed(self.networks.paint(latent, state).clamp(0, 1))

    def _emit(self, canvas: Tensor, seen: Tensor | None) -> Tensor:
        """The images: sites ``frames`` and, beyond those seen, ``future_frames``."""
        if seen is None:
            return _image_site("frames", canvas, self.config.output_std, None)
        count = len(seen)
        images = _image_site("frames", canvas[:count], self.config.output_std, seen)
        if count == len(canvas):
            return images
        future = _image_site("future_frames", canvas[count:], self.config.output_std, None)
        return torch.cat((images, future))

    def _score(self, images: Tensor, canvas: Tensor) -> Tensor:
        """Log-density of every image: one pass over the pixels, not the six of ``Normal``."""
        std, pixels = self.config.output_std, math.prod(self.config.shape)
        highest = -pixels * math.log(std * math.sqrt(2 * math.pi))
        return highest - (images - canvas).square().flatten(-3).sum(-1) / (2 * std**2)


def run(
    model: Callable[..., Generated], guide: Callable[..., Inferred], frames: Tensor, particles: int
) -> tuple[poutine.Trace, poutine.Trace]:
    """Traces on ``frames (T, B, C, H, W)`` of the model, replayed against the guide, and of it."""
    guide_trace = poutine.trace(guide).get_trace(frames, particles)
    features = guide_trace.nodes["_RETURN"]["value"].features
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(
        frames.shape[0], frames.shape[1], particles, frames, features
    )
    return model_trace, guide_trace


def account(model_trace: poutine.Trace, guide_trace: poutine.Trace) -> Unrolled:
    """Log-weights of the traces that ``run`` gives."""
    inferred = guide_trace.nodes["_RETURN"]["value"]
    generated = model_trace.nodes["_RETURN"]["value"]
    log_weight = generated.log_likelihood + generated.log_prior - inferred.log_density
    return Unrolled(log_weight, generated.log_likelihood, None, inferred.latents)


def _plates(particles: int, batch: int) -> AbstractContextManager:
    stack = ExitStack()
    stack.enter_context(pyro.plate("particles", particles, dim=-2))
    stack.enter_context(pyro.plate("batch", batch, dim=-1))
    return stack


def _forced(values: Mapping[str, Tensor], length: int) -> AbstractContextManager:
    """A handler that gives sites their values and leaves them latent, as conditioning would not."""
    unknown = set(values) - {f"latent_{t}" for t in range(length)}
    if unknown:
        raise ValueError(f"values of {sorted(unknown)}, but sites are latent_0..{length - 1}")
    trace = poutine.Trace()
    for name, value in values.items():
        trace.add_node(name, name=name, type="sample", value=value, is_observed=False, infer={})
    return poutine.replay(trace=trace)


def _image_site(name: str, canvas: Tensor, std: float, seen: Tensor | None) -> Tensor:
    """Sample or observe images ``(T, P, B, C, H, W)``; the site's event is ``(T, C, H, W)``."""
    means = canvas.movedim(0, -4)
    observed = None if seen is None else seen.movedim(0, -4).expand(means.shape)
    # A number would be copied to the device, and a GPU waited for.
    deviation = means.new_full((), std)
    images = dist.Normal(means, deviation, validate_args=False).to_event(4)
    return pyro.sample(name, images, obs=observed).movedim(-4, 0)


def _stack(values: Sequence[Tensor]) -> Tensor:
    """Values over time; a vectorised ``Predictive`` puts its samples before the plates."""
    return torch.stack(torch.broadcast_tensors(*values))


def _log_density(gaussians: Sequence[dist.Normal], values: Tensor) -> Tensor:
    """``(T, P, B)`` log-densities of values ``(T, P, B, Z)``."""
    means, deviations = (_stack([getattr(g, name) for g in gaussians]) for name in ("loc", "scale"))
    return dist.Normal(means, deviations, validate_args=False).log_prob(values).sum(-1)
