"""RMSProp, clipping and weight averages against sequences computed by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from common.optim import TFRMSProp, WeightAverage, rms_clip, rms_limit_as_norm


def test_rmsprop_follows_a_sequence_computed_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 0.0], dtype=torch.float64))
    optimiser = TFRMSProp([weight], lr=0.1, decay=0.9, momentum=0.9, eps=0.5)
    # First gradient (2, 0): ms = .9 + .1 g^2 = (1.3, .9),
    # mom = .1 g / sqrt(ms + .5) = (.149071, 0).
    weight.grad = torch.tensor([2.0, 0.0], dtype=torch.float64)
    optimiser.step()
    assert weight.tolist() == pytest.approx([1 - 0.2 / math.sqrt(1.8), 0.0], abs=1e-12)
    assert weight[0].item() == pytest.approx(0.850929, abs=1e-6)
    # Then (-1, 3): ms = (.9 1.3 + .1, .81 + .9) = (1.27, 1.71),
    # mom = .9 mom + .1 g / sqrt(ms + .5) = (.134164 - .075165, .201802).
    weight.grad = torch.tensor([-1.0, 3.0], dtype=torch.float64)
    optimiser.step()
    assert weight.tolist() == pytest.approx([0.850929 - 0.058999, -0.201802], abs=2e-6)


def test_rmsprop_starts_small_where_torchs_starts_large() -> None:
    """From a tiny gradient: TensorFlow's first step is lr g, PyTorch's lr / sqrt(1 - decay)."""
    moved = []
    for kind, options in ((TFRMSProp, {"decay": 0.9}), (torch.optim.RMSprop, {"alpha": 0.9})):
        weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        weight.grad = torch.full((1,), 1e-3, dtype=torch.float64)
        kind([weight], lr=0.01, **options).step()
        moved.append(-weight.item())
    assert moved == pytest.approx([0.01 * 1e-3 / math.sqrt(0.9), 0.01 / math.sqrt(0.1)], rel=1e-3)


def test_rmsprop_skips_where_found_inf_is_set() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimiser = TFRMSProp([weight], lr=0.1, momentum=0.5)
    weight.grad = torch.ones(3)
    optimiser.step()
    before = [weight.detach().clone(), *(v.clone() for v in optimiser.state[weight].values())]
    weight.grad = torch.full((3,), float("nan"))
    optimiser.found_inf = torch.ones(())
    optimiser.step()
    after = [weight.detach(), *optimiser.state[weight].values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after))
    weight.grad = torch.ones(3)
    optimiser.found_inf = torch.zeros(())
    optimiser.step()
    assert bool((weight < before[0]).all())


def test_rmsprop_state_survives_saving_and_leaves_parameters_without_gradient() -> None:
    def build() -> tuple[nn.Parameter, nn.Parameter, TFRMSProp]:
        a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
        return a, b, TFRMSProp([{"params": [a]}, {"params": [b], "lr": 1.0}], lr=0.1, momentum=0.9)

    a, b, optimiser = build()
    for _ in range(2):
        a.grad = torch.ones(2)
        optimiser.step()
    assert torch.equal(b, torch.ones(2))
    c, _, again = build()
    c.data.copy_(a.data)
    again.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for weight, opt in ((a, optimiser), (c, again)):
        weight.grad = torch.full((2,), 0.3)
        opt.step()
    assert torch.equal(a, c)


@pytest.mark.parametrize("options", [{"lr": -1}, {"decay": 1.0}, {"momentum": -0.1}, {"eps": -1}])
def test_rmsprop_refuses_impossible_options(options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        TFRMSProp([nn.Parameter(torch.ones(1))], **options)


def test_rms_clip() -> None:
    gradients = [torch.full((3,), 2.0), torch.full((1, 1), -2.0)]
    assert rms_clip(gradients, 0.3).item() == pytest.approx(2.0)
    assert torch.cat([g.flatten() for g in gradients]).tolist() == pytest.approx([0.3] * 3 + [-0.3])
    small = [torch.full((5,), 0.1)]
    rms_clip(small, 0.3)
    assert torch.equal(small[0], torch.full((5,), 0.1))


def test_rms_limit_equals_a_norm_limit() -> None:
    weights = [nn.Parameter(torch.zeros(1_701_712))]
    assert rms_limit_as_norm(weights) == pytest.approx(391.35, abs=0.01)  # "about 391" in the code
    gradients = [torch.randn(50, 20) * 5, torch.randn(7)]
    copies = [g.clone().requires_grad_() for g in gradients]
    for clone, gradient in zip(copies, gradients):
        clone.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_(copies, rms_limit_as_norm(copies))
    rms_clip(gradients)
    for clone, gradient in zip(copies, gradients):
        torch.testing.assert_close(clone.grad, gradient)


def test_weight_average_follows_a_sequence_computed_by_hand() -> None:
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(0.0)
    average = WeightAverage(module, 0.25)
    expected = 0.0
    for n, value in enumerate((1.0, 2.0, 3.0), 1):
        module.weight.data.fill_(value)
        average.update()
        decay = min(0.25, n / (9 + n))  # 0.1, 0.1818..., 0.25
        expected = decay * expected + (1 - decay) * value
        assert average.state_dict()["average"]["weight"].item() == pytest.approx(expected)
    with average.applied():
        assert module.weight.item() == pytest.approx(expected)
    assert module.weight.item() == 3.0
    average.restart()
    assert average.state_dict()["average"]["weight"].item() == 3.0


def test_weight_average_refuses_another_models_state_and_impossible_decays() -> None:
    average = WeightAverage(nn.Linear(1, 1), 0.9)
    with pytest.raises(ValueError, match="another model"):
        average.load_state_dict({"updates": 1, "average": {"other": torch.ones(1)}})
    with pytest.raises(ValueError, match="decay must be between 0 and 1"):
        WeightAverage(nn.Linear(1, 1), 1.0)
