"""SQAIR's generative model by hand: one object after another, plain NumPy, from a state dict.

Written from the paper (Kosiorek et al. 2018, sec. 3.1) and its released code as the project
describes them, for the "guided" prior with a capacity; shares no code with the model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import nn


class Thing(NamedTuple):
    id: int
    what: np.ndarray
    where: np.ndarray
    memory: np.ndarray


class Ancestral:
    """Draws sequences of things; ``draw`` gives one sequence, a list of things for each frame."""

    def __init__(self, model: nn.Module, seed: int) -> None:
        self.w = {k: v.detach().double().numpy() for k, v in model.state_dict().items()}
        self.config = model.config
        self.rng = np.random.default_rng(seed)

    def draw(self, length: int, known: list[list[Thing]] | None = None) -> list[list[Thing]]:
        """A sequence that begins with the frames ``known``, whose memories are made anew."""
        frames: list[list[Thing]] = []
        for t in range(length):
            old = frames[-1] if frames else []
            news = [self._advance(thing) for thing in old]
            seen = known[t] if known and t < len(known) else None
            kept, share = [], -0.5 * self.config.slots
            for thing, (keep, where, what, memory) in zip(old, news):
                share += keep
                if seen is None:
                    if self.rng.random() < keep:
                        kept.append(
                            Thing(thing.id, self._normal(*what), self._normal(*where), memory)
                        )
                else:
                    kept += [one._replace(memory=memory) for one in seen if one.id == thing.id]
            if seen is None:
                last = max((one.id for frame in frames for one in frame), default=-1)
                found = self._appear(kept, share / self.config.slots, t == 0, last)
            else:
                before = {one.id for one in old}
                start = self.w["propagation_prior.first"]
                found = [one._replace(memory=start) for one in seen if one.id not in before]
            frames.append(kept + found)
        return frames

    def _advance(self, thing: Thing) -> tuple:
        """Probability of being kept; mean and deviation of where and of what; new memory."""
        w, hidden, what = self.w, self.config.hidden, self.config.what
        x = w["propagation_prior.cell.inputs"] @ np.concatenate((thing.what, thing.where))
        x = x + w["propagation_prior.cell.bias"]
        h = thing.memory
        z, r = (sigmoid(x[: 2 * hidden] + w["propagation_prior.cell.gates"] @ h)).reshape(2, -1)
        n = np.tanh(x[2 * hidden :] + w["propagation_prior.cell.candidate"] @ (r * h))
        h = (1 - z) * h + z * n
        out = w["propagation_prior.head.weight"] @ h + w["propagation_prior.head.bias"]
        logit, where, whats, rough, whats_rough = np.split(out, np.cumsum([1, 4, what, 4]))
        return (
            float(sigmoid(logit[0] + self.config.survival_bias)),
            (thing.where + where, deviation(rough)),
            (thing.what + 0.1 * whats, deviation(whats_rough)),
            h,
        )

    def _appear(self, kept: list[Thing], share: float, first: bool, last: int) -> list[Thing]:
        logits = self.w["discovery_prior.logits"] + self._mlp("discovery_prior.counts", [share])
        if not first:
            logits = logits + self.w["discovery_prior.later"]
        odds = np.exp(logits[: self.config.slots - len(kept) + 1])
        count = self.rng.choice(len(odds), p=odds / odds.sum())
        objects = [self._context(np.concatenate((one.what, one.where))) for one in kept]
        context = np.sum(objects, 0) if kept else np.zeros(self.config.hidden)
        mixed = np.concatenate((self.w["discovery_prior.state"], context, [share]))
        mixed = silu(self._linear("discovery_prior.mix", mixed))
        inner = self._linear("discovery_prior.recurrent", mixed)
        before, found = self.w["discovery_prior.before"], []
        for number in range(count):
            state = np.tanh(self._linear("discovery_prior.input", before) + inner)
            mean, rough = np.split(self._linear("discovery_prior.output", state), 2)
            before = self._normal(mean, deviation(rough))
            what = self.rng.standard_normal(self.config.what)
            start = self.w["propagation_prior.first"]
            found.append(Thing(last + 1 + number, what, before, start))
        return found

    def _context(self, latents: np.ndarray) -> np.ndarray:
        return silu(self._mlp("context.body", latents))

    def _mlp(self, name: str, x: np.ndarray) -> np.ndarray:
        return self._linear(f"{name}.2", silu(self._linear(f"{name}.0", np.asarray(x))))

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.w[f"{name}.weight"] @ x + self.w[f"{name}.bias"]

    def _normal(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return mean + std * self.rng.standard_normal(len(mean))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def deviation(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x) + 0.01
