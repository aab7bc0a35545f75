"""What slots paint and how frames are scored: against canvases added up one by one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from sqair.config import PAPER, SqairConfig
from sqair.model import Sqair
from sqair.scene import FrameDistribution, Layers, compose, paint, render
from sqair.state import Slots
from tests import sqair_reference as reference
from tests import sqair_toys as toys
from tests.sqair_toys import VARIANTS

T, P, B, K, SIDE, STD = 3, 2, 4, 2, 6, 0.4
VIDEO = (P, B, T, 1, SIDE, SIDE)


def layers(mean_image: bool) -> Layers:
    """Random ones: up to K objects are added to the first frame, one to the others."""
    channels = 2 if mean_image else 1
    base, first = (torch.rand(*lead, channels, SIDE, SIDE, dtype=torch.float64)
                   for lead in ((T, P, B), (1, P, B, K)))  # fmt: skip
    later = torch.rand(T - 1, P, B, 1, channels, SIDE, SIDE, dtype=torch.float64)
    most = torch.randint(0, K + 1, (T, P, B))
    shown = torch.minimum(torch.randint(0, K + 1, (T, P, B)), most)
    shown[1:].clamp_(max=1)
    return Layers(base, (first, later), shown, most)


def canvas(parts: Layers, image: Tensor | None, count: int, t: int, p: int, b: int) -> Tensor:
    """With the first ``count`` objects, as many as there are."""
    layer = parts.added[0][0] if t == 0 else parts.added[1][t - 1]
    total = parts.base[t, p, b] + layer[p, b, :count].sum(0)
    if image is None:
        return total
    return total[:1] + torch.sigmoid(20 * total[1:] - 10) * image


@pytest.mark.parametrize("with_image", [False, True])
def test_frames_are_scored_with_what_is_shown_and_with_every_count(with_image: bool) -> None:
    parts, video = layers(with_image), torch.rand(B, T, 1, SIDE, SIDE, dtype=torch.float64)
    image = torch.rand(1, SIDE, SIDE, dtype=torch.float64) if with_image else None
    found = FrameDistribution(parts, STD, image)
    assert found.batch_shape == (P, B) and found.event_shape == VIDEO[2:]
    mean, table = found.mean, found.count_log_probs(video.transpose(0, 1))
    assert mean.shape == VIDEO and table.shape == (T, P, B, K + 1)
    frames = found.frame_log_probs(video)
    for t, p, b in torch.cartesian_prod(*map(torch.arange, (T, P, B))).tolist():
        shown, most = int(parts.shown[t, p, b]), int(parts.most[t, p, b])
        wanted = canvas(parts, image, shown, t, p, b)
        torch.testing.assert_close(mean[p, b, t], wanted)
        score = Normal(wanted, STD).log_prob(video[b, t]).sum()
        torch.testing.assert_close(frames[t, p, b], score)
        for count in range(K + 1):  # beyond the room, and beyond what there is, nothing is added
            wanted = canvas(parts, image, min(count, most, K if t == 0 else 1), t, p, b)
            score = Normal(wanted, STD).log_prob(video[b, t]).sum()
            torch.testing.assert_close(table[t, p, b, count], score)
        torch.testing.assert_close(table[t, p, b, shown], frames[t, p, b])
    torch.testing.assert_close(found.log_prob(video), frames.sum(0))


def test_counts_are_scored_with_the_gradients_of_their_canvases() -> None:
    """The small matrix of inner products gives what the canvases give."""
    parts, video = layers(False), torch.rand(B, T, 1, SIDE, SIDE, dtype=torch.float64)
    leaves = [x.requires_grad_() for x in (parts.base, *parts.added)]
    table = FrameDistribution(parts, STD).count_log_probs(video.transpose(0, 1))
    weights = torch.rand_like(table)
    found = torch.autograd.grad((table * weights).sum(), leaves)
    total = 0.0
    for t, p, b in torch.cartesian_prod(*map(torch.arange, (T, P, B))).tolist():
        for count in range(K + 1):
            shown = min(count, int(parts.most[t, p, b]), K if t == 0 else 1)
            mean = canvas(parts, None, shown, t, p, b)
            score = Normal(mean, STD).log_prob(video[b, t]).sum()
            total = total + weights[t, p, b, count] * score
    torch.testing.assert_close(found, torch.autograd.grad(total, leaves))


def test_a_perfect_picture_has_the_most_that_ten_frames_can_have() -> None:
    blank = torch.zeros(10, 1, 1, 1, 50, 50)
    found = FrameDistribution(Layers(blank, (), None, None), SqairConfig().output_std)
    most = found.log_prob(torch.zeros(1, 10, 1, 50, 50)).item()
    assert most == pytest.approx(7125.86, abs=0.05)
    half = torch.full((1, 10, 1, 50, 50), 0.5)
    assert most - found.log_prob(half).item() == pytest.approx(25000 * 0.25 / 0.18, rel=1e-5)


def test_frames_are_drawn_with_the_noise_of_their_pixels() -> None:
    base = torch.rand(1, 1, 500, 1, SIDE, SIDE, dtype=torch.float64)
    found = FrameDistribution(Layers(base, (), None, None), STD)
    residual = (found.sample() - found.mean) / STD
    assert residual.shape == (1, 500, 1, 1, SIDE, SIDE)
    assert residual.mean().abs() < 5 / math.sqrt(residual.numel())
    assert (residual.var() - 1).abs() < 5 * math.sqrt(2 / residual.numel())
    assert found.sample((3,)).shape == (3, 1, 500, 1, 1, SIDE, SIDE)
    assert found.expand((1, 500)) is found
    with pytest.raises(ValueError, match="not"):
        found.expand((3, 1, 500))


def things(model: Sqair, seed: int = 0) -> Slots:
    """Slots ``(5, 3, K, ...)``, some of them filled."""
    generator = torch.Generator().manual_seed(seed)
    lead = (5, 3, model.config.slots)
    draws = (torch.randn(*lead, d, generator=generator).double() for d in (model.config.what, 4))
    presence = (torch.rand(lead, generator=generator) < 0.6).double()
    return Slots(*draws, presence, torch.where(presence > 0, 1, -1))


@pytest.mark.parametrize("name", ["default", "published"])
@pytest.mark.parametrize("static", [False, True])
def test_a_canvas_is_the_sum_of_what_is_there(name: str, static: bool) -> None:
    model = toys.toy(VARIANTS[name])
    slots = things(model)
    found = compose(model.decoder, slots, model.config, static)
    seen = render(model.decoder, slots, model.config, model.mean_image)
    assert found.shape == (5, 3, 2 if model.config.mean_image else 1, 8, 8)
    for i, j in torch.cartesian_prod(torch.arange(5), torch.arange(3)).tolist():
        there = [
            reference.Thing(slots.what[i, j, k], slots.where[i, j, k], *slots.what[:2, 0, 0], 0)
            for k in range(model.config.slots)
            if slots.presence[i, j, k]
        ]
        wanted = reference.canvas(model, there)
        torch.testing.assert_close(seen.canvas[i, j], wanted)
        footprint = sum(
            (reference.paste(model, torch.ones(1, 4, 4).double(), thing.where) for thing in there),
            torch.zeros(1, 8, 8, dtype=torch.float64),
        )
        if model.config.mean_image:
            torch.testing.assert_close(found[i, j, 1:], footprint)
        else:
            torch.testing.assert_close(found[i, j], wanted)
    assert not seen.canvases[slots.presence == 0].any()


def test_packed_and_static_canvases_have_the_same_gradients() -> None:
    model, found = toys.toy(), []
    for static in (False, True):
        slots = things(model)
        leaves = slots.what.requires_grad_(), slots.where.requires_grad_()
        painted = compose(model.decoder, slots, model.config, static)
        found.append(torch.autograd.grad((painted**2).sum(), leaves))
    torch.testing.assert_close(*found)


def test_nothing_there_is_a_blank_canvas() -> None:
    model = toys.toy()
    slots = things(model)._replace(presence=torch.zeros(5, 3, 2, dtype=torch.float64))
    assert not compose(model.decoder, slots, model.config).any()


def test_contrast_is_in_units_of_intensity() -> None:
    """A glimpse as large as the canvas comes back as it is."""
    config = SqairConfig(size=4, glimpse=4, what=3, hidden=8)
    model = Sqair(config).double()
    where = torch.tensor([[40.0, 40.0, 0.0, 0.0]], dtype=torch.float64)
    glimpses, painted = paint(model.decoder, torch.randn(1, 3).double(), where, config)
    torch.testing.assert_close(glimpses, painted)
    assert Sqair(PAPER).mean_image.shape == (1, 50, 50)
