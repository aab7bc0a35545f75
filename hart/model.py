"""HART as this project runs it: small, quick, and correct where the published one is not.

The loop is HART's (sec. 3): look through a window, pick the object out of the glimpse by its
appearance, update an LSTM, say the box and where to look next. The differences are named in the README.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from common import boxes as box_ops
from common.glimpse import extract
from hart.appearance import DynamicFilter
from hart.config import HartConfig
from hart.matching import SCALE_STEP, SCALES, Matcher, Template, cell_coverage
from hart.motion import MOVES, POSE, advance_box, pose, start_moves, surround
from hart.state import Step

MOVING = ("box", "window", "expected", "velocity", "hidden", "memory")  # what changes in a state
FIT = 32  # numbers that the response is compressed to


class State(NamedTuple):
    """What crosses time, for ``N`` objects in each of ``B`` videos; every field leads with ``(B, N)``.

    Attributes:
        box: ``(B, N, 4)`` xywh pixels, the last box.
        window: ``(B, N, 4)`` xywh pixels, where to look in the next frame.
        expected: ``(B, N, 2)`` pixels, where the centre is expected in the next frame.
        velocity: ``(B, N, 2)`` filtered motion of the centre, in mean box sides a frame.
        hidden, memory: ``(B, N, F)`` of the LSTM.
        keys, weight, reading: the template's, see ``hart.matching.Template``.
        anchor: ``(B, N, 2)`` where the template's centre was in its window, 0..1.
    """

    box: Tensor
    window: Tensor
    expected: Tensor
    velocity: Tensor
    hidden: Tensor
    memory: Tensor
    keys: Tensor
    weight: Tensor
    reading: Tensor
    anchor: Tensor


class Reading(NamedTuple):
    """What is found in a glimpse, for ``R`` objects.

    Attributes:
        features: ``(R, F)`` description of the glimpse, the object picked out.
        mask: ``(R, s, s)`` logits of where the object is.
        response: ``(R, Z, D, D)`` logits of the template's scale and displacement, cells.
        place: ``(R, 2)`` pixels, where the template's centre is found.
        growth: ``(R, 1)`` change of log size since the last box, by the template.
        fit: ``(R, 37)`` the response, compressed, for the LSTM; ``(R, 0)`` without appearance.
    """

    features: Tensor
    mask: Tensor
    response: Tensor
    place: Tensor
    growth: Tensor
    fit: Tensor


class Hart(nn.Module):
    """The default tracker (preset ``hart``) and, by its configuration, its ablations."""

    def __init__(self, config: HartConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.stem[-1]
        self.side = config.glimpse // 4
        self.stem = make_stem(config.stem)
        width, scalars, maps = config.features, POSE, config.ventral
        self.ventral = nn.Conv2d(channels, config.ventral, 1)
        if config.appearance:
            self.matcher = Matcher(channels, self.side, config.keys, config.reach)
            joint = config.dynamic + Matcher.READINGS
            self.pointwise = DynamicFilter(channels, config.dynamic, 1, width)
            self.spatial = DynamicFilter(joint, config.dynamic, 3, width)
            self.mask = nn.Conv2d(config.dynamic, 1, 1)
            self.fit = nn.Linear(len(SCALES) * (2 * config.reach + 1) ** 2, FIT)
            self.certainty = nn.Linear(width, 1)
            nn.init.constant_(self.certainty.bias, -3.0)
            scalars += FIT + 5
            maps += Matcher.READINGS + 1
        self.describe = nn.Linear(maps * self.side**2, width)
        self.recur = nn.LSTMCell(width + scalars, width)
        self.start = nn.Linear(channels, 2 * width)
        self.head = nn.Sequential(nn.Linear(2 * width + scalars, width), nn.SiLU())
        self.move = nn.Linear(width, MOVES)
        start_moves(self.move, self.recur)

    def init(self, frame: Tensor, boxes: Tensor) -> tuple[State, Step]:
        """Look at the given boxes.

        Args:
            frame: ``(B, 3, H, W)`` uint8, or float in 0..255.
            boxes: ``(B, N, 4)`` xywh pixels, sides positive.

        Returns:
            The state before the second frame, and the first frame's ``Step`` (the boxes as given).
        """
        shape = boxes.shape[:2]
        centre = box_ops.to_centre(boxes)[..., :2]
        window = self._window(boxes, centre, frame)
        glimpse = self._glimpse(frame, window)
        features = self._encode(glimpse)
        template = self._template(features, boxes.flatten(0, 1), window.flatten(0, 1))
        seen = template.weight[:, len(SCALES) // 2].unsqueeze(1)
        pooled = (features.flatten(2) * seen).sum(2)
        hidden, memory = torch.tanh(self.start(pooled)).chunk(2, 1)
        hidden, memory, *template = (x.unflatten(0, shape) for x in (hidden, memory, *template))
        anchor = (centre - window[..., :2]) / window[..., 2:]
        carried = (boxes, window, centre, torch.zeros_like(centre), hidden, memory)
        state = State(*carried, *template, anchor)
        side, reach = self.side, 2 * self.config.reach + 1
        extras = self._extras(boxes.new_zeros(*shape, len(SCALES), reach, reach))
        return state, Step(boxes, window, boxes.new_zeros(*shape, side, side), glimpse, extras)

    def step(self, frame: Tensor, state: State) -> tuple[State, Step]:
        """Follow all objects into the next ``frame (B, 3, H, W)``."""
        shape = state.box.shape[:2]
        glimpse = self._glimpse(frame, state.window)
        flat = State(*(x.flatten(0, 1) for x in state))
        features = self._encode(glimpse)
        found = self._read(features, flat)
        seen = torch.cat((found.features, found.fit, pose(flat, frame)), 1)
        hidden, memory = self.recur(seen, (flat.hidden, flat.memory))
        moves = self.move(self.head(torch.cat((hidden, seen), 1)))
        advanced = advance_box(flat, found.place, found.growth, moves, frame)
        box, expected, velocity, hidden, memory = (
            x.unflatten(0, shape) for x in (*advanced, hidden, memory)
        )
        window = self._window(box, expected, frame)
        carried = (box, window, expected, velocity, hidden, memory)
        following = State(*carried, *state[len(carried) :])
        extras = self._extras(found.response.unflatten(0, shape))
        step = Step(box, state.window, found.mask.unflatten(0, shape), glimpse, extras)
        return following, step

    def forward(self, frames: Tensor, boxes: Tensor) -> Step:
        """Track through ``frames (T, B, 3, H, W)`` from ``boxes (B, N, 4)`` in the first.

        Returns:
            A ``Step`` whose tensors lead with ``(T, B, N)``.
        """
        return stack_steps(self, frames, boxes)

    def _window(self, box: Tensor, expected: Tensor, frame: Tensor) -> Tensor:
        """Where to look, ``(B, N, 4)``: around the expected centre, or the whole frame."""
        if self.config.look == "frame":
            return box.new_tensor((0, 0, frame.shape[-1], frame.shape[-2])).expand_as(box)
        moved = torch.cat((expected - box[..., 2:] / 2, box[..., 2:]), -1)
        return surround(moved, self.config.context)

    def _glimpse(self, frame: Tensor, window: Tensor) -> Tensor:
        """``(B, N, 3, g, g)`` in 0..1."""
        return extract(frame, window, self.config.glimpse) / 255

    def _extras(self, response: Tensor) -> dict[str, Tensor]:
        return {"response": response} if self.config.appearance else {}

    def _encode(self, glimpse: Tensor) -> Tensor:
        """Features ``(R, C, s, s)`` of glimpses ``(B, N, 3, g, g)``."""
        return self.stem(glimpse.flatten(0, 1) * 4 - 2)

    def _template(self, features: Tensor, box: Tensor, window: Tensor) -> Template:
        if self.config.appearance:
            return self.matcher.template(features, box, window)
        inside = cell_coverage(box, window, (self.side, self.side)).flatten(1)
        weight = inside / inside.sum(1, keepdim=True).clamp_min(1e-4)
        rows, cells = weight.shape
        weight = weight.unsqueeze(1).expand(-1, len(SCALES), -1)
        return Template(box.new_zeros(rows, 0), weight, box.new_zeros(rows, 0))

    def _read(self, features: Tensor, state: State) -> Reading:
        """Pick the object out of the glimpse (HART sec. 3.2): ventral maps, mask, template."""
        what = functional.silu(self.ventral(features))
        if not self.config.appearance:
            return self._read_plainly(what, state)
        template = Template(state.keys, state.weight, state.reading)
        shown, response = self.matcher.compare(features, template)
        response = response - self._surprise(state).unsqueeze(1)
        picked, _ = self.pointwise(features, state.hidden)
        picked, _ = self.spatial(torch.cat((picked, shown), 1), state.hidden)
        mask = self.mask(picked)
        gate = torch.sigmoid(mask)
        seen = functional.silu(self.describe(torch.cat((what * gate, shown, gate), 1).flatten(1)))
        offset, growth, fit = self._locate(response)
        place = state.window[:, :2] + state.window[:, 2:] * (state.anchor + offset)
        return Reading(seen, mask.squeeze(1), response, place, growth, fit)

    def _read_plainly(self, what: Tensor, state: State) -> Reading:
        """Without appearance attention there are ventral maps only, and no place but the expected."""
        rows = len(what)
        seen = functional.silu(self.describe(what.flatten(1)))
        mask = what.new_zeros(rows, self.side, self.side)
        return Reading(
            seen, mask, what.new_zeros(rows, 0), state.expected, what.new_zeros(rows, 1), what.new_zeros(rows, 0)
        )  # fmt: skip

    def _surprise(self, state: State) -> Tensor:
        """``(R, D, D)``: what a displacement costs for being unexpected, a Gaussian set by the LSTM."""
        reach = self.config.reach
        expected = (state.expected - state.window[:, :2]) / state.window[:, 2:] - state.anchor
        apart = torch.arange(-reach, reach + 1, dtype=expected.dtype, device=expected.device)
        squares = (apart - expected.unsqueeze(2) * self.side).square()  # (R, 2, D)
        precision = functional.softplus(self.certainty(state.hidden)).unsqueeze(2)
        return precision * (squares[:, 1, :, None] + squares[:, 0, None, :])

    def _locate(self, response: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Expected displacement in window sides ``(R, 2)``, change of log size ``(R, 1)``, and the fit."""
        reach = self.config.reach
        shares = response.flatten(1).softmax(1)
        cube = shares.unflatten(1, response.shape[1:])  # (R, Z, D, D)
        cells = torch.arange(-reach, reach + 1, dtype=shares.dtype, device=shares.device)
        along = torch.stack((cube.sum((1, 2)), cube.sum((1, 3))), 1)  # (R, 2, D): x, y
        offset = (along * cells).sum(2) / self.side
        scales = shares.new_tensor(SCALES) * SCALE_STEP
        growth = (cube.sum((2, 3)) * scales).sum(1, keepdim=True)
        best = response.flatten(1).amax(1, keepdim=True) * torch.exp(-self.matcher.contrast)
        fit = functional.silu(self.fit(shares * 10))
        told = (fit, offset * 4, growth * 4, best, shares.amax(1, keepdim=True))
        return offset, growth, torch.cat(told, 1)


def make_stem(channels: tuple[int, int, int]) -> nn.Sequential:
    """Three convolutions, stride 4 in all, normalised within each map (no batch statistics)."""
    first, second, third = channels
    return nn.Sequential(
        nn.Conv2d(3, first, 5, 2, 2),
        nn.GroupNorm(4, first),
        nn.SiLU(),
        nn.Conv2d(first, second, 3, 2, 1),
        nn.GroupNorm(8, second),
        nn.SiLU(),
        nn.Conv2d(second, third, 3, 1, 1),
        nn.GroupNorm(8, third),
        nn.SiLU(),
    )


def stack_steps(model: nn.Module, frames: Tensor, boxes: Tensor) -> Step:
    """Run ``model`` over ``frames (T, B, 3, H, W)`` from ``boxes (B, N, 4)``; fields lead with T.

    Gradients flow back through at most ``horizon`` frames of motion (truncated back-propagation
    through time): where to look next depends on what was seen, so over more frames they explode.
    """
    state, step = model.init(frames[0], boxes)
    steps = [step]
    for time, frame in enumerate(frames[1:], 1):
        if time % model.config.horizon == 0:
            state = state._replace(**{name: getattr(state, name).detach() for name in MOVING})
        state, step = model.step(frame, state)
        steps.append(step)
    extras = {name: torch.stack([s.extras[name] for s in steps]) for name in step.extras}
    return Step(
        *(torch.stack(field) for field in zip(*(s[:4] for s in steps), strict=True)), extras
    )
