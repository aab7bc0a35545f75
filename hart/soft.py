"""The baseline that shows what a glimpse saves: soft attention over the whole frame, every frame.

The same stem, LSTM, box update and losses as ``hart.model.Hart``, but nothing is cropped: each cell
of the full-resolution feature map is weighted by how well it answers the object's query (soft
attention, Xu et al. 2015, with scaled dot products), and the weighted features are summed. Its cost
grows with the frame.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from common import boxes as box_ops
from hart.config import HartConfig
from hart.matching import LEAST, cell_coverage, covered_weight
from hart.motion import POSE, pose, whole_frame
from hart.recurrence import RecurrentTracker, flatten_objects, motion_of
from hart.state import Step

ATTENTION_SUMMARY = 5  # mean, spread (x, y each) and peak of the attention map


class SoftState(NamedTuple):
    """What crosses time; fields as in ``hart.model.State``, ``query (B, N, K)`` is the template."""

    box: Tensor
    window: Tensor
    expected: Tensor
    velocity: Tensor
    hidden: Tensor
    memory: Tensor
    query: Tensor


class SoftHart(RecurrentTracker):
    """Tracks with a soft attention map over the whole frame (preset ``hart-soft``)."""

    def __init__(self, config: HartConfig) -> None:
        super().__init__(config)
        channels, width = config.stem[-1], config.features
        self.key = nn.Conv2d(channels, config.keys, 1)
        self.sharpness = nn.Parameter(torch.tensor(2.3))  # log, of the softmax: exp = 10
        self.ask = nn.Linear(width, config.keys)
        nn.init.zeros_(self.ask.weight)
        nn.init.zeros_(self.ask.bias)
        self._make_recurrence(channels, POSE + ATTENTION_SUMMARY)

    def init(self, frame: Tensor, boxes: Tensor) -> tuple[SoftState, Step]:
        """Remember what is in ``boxes (B, N, 4)`` of ``frame (B, 3, H, W)``; see ``Hart.init``."""
        features, keys = self._encode(frame)
        window = whole_frame(frame, boxes)
        weight = covered_weight(
            cell_coverage(boxes, window, tuple(features.shape[-2:])).flatten(2)  # (B, N, S)
        )
        query = functional.normalize(weight @ keys.transpose(1, 2), dim=2, eps=LEAST)
        pooled = weight @ features.flatten(2).transpose(1, 2)
        hidden, memory = torch.tanh(self.start(pooled)).chunk(2, 2)
        centre = box_ops.to_centre(boxes)[..., :2]
        state = SoftState(boxes, window, centre, torch.zeros_like(centre), hidden, memory, query)
        mask = boxes.new_zeros(*boxes.shape[:2], *features.shape[-2:])
        return state, Step(boxes, window, mask, _no_glimpse(frame, boxes), {})

    def step(self, frame: Tensor, state: SoftState) -> tuple[SoftState, Step]:
        """Follow all objects into the next ``frame (B, 3, H, W)``; the frame is encoded once."""
        features, keys = self._encode(frame)
        cells = features.shape[-2:]
        query = functional.normalize(state.query + self.ask(state.hidden), dim=2, eps=LEAST)
        logits = (query @ keys) * self.sharpness.exp()  # (B, N, S)
        attention = logits.softmax(2)
        read = attention @ features.flatten(2).transpose(1, 2)  # (B, N, C)
        described = functional.silu(self.describe(read)).flatten(0, 1)
        described = functional.dropout(described, self.config.dropout, self.training)
        position, spread = _moments(attention.unflatten(2, cells), frame)
        flat, peak = flatten_objects(state), attention.amax(2, keepdim=True)
        position, spread, peak = (x.flatten(0, 1) for x in (position, spread, peak))
        scale = flat.box[:, 2:].mean(1, keepdim=True)
        offset = (position - flat.expected) / scale / 4
        summary = torch.cat((offset, (spread / scale).log1p(), peak), 1).clamp(-8, 8)
        observed = torch.cat((described, summary, pose(motion_of(flat), frame)), 1)
        found = (position, torch.zeros_like(scale))  # the attention map has no scale
        update = self._update(flat, observed, found, frame)
        step = Step(
            update.box, state.window, logits.unflatten(2, cells), _no_glimpse(frame, update.box), {}
        )
        return state._replace(**update._asdict()), step

    def _encode(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(B, C, h, w)`` of whole frames, and unit-length keys ``(B, K, S)``."""
        features = self.stem(frame.float() * (4 / 255) - 2)
        return features, functional.normalize(self.key(features).flatten(2), dim=1, eps=LEAST)


def _moments(attention: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of ``attention (B, N, h, w)`` in pixels, ``(B, N, 2)`` each."""
    means, spreads = [], []
    for summed, axis in ((2, -1), (3, -2)):  # x, y
        shares = attention.sum(summed)
        cells = torch.arange(shares.shape[-1], device=shares.device, dtype=shares.dtype)
        centres = (cells + 0.5) * frame.shape[axis] / len(cells)
        mean = (shares * centres).sum(-1)  # no matrix product: autocast would round it to bf16
        variance = (shares * (centres - mean.unsqueeze(-1)).square()).sum(-1)
        means.append(mean)
        spreads.append((variance + 1e-6).sqrt())  # the root's gradient is infinite at 0
    return torch.stack(means, -1), torch.stack(spreads, -1)


def _no_glimpse(frame: Tensor, boxes: Tensor) -> Tensor:
    """``(B, N, 3, 0, 0)``: nothing is cropped."""
    return boxes.new_zeros(*boxes.shape[:2], frame.shape[1], 0, 0)
