"""How a box moves: what the LSTM says, made into centre, size, velocity and expectation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from common import boxes as box_ops

SMALLEST = 2.0  # px, no box gets smaller
LARGEST = 2.0  # no box side gets larger than this many frames
MOVES = 10  # numbers that move a box, see ``advance_box``
CORRECTION, CHANGE, LEAD = 0.4, 0.1, 0.3  # bounds: centre and lead in mean sides, log size
POSE = 7  # numbers that describe a box, see ``pose``


def surround(box: Tensor, context: float) -> Tensor:
    """The window around ``box (..., 4)``: each side longer by ``context`` mean sides."""
    centred = box_ops.to_centre(box)
    margin = context * centred[..., 2:].mean(-1, keepdim=True)
    return box_ops.from_centre(torch.cat((centred[..., :2], centred[..., 2:] + margin), -1))


def start_moves(move: nn.Linear, recur: nn.LSTMCell) -> None:
    """Begin as a tracker that follows what it finds, keeps the box's size, and remembers."""
    nn.init.normal_(move.weight, std=1e-2)
    nn.init.zeros_(move.bias)
    with torch.no_grad():
        move.bias[(0, 9),] = 1.0  # believe what is seen
        move.bias[5:7] = torch.tensor(
            (2.0, -0.5)
        )  # go on as before, at a velocity averaged over time
        recur.bias_ih.view(4, -1)[1].fill_(1.0)
        recur.bias_hh.zero_()


def pose(state: Any, frame: Tensor) -> Tensor:
    """The last box and motion for the LSTM, ``(R, 7)``, in units that do not depend on the scale."""
    frame_size = state.box.new_tensor((frame.shape[-1], frame.shape[-2]))
    extent = box_ops.to_centre(state.box)
    size = extent[:, 2:].clamp_min(SMALLEST).log()
    relative = (size - frame_size.log()).mean(1, keepdim=True) / 2 + 1
    shape = size[:, 1:] - size[:, :1]
    led = (state.expected - extent[:, :2]) / _mean_side(state.box)
    across = extent[:, :1] / frame_size[0] * 2 - 1
    return torch.cat((state.velocity, led, relative, shape, across), 1)


def advance_box(
    state: Any, place: Tensor, growth: Tensor, moves: Tensor, frame: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The box of this frame and where to expect it in the next.

    An alpha-beta filter whose gains the LSTM sets: the centre is where the object was found, as far
    as that is believed, else where it was expected; the velocity follows at its own gain, and leads
    the expectation; the size follows what the template says of it likewise. The LSTM's own
    corrections are small, and all moves relative to the box's size, so nothing depends on the scale
    (HART's own are fractions of the frame).

    Args:
        state: ``box``, ``expected`` and ``velocity`` of ``R`` objects.
        place: ``(R, 2)`` pixels, where the object's centre was found.
        growth: ``(R, 1)`` change of log size that was found.
        moves: ``(R, 10)`` from the LSTM: belief, correction (2), growth (2), momentum, gain, lead (2),
            belief in the size.

    Returns:
        ``(R, 4)`` box, xywh; ``(R, 2)`` expected centre, pixels; ``(R, 2)`` velocity, mean sides a frame.
    """
    bound = place.new_tensor((frame.shape[-1], frame.shape[-2]))
    believe, momentum, gain, resize = torch.sigmoid(moves[:, (0, 5, 6, 9)]).split(1, 1)
    correction, change, lead = torch.tanh(moves[:, (1, 2, 3, 4, 7, 8)]).split(2, 1)
    centre = torch.lerp(state.expected, place, believe)
    centre = centre + CORRECTION * correction * _mean_side(state.box)
    centre = torch.maximum(torch.minimum(centre, 2 * bound), -bound)
    size = state.box[:, 2:] * torch.exp(resize * growth + CHANGE * change)
    size = torch.minimum(size.clamp_min(SMALLEST), LARGEST * bound)
    box = box_ops.from_centre(torch.cat((centre, size), 1))
    scale = _mean_side(box)
    moved = ((centre - box_ops.to_centre(state.box)[:, :2]) / scale).clamp(-4, 4)
    velocity = torch.lerp(state.velocity, moved, gain)
    expected = centre + scale * (momentum * velocity + LEAD * lead)
    return box, expected, velocity


def _mean_side(box: Tensor) -> Tensor:
    """``(..., 1)`` mean of a box's sides, pixels."""
    return box[..., 2:].mean(-1, keepdim=True)
