"""The digit-addition probe: how well can the sum of a frame's digits be read off the latents?

A small classifier is trained on the latents of digits that models are trained on, and tested on
those of unseen ones (SQAIR sec. 4.1; the paper's "addition accuracy").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments import unsupervised

SEQUENCES = 4096  # that the probe is trained on
UNITS = 256
EPOCHS, ROWS, RATE = 20, 512, 1e-3
SEED = 2**20  # apart from the seeds of what is scored


class Latents(NamedTuple):
    """What a probe reads, and what it is to say."""

    features: Tensor  # (M, F) float32
    sums: Tensor  # (M,) int64


class Probe(nn.Module):
    """A perceptron with two hidden layers over standardised features ``(M, F)``."""

    def __init__(self, mean: Tensor, std: Tensor, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        sizes = (len(mean), UNITS, UNITS)
        hidden = [(nn.Linear(n, m), nn.SiLU()) for n, m in zip(sizes, sizes[1:])]
        self.layers = nn.Sequential(*sum(hidden, ()), nn.Linear(UNITS, classes))

    def forward(self, features: Tensor) -> Tensor:
        """Logits of the sums ``(M, classes)``."""
        return self.layers((features - self.mean) / self.std)


def latents(features: Tensor, labels: Tensor) -> Latents:
    """Every frame of every sequence, from ``features (T, B, F)`` and ``labels (B, N)``.

    The sum is that of the sequence's digits, in sight or not; without digits it is 0.
    """
    sums = labels.clamp_min(0).sum(-1).expand(features.shape[:2])
    return Latents(features.flatten(0, 1).float(), sums.flatten())


def collect(
    model: Any, data: Any, length: int, seed: int, device: torch.device | str = "cpu"
) -> Iterator[Latents]:
    """Latents of ``SEQUENCES`` clips of the data, one sample each, a block at a time."""
    for batch in unsupervised.blocks(data, SEQUENCES, length, seed + SEED):
        with torch.no_grad():
            out = model.unroll(batch.frames.to(device), 1)
        yield latents(out.features[:, 0].cpu(), batch.labels)


def fit(
    known: Latents, classes: int, seed: int, progress: Callable[[int], Any] = lambda done: None
) -> Probe:
    """Train a probe by Adam with a falling rate.

    Args:
        known: what to learn from.
        classes: one more than the largest sum.
        seed: of its initial weights and the order of samples.
        progress: called after each epoch with 1.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        std, mean = torch.std_mean(known.features, 0, correction=0)
        probe = Probe(mean, std.clamp_min(1e-3), classes)
        steps = EPOCHS * -(-len(known.sums) // ROWS)
        optimiser = torch.optim.Adam(probe.parameters(), RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _epoch in range(EPOCHS):
            for rows in torch.randperm(len(known.sums)).split(ROWS):
                loss = F.cross_entropy(probe(known.features[rows]), known.sums[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            progress(1)
    return probe


def accuracy(probe: Probe, unseen: Latents) -> float:
    """Share of frames whose sum the probe says."""
    with torch.no_grad():
        said = torch.cat([probe(rows).argmax(-1) for rows in unseen.features.split(8192)])
    return float((said == unseen.sums).double().mean())


def join(parts: list[Latents]) -> Latents:
    """All of them as one."""
    return Latents(*map(torch.cat, zip(*parts)))
