"""Layers of SQAIR against their equations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sqair.config import PAPER, SqairConfig
from sqair.networks import GRU, Context, Decoder, GlimpseEncoder, linear, mlp, std, tanh
from sqair.packing import pack
from tests.sqair_toys import SMALL


def test_a_part_of_a_layer_is_drawn_as_the_whole() -> None:
    layer = linear(30, 40, fan_in=900, bias=False)
    assert layer.bias is None
    assert layer.weight.std().item() * 30 == pytest.approx(0.88, rel=0.1)
    assert not linear(3, 4).bias.any()


def test_activations() -> None:
    x = torch.linspace(-4, 4, 41, dtype=torch.float64)
    torch.testing.assert_close(tanh(x), torch.tanh(x))
    torch.testing.assert_close(std(x), torch.log1p(x.exp()) + 0.01)
    kinds = [type(m) for m in mlp((3, 4, 5), PAPER)]
    assert kinds == [nn.Linear, nn.ELU, nn.Linear]
    assert [type(m) for m in mlp((3, 4), SqairConfig(), last=True)] == [nn.Linear, nn.SiLU]


def test_the_recurrent_unit_resets_before_the_product() -> None:
    """Sonnet's equations, number by number; not those of ``torch.nn.GRUCell``."""
    cell = GRU(3, 2, glorot=True).double()
    x, h = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    w, u = cell.inputs.view(3, 2, 3), cell.gates.view(2, 2, 2)
    b, c = cell.bias.view(3, 2), cell.candidate
    for row, before, after in zip(x, h, cell(x, h), strict=True):
        z, r = (torch.sigmoid(w[i] @ row + u[i] @ before + b[i]) for i in range(2))
        new = torch.tanh(w[2] @ row + c @ (r * before) + b[2])
        torch.testing.assert_close(after, (1 - z) * before + z * new)


def test_the_mean_alone_is_the_mean() -> None:
    encoder, seen = GlimpseEncoder(SMALL).double(), torch.rand(6, 16, dtype=torch.float64)
    mean, deviation_ = encoder(seen)
    torch.testing.assert_close(encoder.mean(seen), mean)
    assert (deviation_ > 0.01).all()


@pytest.mark.parametrize("static", [False, True])
def test_the_context_sums_over_the_objects_that_are_there(static: bool) -> None:
    context = Context(SMALL).double()
    what, where = (torch.randn(2, 4, 2, d, dtype=torch.float64) for d in (3, 4))
    before = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]).expand(2, 4, 2).double()
    presence = before.clone()
    presence[0, 0, 0] = 0  # lost since
    found = context(what, where, presence, pack(before, static))
    for p in range(2):
        for b in range(4):
            codes = [
                context.body(torch.cat((what[p, b, k], where[p, b, k])))
                for k in range(2)
                if presence[p, b, k]
            ]
            wanted = sum(codes, torch.zeros(8, dtype=torch.float64))
            torch.testing.assert_close(found[p, b], wanted)
    nothing = torch.zeros_like(presence)
    assert not context(what, where, nothing, pack(nothing, static)).any()


def test_the_decoder_is_linear_times_a_contrast() -> None:
    decoder, what = Decoder(SMALL), torch.randn(5, 3)
    seen = decoder(what)
    assert seen.shape == (5, 1, 4, 4) and seen.min() < 0  # no squashing
    with torch.no_grad():
        decoder.contrast *= 2
    torch.testing.assert_close(decoder(what), 2 * seen)
