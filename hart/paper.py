"""HART as published (Kosiorek et al. 2017) and as its authors ran it, oddities included.

Kept on purpose: boxes are read corner to corner; the window has no context margin and is bounded
only in its change per frame (it may leave the frame or turn inside out, then numbers may overflow);
the first pass over the first frame has no mask, and the frame is then run again; the bias on the
window acts on the box that is read out (and on the first window that is reported), never on the
window that is looked through; pixel coordinates enter the features as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.attention import gaussian
from hart.appearance import DynamicFilter, initialise_as_published
from hart.backbone import STRIDE, Backbone
from hart.paper_layers import BatchNorm, glorot, perceptron, stretch_contrast
from hart.recurrent import ZoneoutLSTM
from hart.state import Step

HEAD_LIMIT = 1e-3  # of the initial weights of what moves window and box, and of the window's bias
CERTAIN = 1000.0  # logit of the presence that is carried along
BATCH_NORM_MOMENTUM = 0.05
BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class PaperConfig:
    """The published numbers (HART sec. 4 and its configuration for KITTI)."""

    glimpse: int = 56  # samples a side, a multiple of 4
    ventral: int = 5  # maps that say what
    dorsal: int = 5  # maps that say where
    features: int = 100  # width of the LSTM, of what it reads and of the appearance
    mask_features: int = 10
    zoneout_cell: float = 0.05
    zoneout_hidden: float = 0.05
    dropout: float = 0.25  # share of the ventral maps' values
    gain: float = -2.5  # logit of the largest change of the window per frame, in frames
    bias_limit: float = 0.25  # of the window's bias, in frames
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        if self.glimpse % STRIDE or self.glimpse < STRIDE:
            raise ValueError(f"glimpse must be a multiple of {STRIDE}, got {self.glimpse}")


class State(NamedTuple):
    """What crosses time, for ``N`` objects in each of ``B`` videos; every field leads ``(B, N)``.

    Attributes:
        attention: ``(B, N, 4)`` the next window: x / W, y / H, w / (W - 1), h / (H - 1), unbounded.
        presence: ``(B, N)`` logit, constant; rows that are not present are padding.
        hidden, cell: ``(B, N, F)`` of the LSTM.
        appearance: ``(B, N, F)`` what the object looks like.
    """

    attention: Tensor
    presence: Tensor
    hidden: Tensor
    cell: Tensor
    appearance: Tensor


class Look(NamedTuple):
    """A glimpse of ``B * N = R`` objects before anything is known of them.

    Attributes:
        glimpses: ``(B, N, 3, g, g)`` in ``[0, 1)``.
        features: ``(R, 384, g / 4, g / 4)``.
        sampling: ``(R, 6)`` pixels, see ``gaussian.parameters``.
    """

    glimpses: Tensor
    features: Tensor
    sampling: Tensor


class HartPaper(nn.Module):
    """The published tracker; objects of a frame are one batch and share it."""

    def __init__(self, config: PaperConfig | None = None) -> None:
        super().__init__()
        config = self.config = config or PaperConfig()
        width, side = config.features, config.glimpse // STRIDE
        self.backbone = Backbone().apply(glorot)
        channels = self.backbone.out_channels
        self.ventral = nn.Conv2d(channels, config.ventral, 1).apply(glorot)
        self.norm = BatchNorm(config.ventral, BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM)
        self.describe = perceptron(config.ventral * side**2 + 6, width)
        self.begin = perceptron(width, width)
        self.begin_hidden = perceptron(width, width)
        self.begin_cell = perceptron(width, width)
        self.lstm = ZoneoutLSTM(width, width, config.zoneout_cell, config.zoneout_hidden)
        self.pointwise = DynamicFilter(channels, config.dorsal, 1, width)
        self.spatial = DynamicFilter(config.dorsal, config.dorsal, 3, width)
        initialise_as_published(self.pointwise)
        initialise_as_published(self.spatial)
        self.mask = nn.Conv2d(config.dorsal, 1, 1).apply(glorot)
        self.mask_features = perceptron(side**2, config.mask_features)
        self.move = perceptron(width + config.mask_features, width, 4)
        self.correct = perceptron(width + config.mask_features, width, 4)
        self.gain = nn.Parameter(torch.full((4,), config.gain))
        self.window_bias = nn.Parameter(torch.empty(4).uniform_(-HEAD_LIMIT, HEAD_LIMIT))
        for head in (self.move, self.correct):
            nn.init.uniform_(head[-1].weight, -HEAD_LIMIT, HEAD_LIMIT)
            nn.init.zeros_(head[-1].bias)

    def init(
        self, frame: Tensor, boxes: Tensor, presence: Tensor | None = None
    ) -> tuple[State, Step]:
        """Look at the given boxes: a pass without mask, then the frame's own step.

        Args:
            frame: ``(B, 3, H, W)`` RGB, uint8 or float in 0..255.
            boxes: ``(B, N, 4)`` xywh pixels.
            presence: ``(B, N)`` bool; objects that are none (padding) stay out of the batch
                statistics. Default: all are there.

        Returns:
            The state before the second frame, and the first frame's ``Step``: the boxes as given;
            ``extras["reported"]`` has the window with the bias that the loss was trained on.
        """
        boxes = boxes.to(self.gain.dtype)
        if presence is None:
            presence = torch.ones_like(boxes[..., 0], dtype=torch.bool)
        attention = boxes / _scale(frame, boxes)
        look = self._look(frame, attention)
        state = self._first_state(look, attention, presence)
        state, step = self._advance(frame, look, state)
        reported = (attention + self._bias()) * _scale(frame, boxes)
        return state, step._replace(boxes=boxes, extras=step.extras | {"reported": reported})

    def step(self, frame: Tensor, state: State) -> tuple[State, Step]:
        """Follow all objects into the next ``frame (B, 3, H, W)``, of the first one's size."""
        return self._advance(frame, self._look(frame, state.attention), state)

    def forward(self, frames: Tensor, boxes: Tensor, presence: Tensor | None = None) -> Step:
        """Track through ``frames (T, B, 3, H, W)`` from ``boxes (B, N, 4)`` in the first.

        Returns:
            A ``Step`` whose tensors lead with ``(T, B, N)``. Its extras: ``reported (T, B, N, 4)``
            the windows as the mask's target sees them, ``filters (T, B, N)`` the squared norm of
            the dynamic filters.
        """
        state, first = self.init(frames[0], boxes, presence)
        steps = [first]
        for frame in frames[1:]:
            state, step = self.step(frame, state)
            steps.append(step)
        extras = {name: torch.stack([s.extras[name] for s in steps]) for name in first.extras}
        fields = zip(*(s[:4] for s in steps), strict=True)
        return Step(*(torch.stack(field) for field in fields), extras)

    def _look(self, frame: Tensor, attention: Tensor) -> Look:
        windows = attention * _scale(frame, attention)
        sampling = gaussian.parameters(windows, self.config.glimpse)
        glimpses = gaussian.sample(frame, sampling, self.config.glimpse)
        glimpses = stretch_contrast(glimpses.flatten(0, 1))
        features = self.backbone(glimpses)
        return Look(glimpses.unflatten(0, windows.shape[:2]), features, sampling.flatten(0, 1))

    def _first_state(self, look: Look, attention: Tensor, presence: Tensor) -> State:
        """From the first glimpse, without a mask: nothing is known of the object's looks yet."""
        shape = presence.shape
        ventral = self._ventral(look.features, presence.flatten())
        seen = functional.relu(self.begin(self._describe(ventral, look.sampling)))
        nothing = seen.new_zeros(seen.shape, dtype=attention.dtype)
        output, hidden, cell = self.lstm(seen, nothing, nothing)
        hidden = functional.relu(self.begin_hidden(hidden)).to(attention.dtype)
        cell = functional.relu(self.begin_cell(cell)).to(attention.dtype)
        carried = (x.unflatten(0, shape) for x in (hidden, cell, output))
        return State(attention, presence.to(attention.dtype) * CERTAIN, *carried)

    def _advance(self, frame: Tensor, look: Look, state: State) -> tuple[State, Step]:
        shape = state.presence.shape
        flat = State(*(field.flatten(0, 1) for field in state))
        # Dorsal stream: where in the glimpse is what looks like the object?
        maps, norm = self.pointwise(look.features, flat.appearance)
        maps, other_norm = self.spatial(maps, flat.appearance)
        logits = self.mask(maps)  # (R, 1, s, s)
        mask = torch.sigmoid(logits)
        ventral = self._ventral(look.features, flat.presence > 0) * mask
        seen = self._describe(ventral, look.sampling)
        output, hidden, cell = self.lstm(seen, flat.hidden, flat.cell)
        known = torch.cat((output, functional.elu(self.mask_features(mask.flatten(1)))), 1)
        change = torch.tanh(self.move(known)).unflatten(0, shape)
        correction = torch.tanh(self.correct(known)).unflatten(0, shape)

        scale = _scale(frame, state.attention)
        windows = state.attention * scale
        height, width = frame.shape[-2:]
        frame_size = scale.new_tensor((width, height, width, height))
        boxes = (state.attention - self._bias()) * scale + correction * frame_size
        attention = state.attention + torch.sigmoid(self.gain) * change
        carried = (x.unflatten(0, shape) for x in (hidden, cell, output))
        extras = {"reported": windows, "filters": (norm + other_norm).unflatten(0, shape)}
        step = Step(boxes, windows, logits[:, 0].unflatten(0, shape), look.glimpses, extras)
        return State(attention, state.presence, *carried), step

    def _ventral(self, features: Tensor, present: Tensor) -> Tensor:
        """What is there, ``(R, V, s, s)``; ``present (R,)`` bool."""
        maps = functional.dropout(self.ventral(features), self.config.dropout, self.training)
        return functional.elu(self.norm(maps, present))

    def _describe(self, ventral: Tensor, sampling: Tensor) -> Tensor:
        """The LSTM's input ``(R, F)``: channels run fastest, then the window in raw pixels."""
        flat = ventral.permute(0, 2, 3, 1).flatten(1)
        return functional.elu(self.describe(torch.cat((flat, sampling), 1)))

    def _bias(self) -> Tensor:
        return self.config.bias_limit * torch.tanh(self.window_bias)


def _scale(frame: Tensor, like: Tensor) -> Tensor:
    """``(4,)`` pixels of one unit of attention: the frame for places, one less for sizes."""
    height, width = frame.shape[-2:]
    return like.new_tensor((width, height, width - 1, height - 1))
