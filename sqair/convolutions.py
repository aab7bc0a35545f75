"""Convolutional encoders of images and glimpses, and decoders that mirror them.

For CONV-SQAIR and CONV-VRNN. Features and strides are the paper's as far as we know them (Kosiorek
et al. 2018, appendix); kernels, padding and the width of the flat vector are our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

Activation = Literal["silu", "elu"]


@dataclass(frozen=True)
class ConvStack:
    """Geometry of a stack of convolutions; layer ``i`` has ``features[i]`` maps.

    Kernels are 3 x 3 at stride 1 and 4 x 4 at stride 2, so that every pixel counts alike.

    Raises:
        ValueError: not one stride for each layer, or strides other than 1 and 2.
    """

    features: tuple[int, ...]
    strides: tuple[int, ...]
    padding: int  # on every edge: 1 keeps the side at stride 1, 0 makes it smaller by two

    def __post_init__(self) -> None:
        if len(self.features) != len(self.strides) or not set(self.strides) <= {1, 2}:
            raise ValueError(
                f"expected a stride of 1 or 2 for each of {self.features}, got {self.strides}"
            )

    def sides(self, side: int) -> list[int]:
        """Side of the input and of every layer's maps, pixels; ValueError when nothing is left."""
        sides = [side]
        for stride in self.strides:
            room = sides[-1] + 2 * self.padding - (stride + 2)
            sides.append((room + stride - 1) // stride + 1)  # rounded up: no row is left out
        if min(sides) < 1:
            raise ValueError(
                f"a side of {side} pixels is too small for {len(self.strides)} convolutions of "
                f"strides {self.strides} and padding {self.padding}"
            )
        return sides


# Without padding an image of 50 pixels leaves 7 x 7 cells, not 13 x 13: the layer that makes a
# vector of them has the size of the MLP's first one then, and not four times as much.
IMAGE = ConvStack((16, 32, 32, 64), (2, 2, 1, 1), padding=0)
GLIMPSE = ConvStack((8, 16, 32, 32), (2, 2, 1, 1), padding=1)


class ConvEncoder(nn.Module):
    """Pixels ``(..., C, H, W)`` to features ``(..., F)``, activated after every layer.

    Args:
        shape: ``(C, H, W)``.
        outputs: F.
        stack: ``IMAGE`` or ``GLIMPSE``, or another.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        stack: ConvStack = IMAGE,
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        heights, widths = stack.sides(self.shape[1]), stack.sides(self.shape[2])
        channels = (self.shape[0], *stack.features)
        self.convolutions = nn.Sequential()
        for before, after, stride, h, w in zip(
            channels, channels[1:], stack.strides, heights, widths
        ):
            if stride == 2 and (h % 2 or w % 2):
                self.convolutions.append(nn.ZeroPad2d((0, w % 2, 0, h % 2)))
            self.convolutions.append(
                nn.Conv2d(before, after, stride + 2, stride, padding=stack.padding)
            )
            self.convolutions.append(_activation(activation))
        cells = heights[-1] * widths[-1]
        self.flat = nn.Sequential(nn.Linear(channels[-1] * cells, outputs), _activation(activation))

    def forward(self, pixels: Tensor) -> Tensor:
        """Features ``(..., F)`` of ``(..., C, H, W)``; ValueError for another shape."""
        if tuple(pixels.shape[-3:]) != self.shape:
            raise ValueError(f"expected pixels (..., {self.shape}), got {tuple(pixels.shape)}")
        maps = self.convolutions(pixels.reshape(-1, *self.shape))
        return self.flat(maps.flatten(1)).reshape(*pixels.shape[:-3], -1)


class SubpixelDecoder(nn.Module):
    """Features ``(..., F)`` to pixels ``(..., C, H, W)``: the mirror of ``ConvEncoder``.

    Where the encoder has a stride of 2, four maps for each are made and interleaved (Shi et al.
    2016, "sub-pixel convolution"). The last layer is linear.

    Args:
        inputs: F.
        shape: ``(C, H, W)``.
        stack: the encoder's.
    """

    def __init__(
        self,
        inputs: int,
        shape: Sequence[int],
        stack: ConvStack = IMAGE,
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        sides = list(zip(stack.sides(self.shape[1]), stack.sides(self.shape[2])))
        channels = (self.shape[0], *stack.features)
        self._sides = sides[-2::-1]  # after each layer, which is before the encoder's
        self.seed = nn.Sequential(
            nn.Linear(inputs, channels[-1] * sides[-1][0] * sides[-1][1]),
            nn.Unflatten(-1, (channels[-1], *sides[-1])),
        )
        self.layers = nn.ModuleList()
        for before, after, stride in zip(channels[:0:-1], channels[-2::-1], stack.strides[::-1]):
            # Padded by what the encoder lacks, so that every border pixel is reached again.
            convolution = nn.Conv2d(before, after * stride**2, 3, padding=2 - stack.padding)
            self.layers.append(
                nn.Sequential(_activation(activation), convolution, nn.PixelShuffle(stride))
            )

    def forward(self, features: Tensor) -> Tensor:
        """Pixels ``(..., C, H, W)`` of ``(..., F)``, unbounded."""
        maps = self.seed(features.reshape(-1, features.shape[-1]))
        for layer, sides in zip(self.layers, self._sides):
            maps = _middle(layer(maps), *sides)
        return maps.reshape(*features.shape[:-1], *self.shape)


def _middle(maps: Tensor, height: int, width: int) -> Tensor:
    """The middle of maps that came out larger than the encoder's."""
    top, left = (maps.shape[-2] - height) // 2, (maps.shape[-1] - width) // 2
    return maps[..., top : top + height, left : left + width]


def _activation(name: Activation) -> nn.Module:
    """SiLU is several times faster than the paper's ELU on a CPU."""
    return nn.ELU() if name == "elu" else nn.SiLU()
