"""Functions with a backward pass of their own, against PyTorch's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Normal

from sqair import fused


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_the_hyperbolic_tangent() -> None:
    x = numbers(7)
    torch.testing.assert_close(fused.tanh(x), torch.tanh(x))
    assert torch.autograd.gradcheck(fused.tanh, x)
    assert fused.tanh(torch.tensor([-200.0, 200.0])).tolist() == [-1, 1]


def test_normal_densities() -> None:
    """Of values, means and deviations of any shapes that fit, and of a mean that is a number."""
    value, mean, raw = numbers(3, 1, 4), numbers(2, 4), numbers(3, 2, 4)
    wanted = Normal(mean, raw.exp()).log_prob(value).sum(-1)
    torch.testing.assert_close(fused.normal_log_density(value, mean, raw.exp()), wanted)

    def density(value: Tensor, mean: Tensor, raw: Tensor) -> Tensor:
        return fused.normal_log_density(value, mean, raw.exp())

    assert torch.autograd.gradcheck(density, (value, mean, raw))
    wanted = Normal(0.5, raw.exp()).log_prob(raw).sum(-1)
    torch.testing.assert_close(fused.normal_log_density(raw, 0.5, raw.exp()), wanted)
    assert torch.autograd.gradcheck(lambda x: fused.normal_log_density(x, 0.5, x.exp()), raw)


def test_squared_errors_of_growing_sums() -> None:
    for layers in (0, 3):
        value, base, added = numbers(1, 2, 6), numbers(4, 2, 6), numbers(4, 2, layers, 6)
        found = fused.squared_errors(value, base, added)
        assert found.shape == (4, 2, layers + 1)
        for count in range(layers + 1):
            left = value - base - added[..., :count, :].sum(-2)
            torch.testing.assert_close(found[..., count], left.square().sum(-1))
        assert torch.autograd.gradcheck(fused.squared_errors, (value, base, added))
