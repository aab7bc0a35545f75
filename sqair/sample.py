"""Videos that the prior imagines: out of nothing, or as futures of what was seen.

Ancestral sampling of the whole generative model (SQAIR sec. 3.1): how many objects there are, where
they appear, how they move, when they go. All of it is the Pyro model, run freely or conditioned on
the latents of the frames that were seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from common.metrics import bounds
from sqair.model import Sqair
from sqair.state import Slots
from sqair.terms import gather, traces
from sqair.trajectory import Trajectory


class Imagined(NamedTuple):
    """N videos for each of B sequences."""

    frames: Tensor  # (T, N, B, 1, H, W) in [0, 1]: as seen, then means, without a pixel's noise
    slots: Slots  # (T, N, B, K, ...)


class Watched(NamedTuple):
    """What P particles made of B sequences."""

    latents: dict[str, Tensor]  # by site, (P, B, ...)
    log_weight: Tensor  # (P, B) log p(x, z) - log q(z | x), nats


def imagine(model: Sqair, length: int, count: int, seed: int = 0) -> Imagined:
    """``count`` videos of ``length`` frames from the prior, with B = 1.

    Raises:
        ValueError: a length or count below 1.
    """
    _at_least_one(length=length, count=count)
    with torch.no_grad(), seeded(seed, model.first_memory.device):
        run = model.model((length, 1), count)
    return Imagined(_means(run), run.slots)


def futures(
    model: Sqair, frames: Tensor, steps: int, count: int, seed: int = 0, particles: int = 20
) -> Imagined:
    """``count`` futures of each sequence of ``frames``, drawn apart from one another.

    The guide watches the frames; each future goes on from one of its particles, drawn by weight.
    So futures differ in what they take the past for, too, as far as that is uncertain.

    Args:
        frames: ``(n, B, 1, H, W)`` uint8, or float in [0, 1].
        steps: frames to imagine; T is n more.
        count: N.
        particles: P.

    Raises:
        ValueError: frames of another shape, or one of the numbers below 1.
    """
    _at_least_one(steps=steps, count=count, particles=particles, frames=len(frames))
    batch = frames.shape[1]
    with torch.no_grad(), seeded(seed, model.first_memory.device):
        seen = watch(model, frames, particles)
        chosen = choose(seen.log_weight, count)
        rows = torch.arange(batch, device=chosen.device)
        known = {name: value[chosen, rows] for name, value in seen.latents.items()}
        go_on = poutine.condition(model.model, known)
        run = go_on((len(frames) + steps, batch), count)
    past = frames if frames.is_floating_point() else frames / 255
    means = _means(run)
    past = past[:, None].expand(-1, count, *past.shape[1:]).to(means)
    return Imagined(torch.cat((past, means[len(past) :])), run.slots)


def watch(model: Sqair, frames: Tensor, particles: int) -> Watched:
    """What the guide makes of ``frames (n, B, 1, H, W)``."""
    prior, posterior = traces(model.model, model.guide, frames, particles)
    sites = {name: posterior.nodes[name] for name in posterior.stochastic_nodes}
    latents = {n: site["value"] for n, site in sites.items() if not site_is_subsample(site)}
    return Watched(latents, gather(prior, posterior, prefixes=False).log_weight().sum(0))


def choose(log_weight: Tensor, count: int) -> Tensor:
    """Numbers ``(N, B)`` of particles, drawn by the weights ``(P, B)`` of each sequence.

    Raises:
        ValueError: weights that are not finite.
    """
    weight = bounds.importance(log_weight[None])
    return torch.multinomial(weight.T, count, replacement=True).T


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Within, global random numbers of the CPU and of ``device`` follow from ``seed``.

    Afterwards their generators are where they were.
    """
    device = torch.device(device)
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach every GPU
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield


def _means(run: Trajectory) -> Tensor:
    """``(T, P, B, 1, H, W)``, within the range of pixels."""
    return run.frames.mean.movedim(2, 0).clamp(0, 1)


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} {number}: expected 1 or more")
