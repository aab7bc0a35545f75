"""Discovery: objects that appear, their posterior (a chain like AIR's) beside their prior."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import glimpse
from sqair.config import SqairConfig
from sqair.convolutions import IMAGE
from sqair.distributions import ChainedNormal
from sqair.fused import normal_log_density, tanh
from sqair.geometry import windows
from sqair.networks import GlimpseEncoder, activation, linear, mlp, std
from sqair.networks import encoder as image_encoder
from sqair.packing import Sequences

# Log-probability of a count that cannot be: nothing in single precision, yet no NaN in products.
IMPOSSIBLE = -1e4
NEVER = -88.0  # logit of finding another object where none is looked for
# What stands there for what, where, their densities and the logit.
UNSEEN = (0.0, 0.0, 0.0, 0.0, NEVER)


class Discovered(NamedTuple):
    """Possible discoveries of a frame, L of them, and how many of them there are."""

    what: Tensor  # (P, B, L, D)
    where: Tensor  # (P, B, L, 4)
    count: Tensor  # (P, B) int64
    log_what: Tensor  # (P, B, L) log q of each slot, whether it counts or not
    log_where: Tensor  # (P, B, L)
    log_count: Tensor  # (P, B, L + 1) log q of every count


def count_table(logits: Tensor, free: Tensor) -> Tensor:
    """Log-probabilities ``(..., L + 1)`` of how often a chain of yes and no says yes at first.

    The chain ends at its first no, or when ``free`` places are filled.

    Args:
        logits: ``(..., L)`` of a yes.
        free: ``(...)`` int64; counts above it are impossible.
    """
    steps = logits.shape[-1]
    yes = F.pad(F.logsigmoid(logits).cumsum(-1), (1, 0))
    no = F.pad(F.logsigmoid(-logits), (0, 1))
    number = torch.arange(steps + 1, device=logits.device)
    table = yes + no * (number < free[..., None])
    return torch.where(number <= free[..., None], table, IMPOSSIBLE)


def _count(table: Tensor, limit: Tensor, uniform: Tensor, values: dict[str, Tensor]) -> Tensor:
    """The count ``(P, B)`` that uniform noise chooses from a table; or the one that is given."""
    if "count" in values:
        return values["count"]
    below = (uniform[..., None] > table.detach().exp().cumsum(-1)).sum(-1)
    return torch.minimum(below, limit)


def _narrowed(
    limit: Tensor,
    drawn: list[tuple[Tensor, ...]],
    free: Tensor,
    uniform: Tensor,
    values: dict[str, Tensor],
) -> Tensor:
    """Most objects ``(P, B)`` that can count yet, given the logits of those looked at.

    A count below their number stands: a longer table may be rounded differently, but is not asked.
    """
    table = count_table(torch.stack([logit for *_, logit in drawn], -1).detach(), free)
    more = _count(table, limit, uniform, values) >= len(drawn)
    return torch.where(more, limit, limit.clamp_max(len(drawn) - 1))


class DiscoveryPosterior(nn.Module):
    """Finds objects one after another (SQAIR sec. 3.2, "discovery"; sec. A)."""

    def __init__(self, config: SqairConfig) -> None:
        super().__init__()
        self.config = config
        hidden, what = config.hidden, config.what
        fan_in = 2 * hidden + what + 5
        self.image = image_encoder(config.size, IMAGE, config)
        self.from_image = linear(hidden, hidden, fan_in)
        self.from_context = linear(hidden, hidden, fan_in, bias=False)
        self.from_last = linear(what + 5, hidden, fan_in, bias=False)
        self.recurrent = linear(hidden, hidden)
        self.first = nn.Parameter(torch.zeros(hidden))
        self.where = mlp((hidden, hidden, hidden, 8), config)
        self.where_bias = nn.Parameter(torch.tensor(config.where_bias))
        self.steps = mlp((hidden + what, hidden // 2, 1), config)
        nn.init.constant_(self.steps[-1].bias, config.discovery_bias)

    def forward(
        self,
        frames: Tensor,
        encoder: GlimpseEncoder,
        images: Tensor,
        context: Tensor,
        free: Tensor,
        steps: int,
        values: dict[str, Tensor],
        stop: bool = False,
    ) -> Discovered:
        """What may be found in a frame.

        Args:
            frames: ``(B, C, H, W)`` in [0, 1].
            encoder: of glimpses, shared with the propagation.
            images: ``(B, H)`` what ``self.image`` makes of them.
            context: ``(P, B, H)`` what is there already.
            free: ``(P, B)`` int64, most objects that can be found.
            steps: L.
            values: what not to draw: ``what``, ``where``, ``count``.
            stop: search a sequence no longer when all its particles have found what they count.
                What is beyond is zeros then, and more than was searched for all but impossible.
        """
        size, latents = context.shape[:2], self.config.what + 4
        noise = torch.randn(steps, *size, latents, device=frames.device)
        uniform = torch.rand(size, device=frames.device)
        input_ = self.from_image(images) + self.from_context(context)
        # At first both are the same for all: they are multiplied once.
        state, last = self.first, F.pad(frames.new_ones(1), (latents, 0))
        values = {name: value.expand(*size, *value.shape[2:]) for name, value in values.items()}
        limit, searched = free.clamp_max(steps), Sequences()
        drawn: list[tuple[Tensor, ...]] = []
        for step in range(steps):
            if stop and step:
                limit = _narrowed(limit, drawn, free, uniform, values)
                chosen = searched.narrow((limit > step).any(0))
                if chosen is not None:
                    frames = frames.index_select(0, chosen)
                    input_, state, last = (x.index_select(1, chosen) for x in (input_, state, last))
                if not len(frames):
                    break
            state = tanh(input_ + self.from_last(last) + self.recurrent(state))
            given = {n: searched.gather(v[:, :, step]) for n, v in values.items() if n != "count"}
            parts = self._find(frames, encoder, state, searched.gather(noise[step]), given)
            last = torch.cat((*parts[:2], torch.ones_like(parts[1][..., :1])), -1)
            drawn.append(tuple(searched.scatter(x, fill) for x, fill in zip(parts, UNSEEN)))
        for _ in range(steps - len(drawn)):
            drawn.append(tuple(torch.full_like(x, fill) for x, fill in zip(drawn[0], UNSEEN)))
        what, where, log_what, log_where, logits = (
            torch.stack(parts, 2) for parts in zip(*drawn, strict=True)
        )
        table = count_table(logits, free)
        count = _count(table, limit, uniform, values)
        return Discovered(what, where, count, log_what, log_where, table)

    def _find(
        self,
        frames: Tensor,
        encoder: GlimpseEncoder,
        state: Tensor,
        noise: Tensor,
        given: dict[str, Tensor],
    ) -> tuple[Tensor, ...]:
        """What and where an object is, their log-densities, and the logit of its being there.

        Args:
            frames: ``(B', C, H, W)``.
            encoder: of glimpses.
            state: ``(P, B', H)`` of the chain.
            noise: ``(P, B', 4 + D)``.
            given: ``what`` and ``where`` that are not drawn, ``(P, B', ...)``.
        """
        mean, raw = self.where(state).chunk(2, -1)
        deviation = std(raw + self.where_bias)
        where = given["where"] if "where" in given else mean + deviation * noise[..., :4]
        log_where = normal_log_density(where, mean, deviation)
        mean, deviation = encoder(self.look(frames, where))
        what = given["what"] if "what" in given else mean + deviation * noise[..., 4:]
        log_what = normal_log_density(what, mean, deviation)
        logit = self.steps(torch.cat((state, what), -1)).squeeze(-1)
        return what, where, log_what, log_where, logit

    def look(self, frames: Tensor, where: Tensor) -> Tensor:
        """Glimpses ``(P, B, G G)`` of frames ``(B, C, H, W)`` through ``where (P, B, 4)``."""
        config = self.config
        boxes = windows(where, config.size, config.glimpse, config.least_scale).transpose(0, 1)
        seen = glimpse.extract(frames, boxes, config.glimpse, antialias=config.antialias)
        return seen.flatten(2).transpose(0, 1)


class DiscoveryPrior(nn.Module):
    """How many objects appear, and where (SQAIR sec. 3.1, eq. 4; the released code)."""

    def __init__(self, config: SqairConfig) -> None:
        super().__init__()
        self.config = config
        inner = config.hidden // 2
        self.counts = mlp((1, 10, config.slots + 1), config)
        self.logits = nn.Parameter(torch.zeros(config.slots + 1))
        self.later = nn.Parameter(torch.zeros(config.slots + 1))
        self.later.data[0] = 10.0
        self.mix = linear(4 + config.hidden + 1, inner)
        self.activation = activation(config)
        self.input, self.recurrent = linear(4, 4), linear(inner, 4)
        self.output = linear(4, 8)
        with torch.no_grad():
            self.output.bias[:2] = config.scale_prior
            self.output.bias[4:] = 1.0
        self.state = nn.Parameter(torch.zeros(4))
        self.before = nn.Parameter(torch.empty(4).uniform_(-1.0954, 1.0954))  # Glorot's for 4 and 1

    def log_counts(self, survival: Tensor, free: Tensor, steps: int, first: bool) -> Tensor:
        """Log-probabilities ``(P, B, L + 1)`` of discovering so many objects.

        Args:
            survival: ``(P, B)`` mean over slots of the prior probability of being kept, less 1/2.
            free: ``(P, B)`` int64; counts above it are impossible.
            steps: L.
            first: whether this is the first frame.
        """
        logits = self.logits + self.counts(survival[..., None])
        if not first:
            logits = logits + self.later
        if self.config.bounded_count_logits:
            logits = F.elu(logits)
        logits = logits[..., : steps + 1]
        number = torch.arange(logits.shape[-1], device=logits.device)
        possible = number <= free[..., None]
        return torch.log_softmax(torch.where(possible, logits, IMPOSSIBLE), -1)

    def where(self, survival: Tensor, context: Tensor, count: Tensor, steps: int) -> ChainedNormal:
        """The windows of the first ``count (P, B)`` of ``steps`` objects, each after the last.

        Its recurrent state starts anew at every object, as in the released code, so that the chain
        is of first order.
        """
        state = self.state.expand(*context.shape[:2], -1)
        mixed = self.activation(self.mix(torch.cat((state, context, survival[..., None]), -1)))
        inner = self.recurrent(mixed).unsqueeze(-2)

        def step(before: Tensor) -> tuple[Tensor, Tensor]:
            mean, raw = self.output(tanh(self.input(before) + inner)).chunk(2, -1)
            return mean, std(raw)

        return ChainedNormal(step, self.before, count, steps)
