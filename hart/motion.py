"""How a box moves: an alpha-beta filter whose gains the LSTM sets."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from common import boxes as box_ops

MIN_SIDE = 2.0  # pixels, no box gets smaller
MAX_SIDE = 2.0  # no box side gets longer than this many frame sides
MAX_SPEED = 4.0  # mean box sides per frame
MOVES = 10  # outputs of the motion head, see ``advance_box``
POSE = 7  # numbers that describe a box and its motion, see ``pose``
# Bounds of the LSTM's own corrections: centre and lead in mean box sides, size in log units.
MAX_CORRECTION, MAX_GROWTH, MAX_LEAD = 0.4, 0.05, 0.3


class Motion(NamedTuple):
    """Where objects are and where they go; leading dimensions ``...``, ``(R,)`` inside a model.

    Attributes:
        box: ``(..., 4)`` xywh pixels.
        expected: ``(..., 2)`` pixels, where the centre is expected in the next frame.
        velocity: ``(..., 2)`` filtered motion of the centre, mean box sides per frame.
    """

    box: Tensor
    expected: Tensor
    velocity: Tensor


def surround(box: Tensor, context: float) -> Tensor:
    """The window around ``box (..., 4)``: each side longer by ``context`` mean box sides."""
    centred = box_ops.to_centre(box)
    margin = context * centred[..., 2:].mean(-1, keepdim=True)
    return box_ops.from_centre(torch.cat((centred[..., :2], centred[..., 2:] + margin), -1))


def frame_sides(frame: Tensor, like: Tensor) -> Tensor:
    """``(2,)`` width and height of ``frame (..., H, W)`` in pixels, of the type of ``like``.

    Filled on the device: a tensor made of Python numbers would be copied there, and waited for.
    """
    return torch.cat([like.new_full((1,), frame.shape[axis]) for axis in (-1, -2)])


def whole_frame(frame: Tensor, like: Tensor) -> Tensor:
    """The window that shows the whole of ``frame (..., H, W)``, for each box of ``like``."""
    return torch.cat((like.new_zeros(2), frame_sides(frame, like))).expand_as(like)


def initialise_motion(move: nn.Linear, recur: nn.LSTMCell) -> None:
    """Begin as a tracker that follows what it finds, keeps the box's size, and remembers."""
    nn.init.normal_(move.weight, std=1e-2)
    nn.init.zeros_(move.bias)
    with torch.no_grad():
        move.bias[0] = move.bias[9] = 1.0  # gains of position and size: believe what is seen
        move.bias[5] = 2.0  # the velocity carries on
        move.bias[6] = -0.5  # and averages over a few frames
        recur.bias_ih.view(4, -1)[1].fill_(1.0)  # the LSTM's forget gate
        recur.bias_hh.zero_()


def pose(last: Motion, frame: Tensor) -> Tensor:
    """The last box and its motion for the LSTM, in units that do not depend on the scale.

    Args:
        last: of ``R`` objects.
        frame: ``(..., H, W)``, only its size counts.

    Returns:
        ``(R, 7)``: velocity (2) and expected displacement of the centre (2) in mean box sides; log
        size relative to the frame's, halved, plus 1; log of height over width; the centre's x from
        -1 at the frame's left to 1 at its right.
    """
    sides = frame_sides(frame, last.box)
    centred = box_ops.to_centre(last.box)
    log_size = centred[:, 2:].clamp_min(MIN_SIDE).log()
    relative = (log_size - sides.log()).mean(1, keepdim=True) / 2 + 1
    aspect = log_size[:, 1:] - log_size[:, :1]
    ahead = (last.expected - centred[:, :2]) / _mean_side(last.box)
    across = centred[:, :1] / sides[0] * 2 - 1
    return torch.cat((last.velocity, ahead, relative, aspect, across), 1)


def advance_box(
    last: Motion, position: Tensor, growth: Tensor, moves: Tensor, frame: Tensor
) -> Motion:
    """The boxes of this frame, and where to expect them in the next.

    An alpha-beta filter whose gains the LSTM sets. The centre is taken between where it was
    expected and where the object was found; the velocity follows at its own gain, and carries the
    expectation ahead; the size follows the growth that was found likewise. The LSTM's own
    corrections are small. All moves are relative to the box's size, so nothing depends on the scale
    (HART's own are fractions of the frame, sec. 3.3).

    Args:
        last: of ``R`` objects, in the frame before.
        position: ``(R, 2)`` pixels, where the object's centre was found.
        growth: ``(R, 1)`` change of log size that was found.
        moves: ``(R, 10)``, raw outputs of the motion head: position gain (alpha), correction of the
            centre (2), of the log size (2), share of the velocity that carries on, velocity gain
            (beta), lead of the expectation (2), size gain.
        frame: ``(..., H, W)``, only its size counts.

    Returns:
        The motion of the ``R`` objects: centres stay within a frame's size of the frame, sides
        between 2 pixels and twice the frame's.
    """
    # Under autocast what the layers give is half precision, too coarse for where things are.
    position, growth, moves = (x.to(last.box.dtype) for x in (position, growth, moves))
    sides = frame_sides(frame, position)
    alpha, shift, resize, carry, beta, lead, follow = moves.split((1, 2, 2, 1, 1, 2, 1), 1)
    gains = torch.sigmoid(torch.cat((alpha, carry, beta, follow), 1))
    alpha, carry, beta, follow = gains.split(1, 1)
    shift, resize, lead = torch.tanh(torch.cat((shift, resize, lead), 1)).split(2, 1)
    centre = torch.lerp(last.expected, position, alpha)
    centre = centre + MAX_CORRECTION * shift * _mean_side(last.box)
    centre = torch.maximum(torch.minimum(centre, 2 * sides), -sides)
    size = last.box[:, 2:] * torch.exp(follow * growth + MAX_GROWTH * resize)
    size = torch.minimum(size.clamp_min(MIN_SIDE), MAX_SIDE * sides)
    box = box_ops.from_centre(torch.cat((centre, size), 1))
    scale = _mean_side(box)
    moved = (centre - box_ops.to_centre(last.box)[:, :2]) / scale
    velocity = torch.lerp(last.velocity, moved.clamp(-MAX_SPEED, MAX_SPEED), beta)
    expected = centre + scale * (carry * velocity + MAX_LEAD * lead)
    return Motion(box, expected, velocity)


def _mean_side(box: Tensor) -> Tensor:
    """``(..., 1)`` mean of a box's sides, pixels."""
    return box[..., 2:].mean(-1, keepdim=True)
