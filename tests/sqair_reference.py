"""SQAIR one object at a time: the published equations as they are written, for one sequence.

Slow and plain: no rows, no masks, no prefixes; lists of objects, layers on concatenated inputs, and
``grid_sample`` for looking and painting. Only the parameters are the model's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, MultivariateNormal, Normal
from torch.nn import functional as F

from sqair.model import Sqair

Values = Mapping[str, Tensor]


class Thing(NamedTuple):
    """An object that is there."""

    what: Tensor
    where: Tensor
    posterior: Tensor  # its recurrent state in the guide
    prior: Tensor  # its recurrent state in the model
    id: int


class Expected(NamedTuple):
    """What the model expects of an object in the next frame."""

    logit: Tensor  # of staying
    where: Normal
    what: Normal
    state: Tensor


def log_weight(model: Sqair, frames: Tensor, values: Values) -> tuple[Tensor, list[list[int]]]:
    """``log p(x_t, z_t) - log q(z_t) (T,)`` of one sequence, and the ids of every frame.

    Args:
        model: whose parameters are used.
        frames: ``(T, 1, H, W)``.
        values: of every site of the guide, without the dimensions of the plates.
    """
    config, things, last, weights, ids = model.config, [], -1, [], []
    for t, frame in enumerate(frames):
        now = {n.removesuffix(f"_{t}"): v for n, v in values.items() if n.endswith(f"_{t}")}
        expected = [expect(model, thing) for thing in things]
        kept, total = propagate(model, frame, things, expected, now)
        survival = sum((torch.sigmoid(e.logit) for e in expected), frame.new_zeros(()))
        survival = survival / config.slots - 0.5
        codes = (model.context.body(torch.cat((o.what, o.where))) for o in kept)
        context = sum(codes, frame.new_zeros(config.hidden))
        free = config.slots - len(kept) if config.capacity else config.slots
        free, count = min(free, len(now["discovered_where"])), int(now["discovered_count"])
        total = total + count_density(model, survival, free, count, late=t > 0)
        total = total + expect_found(model, survival, context, now)
        total = total - find(model, frame, context, free, now)
        for k in range(count):
            what, where = now["discovered_what"][k], now["discovered_where"][k]
            starts = model.first_memory, model.propagation_prior.first
            kept.append(Thing(what, where, *starts, last + 1 + k))
        last += count
        things = kept[: config.slots]
        pixels = Normal(canvas(model, things), config.output_std).log_prob(frame).sum()
        weights.append(total + pixels)
        ids.append([thing.id for thing in things])
    return torch.stack(weights), ids


def canvas(model: Sqair, things: list[Thing]) -> Tensor:
    """The mean of a frame's pixels, ``(1, H, W)``."""
    config = model.config
    painted = footprint = torch.zeros(1, config.size, config.size, dtype=torch.float64)
    for thing in things:
        glimpse = model.decoder.contrast * model.decoder.body(thing.what)
        glimpse = glimpse.view(1, config.glimpse, config.glimpse)
        painted = painted + paste(model, glimpse, thing.where)
        footprint = footprint + paste(model, torch.ones_like(glimpse), thing.where)
    if model.mean_image is None:
        return painted
    return painted + torch.sigmoid(20 * footprint - 10) * model.mean_image


def window(model: Sqair, where: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift ``(2,)``, of a side of 2."""
    return torch.sigmoid(where[:2]).clamp_min(model.config.least_scale), torch.tanh(where[2:])


def look(model: Sqair, frame: Tensor, where: Tensor) -> Tensor:
    """A glimpse ``(G G,)``: samples at ``s g + t``, corners aligned."""
    scale, shift = window(model, where)
    grid = torch.linspace(-1, 1, model.config.glimpse, dtype=torch.float64)
    x, y = (scale[i] * grid + shift[i] for i in range(2))
    return _interpolate(frame, x, y).flatten()


def paste(model: Sqair, glimpse: Tensor, where: Tensor) -> Tensor:
    """A glimpse ``(1, G, G)`` on the canvas, by the inverse of ``look``'s map."""
    scale, shift = window(model, where)
    grid = torch.linspace(-1, 1, model.config.size, dtype=torch.float64)
    x, y = ((grid - shift[i]) / scale[i] for i in range(2))
    return _interpolate(glimpse, x, y)


def _interpolate(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None]
    return F.grid_sample(image[None], grid, align_corners=True)[0]


def _std(raw: Tensor) -> Tensor:
    return F.softplus(raw) + 0.01


def _layer(parts: Sequence[nn.Linear], inputs: Sequence[Tensor], bias: Tensor) -> Tensor:
    """One layer, kept in parts, on its whole input."""
    return F.linear(torch.cat(inputs), torch.cat([p.weight for p in parts], 1), bias)


def _gru(cell: nn.Module, inputs: Tensor, state: Tensor) -> Tensor:
    """Sonnet's: reset before the product, and ``z`` is the share of the new."""
    w_z, w_r, w_n = cell.inputs.chunk(3)
    u_z, u_r = cell.gates.chunk(2)
    b_z, b_r, b_n = cell.bias.chunk(3)
    z = torch.sigmoid(w_z @ inputs + u_z @ state + b_z)
    r = torch.sigmoid(w_r @ inputs + u_r @ state + b_r)
    new = torch.tanh(w_n @ inputs + cell.candidate @ (r * state) + b_n)
    return (1 - z) * state + z * new


def encode(model: Sqair, glimpse: Tensor) -> tuple[Tensor, Tensor]:
    mean, raw = model.encoder.head(model.encoder.body(glimpse)).chunk(2)
    return mean, _std(raw)


def expect(model: Sqair, thing: Thing) -> Expected:
    """The prior of an object."""
    config, prior = model.config, model.propagation_prior
    state = _gru(prior.cell, torch.cat((thing.what, thing.where)), thing.prior)
    logit, where, what, where_raw, what_raw = prior.head(state).split(
        (1, 4, config.what, 4, config.what)
    )
    if config.propagation_prior == "guided":
        where, what = thing.where + where, thing.what + 0.1 * what
    logit = logit.squeeze() + config.survival_bias
    return Expected(logit, Normal(where, _std(where_raw)), Normal(what, _std(what_raw)), state)


def propagate(
    model: Sqair, frame: Tensor, things: list[Thing], expected: list[Expected], now: Values
) -> tuple[list[Thing], Tensor]:
    """The objects that stay, and ``log p - log q`` of all that was decided about them."""
    core, total, kept = model.propagation, frame.new_zeros(()), []
    relation = core.relation_first
    before = frame.new_zeros(model.config.what + 5)
    for k, (old, prior) in enumerate(zip(things, expected, strict=True)):
        what, where = now["propagated_what"][k], now["propagated_where"][k]
        there = now["propagated_presence"][k]
        mask, relation = relate(model, frame, old, before, relation)
        q_where = follow(model, old, relation)
        seen = encode(model, mask * look(model, frame, where))
        q_what, state = change(model, old, relation, where, seen)
        parts = core.steps_relation, core.memory["steps"], core.steps_what
        hidden = _layer(parts, (relation, old.posterior, what), parts[1].bias)
        logit = core.steps(hidden).squeeze()
        total = total + Bernoulli(logits=prior.logit).log_prob(there)
        total = total - Bernoulli(logits=logit).log_prob(there)
        if there:
            total = total + prior.where.log_prob(where).sum() - q_where.log_prob(where)
            total = total + (prior.what.log_prob(what) - q_what.log_prob(what)).sum()
            kept.append(Thing(what, where, state, prior.state, old.id))
        before = torch.cat((what, where, there[None]))
    return kept, total


def relate(
    model: Sqair, frame: Tensor, old: Thing, before: Tensor, relation: Tensor
) -> tuple[Tensor, Tensor]:
    """The mask of an object's glimpses, and the relation state after a first look for it."""
    core, h = model.propagation, old.posterior
    mask = torch.sigmoid(core.mask(core.activation(core.memory["mask"](h))))
    moved = old.where + 0.1 * core.proposal(core.activation(core.memory["proposal"](h)))
    evidence = encode(model, mask * look(model, frame, moved))[0]
    inputs = (evidence, old.what, old.where, frame.new_ones(1), before, h)
    parts = core.relation_input, core.relation_chain, core.memory["relation"]
    summed = _layer(parts, inputs, parts[2].bias) + core.relation(relation)
    return mask, torch.tanh(summed)


def follow(model: Sqair, old: Thing, relation: Tensor) -> MultivariateNormal:
    """Where an object has gone: a normal with a full covariance."""
    core = model.propagation
    parts = core.where_relation, core.where_old, core.memory["where"]
    hidden = _layer(parts, (relation, old.where, old.posterior), parts[2].bias)
    change, raw = core.where(hidden).chunk(2)
    triangle = torch.eye(4, dtype=torch.float64)
    diagonal = 0 if model.config.free_cholesky else -1
    for (row, column), x in zip(torch.tril_indices(4, 4, diagonal).T, core.cholesky, strict=True):
        entry = torch.zeros(4, 4, dtype=torch.float64)
        entry[row, column] = 1
        triangle = triangle + entry * x
    root = _std(raw + core.where_bias - 1).diag() @ triangle
    return MultivariateNormal(old.where + change, root @ root.T)


def change(
    model: Sqair, old: Thing, relation: Tensor, where: Tensor, seen: tuple[Tensor, Tensor]
) -> tuple[Normal, Tensor]:
    """How an object looks now, gated between what was, what is seen and what is remembered."""
    core = model.propagation
    state = _gru(core.cell, torch.cat((relation, where, *seen)), old.posterior)
    mean, raw = core.temporal(state).chunk(2)
    f, i, tau = (0.9999 * torch.sigmoid(core.gates(state))).chunk(3)
    mixed = f * old.what + (1 - i) * seen[0] + (1 - tau) * mean
    std = (1 - i) * seen[1] + (1 - tau) * _std(raw) + model.config.gated_std
    return Normal(mixed, std), state


def find(model: Sqair, frame: Tensor, context: Tensor, free: int, now: Values) -> Tensor:
    """``log q`` of discovery: yes to each object found, then no, unless there is no room."""
    core, count = model.discovery, int(now["discovered_count"])
    image, state, total = core.image(frame.flatten()), core.first, frame.new_zeros(())
    before = torch.cat((frame.new_zeros(model.config.what + 4), frame.new_ones(1)))
    parts = core.from_image, core.from_context, core.from_last
    for k in range(min(count + 1, free)):
        what, where = now["discovered_what"][k], now["discovered_where"][k]
        summed = _layer(parts, (image, context, before), parts[0].bias) + core.recurrent(state)
        state = torch.tanh(summed)
        mean, raw = core.where(state).chunk(2)
        logit = core.steps(torch.cat((state, what))).squeeze()
        found = torch.tensor(float(k < count), dtype=torch.float64)
        total = total + Bernoulli(logits=logit).log_prob(found)
        if found:
            total = total + Normal(mean, _std(raw + core.where_bias)).log_prob(where).sum()
            total = total + Normal(*encode(model, look(model, frame, where))).log_prob(what).sum()
        before = torch.cat((what, where, frame.new_ones(1)))
    return total


def count_density(model: Sqair, survival: Tensor, free: int, count: int, late: bool) -> Tensor:
    """``log p`` of how many are found, of at most ``free``."""
    prior = model.discovery_prior
    logits = prior.logits + prior.counts(survival[None]) + (prior.later if late else 0)
    logits = F.elu(logits) if model.config.bounded_count_logits else logits
    return Categorical(logits=logits[: free + 1]).log_prob(torch.tensor(count))


def expect_found(model: Sqair, survival: Tensor, context: Tensor, now: Values) -> Tensor:
    """``log p`` of where the found ones are, each after the last, and of what they are."""
    prior, last, total = model.discovery_prior, model.discovery_prior.before, survival * 0
    mixed = prior.activation(prior.mix(torch.cat((prior.state, context, survival[None]))))
    for k in range(int(now["discovered_count"])):
        what, where = now["discovered_what"][k], now["discovered_where"][k]
        mean, raw = prior.output(torch.tanh(prior.input(last) + prior.recurrent(mixed))).chunk(2)
        total = total + Normal(mean, _std(raw)).log_prob(where).sum()
        total = total + Normal(0.0, 1.0).log_prob(what).sum()
        last = where
    return total
