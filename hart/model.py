"""HART as this project runs it: small, quick, and correct where the published one is not.

The loop is HART's (Kosiorek et al. 2017, sec. 3): look through a window, pick the object out of the
glimpse by its appearance, update an LSTM, say the box and where to look next. The differences are
named in the README.
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
from hart.matching import SCALE_STEP, SCALES, Matcher, Template, cell_coverage, covered_weight
from hart.motion import POSE, pose, surround, whole_frame
from hart.recurrence import RecurrentTracker, flatten_objects, motion_of
from hart.state import Step

RESPONSE_CODE = 32  # numbers that the response is compressed to
RESPONSE_SUMMARY = RESPONSE_CODE + 5  # with those of ``Hart._locate``
# How far the template is from where motion expected it, variance in mean box sides squared per
# axis: at first, least, and the share that a frame's own error has.
FIRST_ERROR, LEAST_ERROR, ERROR_SHARE = 0.04, 4e-4, 0.15
OUTLIER = 9.0  # an error counts at most as so many variances: a stranger in front is no news


class State(NamedTuple):
    """What crosses time, for ``N`` objects in each of ``B`` videos: fields lead with ``(B, N)``.

    Attributes:
        box: ``(B, N, 4)`` xywh pixels, the last box.
        window: ``(B, N, 4)`` xywh pixels, where to look in the next frame.
        expected: ``(B, N, 2)`` pixels, where the centre is expected in the next frame.
        velocity: ``(B, N, 2)`` filtered motion of the centre, mean box sides per frame.
        hidden, memory: ``(B, N, F)`` of the LSTM.
        keys, weight, values: of the first glimpse, see ``hart.matching.Template``; keys and values
            are empty without appearance attention.
        anchor: ``(B, N, 2)`` where the box's centre was in the first window, shares of its sides.
        given: ``(B, N, 1)`` log size (root of the area) of the given box, pixels.
        error: ``(B, N, 1)`` running variance of where the template alone puts the centre about
            where it was expected, mean box sides squared; no gradient.
    """

    box: Tensor
    window: Tensor
    expected: Tensor
    velocity: Tensor
    hidden: Tensor
    memory: Tensor
    keys: Tensor
    weight: Tensor
    values: Tensor
    anchor: Tensor
    given: Tensor
    error: Tensor


class Observation(NamedTuple):
    """What is found in the glimpses of ``R`` objects (``s`` cells a side).

    Without appearance attention the mask is zero, ``response`` and ``summary`` are ``(R, 0)``, and
    the object is where and as large as it was expected.

    Attributes:
        features: ``(R, F)`` description of the glimpse, the object picked out.
        mask: ``(R, s, s)`` logits of where the object is.
        response: ``(R, Z, D, D)`` logits of the template's scale and displacement, in cells.
        position: ``(R, 2)`` pixels, where the object's centre is found.
        growth: ``(R, 1)`` log of the object's size over the last box's.
        summary: ``(R, 37)`` of the response, for the LSTM; one more if ``steady``.
        error: ``(R, 1)`` the state's, renewed.
    """

    features: Tensor
    mask: Tensor
    response: Tensor
    position: Tensor
    growth: Tensor
    summary: Tensor
    error: Tensor


class Hart(RecurrentTracker):
    """The default tracker (preset ``hart``) and, by its configuration, its ablations."""

    def __init__(self, config: HartConfig) -> None:
        super().__init__(config)
        channels, width = config.stem[-1], config.features
        scalars, maps = POSE, config.ventral
        self.side = config.glimpse // 4  # cells, after the stem's stride
        self.ventral = nn.Conv2d(channels, config.ventral, 1)
        if config.appearance:
            self.matcher = Matcher(channels, self.side, config.keys, config.reach)
            joint = config.dynamic + Matcher.VALUES
            self.pointwise = DynamicFilter(channels, config.dynamic, 1, width)
            self.spatial = DynamicFilter(joint, config.dynamic, 3, width)
            self.mask = nn.Conv2d(config.dynamic, 1, 1)
            self.fit = nn.Linear(len(SCALES) * (2 * config.reach + 1) ** 2, RESPONSE_CODE)
            self.certainty = nn.Linear(width, 1)
            nn.init.constant_(self.certainty.bias, -3.0)
            scalars += RESPONSE_SUMMARY
            if config.steady:
                self.narrowing = nn.Parameter(torch.tensor(0.0))  # log, of motion's share
                scalars += 1
            maps += Matcher.VALUES + 1
        self._make_recurrence(maps * self.side**2, scalars)

    def init(self, frame: Tensor, boxes: Tensor) -> tuple[State, Step]:
        """Look at the given boxes.

        Args:
            frame: ``(B, 3, H, W)`` uint8, or float in 0..255.
            boxes: ``(B, N, 4)`` xywh pixels, sides positive.

        Returns:
            The state before the second frame, and the first frame's ``Step``: the boxes as given,
            a mask of zeros.
        """
        shape = boxes.shape[:2]
        centre = box_ops.to_centre(boxes)[..., :2]
        window = self._window(boxes, centre, frame)
        glimpse = self._glimpse(frame, window)
        features = self._encode(glimpse)
        template = self._template(features, boxes.flatten(0, 1), window.flatten(0, 1))
        weight = template.weight[:, len(SCALES) // 2].unsqueeze(1)  # (R, 1, S)
        pooled = (features.flatten(2) * weight).sum(2)
        hidden, memory = torch.tanh(self.start(pooled)).chunk(2, 1)
        hidden, memory, *template = (x.unflatten(0, shape) for x in (hidden, memory, *template))
        anchor = (centre - window[..., :2]) / window[..., 2:]
        still = torch.zeros_like(centre)
        given = _log_size(boxes)
        error = torch.full_like(given, FIRST_ERROR)
        state = State(boxes, window, centre, still, hidden, memory, *template, anchor, given, error)
        mask = boxes.new_zeros(*shape, self.side, self.side)
        width = 2 * self.config.reach + 1
        extras = self._extras(boxes.new_zeros(*shape, len(SCALES), width, width))
        return state, Step(boxes, window, mask, glimpse, extras)

    def step(self, frame: Tensor, state: State) -> tuple[State, Step]:
        """Follow all objects into the next frame.

        Args:
            frame: ``(B, 3, H, W)`` uint8, or float in 0..255.
            state: after the frame before.

        Returns:
            The state after this frame, and this frame's ``Step``.
        """
        glimpse = self._glimpse(frame, state.window)
        flat = flatten_objects(state)
        seen = self._observe(self._encode(glimpse), flat)
        observed = torch.cat((seen.features, seen.summary, pose(motion_of(flat), frame)), 1)
        update = self._update(flat, observed, (seen.position, seen.growth), frame)
        window = self._window(update.box, update.expected, frame)
        shape = state.box.shape[:2]
        extras = self._extras(seen.response.unflatten(0, shape))
        mask = seen.mask.unflatten(0, shape)
        error = seen.error.unflatten(0, shape)
        following = state._replace(window=window, error=error, **update._asdict())
        return following, Step(update.box, state.window, mask, glimpse, extras)

    def _window(self, box: Tensor, expected: Tensor, frame: Tensor) -> Tensor:
        """Where to look, ``(B, N, 4)``: around the expected centre, or the whole frame."""
        if self.config.look == "frame":
            return whole_frame(frame, box)
        moved = torch.cat((expected - box[..., 2:] / 2, box[..., 2:]), -1)
        return surround(moved, self.config.context)

    def _glimpse(self, frame: Tensor, window: Tensor) -> Tensor:
        """``(B, N, 3, g, g)`` in 0..1."""
        return extract(frame, window, self.config.glimpse) / 255

    def _extras(self, response: Tensor) -> dict[str, Tensor]:
        return {"response": response} if self.config.appearance else {}

    def _encode(self, glimpse: Tensor) -> Tensor:
        """Features ``(R, C, s, s)`` of glimpses ``(B, N, 3, g, g)``."""
        return self.stem(glimpse.flatten(0, 1) * 4 - 2)  # about unit variance

    def _template(self, features: Tensor, box: Tensor, window: Tensor) -> Template:
        """Of ``features (R, C, s, s)``; without appearance attention only where the box is."""
        if self.config.appearance:
            return self.matcher.template(features, box, window)
        weight = covered_weight(cell_coverage(box, window, (self.side, self.side)).flatten(1))
        weight = weight.unsqueeze(1).expand(-1, len(SCALES), -1)
        empty = box.new_zeros(len(box), 0)
        return Template(empty, weight, empty)

    def _observe(self, features: Tensor, state: State) -> Observation:
        """Pick the object out of ``features (R, C, s, s)`` (HART sec. 3.2): both streams."""
        ventral = functional.silu(self.ventral(features))
        if not self.config.appearance:
            return self._observe_ventral(ventral, state)
        template = Template(state.keys, state.weight, state.values)
        shown, response = self.matcher.compare(features, template)
        error = self._renewed_error(response, state) if self.config.steady else state.error
        response = response - self._motion_penalty(state).unsqueeze(1)
        dorsal, _ = self.pointwise(features, state.hidden)
        dorsal, _ = self.spatial(torch.cat((dorsal, shown), 1), state.hidden)
        mask = self.mask(dorsal)
        gate = torch.sigmoid(mask)
        maps = torch.cat((ventral * gate, shown, gate), 1)
        described = self._described(maps)
        offset, growth, summary = self._locate(response)
        position = state.window[:, :2] + state.window[:, 2:] * (state.anchor + offset)
        if self.config.look == "frame":  # this window does not grow with the box
            growth = growth + state.given - _log_size(state.box)
        if self.config.steady:
            summary = torch.cat((summary, (error / FIRST_ERROR).log() / 2), 1)
        return Observation(described, mask.squeeze(1), response, position, growth, summary, error)

    def _described(self, maps: Tensor) -> Tensor:
        """``(R, F)`` for the LSTM, of maps ``(R, M, s, s)``."""
        described = functional.silu(self.describe(maps.flatten(1)))
        return functional.dropout(described, self.config.dropout, self.training)

    def _observe_ventral(self, ventral: Tensor, state: State) -> Observation:
        """What the ventral maps ``(R, V, s, s)`` alone tell: nothing of where the object is."""
        described = self._described(ventral)
        rows = len(ventral)
        mask = ventral.new_zeros(rows, self.side, self.side)
        empty, still = ventral.new_zeros(rows, 0), ventral.new_zeros(rows, 1)
        return Observation(described, mask, empty, state.expected, still, empty, state.error)

    def _motion_penalty(self, state: State) -> Tensor:
        """``(R, D, D)`` taken from a displacement's logits for its distance from the expected.

        A Gaussian prior around the expected centre; the LSTM says how narrow, and if ``steady``
        also how well motion has foretold so far.
        """
        reach = self.config.reach
        expected = (state.expected - state.window[:, :2]) / state.window[:, 2:] - state.anchor
        cells = torch.arange(-reach, reach + 1, dtype=expected.dtype, device=expected.device)
        squares = (cells - expected.unsqueeze(2) * self.side).square()  # (R, 2, D): x, y
        precision = functional.softplus(self.certainty(state.hidden)).unsqueeze(2)
        if self.config.steady:
            sides = state.window[:, 2:] / state.box[:, 2:].mean(1, keepdim=True) / self.side
            cell = sides.square().unsqueeze(2)  # (R, 2, 1) mean box sides squared
            precision = precision + self.narrowing.exp() * cell / (state.error.unsqueeze(2) + cell)
        squares = precision * squares
        return squares[:, 1, :, None] + squares[:, 0, None, :]

    @torch.no_grad()
    def _renewed_error(self, response: Tensor, state: State) -> Tensor:
        """``(R, 1)``: the state's error and this frame's, by ``response (R, Z, D, D)`` alone."""
        plane = response.flatten(1).softmax(1).unflatten(1, response.shape[1:]).sum(1)
        reach = self.config.reach
        cells = torch.arange(-reach, reach + 1, dtype=plane.dtype, device=plane.device)
        offset = torch.stack(((plane.sum(1) * cells).sum(1), (plane.sum(2) * cells).sum(1)), 1)
        found = state.window[:, :2] + state.window[:, 2:] * (state.anchor + offset / self.side)
        apart = (found - state.expected) / state.box[:, 2:].mean(1, keepdim=True)
        square = torch.minimum(apart.square().mean(1, keepdim=True), OUTLIER * state.error)
        return torch.lerp(state.error, square, ERROR_SHARE).clamp_min(LEAST_ERROR)

    def _locate(self, response: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean scale and displacement under the softmax of ``response (R, Z, D, D)``.

        Returns:
            Displacement in window sides ``(R, 2)``, change of log size ``(R, 1)``, and the
            summary ``(R, 37)``: a code of all shares, the former two, the best fit, its share.
        """
        reach = self.config.reach
        shares = response.flatten(1).softmax(1)
        cube = shares.unflatten(1, response.shape[1:])  # (R, Z, D, D)
        cells = torch.arange(-reach, reach + 1, dtype=shares.dtype, device=shares.device)
        along = torch.stack((cube.sum((1, 2)), cube.sum((1, 3))), 1)  # (R, 2, D): x, y
        offset = (along * cells).sum(2) / self.side
        scales = torch.arange(SCALES[0], SCALES[-1] + 1, dtype=shares.dtype, device=shares.device)
        growth = (cube.sum((2, 3)) * (scales * SCALE_STEP)).sum(1, keepdim=True)
        best = response.flatten(1).amax(1, keepdim=True) * torch.exp(-self.matcher.contrast)
        code = functional.silu(self.fit(shares * 10))
        told = (code, offset * 4, growth * 4, best, shares.amax(1, keepdim=True))
        return offset, growth, torch.cat(told, 1)


def _log_size(box: Tensor) -> Tensor:
    """``(..., 1)`` log of the root of the area of ``box (..., 4)``."""
    return box[..., 2:].clamp_min(1).log().mean(-1, keepdim=True)
