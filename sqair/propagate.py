"""Propagation: objects that stay, what is inferred of them: a chain over slots."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from common import glimpse
from sqair.config import SqairConfig
from sqair.distributions import bernoulli_log_density, standard_log_density
from sqair.expect import ABSENT
from sqair.fused import normal_log_density, tanh
from sqair.geometry import windows
from sqair.networks import GRU, GlimpseEncoder, activation, linear, std
from sqair.packing import Packing
from sqair.state import State

PROPOSAL = 0.1  # of the layer that moves a window before the object is looked at
LEAK = 0.9999  # gates of the appearance never close
NARROWER = -1.0  # a followed window is surer than a found one, before its softplus


class Propagated(NamedTuple):
    """What the objects of the last frame are in this one."""

    what: Tensor  # (P, B, K, D)
    where: Tensor  # (P, B, K, 4)
    presence: Tensor  # (P, B, K)
    memory: Tensor  # (P, B, K, H)
    log_what: Tensor  # (P, B, K) log q of each slot, whether present or not
    log_where: Tensor  # (P, B, K)
    log_presence: Tensor  # (P, B, K)


class PropagationPosterior(nn.Module):
    """Follows each object, one after another, in the order of slots (SQAIR sec. 3.2; sec. A)."""

    def __init__(self, config: SqairConfig) -> None:
        super().__init__()
        self.config = config
        hidden, what, side = config.hidden, config.what, config.glimpse
        half, latents = hidden // 2, config.what + 4
        # Layers that read several things are kept in parts, so that each part is computed where its
        # input is known; they are drawn as the whole layers that they are.
        relation_in, where_in, steps_in = 3 * what + 10 + hidden, 2 * hidden + 4, 2 * hidden + what
        self.memory = nn.ModuleDict(
            {
                "mask": linear(hidden, half),
                "proposal": linear(hidden, half),
                "where": linear(hidden, hidden, where_in),
                "steps": linear(hidden, half, steps_in),
                "relation": linear(hidden, hidden, relation_in),
            }
        )
        self.mask = linear(half, side**2)
        nn.init.ones_(self.mask.bias)
        self.proposal = linear(half, 4)
        self.activation = activation(config)
        self.relation_input = linear(
            what + latents + 1, hidden, relation_in, bias=False
        )  # e, old a, w, p
        self.relation_chain = linear(
            latents + 1, hidden, relation_in, bias=False
        )  # a, w, p of the last slot
        self.relation = linear(hidden, hidden)
        self.relation_first = nn.Parameter(torch.zeros(hidden))
        self.where_relation = linear(hidden, hidden, where_in, bias=False)
        self.where_old = linear(4, hidden, where_in, bias=False)
        self.where = nn.Sequential(
            activation(config), linear(hidden, hidden), activation(config), linear(hidden, 8)
        )
        with torch.no_grad():
            self.where[-1].weight[:4] *= config.motion_init
        self.where_bias = nn.Parameter(torch.tensor(config.where_bias))
        self.cholesky = nn.Parameter(torch.zeros(10 if config.free_cholesky else 6))
        if config.free_cholesky:
            nn.init.uniform_(self.cholesky, -0.548, 0.548)
        self.cell = GRU(hidden + 4 + 2 * what, hidden, config.glorot_gru)
        self.temporal = linear(hidden, 2 * what)
        self.gates = linear(hidden, 3 * what)
        nn.init.ones_(self.gates.bias)
        self.steps_relation = linear(hidden, half, steps_in, bias=False)
        self.steps_what = linear(what, half, steps_in, bias=False)
        self.steps = nn.Sequential(activation(config), linear(half, 1))
        nn.init.constant_(self.steps[-1].bias, config.propagation_bias)

    def forward(
        self,
        frames: Tensor,
        encoder: GlimpseEncoder,
        state: State,
        packing: Packing,
        values: dict[str, Tensor],
    ) -> Propagated:
        """Latents of the frame for each slot of the last one.

        Args:
            frames: ``(B, C, H, W)`` in [0, 1].
            encoder: of glimpses, shared with the discovery.
            state: of the last frame.
            packing: which slots to compute.
            values: what not to draw: ``what``, ``where``, ``presence``, each ``(P, B, K, ...)`` or
                one number.
        """
        config, slots = self.config, state.slots
        size = slots.presence.shape
        noise = torch.randn(*size, config.what + 4, device=frames.device)
        uniform = torch.rand(size, device=frames.device)
        if not packing.counts:
            zero = slots.presence
            return Propagated(*slots[:3], state.memory, zero, zero, zero)
        forced = {k: v.expand(*size, *v.shape[3:]) for k, v in values.items()}
        forced = {k: packing.gather(v if v.dim() == 4 else v[..., None]) for k, v in forced.items()}
        parts = (slots.what, slots.where, slots.presence[..., None], state.memory)
        noises = (noise, uniform[..., None])
        old = packing.gather(torch.cat((*parts, *noises), -1)).split(
            (config.what, 4, 1, config.hidden, 4, config.what, 1), -1
        )
        rows = self._chain(packing.frames(frames), encoder, old, packing, forced)
        widths = [part.shape[-1] for part in rows]
        what, where, presence, memory, *logs = packing.scatter(torch.cat(rows, -1)).split(
            widths, -1
        )
        presence = presence.squeeze(-1).detach()  # discrete: decisions have no gradient
        return Propagated(what, where, presence, memory, *(x.squeeze(-1) for x in logs))

    def _chain(
        self,
        frames: Tensor,
        encoder: GlimpseEncoder,
        old: tuple[Tensor, ...],
        packing: Packing,
        forced: dict[str, Tensor],
    ) -> list[Tensor]:
        """Rows of the fields of ``Propagated``, from rows of the old latents and of noise."""
        old_what, old_where, old_presence, memory = old[:4]
        sizes = packing.sizes()
        shares = self._from_memory(memory)
        masks = torch.sigmoid(self.mask(shares["mask"]))
        proposal = old_where + PROPOSAL * self.proposal(shares["proposal"])
        looks = torch.cat([self.look(frames, rows, packing) for rows in proposal.split(sizes)])
        evidence = encoder.mean(looks * masks)
        relation_in = shares["relation"] + self.relation_input(
            torch.cat((evidence, old_what, old_where, old_presence), -1)
        )
        where_in = shares["where"] + self.where_old(old_where)
        factor = self._factor()
        drawn: list[tuple[Tensor, ...]] = []
        # Before the first slot both are the same for all rows: they are multiplied once.
        relation, last = self.relation_first[None], memory.new_zeros(1, self.config.what + 5)
        by_slot = zip(
            sizes,
            *(part.split(sizes) for part in old),
            *(part.split(sizes) for part in (masks, relation_in, where_in)),
            *(shares[name].split(sizes) for name in ("cell", "steps")),
            strict=True,
        )
        for slot, (count, *parts) in enumerate(by_slot):
            old_what, old_where, alive, memory, noise, noise_what, uniform, *parts = parts
            mask, relation_in, where_in, cell_in, steps_in = parts
            given = {name: value.split(sizes)[slot] for name, value in forced.items()}
            relation = tanh(
                relation_in + self.relation_chain(last[:count]) + self.relation(relation[:count])
            )
            moved = self.where(where_in + self.where_relation(relation))
            where, log_where = self._draw_where(moved, old_where, noise, factor, given)
            seen = encoder(self.look(frames, where, packing) * mask)
            new = self._remember(relation, where, seen, cell_in, memory)
            mean, deviation = self._appearance(new, old_what, seen)
            what = given["what"] if "what" in given else mean + deviation * noise_what
            log_what = normal_log_density(what, mean, deviation)
            logit = self.steps(steps_in + self.steps_relation(relation) + self.steps_what(what))
            presence, log_presence = _draw_presence(logit, alive, uniform, given)
            logs = (log_what[:, None], log_where[:, None], log_presence)
            drawn.append((what, where, presence, new, *logs))
            last = torch.cat((what, where, presence), -1)
        return [torch.cat(parts) for parts in zip(*drawn, strict=True)]

    def _draw_where(
        self,
        moved: Tensor,
        old: Tensor,
        noise: Tensor,
        factor: tuple[Tensor, Tensor],
        given: dict[str, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Where objects are, ``(M, 4)``, and its log-density ``(M,)``; drawn if not given.

        Args:
            moved: ``(M, 8)`` change of the mean, and the deviation before its softplus.
            old: ``(M, 4)`` where they were.
            noise: ``(M, 4)``.
            factor: of the covariance.
            given: may have ``where``.
        """
        lower, log_diagonal = factor
        change, raw = moved.chunk(2, -1)
        mean, deviation = old + change, std(raw + self.where_bias + NARROWER)
        if "where" in given:
            where = given["where"]
            scaled = ((where - mean) / deviation).mT
            noise = torch.linalg.solve_triangular(lower, scaled, upper=False).mT
        else:
            where = mean + deviation * (noise @ lower.T)
        return where, standard_log_density(noise) - deviation.log().sum(-1) - log_diagonal

    def _remember(
        self,
        relation: Tensor,
        where: Tensor,
        seen: tuple[Tensor, Tensor],
        recurrent: Tensor,
        memory: Tensor,
    ) -> Tensor:
        """The objects' new states ``(M, H)``; ``recurrent (M, 2 H)`` as ``GRU.step`` has it."""
        inputs = torch.cat((relation, where, *seen), -1)
        products = torch.addmm(self.cell.bias, inputs, self.cell.inputs.T)
        return self.cell.step(products, recurrent, memory)

    def look(self, frames: Tensor, where: Tensor, packing: Packing) -> Tensor:
        """Glimpses ``(M, G G)`` through rows ``(M, 4)`` of a slot, of frames in the rows' order."""
        config, particles = self.config, packing.size[0]
        boxes = windows(where, config.size, config.glimpse, config.least_scale)
        boxes = boxes.view(-1, particles, 4)
        seen = glimpse.extract(
            frames[: len(boxes)], boxes, config.glimpse, antialias=config.antialias
        )
        return seen.view(len(where), -1)

    def _from_memory(self, memory: Tensor) -> dict[str, Tensor]:
        """All that reads the objects' old states ``(M, H)`` alone, as one product."""
        layers = self.memory
        weights = [*(layer.weight for layer in layers.values()), self.cell.gates]
        biases = [*(layer.bias for layer in layers.values()), memory.new_zeros(len(weights[-1]))]
        made = torch.addmm(torch.cat(biases), memory, torch.cat(weights).T)
        parts = made.split([len(weight) for weight in weights], -1)
        shares = dict(zip((*layers, "cell"), parts, strict=True))
        for name in ("mask", "proposal"):
            shares[name] = self.activation(shares[name])
        return shares

    def _factor(self) -> tuple[Tensor, Tensor]:
        """``I + L`` of the where's covariance, and its log-determinant."""
        free = self.config.free_cholesky
        row, column = torch.tril_indices(4, 4, 0 if free else -1, device=self.cholesky.device)
        eye = torch.eye(4, dtype=self.cholesky.dtype, device=self.cholesky.device)
        factor = eye.index_put((row, column), self.cholesky, accumulate=True)
        return factor, factor.diagonal().abs().log().sum()

    def _appearance(
        self, memory: Tensor, old: Tensor, seen: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Mean and deviation of what: gates mix the old one, the glimpse's and the memory's."""
        mean, raw = self.temporal(memory).chunk(2, -1)
        closed = LEAK * torch.sigmoid(self.gates(memory))
        forget, shut = closed.split((old.shape[-1], mean.shape[-1] + old.shape[-1]), -1)
        from_glimpse, from_memory = (1 - shut).chunk(2, -1)
        mixed = torch.addcmul(forget * old, from_glimpse, seen[0]).addcmul(from_memory, mean)
        deviation = torch.addcmul(from_glimpse * seen[1], from_memory, std(raw))
        return mixed, deviation + self.config.gated_std


def _draw_presence(
    logit: Tensor, alive: Tensor, uniform: Tensor, given: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Whether objects stay, and its log-probability, ``(M, 1)`` each; drawn if not given.

    Args:
        logit: ``(M, 1)`` of staying, of those that are ``alive (M, 1)``.
        uniform: ``(M, 1)`` noise.
        given: may have ``presence``.
    """
    logit = alive * logit + (1 - alive) * ABSENT
    yes = (uniform < torch.sigmoid(logit)).to(logit.dtype)
    presence = given.get("presence", yes) * alive
    return presence, bernoulli_log_density(presence, logit)
