"""The presets of the paper and of the project: their sizes, differences and initial values."""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor, nn

from sqair.config import PAPER, SqairConfig
from sqair.model import Sqair
from sqair.packing import pack
from sqair.propagate import PropagationPosterior
from sqair.state import Slots, State

zeros = functools.partial(torch.zeros, dtype=torch.float64)


def size(*parts: nn.Module | Tensor) -> int:
    """How many parameters."""
    listed = (p.parameters() if isinstance(p, nn.Module) else [p] for p in parts)
    return sum(parameter.numel() for part in listed for parameter in part)


def test_the_published_model_has_the_published_parameters() -> None:
    """Notebook of the released code, by its scopes."""
    model = Sqair(PAPER)
    mask = (model.propagation.memory["mask"], model.propagation.mask)
    prior = model.discovery_prior
    logits, starts = (prior.logits, prior.later), [model.first_memory]
    starts.append(model.propagation_prior.first)
    scopes = {
        "discovery": size(model.encoder, model.discovery, *mask, prior) - size(*logits),
        "propagation": size(model.propagation, model.propagation_prior)
        - size(*mask, model.propagation_prior.first),
        "decoder": size(model.decoder, model.mean_image),
        "sequence": size(model.context, *starts),
        "counts": size(*logits),
    }
    assert scopes == {
        "discovery": 1_403_398,
        "propagation": 1_283_583,
        "decoder": 184_149,
        "sequence": 80_384,
        "counts": 8,
    }
    assert size(model) == 2_951_522
    assert size(Sqair()) == 2_951_522 - 2500 - 4  # no mean image, no diagonal of the factor


def test_what_the_default_changes() -> None:
    ours, paper = asdict(SqairConfig()), asdict(PAPER)
    assert {n: (paper[n], ours[n]) for n in ours if paper[n] != ours[n]} == {
        "activation": ("elu", "silu"),
        "mean_image": (True, False),
        "least_scale": (1e-4, 0.02),
        "propagation_prior": ("rnn", "guided"),
        "bounded_count_logits": (True, False),
        "capacity": (False, True),
        "free_cholesky": (True, False),
        "gated_std": (0.0, 0.01),
        "motion_init": (1.0, 0.1),
        "glorot_gru": (True, False),
    }
    published = {
        "size": 50, "slots": 3, "what": 50, "glimpse": 20, "hidden": 256, "output_std": 0.3,
        "output_scale": 0.25, "scale_prior": -2.0, "where_bias": -3.0, "discovery_bias": 1.0,
        "propagation_bias": 5.0, "survival_bias": 10.0, "antialias": False,
    }  # fmt: skip
    assert {n: paper[n] for n in published} == published


def silent(config: SqairConfig) -> Sqair:
    """A model at its initial values, but for last layers, which give their biases alone."""
    model = Sqair(config).double()
    found, kept = model.discovery, model.propagation
    prior, expected = model.discovery_prior, model.propagation_prior
    for layer in (
        model.encoder.head, found.where[-1], found.steps[-1], kept.where[-1], kept.temporal,
        kept.gates, kept.steps[-1], prior.output, prior.counts[-1], expected.head,
    ):  # fmt: skip
        nn.init.zeros_(layer.weight)
    return model


@pytest.mark.parametrize("config", [PAPER, SqairConfig()], ids=["paper", "default"])
def test_where_both_presets_start(config: SqairConfig) -> None:
    """Section 13.2 of the specification; each number is what the biases alone give."""
    model, slots = silent(config), config.slots
    frames, free = torch.rand(1, 1, 50, 50, dtype=torch.float64), torch.full((1, 1), slots)
    context = zeros(1, 1, config.hidden)
    zero = {n: zeros(1, 1, slots, d) for n, d in (("where", 4), ("what", 50))}
    images = model.discovery.image(frames.flatten(1))
    found = model.discovery(frames, model.encoder, images, context, free, slots, zero)
    assert 1 - found.log_count[0, 0, 0].exp().item() == pytest.approx(0.7311, abs=1e-4)
    assert deviation(found.log_where, 4) == pytest.approx(0.0586, abs=1e-4)
    assert deviation(found.log_what, 50) == pytest.approx(0.7031, abs=1e-4)
    old = Slots(*(zeros(1, 1, slots, d) for d in (50, 4)), *(zeros(2, 1, 1, slots) + 1))
    state = State(old, zeros(1, 1, slots, config.hidden), free)
    packing = pack(old.presence, static=False)
    values = zero | {"presence": torch.ones(1, 1, slots)}
    kept = model.propagation(frames, model.encoder, state, packing, values)
    assert kept.log_presence.exp().mean().item() == pytest.approx(0.9933, abs=1e-4)
    volume = diagonal(model) if config.free_cholesky else 0.0
    assert deviation(kept.log_where + volume, 4) == pytest.approx(0.0281, abs=1e-4)
    mixed = 2 * (1 - 0.9999 * torch.sigmoid(torch.ones(())).item()) * 0.7031
    assert mixed == pytest.approx(0.378, abs=1e-3)
    assert deviation(kept.log_what, 50) == pytest.approx(mixed + config.gated_std, abs=1e-4)
    expected = model.propagation_prior(state, packing)
    assert torch.sigmoid(expected.logits).mean().item() == pytest.approx(0.99995, abs=1e-5)
    chain = model.discovery_prior.where(context[..., 0], context, free, slots)
    mean, spread = chain.step(torch.randn(1, 1, slots, 4, dtype=torch.float64))
    assert mean[0, 0, 0].tolist() == [-2, -2, 0, 0]
    assert spread.mean().item() == pytest.approx(1.323, abs=1e-3)
    first = model.discovery_prior.log_counts(context[..., 0], free, slots, first=True)
    later = model.discovery_prior.log_counts(context[..., 0], free, slots, first=False)
    assert first.exp().flatten().tolist() == pytest.approx([0.25] * 4)
    assert (later[..., 0] - later[..., 1]).item() == pytest.approx(10)


def deviation(log_density: Tensor, dimensions: int) -> float:
    """Of each dimension of a normal, from its log-density at the mean."""
    assert log_density.std() < 1e-9
    return math.exp(-log_density.mean().item() / dimensions - math.log(2 * math.pi) / 2)


def diagonal(model: Sqair) -> Tensor:
    """Log-determinant of the covariance's random factor."""
    row, column = torch.tril_indices(4, 4)
    return (1 + model.propagation.cholesky[row == column]).abs().log().sum()


def test_initial_values_are_sonnets() -> None:
    model = Sqair(PAPER)
    cut = 0.87962566  # deviation of a unit normal cut at two
    for weight, fan_in in (
        (model.discovery.image[0].weight, 2500),
        (model.discovery.from_context.weight, 567),
        (model.propagation.memory["relation"].weight, 416),
        (model.propagation.where_relation.weight, 516),
        (model.propagation.steps_relation.weight, 562),
        (model.decoder.body[4].weight, 256),
    ):
        assert weight.std().item() * math.sqrt(fan_in) == pytest.approx(cut, rel=0.02)
        assert weight.abs().max().item() * math.sqrt(fan_in) <= 2 + 1e-5
    for parameter, limit in (
        (model.propagation.cell.inputs, math.sqrt(6 / (360 + 256))),
        (model.propagation.cell.gates, math.sqrt(6 / 512)),
        (model.propagation.cell.candidate, math.sqrt(6 / 512)),
        (model.propagation.cell.bias, 0.108),
        (model.propagation_prior.cell.inputs, math.sqrt(6 / (54 + 256))),
        (model.propagation.cholesky, 0.548),
        (model.discovery_prior.before, 1.0954),
    ):
        assert 0.6 * limit < parameter.abs().max() <= limit * 1.01
        if parameter.numel() > 500:
            assert parameter.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)
    assert (model.propagation.mask.bias == 1).all() and (model.propagation.gates.bias == 1).all()
    assert model.decoder.contrast == 0.25
    assert model.discovery_prior.later.tolist() == [10, 0, 0, 0]
    for start in (model.first_memory, model.propagation_prior.first, model.discovery.first,
                  model.propagation.relation_first, model.discovery_prior.state,
                  model.discovery_prior.logits):  # fmt: skip
        assert not start.any()


def test_the_default_starts_without_correlations_and_with_small_motion() -> None:
    ours, paper = PropagationPosterior(SqairConfig()), PropagationPosterior(PAPER)
    assert len(ours.cholesky) == 6 and not ours.cholesky.any() and not ours.cell.bias.any()
    scales = [core.where[-1].weight[:4].std() for core in (ours, paper)]
    assert (scales[0] / scales[1]).item() == pytest.approx(0.1, rel=0.1)
    assert ours.where[-1].weight[4:].std().item() == pytest.approx(0.88 / 16, rel=0.1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"slots": 0}, "slots must be at least 1, got 0"),
        ({"hidden": -3}, "hidden must be at least 1, got -3"),
        ({"glimpse": 1}, "side of at least 2"),
        ({"output_std": 0.0}, "output_std must be above 0"),
    ],
)
def test_impossible_settings_are_refused(setting: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PAPER, **setting)
