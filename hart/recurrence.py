"""What the default tracker and its soft-attention baseline share: stem, LSTM, heads and loop."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hart.config import HartConfig
from hart.motion import MOVES, Motion, advance_box, initialise_motion
from hart.state import Step


class Update(NamedTuple):
    """The part of a state that every frame renews; fields as in ``hart.model.State``."""

    box: Tensor  # (B, N, 4) xywh pixels
    expected: Tensor  # (B, N, 2) pixels
    velocity: Tensor  # (B, N, 2) mean box sides per frame
    hidden: Tensor  # (B, N, F)
    memory: Tensor  # (B, N, F)


MOVING = (*Update._fields, "window")  # what changes in a state


class RecurrentTracker(nn.Module):
    """An LSTM that moves boxes by what a subclass observes (HART sec. 3.3).

    A subclass has ``init(frame, boxes) -> (state, Step)`` and ``step(frame, state) -> (state,
    Step)``; its state is a ``NamedTuple`` with the fields of ``Update`` at least.

    Args:
        config: the model's settings.
    """

    def __init__(self, config: HartConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = make_stem(config.stem)

    def forward(self, frames: Tensor, boxes: Tensor) -> Step:
        """Track through ``frames (T, B, 3, H, W)`` from ``boxes (B, N, 4)`` in the first.

        Gradients flow back through at most ``horizon`` frames of motion (truncated back-propagation
        through time): where to look next depends on what was seen, so over more frames they
        explode. To the first frame's template they always flow.

        Returns:
            A ``Step`` whose tensors lead with ``(T, B, N)``.
        """
        state, step = self.init(frames[0], boxes)
        steps = [step]
        for time, frame in enumerate(frames[1:], 1):
            if time % self.config.horizon == 0:
                state = state._replace(**{n: getattr(state, n).detach() for n in MOVING})
            state, step = self.step(frame, state)
            steps.append(step)
        extras = {name: torch.stack([s.extras[name] for s in steps]) for name in step.extras}
        fields = zip(*(s[:4] for s in steps), strict=True)
        return Step(*(torch.stack(field) for field in fields), extras)

    def _make_recurrence(self, described: int, scalars: int) -> None:
        """Add the layers after the observation.

        Args:
            described: numbers per object that ``describe`` makes the LSTM's input of.
            scalars: numbers per object that reach LSTM and motion head beside it.
        """
        channels, width = self.config.stem[-1], self.config.features
        self.describe = nn.Linear(described, width)
        self.recur = nn.LSTMCell(width + scalars, width)
        self.start = nn.Linear(channels, 2 * width)  # the LSTM's first state
        self.head = nn.Sequential(nn.Linear(2 * width + scalars, width), nn.SiLU())
        self.move = nn.Linear(width, MOVES)
        initialise_motion(self.move, self.recur)

    def _update(self, flat: Any, observed: Tensor, found: tuple, frame: Tensor) -> Update:
        """One step of the LSTM and of the boxes.

        Args:
            flat: the state of ``R = B N`` objects, from ``flatten_objects``.
            observed: ``(R, F + scalars)``.
            found: position ``(R, 2)`` and growth ``(R, 1)``, see ``hart.motion.advance_box``.
            frame: ``(B, 3, H, W)``.
        """
        hidden, memory = self.recur(observed, (flat.hidden, flat.memory))
        moves = self.move(self.head(torch.cat((hidden, observed), 1)))
        motion = advance_box(motion_of(flat), *found, moves, frame)
        shape = (len(frame), len(moves) // len(frame))  # (B, N)
        return Update(*(x.unflatten(0, shape) for x in (*motion, hidden, memory)))


def flatten_objects(state: Any) -> Any:
    """A state whose tensors lead with ``(B, N)`` as one whose tensors lead with ``(B N,)``."""
    return type(state)(*(field.flatten(0, 1) for field in state))


def motion_of(state: Any) -> Motion:
    """The motion in a state."""
    return Motion(state.box, state.expected, state.velocity)


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
