"""Follow objects through a video, frame by frame: ``init``, ``update``, ``add``, ``drop``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common import boxes as box_ops
from hart.state import Step

MIN_MEAN_SIDE = 3.0  # pixels; a box with a smaller mean side is no object any more
MIN_INSIDE = 0.1  # an object with a smaller share of its box in the frame has left it


class Tracker:
    """A trained model and the objects it follows; all of a frame's objects are one batch.

    A lost object (its box left the frame, collapsed, or is no number) keeps its last good box and
    stays lost; ``drop`` it, and ``add`` it where it is seen again.

    Args:
        model: with ``init`` and ``step`` as ``hart.model.Hart``; every field of its state leads
            with ``(B, N)``.
        device: where to compute; boxes and steps are given on the CPU.

    Attributes:
        ids: of the ``N`` objects followed, in the order of every ``(N, ...)`` result.
    """

    def __init__(self, model: nn.Module, device: str | torch.device = "cpu") -> None:
        self.model = model.to(device).eval()
        self.device = torch.device(device)
        self.ids: list[int] = []
        self._state: Any = None
        self._frame: Tensor | None = None
        self._next = 0

    @property
    def boxes(self) -> Tensor:
        """``(N, 4)`` xywh pixels, the last good box of each object, in the order of ``ids``."""
        self._check_started()
        return self._boxes.clone()

    @property
    def lost(self) -> Tensor:
        """``(N,)`` bool: which objects are lost."""
        self._check_started()
        return self._lost.clone()

    @torch.inference_mode()
    def init(
        self, frame: np.ndarray | Tensor, boxes: Any, ids: Sequence[int] | None = None
    ) -> Step:
        """Begin anew with the objects given in this frame; those followed before are forgotten.

        Args:
            frame: RGB uint8, array ``(H, W, 3)`` or tensor ``(3, H, W)``.
            boxes: ``(N, 4)`` xywh pixels (one box ``(4,)`` is taken as one object); ``N`` may be 0.
            ids: integers that name the objects; ``0 .. N - 1`` by default.

        Returns:
            The first ``Step``, its tensors leading with ``(N,)``: the boxes as given, and what the
            model saw of them.

        Raises:
            ValueError: the frame is not RGB uint8, boxes are not ``(N, 4)``, a box is not finite,
                has no area or lies outside the frame, or there is not one new id for each box.
                Nothing is followed then.
        """
        self._frame, self._state = None, None
        self.ids, self._next = [], 0
        self._boxes, self._lost = torch.zeros(0, 4), torch.zeros(0, dtype=torch.bool)
        frame = self._take(frame)
        step = self._begin(frame, boxes, ids)
        self._frame = frame
        return step

    @torch.inference_mode()
    def update(self, frame: np.ndarray | Tensor, return_glimpses: bool = False) -> Tensor | Step:
        """Follow every object into the next frame.

        Args:
            frame: as for ``init``, of the same size.
            return_glimpses: give the whole ``Step`` (boxes, windows, mask, glimpses).

        Returns:
            ``(N, 4)`` float32 xywh pixels in the order of ``ids``, a lost object's its last good
            one; or the ``Step`` with these boxes, its tensors leading with ``(N,)``.

        Raises:
            RuntimeError: before ``init``.
            ValueError: the frame is not RGB uint8 or changed its size.
        """
        self._check_started()
        frame = self._take(frame)
        if frame.shape != self._frame.shape:
            raise ValueError(
                f"the frame is {tuple(frame.shape[-2:])} (H, W), the video began with "
                f"{tuple(self._frame.shape[-2:])}; call init when the size changes"
            )
        self._frame = frame
        self._state, step = self.model.step(frame.unsqueeze(0), self._state)
        found = step.boxes[0].float().cpu()
        height, width = frame.shape[-2:]
        self._lost |= is_lost(found, height, width)
        self._boxes = torch.where(self._lost.unsqueeze(1), self._boxes, found)
        if not return_glimpses:
            return self._boxes.clone()
        return _first(step)._replace(boxes=self._boxes.clone())

    @torch.inference_mode()
    def add(self, boxes: Any, ids: Sequence[int] | None = None) -> list[int]:
        """Follow more objects, seen in the latest frame.

        Args:
            boxes, ids: as for ``init``; by default the ids go on from the highest used so far.

        Returns:
            The ids of the new objects.

        Raises:
            RuntimeError: before ``init``.
            ValueError: as ``init``, or an id is in use; the others are followed on.
        """
        self._check_started()
        before = len(self.ids)
        self._begin(self._frame, boxes, ids)
        return self.ids[before:]

    def drop(self, ids: int | Sequence[int]) -> None:
        """Stop following the objects of these ids, one or several.

        Raises:
            RuntimeError: before ``init``.
            KeyError: no object has that id; nothing is dropped then.
        """
        self._check_started()
        gone = {int(ids)} if isinstance(ids, int | np.integer) else {int(i) for i in ids}
        unknown = gone - set(self.ids)
        if unknown:
            raise KeyError(f"no object has id {sorted(unknown)}; followed are {self.ids}")
        keep = [n for n, name in enumerate(self.ids) if name not in gone]
        self.ids = [self.ids[n] for n in keep]
        self._boxes, self._lost = self._boxes[keep], self._lost[keep]
        self._state = type(self._state)(*(field[:, keep] for field in self._state))

    def _begin(self, frame: Tensor, boxes: Any, ids: Sequence[int] | None) -> Step:
        """Add objects seen in ``frame (3, H, W)`` to those followed; their first ``Step``."""
        boxes = _checked_boxes(boxes, *frame.shape[-2:])
        count = range(self._next, self._next + len(boxes))
        names = [int(name) for name in (count if ids is None else ids)]
        if len(names) != len(boxes) or len({*names, *self.ids}) < len(names) + len(self.ids):
            raise ValueError(
                f"one new id for each of {len(boxes)} boxes, got {names}; in use: {self.ids}"
            )
        state, step = self.model.init(frame.unsqueeze(0), boxes.unsqueeze(0).to(self.device))
        if self._state is not None:
            pairs = zip(self._state, state, strict=True)
            state = type(state)(*(torch.cat(pair, 1) for pair in pairs))
        self._state = state
        self.ids = self.ids + names
        self._next = max([self._next - 1, *names]) + 1
        self._boxes = torch.cat((self._boxes, boxes))
        self._lost = torch.cat((self._lost, torch.zeros(len(boxes), dtype=torch.bool)))
        return _first(step)

    def _check_started(self) -> None:
        if self._frame is None:
            raise RuntimeError("call init(frame, boxes) first")

    def _take(self, frame: np.ndarray | Tensor) -> Tensor:
        """The frame as ``(3, H, W)`` uint8 on the device."""
        if isinstance(frame, np.ndarray):
            if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
                raise ValueError(
                    f"frame is {frame.dtype} {frame.shape}: expected RGB uint8 (H, W, 3)"
                )
            frame = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))
        if frame.ndim != 3 or frame.shape[0] != 3 or frame.dtype != torch.uint8:
            raise ValueError(
                f"frame is {frame.dtype} {tuple(frame.shape)}: expected RGB uint8 (3, H, W)"
            )
        return frame.to(self.device)


def is_lost(boxes: Tensor, height: int, width: int) -> Tensor:
    """``(N,)`` bool: which boxes left the frame, collapsed, or are not finite.

    Args:
        boxes: ``(N, 4)`` xywh pixels.
        height, width: of the frame, pixels.
    """
    inside = box_ops.area(box_ops.clip(boxes, height, width))
    gone = inside < MIN_INSIDE * box_ops.area(boxes)
    small = boxes[:, 2:].mean(1) < MIN_MEAN_SIDE
    return gone | small | ~torch.isfinite(boxes).all(1)


def _checked_boxes(boxes: Any, height: int, width: int) -> Tensor:
    """``(N, 4)`` float32; raises ValueError as ``Tracker.init`` says."""
    boxes = torch.as_tensor(np.asarray(boxes), dtype=torch.float32)
    if boxes.numel() and (boxes.ndim > 2 or boxes.shape[-1] != 4):
        raise ValueError(f"boxes are {tuple(boxes.shape)}: expected (N, 4), or (4,) for one object")
    boxes = boxes.reshape(-1, 4)
    for number, box in enumerate(boxes.tolist()):
        if not np.isfinite(box).all() or box[2] <= 0 or box[3] <= 0:
            raise ValueError(f"box {number} is {box}: expected finite x, y, w, h with w, h > 0")
        if box[0] >= width or box[1] >= height or box[0] + box[2] <= 0 or box[1] + box[3] <= 0:
            raise ValueError(f"box {number} is {box}: outside the {width} x {height} frame")
    return boxes


def _first(step: Step) -> Step:
    """A ``Step`` of one video without its batch axis."""
    extras = {name: value[0].cpu() for name, value in step.extras.items()}
    return Step(*(field[0].cpu() for field in step[:4]), extras)
