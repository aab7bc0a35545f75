"""The digit-addition probe: how well can the sum of a frame's digits be read off the latents?

A small classifier is trained on the latents of digits that models are trained on, and tested on
those of unseen ones (SQAIR sec. 4.1; the paper's "addition accuracy"). It reads the objects of a
frame alike, one by one; it is only ever told their sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments import unsupervised

SEQUENCES = 16_384  # that the probe is trained on
UNITS = 256
EPOCHS, ROWS, RATE = 8, 512, 1e-3
DIGITS = 10  # that an object may be
LEAST = 1e-6  # added to the probability of any sum
SEED = 2**20  # apart from the seeds of what is scored


class Latents(NamedTuple):
    """What a probe reads, and what it is to say."""

    features: Tensor  # (M, F) float32
    sums: Tensor  # (M,) int64


class Probe(nn.Module):
    """How likely each sum is: a perceptron with two hidden layers over standardised features.

    Args:
        mean, std: ``(F / K,)`` of an object's features.
        objects: K that make up the features; each says how likely it is which digit (an absent one
            can say zero), and the sum is one of independent numbers. With one, the sum itself.
        classes: one more than the largest sum.
    """

    def __init__(self, mean: Tensor, std: Tensor, objects: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.objects, self.classes = objects, classes
        sizes = (len(mean), UNITS, UNITS)
        hidden = [(nn.Linear(n, m), nn.SiLU()) for n, m in zip(sizes, sizes[1:])]
        said = DIGITS if objects > 1 else classes
        self.layers = nn.Sequential(*sum(hidden, ()), nn.Linear(UNITS, said))

    def forward(self, features: Tensor) -> Tensor:
        """Log-probabilities of the sums ``(M, classes)``, of ``(M, F)``."""
        one_by_one = features.unflatten(-1, (self.objects, -1))
        said = self.layers((one_by_one - self.mean) / self.std)
        if self.objects == 1:
            return torch.log_softmax(said.squeeze(-2), -1)
        # Sums of independent numbers have the product of their transforms.
        length = max(self.objects * (DIGITS - 1) + 1, self.classes)
        sums = torch.fft.irfft(torch.fft.rfft(torch.softmax(said, -1), length).prod(-2), length)
        return (sums[..., : self.classes].clamp_min(0) + LEAST).log()


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
    known: Latents,
    objects: int,
    classes: int,
    seed: int,
    progress: Callable[[int], Any] = lambda done: None,
) -> Probe:
    """Train a probe by Adam with a falling rate.

    Args:
        known: what to learn from.
        objects, classes: see ``Probe``.
        seed: of its initial weights and the order of samples.
        progress: called after each epoch with 1.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rows = known.features.view(len(known.sums) * objects, -1)
        std, mean = torch.std_mean(rows, 0, correction=0)
        probe = Probe(mean, std.clamp_min(1e-3), objects, classes)
        steps = EPOCHS * -(-len(known.sums) // ROWS)
        optimiser = torch.optim.Adam(probe.parameters(), RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _epoch in range(EPOCHS):
            for rows in torch.randperm(len(known.sums)).split(ROWS):
                loss = F.nll_loss(probe(known.features[rows]), known.sums[rows])
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
