"""Convolutional encoders and their mirrors: shapes, borders, gradients, bad sizes."""

from __future__ import annotations

import pytest
import torch

from sqair.convolutions import GLIMPSE, IMAGE, ConvEncoder, ConvStack, SubpixelDecoder

CASES = [
    (IMAGE, (1, 50, 50), (7, 7)),
    (IMAGE, (1, 64, 64), (11, 11)),  # 64, 31, 15, 13, 11
    (IMAGE, (3, 24, 31), (1, 3)),
    (GLIMPSE, (1, 20, 20), (5, 5)),
    (GLIMPSE, (3, 28, 12), (7, 3)),
    (GLIMPSE, (1, 9, 10), (3, 3)),
]


@pytest.mark.parametrize(("stack", "shape", "cells"), CASES)
def test_the_decoder_mirrors_the_encoder(
    stack: ConvStack, shape: tuple[int, int, int], cells: tuple[int, int]
) -> None:
    encoder, decoder = ConvEncoder(shape, 6, stack), SubpixelDecoder(5, shape, stack)
    maps = encoder.convolutions(torch.rand(2, *shape))
    assert maps.shape == (2, stack.features[-1], *cells)
    assert decoder.seed(torch.rand(2, 5)).shape == maps.shape
    assert encoder(torch.rand(2, 3, 4, *shape)).shape == (2, 3, 4, 6)
    assert decoder(torch.rand(2, 3, 4, 5)).shape == (2, 3, 4, *shape)
    assert encoder(torch.rand(shape)).shape == (6,) and decoder(torch.rand(5)).shape == shape
    made = [layer[1] for layer in decoder.layers]
    seen = [layer for layer in encoder.convolutions if isinstance(layer, torch.nn.Conv2d)]
    assert [m.in_channels for m in made] == [c.out_channels for c in seen[::-1]]
    assert [m.out_channels // c.stride[0] ** 2 for m, c in zip(made, seen[::-1])] == [
        c.in_channels for c in seen[::-1]
    ]


@pytest.mark.parametrize(("stack", "shape", "cells"), CASES)
def test_every_pixel_is_reached(
    stack: ConvStack, shape: tuple[int, int, int], cells: tuple[int, int]
) -> None:
    decoder = SubpixelDecoder(5, shape, stack)
    pixels = decoder(torch.randn(8, 5))
    assert (pixels.std(0) > 0).all()
    encoder = ConvEncoder(shape, 16, stack)
    image = torch.rand(8, *shape, requires_grad=True)
    encoder(image).square().sum().backward()
    assert (image.grad.abs().sum(0) > 0).all()


def test_all_parameters_learn_and_rows_do_not_mix() -> None:
    encoder, decoder = (
        ConvEncoder((1, 20, 20), 7, GLIMPSE),
        SubpixelDecoder(7, (1, 20, 20), GLIMPSE),
    )
    rows = torch.rand(2, 3, 1, 20, 20)
    out = decoder(encoder(rows))
    torch.testing.assert_close(out[1, 2], decoder(encoder(rows[1, 2])))
    out.square().sum().backward()
    for module in (encoder, decoder):
        assert all(p.grad.abs().sum() > 0 for p in module.parameters())


def test_the_last_layer_of_a_decoder_is_linear_and_of_an_encoder_activated() -> None:
    decoder = SubpixelDecoder(4, (1, 20, 20), GLIMPSE)
    last = decoder.layers[-1][1]
    features = torch.randn(4)
    before = decoder(features)
    with torch.no_grad():
        last.weight *= -3
        last.bias *= -3
    torch.testing.assert_close(decoder(features), -3 * before)
    # SiLU has the minimum -0.2785, ELU the infimum -1.
    for name, least in (("silu", -0.2785), ("elu", -1.0)):
        encoder = ConvEncoder((1, 20, 20), 500, GLIMPSE, name)
        with torch.no_grad():
            encoder.flat[0].weight *= 200
        lowest = float(encoder(torch.rand(4, 1, 20, 20)).detach().min())
        assert least - 1e-3 <= lowest < 0.9 * least


def test_a_decoder_learns_to_draw() -> None:
    """Sub-pixels land where they belong: one fixed image is learned from a few features."""
    torch.manual_seed(0)
    target = torch.zeros(1, 20, 20)
    target[0, 4:9, 3:17] = 1
    decoder = SubpixelDecoder(3, (1, 20, 20), GLIMPSE)
    optimiser = torch.optim.Adam(decoder.parameters(), 1e-2)
    for _ in range(150):
        loss = (decoder(torch.ones(3)) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 1e-3  # the mean image of the target alone leaves 0.14


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="side of 20 pixels is too small for 4 convolutions"):
        ConvEncoder((1, 20, 50), 8, IMAGE)
    with pytest.raises(ValueError, match="side of 9 pixels"):
        SubpixelDecoder(8, (1, 50, 9), IMAGE)
    with pytest.raises(ValueError, match=r"\(1, 20, 20\).*got \(2, 20, 20, 1\)"):
        ConvEncoder((1, 20, 20), 8, GLIMPSE)(torch.rand(2, 20, 20, 1))
    with pytest.raises(ValueError, match=r"stride of 1 or 2 for each of \(8, 8\), got \(2,\)"):
        ConvStack((8, 8), (2,), 0)
    with pytest.raises(ValueError, match=r"got \(2, 3\)"):
        ConvStack((8, 8), (2, 3), 0)
