"""From objects to pixels: what slots paint, and the likelihood of frames."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor

from common import glimpse
from sqair.config import SqairConfig
from sqair.fused import squared_errors
from sqair.geometry import windows
from sqair.networks import Decoder
from sqair.state import Slots


class Rendered(NamedTuple):
    """Slots as pictures, in units of intensity."""

    glimpses: Tensor  # (..., K, 1, G, G) as painted
    canvases: Tensor  # (..., K, 1, H, W) what each slot paints; zeros where absent
    canvas: Tensor  # (..., 1, H, W) the mean of the frame


class Layers(NamedTuple):
    """A frame's canvas, and what possible discoveries add to it.

    With a mean image a second channel holds the footprint, how many windows cover a pixel.
    """

    base: Tensor  # (T, P, B, C, H, W)
    added: tuple[Tensor, ...]  # for consecutive frames (T', P, B, L, C, H, W); none: all in base
    shown: Tensor | None  # (T, P, B) int64, how many of the added are there
    most: Tensor | None  # (T, P, B) int64, most that there is room for


class FrameDistribution(dist.TorchDistribution):
    """Frames whose pixels are normal around the canvas (SQAIR eq. 1).

    Batch shape ``(P, B)``, event shape ``(T, 1, H, W)``.

    Args:
        layers: what is painted.
        std: of a pixel.
        mean_image: ``(1, H, W)`` or None: shows, softly, where a window is.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, layers: Layers, std: float, mean_image: Tensor | None = None) -> None:
        self.layers, self.std, self.mean_image = layers, std, mean_image
        length, particles, batch, _, height, width = layers.base.shape
        self.constant = -height * width * (math.log(std) + 0.5 * math.log(2 * math.pi))
        event = torch.Size((length, 1, height, width))
        super().__init__(torch.Size((particles, batch)), event, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> FrameDistribution:
        """Itself; raises ValueError for any other batch shape."""
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(f"frames of {tuple(self.batch_shape)}, not {tuple(batch_shape)}")
        return self

    @property
    def mean(self) -> Tensor:
        """Canvases ``(P, B, T, 1, H, W)``, with the objects that are there."""
        base, added, shown, _ = self.layers
        parts, start = [], 0
        for layer in added:
            stop, number = start + len(layer), torch.arange(layer.shape[3], device=layer.device)
            there = (number < shown[start:stop, ..., None]).to(layer.dtype)
            parts.append(base[start:stop] + torch.einsum("tpblchw,tpbl->tpbchw", layer, there))
            start = stop
        canvas = self._finish(torch.cat(parts) if parts else base)
        return canvas.movedim(0, 2)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Frames with the noise of every pixel."""
        mean = self.mean.detach()
        return mean + self.std * torch.randn(*sample_shape, *mean.shape, device=mean.device)

    def log_prob(self, value: Tensor) -> Tensor:
        """``(P, B)`` of frames ``(T, 1, H, W)`` with leading dimensions that fit."""
        return self.frame_log_probs(value).sum(0)

    def frame_log_probs(self, value: Tensor) -> Tensor:
        """``(T, P, B)``, each frame's own."""
        mean = self.mean.flatten(3)  # (P, B, T, H W)
        error = squared_errors(
            value.flatten(-3), mean, mean.new_empty(*mean.shape[:3], 0, mean.shape[3])
        )
        return self._score(error.squeeze(-1)).movedim(-1, 0)

    def count_log_probs(self, value: Tensor) -> Tensor:
        """``(T, P, B, L + 1)``: each frame's with the first 0, 1, ... L of the added alone.

        L is that of the frame with the most; others repeat their last. Counts beyond what there is
        room for are painted as the most that there is.

        Args:
            value: ``(T, B, 1, H, W)``.
        """
        base, added, _, most = self.layers
        widest, tables, start = max(layer.shape[3] for layer in added), [], 0
        for layer in added:
            span = slice(start, start + len(layer))
            errors = self._errors(value[span, None], base[span], layer)
            number = torch.arange(widest + 1, device=value.device)
            index = torch.minimum(number, most[span, ..., None]).clamp_max(layer.shape[3])
            tables.append(self._score(errors.gather(-1, index)))
            start = span.stop
        return torch.cat(tables)

    def _errors(self, value: Tensor, base: Tensor, added: Tensor) -> Tensor:
        """Squared errors ``(T', P, B, L + 1)`` with the first 0, 1, ... L of the added.

        A mean image is not linear in what is painted and needs the canvases themselves.
        """
        if self.mean_image is not None:
            prefixes = torch.cat((base.unsqueeze(3), added), 3).cumsum(3)
            canvas = self._finish(prefixes)
            return (value.unsqueeze(3) - canvas).square().flatten(-3).sum(-1)
        return squared_errors(value.flatten(3), base.flatten(3), added.flatten(4))

    def _finish(self, canvas: Tensor) -> Tensor:
        """The mean of the pixels from painted channels ``(..., C, H, W)``."""
        if self.mean_image is None:
            return canvas
        paint, footprint = canvas.split(1, -3)
        return paint + torch.sigmoid(20 * footprint - 10) * self.mean_image

    def _score(self, error: Tensor) -> Tensor:
        return self.constant - error / (2 * self.std**2)


def paint(
    decoder: Decoder, what: Tensor, where: Tensor, config: SqairConfig
) -> tuple[Tensor, Tensor]:
    """Glimpses ``(M, C, G, G)`` of objects ``(M, ...)`` and their canvases ``(M, C, H, W)``.

    With a mean image the second channel is the window itself.
    """
    glimpses = decoder(what)
    if config.mean_image:
        glimpses = torch.cat((glimpses, torch.ones_like(glimpses)), 1)
    boxes = windows(where, config.size, config.glimpse, config.least_scale)
    canvas = (config.size, config.size)
    pasted = glimpse.paste(glimpses[:, None], boxes[:, None], canvas, antialias=config.antialias)
    return glimpses, pasted.squeeze(1)


def compose(decoder: Decoder, slots: Slots, config: SqairConfig, static: bool = False) -> Tensor:
    """Canvases ``(..., C, H, W)``: the sum of what present objects paint.

    Args:
        decoder: paints a glimpse.
        slots: ``(..., K, ...)``.
        config: of the model.
        static: paint absent objects, too, and take them out, so that no shape depends on values.
    """
    what, where, presence, _ = slots
    lead, count = presence.shape[:-1], presence.shape[-1]
    channels = 2 if config.mean_image else 1
    canvas = what.new_zeros(lead.numel(), channels, config.size, config.size)
    rows = presence.flatten()
    index = torch.arange(len(rows), device=rows.device) if static else rows.nonzero().squeeze(1)
    if len(index):
        picked = (part.flatten(0, -2).index_select(0, index) for part in (what, where))
        pasted = paint(decoder, *picked, config)[1]
        if static:
            pasted = pasted * rows[:, None, None, None]
        canvas = canvas.index_add(0, index // count, pasted)
    return canvas.view(*lead, *canvas.shape[1:])


def render(
    decoder: Decoder, slots: Slots, config: SqairConfig, mean_image: Tensor | None
) -> Rendered:
    """Slots ``(..., K, ...)`` as pictures."""
    lead = slots.presence.shape
    glimpses, pasted = paint(decoder, slots.what.flatten(0, -2), slots.where.flatten(0, -2), config)
    pasted = pasted.view(*lead, *pasted.shape[1:]) * slots.presence[..., None, None, None]
    canvas = pasted.sum(-4)
    if mean_image is not None:
        layers = Layers(canvas.flatten(0, -4)[None, None], (), None, None)
        finished = FrameDistribution(layers, config.output_std, mean_image).mean
        canvas = finished.view(*lead[:-1], 1, *canvas.shape[-2:])
    return Rendered(glimpses[:, :1].unflatten(0, lead), pasted[..., :1, :, :], canvas)
