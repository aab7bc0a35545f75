"""experiments/addition.py: what can be read off is read off, and what cannot, is not."""

from __future__ import annotations

import itertools

import pytest
import torch
from lanes import Lanes, Reader

from experiments import addition
from experiments.addition import Latents, Probe, accuracy, collect, fit, join, latents


def sample(count: int, seed: int, informed: bool) -> Latents:
    """Two digits as noisy one-hot codes in two slots, in any order; or nothing but noise."""
    generator = torch.Generator().manual_seed(seed)
    digits = torch.randint(0, 10, (count, 2), generator=generator)
    code = torch.nn.functional.one_hot(digits, 10).flatten(1).float() * informed
    noise = 0.1 * torch.randn(code.shape, generator=generator)
    return Latents(code + noise, digits.sum(1))


@pytest.mark.parametrize("objects", [1, 2])
@pytest.mark.parametrize("informed", [True, False])
def test_sums_are_read_off_unseen_latents(informed: bool, objects: int, monkeypatch) -> None:
    monkeypatch.setattr(addition, "EPOCHS", 24)
    known, unseen = sample(4000, 0, informed), sample(1000, 1, informed)
    epochs = []
    found = accuracy(fit(known, objects, 19, 0, epochs.append), unseen)
    assert sum(epochs) == 24
    assert found > 0.9 if informed else found < 0.2


def test_probes_are_reproducible_and_leave_the_global_generator_alone(monkeypatch) -> None:
    monkeypatch.setattr(addition, "EPOCHS", 1)
    known, state = sample(600, 0, True), torch.get_rng_state()
    first, again, other = (fit(known, 2, 19, seed)(known.features) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_objects_are_independent_numbers_and_their_sums_add_up() -> None:
    """Of three objects, against the sum over all thousand combinations."""
    probe = Probe(torch.zeros(4), torch.ones(4), 3, 19)
    features = torch.randn(5, 12)
    with torch.no_grad():
        found = probe(features).exp()
        each = torch.softmax(probe.layers(features.view(5, 3, 4)), -1)
    wanted = torch.zeros(5, 28)
    for digits in itertools.product(range(10), repeat=3):
        wanted[:, sum(digits)] += each[:, torch.arange(3), torch.tensor(digits)].prod(1)
    torch.testing.assert_close(found, wanted[:, :19], atol=3e-6, rtol=1e-3)


def test_more_digits_than_objects_can_be_found() -> None:
    """Such sums cannot be read off, and are no error."""
    probe = Probe(torch.zeros(4), torch.ones(4), 3, 37)
    said = probe(torch.randn(5, 12))
    assert said.shape == (5, 37) and said.isfinite().all()
    assert said[:, 28:].exp().max() < 1e-5


def test_sums_are_of_the_digits_there_are() -> None:
    labels = torch.tensor([[3, 9], [4, -1], [-1, -1]])
    found = latents(torch.arange(12.0).view(2, 3, 2), labels)
    assert found.sums.tolist() == [12, 4, 0] * 2
    assert found.features.tolist() == torch.arange(12.0).view(6, 2).tolist()


def test_a_feature_that_never_changes_does_no_harm(monkeypatch) -> None:
    monkeypatch.setattr(addition, "EPOCHS", 1)
    known = sample(600, 0, True)
    features = torch.cat((known.features, torch.full((600, 1), 7.0)), 1)
    assert fit(Latents(features, known.sums), 1, 19, 0)(features).isfinite().all()


def test_latents_are_collected_from_clips_that_are_not_scored(monkeypatch) -> None:
    monkeypatch.setattr(addition, "SEQUENCES", 70)
    seeds, lanes = [], Lanes()

    class Noting(Lanes):
        def batch(self, seed: int, batch: int, length: int):
            seeds.append(seed)
            return lanes.batch(seed, batch, length)

    found = join(list(collect(Reader(), Noting(), length=3, seed=0)))
    assert found.features.shape == (70 * 3, 2)
    assert len(found.sums) == 70 * 3
    assert len(seeds) == 2
    assert min(seeds) > 2**30  # those scored are 0, 1, 2 ...
