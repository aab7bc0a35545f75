"""The baseline that shows what a glimpse saves: soft attention over the whole frame, every frame.

The same stem, LSTM, box update and losses as ``hart.model.Hart``, but nothing is cropped: each cell of
the full-resolution feature map is weighted by how well it answers the object's query (soft attention,
Xu et al. 2015, with scaled dot products), and what is left is averaged. Its cost grows with the frame.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from common import boxes as box_ops
from hart.config import HartConfig
from hart.matching import cell_coverage
from hart.model import make_stem, stack_steps
from hart.motion import MOVES, POSE, advance_box, pose, start_moves
from hart.state import Step


class SoftState(NamedTuple):
    """What crosses time; fields as in ``hart.model.State``, ``query (B, N, K)`` is the template."""

    box: Tensor
    window: Tensor
    expected: Tensor
    velocity: Tensor
    hidden: Tensor
    memory: Tensor
    query: Tensor


class SoftHart(nn.Module):
    """Tracks with a soft attention map over the whole frame (preset ``hart-soft``)."""

    SPREAD = 5  # numbers that describe the attention map

    def __init__(self, config: HartConfig) -> None:
        super().__init__()
        self.config = config
        channels, width = config.stem[-1], config.features
        self.stem = make_stem(config.stem)
        self.key = nn.Conv2d(channels, config.keys, 1)
        self.sharpness = nn.Parameter(torch.tensor(2.3))
        self.ask = nn.Linear(width, config.keys)
        nn.init.zeros_(self.ask.weight)
        nn.init.zeros_(self.ask.bias)
        told = POSE + self.SPREAD
        self.describe = nn.Linear(channels, width)
        self.recur = nn.LSTMCell(width + told, width)
        self.start = nn.Linear(channels, 2 * width)
        self.head = nn.Sequential(nn.Linear(2 * width + told, width), nn.SiLU())
        self.move = nn.Linear(width, MOVES)
        start_moves(self.move, self.recur)

    def init(self, frame: Tensor, boxes: Tensor) -> tuple[SoftState, Step]:
        """Remember what is in ``boxes (B, N, 4)`` of ``frame (B, 3, H, W)``; see ``Hart.init``."""
        features, keys = self._encode(frame)
        window = self._whole(boxes, frame)
        inside = cell_coverage(boxes, window, tuple(features.shape[-2:])).flatten(2)  # (B, N, S)
        inside = inside / inside.sum(2, keepdim=True).clamp_min(1e-4)
        query = functional.normalize(inside @ keys.transpose(1, 2), dim=2, eps=1e-4)
        pooled = inside @ features.flatten(2).transpose(1, 2)
        hidden, memory = torch.tanh(self.start(pooled)).chunk(2, 2)
        centre = box_ops.to_centre(boxes)[..., :2]
        state = SoftState(boxes, window, centre, torch.zeros_like(centre), hidden, memory, query)
        mask = boxes.new_zeros(*boxes.shape[:2], *features.shape[-2:])
        return state, Step(boxes, window, mask, self._shown(frame, boxes), {})

    def step(self, frame: Tensor, state: SoftState) -> tuple[SoftState, Step]:
        """Follow all objects into the next ``frame (B, 3, H, W)``; the frame is encoded once."""
        features, keys = self._encode(frame)
        shape, (rows, columns) = state.box.shape[:2], features.shape[-2:]
        query = functional.normalize(state.query + self.ask(state.hidden), dim=2, eps=1e-4)
        logits = (query @ keys) * self.sharpness.exp()  # (B, N, S)
        attention = logits.softmax(2)
        seen = functional.silu(self.describe(attention @ features.flatten(2).transpose(1, 2)))
        place, spread = self._moments(attention.unflatten(2, (rows, columns)), frame)
        flat = SoftState(*(x.flatten(0, 1) for x in state))
        place, spread, peak = (
            x.flatten(0, 1) for x in (place, spread, attention.amax(2, keepdim=True))
        )
        scale = flat.box[:, 2:].mean(1, keepdim=True)
        told = torch.cat(((place - flat.expected) / scale / 4, (spread / scale).log1p(), peak), 1)
        seen = torch.cat((seen.flatten(0, 1), told.clamp(-8, 8), pose(flat, frame)), 1)
        hidden, memory = self.recur(seen, (flat.hidden, flat.memory))
        moves = self.move(self.head(torch.cat((hidden, seen), 1)))
        advanced = advance_box(flat, place, torch.zeros_like(scale), moves, frame)
        box, expected, velocity, hidden, memory = (
            x.unflatten(0, shape) for x in (*advanced, hidden, memory)
        )
        following = state._replace(
            box=box, expected=expected, velocity=velocity, hidden=hidden, memory=memory
        )
        mask = logits.unflatten(2, (rows, columns))
        return following, Step(box, state.window, mask, self._shown(frame, box), {})

    def forward(self, frames: Tensor, boxes: Tensor) -> Step:
        """Track through ``frames (T, B, 3, H, W)``; a ``Step`` whose tensors lead with ``(T, B, N)``."""
        return stack_steps(self, frames, boxes)

    def _encode(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(B, C, h, w)`` of whole frames, and unit keys ``(B, K, S)``."""
        features = self.stem(frame.float() * (4 / 255) - 2)
        return features, functional.normalize(self.key(features).flatten(2), dim=1, eps=1e-4)

    def _moments(self, attention: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of ``attention (B, N, h, w)`` in pixels, ``(B, N, 2)`` each."""
        along = []
        for shares, extent in (
            (attention.sum(2), frame.shape[-1]),
            (attention.sum(3), frame.shape[-2]),
        ):
            cells = shares.shape[-1]
            at = (
                (torch.arange(cells, device=shares.device, dtype=shares.dtype) + 0.5)
                * extent
                / cells
            )
            mean = shares @ at
            along.append(
                (mean, ((shares * (at - mean.unsqueeze(-1)).square()).sum(-1) + 1e-6).sqrt())
            )
        (x, spread_x), (y, spread_y) = along
        return torch.stack((x, y), -1), torch.stack((spread_x, spread_y), -1)

    @staticmethod
    def _whole(boxes: Tensor, frame: Tensor) -> Tensor:
        return boxes.new_tensor((0, 0, frame.shape[-1], frame.shape[-2])).expand_as(boxes)

    @staticmethod
    def _shown(frame: Tensor, boxes: Tensor) -> Tensor:
        """No glimpse: ``(B, N, 3, 0, 0)``."""
        return boxes.new_zeros(*boxes.shape[:2], frame.shape[1], 0, 0)
