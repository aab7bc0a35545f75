"""Dynamic filters: a filter bank per object, equal to a loop of ordinary convolutions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from hart.appearance import DynamicFilter, initialise_as_published


@pytest.mark.parametrize(("channels", "kernel"), [(7, 1), (4, 3), (2, 5)])
def test_equals_one_convolution_per_row(channels: int, kernel: int) -> None:
    layer = DynamicFilter(channels, 5, kernel, 6).double()
    initialise_as_published(layer)
    features = torch.randn(3, channels, 8, 9, dtype=torch.float64)
    appearance = torch.randn(3, 6, dtype=torch.float64)
    output, norms = layer(features, appearance)
    for row in range(3):
        hidden = functional.elu(layer.hidden.weight @ appearance[row] + layer.hidden.bias)
        filters = layer.filters.weight @ hidden + layer.filters.bias
        biases = layer.biases.weight @ hidden + layer.biases.bias
        kernels = filters.view(5, channels, kernel, kernel)
        expected = functional.conv2d(
            features[row], kernels, biases + layer.bias, padding=kernel // 2
        )
        torch.testing.assert_close(output[row], functional.elu(expected))
        # norms are kept in single precision
        wanted = (filters**2).sum() + (biases**2).sum()
        torch.testing.assert_close(norms[row].double(), wanted, rtol=1e-5, atol=0)


def test_published_sizes() -> None:
    sizes = [
        sum(p.numel() for p in DynamicFilter(*shape, 100).parameters())
        for shape in ((384, 5, 1), (5, 5, 3))
    ]
    assert sizes == [204_530, 33_335]


def test_default_start_keeps_the_scale_and_hears_the_appearance() -> None:
    torch.manual_seed(0)
    layer = DynamicFilter(32, 64, 3, 100)
    features = torch.randn(8, 32, 10, 10)
    output, _ = layer(features, torch.randn(8, 100))
    assert 0.5 < output[..., 1:-1, 1:-1].std() < 2
    other, _ = layer(features, torch.randn(8, 100))
    changed = (other - output).std() / output.std()
    assert 0.05 < changed < 0.5


def test_any_number_of_rows() -> None:
    layer = DynamicFilter(4, 5, 3, 6)
    output, norms = layer(torch.zeros(0, 4, 8, 8), torch.zeros(0, 6))
    assert output.shape == (0, 5, 8, 8)
    assert norms.shape == (0,)


def test_gradients_reach_everything() -> None:
    layer = DynamicFilter(4, 5, 3, 6)
    features = torch.randn(2, 4, 8, 8, requires_grad=True)
    appearance = torch.randn(2, 6, requires_grad=True)
    output, norms = layer(features, appearance)
    (output.sum() + norms.sum()).backward()
    for tensor in (features, appearance, *layer.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


def test_even_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="must be odd"):
        DynamicFilter(4, 5, 2, 6)
