"""Bounds of reparameterised models: by hand, integrated numerically, their gradients."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from common.metrics import bounds
from sqair.vrnn import Vrnn, VrnnConfig
from sqair.vrnn_objective import ReparameterisedELBO, VrnnObjective


def small(kind: str = "mlp", size: int = 24, latent: int = 5) -> Vrnn:
    """A small network in double precision."""
    vrnn = Vrnn(VrnnConfig(kind, size=size, latent=latent, hidden=16)).double()
    nn.init.normal_(vrnn.networks.start)
    return vrnn


def clips(length: int, batch: int, size: int = 24, seed: int = 0) -> Tensor:
    """Squares that move at constant speed, (T, B, 1, size, size) uint8."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(batch, 2, generator=generator) * size / 2
    speed = torch.rand(batch, 2, generator=generator) * 2
    corner = start + torch.arange(length)[:, None, None] * speed  # (T, B, 2)
    grid = torch.arange(size)
    inside = (grid >= corner[..., None]) & (grid < corner[..., None] + size / 4)  # (T, B, 2, size)
    return ((inside[:, :, :1, :, None] & inside[:, :, 1:, None, :]) * 255).byte()


@torch.no_grad()
def test_many_particles_reach_the_integral() -> None:
    """p(x_0, x_1) over two 1-d latents, on a grid fine enough that its sum is the integral."""
    vrnn, frames = small(size=3, latent=1), clips(2, 3, size=3)
    axis = torch.linspace(-5, 5, 201).double()
    grid = torch.cartesian_prod(axis, axis)[:, None, :].expand(-1, 3, -1)
    model = poutine.condition(vrnn.model, {f"latent_{t}": grid[..., t : t + 1] for t in (0, 1)})
    out = model(2, 3, 201**2, frames)
    joint = (out.log_likelihood + out.log_prior).sum(0)
    exact = joint.logsumexp(0) + 2 * math.log(0.05)
    total = out.log_prior.sum(0).logsumexp(0) + 2 * math.log(0.05)
    torch.testing.assert_close(total, torch.zeros(3).double(), atol=1e-4, rtol=0)
    log_weight = vrnn.unroll(frames, 20_000).log_weight
    weight = (log_weight.sum(0) - exact).exp()
    error = weight.std(0) / math.sqrt(20_000)
    assert (error < 0.03).all()
    assert ((bounds.iwae(log_weight) - exact).abs() < 4 * error).all()
    assert (bounds.elbo(log_weight) < exact - 0.01).all()


@torch.no_grad()
def test_the_bound_grows_with_particles() -> None:
    """In expectation: with 600 draws of each, differences are many standard errors."""
    vrnn, frames = small(size=4), clips(2, 1, size=4).expand(2, 600, 1, 4, 4)
    values = {p: bounds.iwae(vrnn.unroll(frames, p).log_weight) for p in (1, 2, 8, 64)}
    for fewer, more in ((1, 2), (2, 8), (8, 64)):
        error = ((values[fewer].var() + values[more].var()) / 600).sqrt()
        assert values[more].mean() - values[fewer].mean() > 3 * error


@pytest.mark.parametrize("bound", ["elbo", "iwae"])
@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_gradients_reach_everything_and_are_right(kind: str, bound: str) -> None:
    """Along a random direction, under the same noise, they are the finite differences."""
    vrnn, frames = small(kind), clips(3, 2)
    elbo = ReparameterisedELBO(bound)

    def loss() -> Tensor:
        torch.manual_seed(1)
        return elbo.differentiable_loss(vrnn.model, vrnn.guide, frames, 3)

    loss().backward()
    gradients = [p.grad for p in vrnn.parameters()]
    assert all(g is not None and g.abs().sum() > 0 for g in gradients)
    direction = [torch.randn_like(g) for g in gradients]
    step, ends = 1e-5, []
    for sign in (1, -2):
        with torch.no_grad():
            for parameter, way in zip(vrnn.parameters(), direction):
                parameter += sign * step * way
            ends.append(loss())
    expected = (ends[0] - ends[1]) / (2 * step)
    slope = sum((g * d).sum() for g, d in zip(gradients, direction))
    torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_the_objective_reports_its_terms_per_frame(bound: str) -> None:
    """Against the log-weights of the same draws, and the bounds written out in plain Python."""
    vrnn, frames = small(), clips(4, 3)
    torch.manual_seed(1)
    loss, metrics = VrnnObjective(vrnn, 5, bound)(SimpleNamespace(frames=frames), None)
    torch.manual_seed(1)
    terms = vrnn.unroll(frames, 5)
    assert loss.shape == () and not any(m.requires_grad for m in metrics.values())
    columns = terms.log_weight.detach().sum(0).T.tolist()  # (B, P)
    elbo = sum(sum(column) / 5 for column in columns) / 3
    shares, iwae = [], 0.0
    for column in columns:
        weights = [math.exp(value - max(column)) for value in column]
        iwae += (math.log(sum(weights) / 5) + max(column)) / 3
        shares.append(sum(weights) ** 2 / sum(w * w for w in weights) / 5)
    expected = {"elbo": elbo / 4, "iwae": iwae / 4, "ess": sum(shares) / 3}
    likelihood = float(terms.log_likelihood.detach().mean())
    expected |= {"likelihood": likelihood, "kl": likelihood - elbo / 4}
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(expected)
    assert float(loss.detach()) == pytest.approx(-expected[bound])
    torch.manual_seed(1)
    whole = ReparameterisedELBO(bound).differentiable_loss(vrnn.model, vrnn.guide, frames, 5)
    torch.testing.assert_close(whole / 4, loss)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_thirty_steps_lower_the_loss(kind: str) -> None:
    torch.manual_seed(0)
    objective = VrnnObjective(Vrnn(VrnnConfig(kind, size=24, latent=16, hidden=64)))
    optimiser = torch.optim.Adam(objective.parameters(), 2e-3)
    held_out = SimpleNamespace(frames=clips(5, 32, seed=1000))
    before = objective(held_out)[0]
    for step in range(30):
        loss = objective(SimpleNamespace(frames=clips(5, 32, seed=step)))[0]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after, metrics = objective(held_out)
    # An empty canvas leaves 36 / 0.18 = 200 nats of error below the ceiling of 164.2.
    blank = 24**2 * -math.log(0.3 * math.sqrt(2 * math.pi)) - 36 / 0.18
    assert float(before.detach()) - float(after.detach()) > 30
    assert float(metrics["elbo"]) > blank + 20


def test_bad_bounds_are_named() -> None:
    with pytest.raises(ValueError, match="bound must be 'elbo' or 'iwae', got 'fivo'"):
        ReparameterisedELBO("fivo")
