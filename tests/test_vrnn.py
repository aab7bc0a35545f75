"""The VRNN as a Pyro model and guide: its densities, its handlers, what it may look at."""

from __future__ import annotations

import math

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer import Predictive
from torch import Tensor, nn
from torch.nn import functional

from sqair.state import Unrolled
from sqair.vrnn import Generated, Vrnn, VrnnConfig, run

T, P, B, Z, SIZE = 3, 4, 2, 5, 24
LATENTS = [f"latent_{t}" for t in range(T)]
KINDS = ["mlp", "conv"]


def small(kind: str = "mlp", size: int = SIZE) -> Vrnn:
    """A small network in double precision, its biases, its h_0 too, not zero."""
    vrnn = Vrnn(VrnnConfig(kind, size=size, latent=Z, hidden=16)).double()
    nn.init.normal_(vrnn.networks.start)
    return vrnn


def clips(length: int = T, batch: int = B, size: int = SIZE) -> Tensor:
    """Random frames (T, B, 1, size, size) uint8."""
    return torch.randint(0, 256, (length, batch, 1, size, size), dtype=torch.uint8)


@pytest.mark.parametrize(("kind", "parameters"), [("mlp", 2_528_852), ("conv", 2_806_564)])
def test_its_size_is_that_of_sqair(kind: str, parameters: int) -> None:
    counted = sum(p.numel() for p in Vrnn(VrnnConfig(kind)).parameters())
    assert counted == parameters  # SQAIR has 2,951,522


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_sites_add_up_to_the_log_weights(kind: str) -> None:
    vrnn, frames = small(kind), clips()
    torch.manual_seed(1)
    unrolled = vrnn.unroll(frames, P)
    torch.manual_seed(1)
    model, guide = run(vrnn.model, vrnn.guide, frames, P)
    model.compute_log_prob()
    guide.compute_log_prob()
    assert set(guide.stochastic_nodes) - {"particles", "batch"} == set(LATENTS)
    assert model.observation_nodes == ["frames"]
    for trace in (model, guide):
        for name in LATENTS:
            site = trace.nodes[name]
            assert site["fn"].batch_shape == (P, B) and site["fn"].event_shape == (Z,)
    assert model.nodes["frames"]["fn"].batch_shape == (P, B)
    assert model.nodes["frames"]["fn"].event_shape == (T, 1, SIZE, SIZE)
    likelihood = model.nodes["frames"]["log_prob"]
    prior, posterior = (sum(t.nodes[n]["log_prob"] for n in LATENTS) for t in (model, guide))
    torch.testing.assert_close(unrolled.log_likelihood.sum(0), likelihood)
    torch.testing.assert_close(unrolled.log_weight.sum(0), likelihood + prior - posterior)
    for t, name in enumerate(LATENTS):
        ratio = model.nodes[name]["log_prob"] - guide.nodes[name]["log_prob"]
        torch.testing.assert_close((unrolled.log_weight - unrolled.log_likelihood)[t], ratio)
        assert torch.equal(unrolled.features[t], model.nodes[name]["value"])
    assert unrolled.slots is None and unrolled.features.shape == (T, P, B, Z)


def reference(vrnn: Vrnn, frames: Tensor, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x_t), log p(z_t), log q(z_t), each (T,), of one sequence (T, 1, S, S), latents (T, Z).

    Written out for one sample, with PyTorch's own recurrent cell.
    """
    n = vrnn.networks
    width = len(n.start)
    cell = nn.GRUCell(2 * width, width).double()
    cell.weight_ih.data = torch.cat(list(n.gru_input.weights), 1)
    cell.bias_ih.data = n.gru_input.bias
    cell.weight_hh.data, cell.bias_hh.data = n.gru_state.weight, n.gru_state.bias

    def gaussian(raw: Tensor) -> torch.distributions.Normal:
        return torch.distributions.Normal(raw[:Z], functional.softplus(raw[Z:]) + 0.01)

    def joint(layer: nn.Module, *inputs: Tensor) -> Tensor:
        weight = torch.cat(list(layer.weights), 1)
        return functional.silu(weight @ torch.cat(inputs) + layer.bias)

    state, terms = n.start, []
    for image, latent in zip(frames.double() / 255, latents):
        look, code = n.image(image), n.latent(latent)
        raw = n.posterior_head[1](joint(n.posterior_joint, look, state))
        mean = n.decoder[1](joint(n.decoder_joint, code, state))
        pixels = torch.distributions.Normal(mean, 0.3).log_prob(image).sum()
        prior = gaussian(n.prior_head(state)).log_prob(latent).sum()
        terms.append(torch.stack((pixels, prior, gaussian(raw).log_prob(latent).sum())))
        state = cell(torch.cat((look, code))[None], state[None])[0]
    return tuple(torch.stack(terms).unbind(1))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_it_is_chungs_model(kind: str) -> None:
    """Densities of particles and sequences together are those of each alone, written out."""
    vrnn, frames = small(kind), clips()
    unrolled = vrnn.unroll(frames, P)
    for p, b in ((0, 0), (P - 1, 1)):
        likelihood, prior, posterior = reference(vrnn, frames[:, b], unrolled.features[:, p, b])
        torch.testing.assert_close(unrolled.log_likelihood[:, p, b], likelihood)
        weight = likelihood + prior - posterior
        torch.testing.assert_close(unrolled.log_weight[:, p, b], weight)


def test_a_perfect_image_reaches_the_ceiling() -> None:
    """712.59 nats a frame: 50 x 50 pixels of deviation .3, each at its mean."""
    vrnn = Vrnn()
    vrnn.networks.paint = lambda latent, state: torch.zeros(*latent.shape[:-1], 1, 50, 50)
    unrolled = vrnn.unroll(torch.zeros(1, 1, 1, 50, 50, dtype=torch.uint8))
    assert float(unrolled.log_likelihood.detach()) == pytest.approx(712.59, abs=0.005)


def test_bytes_and_floats_are_the_same_images() -> None:
    vrnn, frames = small(), clips()
    torch.manual_seed(1)
    exact = vrnn.unroll(frames)
    torch.manual_seed(1)
    torch.testing.assert_close(vrnn.unroll(frames.double() / 255).log_weight, exact.log_weight)


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_encoded_once_for_all_particles(kind: str) -> None:
    vrnn, seen = small(kind), []
    vrnn.networks.image.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    vrnn.unroll(clips(), P)
    assert seen == [(T, B, 1, SIZE, SIZE)]


@torch.no_grad()
def test_the_posterior_does_not_look_ahead() -> None:
    vrnn, frames = small(), clips()
    values = {name: torch.randn(P, B, Z).double() for name in LATENTS}
    exact = vrnn.guide(frames, P, values).log_density
    frames[-1] = 255 - frames[-1]
    changed = vrnn.guide(frames, P, values).log_density
    assert torch.equal(exact[:-1], changed[:-1])
    assert not torch.isclose(exact[-1], changed[-1]).any()


def test_guide_values_are_forced_and_stay_latent() -> None:
    vrnn, frames = small(), clips()
    values = {"latent_1": torch.randn(P, B, Z).double()}
    guide = poutine.trace(vrnn.guide).get_trace(frames, P, values)
    assert guide.nodes["latent_1"]["value"] is values["latent_1"]
    assert not guide.nodes["latent_1"]["is_observed"]
    drawn = guide.nodes["_RETURN"]["value"]
    assert torch.equal(drawn.latents[1], values["latent_1"])
    replayed = poutine.replay(vrnn.model, trace=guide)(T, B, P, frames)
    assert torch.equal(replayed.latents, drawn.latents)
    with pytest.raises(ValueError, match=r"\['latent_3'\], but sites are latent_0..2"):
        vrnn.guide(frames, P, {"latent_3": values["latent_1"]})


@torch.no_grad()
def test_it_goes_on_from_given_latents() -> None:
    """Latents of the first frames only: all particles agree so far, and dream on from there."""
    vrnn = small()
    given = {name: torch.randn(1, B, Z).double().expand(P, B, Z) for name in LATENTS[:2]}
    trace = poutine.trace(poutine.condition(vrnn.model, given)).get_trace(T, B, P)
    out = trace.nodes["_RETURN"]["value"]
    assert trace.observation_nodes == ["latent_0", "latent_1"]
    assert torch.equal(out.latents[:2], torch.stack(list(given.values())))
    torch.testing.assert_close(out.canvas[:2], out.canvas[:2, :1].expand(2, P, B, 1, SIZE, SIZE))
    assert (out.canvas[2].std(0) > 0).all()
    # The frame after depends on what was given, through the state.
    other = {name: value + 1 for name, value in given.items()}
    torch.manual_seed(1)
    first = poutine.condition(vrnn.model, given)(T, B, P).latents[2]
    torch.manual_seed(1)
    assert not torch.isclose(poutine.condition(vrnn.model, other)(T, B, P).latents[2], first).all()


@torch.no_grad()
def test_samples_are_the_mean_and_noise() -> None:
    out = small().model(T, B, 50)
    assert isinstance(out, Generated) and out.frames.shape == (T, 50, B, 1, SIZE, SIZE)
    noise = (out.frames - out.canvas).flatten()
    assert float(noise.mean()) == pytest.approx(0, abs=0.005)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.01)
    expected = dist.Normal(out.canvas, 0.3).to_event(3).log_prob(out.frames)
    torch.testing.assert_close(out.log_likelihood, expected)


@torch.no_grad()
def test_dreams_see_their_own_mean_images() -> None:
    """Without images the state is that of the mean images, clipped to [0, 1], observed."""
    vrnn = small()
    vrnn.networks.decoder[1][-2].bias.data.normal_(0.5, 1)  # means on both sides of [0, 1]
    dreamt = vrnn.model(T, B, P)
    assert dreamt.canvas.min() < -0.5 and dreamt.canvas.max() > 1.5
    for p in range(P):
        values = {name: dreamt.latents[t, p : p + 1] for t, name in enumerate(LATENTS)}
        shown = dreamt.canvas[:, p].clamp(0, 1)
        seen = poutine.condition(vrnn.model, values)(T, B, 1, shown)
        torch.testing.assert_close(seen.canvas[:, 0], dreamt.canvas[:, p])
        torch.testing.assert_close(seen.log_prior[:, 0], dreamt.log_prior[:, p])


@torch.no_grad()
def test_images_of_the_first_frames_lead_the_rest() -> None:
    vrnn, frames = small(), clips()
    values = {name: torch.randn(P, B, Z).double() for name in LATENTS}
    model = poutine.condition(vrnn.model, values)
    whole, trace = model(T, B, P, frames), poutine.trace(model).get_trace(T, B, P, frames[:2])
    out = trace.nodes["_RETURN"]["value"]
    assert trace.nodes["frames"]["is_observed"] and "future_frames" in trace.stochastic_nodes
    assert trace.nodes["future_frames"]["fn"].event_shape == (1, 1, SIZE, SIZE)
    assert torch.equal(out.frames[:2, 0], frames[:2].double() / 255)
    torch.testing.assert_close(out.log_prior, whole.log_prior)
    torch.testing.assert_close(out.canvas, whole.canvas)
    later = model(T + 1, B, P, frames[:2])  # beyond that, its own means take over
    torch.testing.assert_close(later.log_prior[:T], whole.log_prior)
    assert later.frames.shape == (T + 1, P, B, 1, SIZE, SIZE)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_predictive(kind: str, parallel: bool) -> None:
    vrnn = small(kind)
    drawn = Predictive(vrnn.model, num_samples=6, parallel=parallel)(T, B, P)
    assert drawn["latent_2"].shape == (6, P, B, Z)
    assert drawn["frames"].shape == (6, P, B, T, 1, SIZE, SIZE)
    assert (drawn["frames"].std(0) > 0).all() and (drawn["latent_0"].std((0, 1)) > 0).all()
    posterior = {name: torch.randn(6, P, B, Z).double() for name in LATENTS}
    drawn = Predictive(vrnn.model, posterior, parallel=parallel)(T, B, P)
    for index in (0, 5):
        given = {name: value[index] for name, value in posterior.items()}
        mean = poutine.condition(vrnn.model, given)(T, B, P).canvas.movedim(0, 2)
        error = (drawn["frames"][index] - mean).std()
        assert float(error.detach()) == pytest.approx(0.3, rel=0.03)


@torch.no_grad()
def test_deviations_have_a_floor() -> None:
    vrnn = small()
    for head in (vrnn.networks.prior_head, vrnn.networks.posterior_head):
        head[-1].bias -= 1000
    model, guide = run(vrnn.model, vrnn.guide, clips(), P)
    for trace in (model, guide):
        for name in LATENTS:
            scale = trace.nodes[name]["fn"].base_dist.scale
            torch.testing.assert_close(scale, torch.full_like(scale, 0.01))
    assert vrnn.unroll(clips(), P).log_weight.isfinite().all()


def test_what_is_not_finite_is_left_to_the_trainer() -> None:
    vrnn = small()
    vrnn.networks.prior_head[0].bias.data[0] = math.nan
    assert vrnn.unroll(clips()).log_weight.isnan().all()


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_scores_the_same(kind: str) -> None:
    vrnn, frames = small(kind).float(), clips()
    torch.manual_seed(1)
    exact = vrnn.unroll(frames, P)
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(1)
        rough: Unrolled = vrnn.unroll(frames, P)
        vrnn.model(T, B, P)
    assert rough.log_weight.dtype == rough.features.dtype == torch.float32
    torch.testing.assert_close(rough.log_weight, exact.log_weight, rtol=0.01, atol=1)


def test_bad_input_is_named() -> None:
    vrnn, frames = small(), clips()
    with pytest.raises(ValueError, match=r"\(T, 2, 1, 24, 24\), got \(3, 2, 1, 24, 20\)"):
        vrnn.guide(frames[..., :20])
    with pytest.raises(ValueError, match=r"1 to 3 frames.*got \(24, 24\)"):
        vrnn.model(T, B, frames=frames[0, 0, 0])
    with pytest.raises(ValueError, match=r"1 to 2 frames.*got \(3, 2"):
        vrnn.model(2, B, frames=frames)
    with pytest.raises(ValueError, match=r"\(T, 5, 1, 24, 24\)"):
        vrnn.model(T, 5, frames=frames)
    with pytest.raises(ValueError, match="latent must be at least 1, got 0"):
        VrnnConfig(latent=0)
    with pytest.raises(ValueError, match="kind must be 'mlp' or 'conv', got 'cnn'"):
        VrnnConfig("cnn")
    with pytest.raises(ValueError, match="output_std must be above 0, got 0"):
        VrnnConfig(output_std=0)
    with pytest.raises(ValueError, match="a side of 20 pixels is too small"):
        Vrnn(VrnnConfig("conv", size=20))


def test_nothing_is_registered_globally() -> None:
    small().unroll(clips())
    assert not pyro.get_param_store().keys()
