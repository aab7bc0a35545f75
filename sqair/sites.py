"""Sample sites of the model and the guide, as Pyro sees them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from sqair.discover import Discovered
from sqair.distributions import Drawn
from sqair.propagate import Propagated


def plates(particles: int, batch: int) -> ExitStack:
    """The plates of every site."""
    stack = ExitStack()
    stack.enter_context(pyro.plate("particles", particles, dim=-2))
    stack.enter_context(pyro.plate("batch", batch, dim=-1))
    return stack


def slotwise(mean: Tensor, std: Tensor, there: Tensor) -> dist.TorchDistribution:
    """Normals ``(P, B | K, D)``, of which slots that are not ``there`` do not count."""
    return dist.Normal(mean, std).to_event(1).mask(there).to_event(1)


def check(values: Mapping[str, Tensor] | None, length: int) -> None:
    """Raises ValueError for values of sites that a run of ``length`` frames does not have."""
    sites = {f"discovered_{n}_{t}" for n in ("count", "where", "what") for t in range(length)}
    sites |= {
        f"propagated_{n}_{t}" for n in ("presence", "where", "what") for t in range(1, length)
    }
    unknown = sorted(set(values or ()) - sites)
    if unknown:
        raise ValueError(f"values: {length} frames have no sites {', '.join(unknown)}")


def given(values: Mapping[str, Tensor] | None, kind: str, t: int) -> dict[str, Tensor]:
    """The forced values of a frame's propagation or discovery, by short name."""
    names = ("presence", "count", "where", "what")
    values = values or {}
    return {n: values[f"{kind}_{n}_{t}"] for n in names if f"{kind}_{n}_{t}" in values}


def drawn_propagation(t: int, kept: Propagated, alive: Tensor) -> None:
    """Sites of what the guide's chain has drawn."""
    present = alive * kept.presence
    for name, value, density, smooth in (
        ("presence", kept.presence, kept.log_presence * alive, False),
        ("where", kept.where, kept.log_where * present, True),
        ("what", kept.what, kept.log_what * present, True),
    ):
        pyro.sample(f"propagated_{name}_{t}", Drawn(value, density.sum(-1), smooth))


def drawn_discovery(t: int, found: Discovered) -> None:
    """Sites of what the guide's chain has drawn."""
    there = torch.arange(found.where.shape[-2], device=found.count.device) < found.count[..., None]
    chosen = found.log_count.gather(-1, found.count[..., None]).squeeze(-1)
    for name, value, density, smooth in (
        ("count", found.count, chosen, False),
        ("where", found.where, (found.log_where * there).sum(-1), True),
        ("what", found.what, (found.log_what * there).sum(-1), True),
    ):
        pyro.sample(f"discovered_{name}_{t}", Drawn(value, density, smooth))
