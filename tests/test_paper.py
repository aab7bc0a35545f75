"""The published tracker: its numbers, a numpy twin, its start, its state and its statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from paper_reference import Reference

from common.attention import gaussian
from hart.paper import HartPaper, PaperConfig, State
from hart.paper_layers import BatchNorm, stretch_contrast
from hart.recurrent import ZoneoutLSTM

SMALL = PaperConfig(glimpse=16)
COUNTS = {
    "backbone.conv1": 34_944,
    "backbone.conv2": 307_456,
    "backbone.conv3": 885_120,
    "ventral": 1_925,
    "norm": 10,
    "describe": 98_700,
    "begin": 10_100,
    "begin_hidden": 10_100,
    "begin_cell": 10_100,
    "lstm": 80_400,
    "pointwise": 204_530,
    "spatial": 33_335,
    "mask": 6,
    "mask_features": 1_970,
    "move": 11_100 + 404,
    "correct": 11_100 + 404,
    "gain": 4,
    "window_bias": 4,
}


def clip(frames: int = 3, videos: int = 1, size: tuple[int, int] = (40, 60)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (frames, videos, 3, *size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def lively(config: PaperConfig = SMALL) -> HartPaper:
    """A model whose heads, bias and statistics are far from their quiet start."""
    torch.manual_seed(3)
    model = HartPaper(config)
    with torch.no_grad():
        model.window_bias.copy_(torch.tensor([0.3, -0.2, 0.1, 0.25]))
        model.gain.copy_(torch.tensor([-1.0, -2.0, -2.5, -1.5]))
        model.norm.running_mean.normal_()
        model.norm.running_var.uniform_(0.1, 2)
        for head in (model.move, model.correct):
            head[-1].weight.mul_(100)
    return model.eval()


def test_parameters_module_by_module() -> None:
    model = HartPaper()
    found = dict.fromkeys(COUNTS, 0)
    for name, parameter in model.named_parameters():
        owner = next(o for o in COUNTS if name == o or name.startswith(o + "."))
        found[owner] += parameter.numel()
    assert found == COUNTS
    assert sum(COUNTS.values()) == 1_701_712


def test_equals_a_second_implementation() -> None:
    model = lively().double()
    frames = clip(4).double()
    box = (14.0, 9.0, 21.0, 16.0)
    step = model(frames, torch.tensor([[box]], dtype=torch.float64))
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    reference = Reference(weights, gaussian.WIDTH_COEFFICIENTS, SMALL.glimpse)
    expected = reference.track(frames[:, 0].permute(0, 2, 3, 1).numpy(), np.array(box))
    fields = {**step._asdict(), **step.extras}
    moved = np.abs(expected[-1]["windows"] - expected[0]["windows"]).max()
    assert moved > 1  # else the recurrence was not exercised
    for t, wanted in enumerate(expected):
        for name, value in wanted.items():
            got = fields[name][t, 0, 0].detach().numpy()
            np.testing.assert_allclose(got, value, rtol=1e-7, atol=1e-7, err_msg=f"{name}, t={t}")


def test_published_size_of_maps_and_attention() -> None:
    model = HartPaper().eval()
    boxes = torch.tensor([[[250.0, 88, 25, 18]]])
    state, step = model.init(clip(1, 1, (187, 621))[0], boxes)
    assert step.glimpses.shape == (1, 1, 3, 56, 56)
    assert step.mask.shape == (1, 1, 14, 14)
    torch.testing.assert_close(step.boxes, boxes, rtol=0, atol=0)
    first = step.windows / torch.tensor([621.0, 187, 620, 186])
    expected = torch.tensor([[[0.402576, 0.470588, 0.040323, 0.096774]]])
    torch.testing.assert_close(first, expected, rtol=0, atol=1e-6)
    # at the start nothing moves the window faster than 0.0759 frames per frame
    assert (state.attention - expected).abs().max() < 0.0759


def test_largest_change_of_the_window() -> None:
    model = HartPaper(SMALL).eval()
    with torch.no_grad():
        model.move[-1].bias.fill_(50.0)
    state, _ = model.init(clip(1)[0], torch.tensor([[[6.0, 4, 12, 8]]]))
    after, step = model.step(clip(1)[0], state)
    change = after.attention - state.attention
    torch.testing.assert_close(change, torch.full_like(change, 0.0758582), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("backbone.conv1.weight", math.sqrt(6 / (121 * (3 + 96)))),
        ("backbone.conv2.weight", math.sqrt(6 / (25 * (48 + 256)))),
        ("backbone.conv2.bias", math.sqrt(3 / 256)),
        ("ventral.weight", math.sqrt(6 / 389)),
        ("describe.0.weight", math.sqrt(6 / 1086)),
        ("describe.0.bias", 0.173),
        ("begin_cell.0.bias", 0.173),
        ("lstm.bias", 0.0866),
        ("pointwise.hidden.weight", math.sqrt(6 / 200)),
        ("pointwise.filters.weight", 0.01732),
        ("pointwise.filters.bias", 0.1732),
        ("spatial.filters.bias", 0.1732),
        ("spatial.biases.weight", 0.2449),
        ("spatial.biases.bias", 2.449),
        ("spatial.bias", 1.0),
        ("mask.bias", 1.732),
        ("mask_features.0.weight", math.sqrt(6 / 206)),
        ("move.0.weight", math.sqrt(6 / 210)),
        ("move.2.weight", 1e-3),
        ("correct.2.weight", 1e-3),
        ("window_bias", 1e-3),
    ],
)
def test_start_is_uniform_within_the_published_limits(name: str, limit: float) -> None:
    torch.manual_seed(0)
    drawn = torch.cat([_parameter(HartPaper(), name).flatten() for _ in range(4)])
    while len(drawn) < 40:
        drawn = torch.cat((drawn, _parameter(HartPaper(), name).flatten()))
    assert drawn.abs().max() <= limit * 1.001
    assert drawn.abs().max() > 0.9 * limit
    assert abs(drawn.mean()) < 0.6 * limit


def _parameter(model: HartPaper, name: str) -> torch.Tensor:
    return model.get_parameter(name).detach()


def test_rest_of_the_start() -> None:
    model = HartPaper()
    for head in (model.move, model.correct):
        assert not head[-1].bias.any()
    assert model.gain.tolist() == [-2.5] * 4
    rows = model.lstm.weight_input
    torch.testing.assert_close(rows.T @ rows, torch.eye(100), rtol=0, atol=1e-5)
    write, candidate, forget, read = model.lstm.weight_hidden.detach().chunk(4)
    torch.testing.assert_close(candidate, 0.95 * torch.eye(100))
    for block in (write, forget, read):
        torch.testing.assert_close(block @ block.T, torch.eye(100), rtol=0, atol=1e-5)


def test_objects_are_independent_and_share_the_frame() -> None:
    model = lively()
    boxes = torch.tensor([[[14.0, 9, 21, 16], [3, 3, 12, 9], [30, 20, 18, 12]]])
    together = model(clip(), boxes)
    for n in range(3):
        alone = model(clip(), boxes[:, n : n + 1])
        torch.testing.assert_close(together.boxes[:, :, n], alone.boxes[:, :, 0])
        torch.testing.assert_close(together.mask[:, :, n], alone.mask[:, :, 0])


def test_state_is_cut_and_joined_along_the_objects() -> None:
    model = lively()
    frames, boxes = clip(), torch.tensor([[[14.0, 9, 21, 16], [3, 3, 12, 9]]])
    state, _ = model.init(frames[0], boxes)
    assert all(field.shape[:2] == (1, 2) for field in state)
    kept = State(*(field[:, [1]] for field in state))
    joined = State(*(torch.cat(pair, 1) for pair in zip(kept, state, strict=True)))
    _, whole = model.step(frames[1], state)
    _, step = model.step(frames[1], joined)
    torch.testing.assert_close(step.boxes, whole.boxes[:, [1, 0, 1]])
    none, _ = model.init(frames[0], boxes[:, :0])
    assert model.step(frames[1], none)[1].boxes.shape == (1, 0, 4)


def test_window_beyond_all_bounds_does_not_crash() -> None:
    model = lively()
    state, _ = model.init(clip(1)[0], torch.tensor([[[14.0, 9, 21, 16]]]))
    for attention in (1e4, -3.0, math.nan):
        wild = state._replace(attention=torch.full_like(state.attention, attention))
        assert model.step(clip(1)[0], wild)[1].boxes.shape == (1, 1, 4)


def test_training_is_noisy_and_evaluation_is_not() -> None:
    model = lively()
    boxes = torch.tensor([[[14.0, 9, 21, 16]]])
    assert torch.equal(model(clip(), boxes).mask, model(clip(), boxes).mask)
    model.train()
    assert not torch.equal(model(clip(), boxes).mask, model(clip(), boxes).mask)


def test_statistics_move_once_a_frame_and_once_for_the_first_pass() -> None:
    model = HartPaper(SMALL).train()
    model(clip(3), torch.tensor([[[14.0, 9, 21, 16]]]))
    assert model.norm.num_batches_tracked == 4


def test_padding_leaves_the_statistics_alone() -> None:
    results = []
    for boxes in ([[14.0, 9, 21, 16]], [[14.0, 9, 21, 16], [0, 0, 0, 0]]):
        torch.manual_seed(1)
        model = HartPaper(PaperConfig(glimpse=16, dropout=0, zoneout_cell=0, zoneout_hidden=0))
        present = torch.tensor([[True, False]])[:, : len(boxes)]
        step = model.train()(clip(), torch.tensor([boxes]), present)
        results.append((step.boxes[:, :, 0], model.norm.running_var.clone()))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


def test_batch_norm_follows_the_biased_variance() -> None:
    norm = BatchNorm(3, 1e-3, 0.05).train()
    features = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * 3 + 1
    output = norm(features, torch.tensor([True, True]))
    values = features.permute(1, 0, 2, 3).flatten(1).numpy()
    mean, variance = values.mean(1), values.var(1)  # numpy's is the biased one
    np.testing.assert_allclose(norm.running_mean, 0.05 * mean, rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, 0.95 + 0.05 * variance, rtol=1e-5)
    expected = (values - mean[:, None]) / np.sqrt(variance + 1e-3)[:, None]
    got = output.detach().permute(1, 0, 2, 3).flatten(1)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_zoneout_keeps_a_twentieth_of_the_units() -> None:
    torch.manual_seed(0)
    cell = ZoneoutLSTM(4, 50, 0.05, 0.2).train()
    old = torch.full((400, 50), 7.0)
    output, hidden, memory = cell(torch.randn(400, 4), old, old)
    assert (hidden == 7).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert (memory == 7).float().mean().item() == pytest.approx(0.05, abs=0.006)
    assert not (output == 7).any()
    torch.testing.assert_close(hidden[hidden != 7], output[hidden != 7])


def test_contrast_is_joint_over_colours() -> None:
    glimpse = torch.tensor([0.0, 50, 200]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    stretched = stretch_contrast(glimpse)[0, :, 0, 0]
    assert stretched.tolist() == pytest.approx([0, 0.25, 1 - 5e-8], abs=1e-6)


def test_half_precision_keeps_places_and_state_in_single() -> None:
    model = lively()
    frames, boxes = clip(), torch.tensor([[[14.0, 9, 21, 16]]])
    exact = model(frames, boxes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = model(frames, boxes)
        state, _ = model.init(frames[0], boxes)
    assert all(field.dtype == torch.float32 for field in state)
    assert step.boxes.dtype == torch.float32
    assert torch.equal(step.glimpses[0], exact.glimpses[0])
    torch.testing.assert_close(step.boxes, exact.boxes, rtol=0, atol=2.0)


@pytest.mark.gpu
def test_gpu_equals_cpu(gpu: torch.device) -> None:
    model = lively().double()
    frames, boxes = clip().double(), torch.tensor([[[14.0, 9, 21, 16], [3, 3, 12, 9]]]).double()
    expected = model(frames, boxes).boxes
    got = model.to(gpu)(frames.to(gpu), boxes.to(gpu)).boxes
    torch.testing.assert_close(got.cpu(), expected, rtol=1e-6, atol=1e-6)


def test_glimpse_must_fit_the_stride() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        PaperConfig(glimpse=54)
