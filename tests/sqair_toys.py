"""Small SQAIRs in double precision, clips for them, and every way that their choices can fall."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from sqair.config import PAPER, SqairConfig
from sqair.model import Sqair
from sqair.terms import traces

SMALL = SqairConfig(
    size=8,
    slots=2,
    what=3,
    glimpse=4,
    hidden=8,
    # Choices that could fall either way, so that no outcome is too rare to matter.
    scale_prior=-0.5,
    discovery_bias=0.3,
    propagation_bias=0.5,
    survival_bias=1.0,
)
OPEN = replace(SMALL, capacity=False)
PUBLISHED = replace(
    PAPER,
    **{n: getattr(SMALL, n) for n in ("size", "slots", "what", "glimpse", "hidden")},
    **{n: getattr(SMALL, n) for n in ("discovery_bias", "propagation_bias", "survival_bias")},
)
VARIANTS = {
    "default": SMALL,
    "open": OPEN,
    "rnn": replace(SMALL, propagation_prior="rnn"),
    "mean image": replace(SMALL, mean_image=True),
    "published": PUBLISHED,
    "three slots": replace(SMALL, slots=3),
}
DISCRETE = ("propagated_presence", "discovered_count")


def toy(config: SqairConfig = SMALL, seed: int = 0) -> Sqair:
    """A model in float64 with no parameter at a special value."""
    torch.manual_seed(seed)
    model = Sqair(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        model.discovery_prior.later[0] -= 9  # a late discovery is not out of the question
    return model


def clip(length: int, batch: int, size: int = 8, seed: int = 1) -> Tensor:
    """Frames ``(T, B, 1, size, size)`` in [0, 1], float64: two soft blobs that move."""
    generator = torch.Generator().manual_seed(seed)
    start, speed = torch.rand(2, batch, 2, 2, generator=generator, dtype=torch.float64)
    steps = torch.arange(length, dtype=torch.float64)[:, None, None, None]
    centre = size * (0.2 + 0.6 * start) + 2 * (speed - 0.5) * steps
    axis = torch.arange(size, dtype=torch.float64) + 0.5
    rows, columns = (torch.exp(-((axis - c[..., None]) ** 2) / 2) for c in centre.unbind(-1))
    return (rows[..., :, None] * columns[..., None, :]).sum(2).clamp_max(1).unsqueeze(2)


class Outcome(NamedTuple):
    """What was chosen in each frame: which slots are kept (none in the first), how many found."""

    kept: tuple[tuple[int, ...], ...]
    count: tuple[int, ...]

    def values(self, particles: int, batch: int = 1) -> dict[str, Tensor]:
        """The outcome as forced values, the same for all particles and sequences."""
        forced = {
            f"discovered_count_{t}": torch.full((particles, batch), n)
            for t, n in enumerate(self.count)
        }
        for t, kept in enumerate(self.kept):
            if t:
                row = torch.tensor(kept, dtype=torch.float64)
                forced[f"propagated_presence_{t}"] = row.expand(particles, batch, -1)
        return forced


def outcomes(length: int, slots: int, capacity: bool) -> Iterator[Outcome]:
    """All of them: any present slot is lost or kept, any number found that may be."""
    yield from _continue(Outcome((), ()), 0, length, slots, capacity)


def _continue(
    past: Outcome, present: int, length: int, slots: int, capacity: bool
) -> Iterator[Outcome]:
    if len(past.count) == length:
        yield past
        return
    for choice in product((0, 1), repeat=present):
        kept = choice + (0,) * (slots - present)
        for count in range((slots - sum(kept) if capacity else slots) + 1):
            now = Outcome((*past.kept, kept), (*past.count, count))
            yield from _continue(now, min(slots, sum(kept) + count), length, slots, capacity)


class Sites(NamedTuple):
    """Log-densities ``(P, B)`` of the sites of a run, by name, as Pyro computes them."""

    prior: dict[str, Tensor]
    posterior: dict[str, Tensor]

    def log_weight(self, what_weight: float = 1.0) -> Tensor:
        """``log p - log q (P, B)``, all frames; the propagated appearance's part weighted."""
        total = self.prior["frames"]
        for name, density in self.posterior.items():
            factor = what_weight if name.startswith("propagated_what") else 1.0
            total = total + factor * (self.prior[name] - density)
        return total

    def log_q(self) -> Tensor:
        """Log-probability ``(P, B)`` of all choices."""
        return sum(v for n, v in self.posterior.items() if n.startswith(DISCRETE))


def sites(prior: Trace, posterior: Trace) -> Sites:
    """What Pyro says of two traces, every check of its on."""
    found = []
    for trace in (prior, posterior):
        trace.compute_log_prob()
        nodes = ((n, node) for n, node in trace.nodes.items() if node["type"] == "sample")
        found.append({n: d["log_prob"] for n, d in nodes if not of_a_plate(d)})
    return Sites(*found)


def of_a_plate(node: dict) -> bool:
    """Whether a node is a plate's own, not a site of the model."""
    return type(node["fn"]).__name__ == "_Subsample"


def run(model: Sqair, frames: Tensor, particles: int = 1, **options: object) -> Sites:
    """The sites of the guide and of the model replayed against it."""
    return sites(*traces(model.model, model.guide, frames, particles, **options))


def draws(model: Sqair, frames: Tensor, particles: int = 1, **options: object) -> dict[str, Tensor]:
    """The values of a run of the guide, by site."""
    trace = poutine.trace(model.guide).get_trace(frames, particles, **options)
    nodes = ((n, node) for n, node in trace.nodes.items() if node["type"] == "sample")
    return {n: node["value"] for n, node in nodes if not of_a_plate(node)}


def gradients(scalar: Tensor, model: torch.nn.Module) -> dict[str, Tensor]:
    """Of every parameter, by name; zero where there is none."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(scalar, parameters, allow_unused=True, retain_graph=True)
    return {
        n: torch.zeros_like(p) if g is None else g
        for n, p, g in zip(names, parameters, found, strict=True)
    }
