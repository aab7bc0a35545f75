"""What the trainer minimises for the default tracker: the model, its losses and their weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from common import boxes as box_ops
from hart.losses import box_loss, mask_loss, masked_mean, response_loss, window_loss
from hart.matching import SCALE_STEP
from hart.model import Hart
from hart.motion import surround
from hart.soft import SoftHart
from hart.state import Step

# What each term is worth; the box is what is asked for.
IMPORTANCE = {"box": 1.0, "mask": 0.2, "response": 0.3, "window": 0.2}
MAX_LOG_SCALE = 3.0  # a learned weight stays within e^-3 .. e^3
ABSENT_SIDE = 8.0  # pixels, of the box that stands for an object that is not there


class HartObjective(nn.Module):
    """Multi-task loss ``sum_i c_i (exp(-s_i) L_i + s_i)`` with learned ``s_i``.

    The learned weights ``exp(-s_i)`` level the terms out whatever their units (Kendall et al. 2018;
    HART sec. 3.4), ``c_i`` (``IMPORTANCE``) says what each is worth then. A term that the model
    does not have is left out.

    Args:
        model: the tracker.
        jitter: standard deviation of the noise on the given box in training, in its sides for the
            centre and in log units for the sides: users draw boxes by hand. The tracker is to
            follow what was drawn: the truth is moved alike.
    """

    def __init__(self, model: Hart | SoftHart, jitter: float = 0.04) -> None:
        super().__init__()
        self.model = model
        self.jitter = jitter
        self.log_scale = nn.Parameter(torch.zeros(len(IMPORTANCE)))  # s_i, as in IMPORTANCE

    def forward(self, batch: Any, stage: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch of clips.

        Args:
            batch: frames ``(T, B, 3, H, W)`` uint8, boxes ``(T, B, N, 4)`` xywh pixels, presence
                ``(T, B, N)``; objects absent from the first frame are not scored.
            stage: of the curriculum; its length is the batch's already.

        Returns:
            The scalar loss, and detached scalars: ``iou`` (mean for ``t >= 1``), each term as
            ``loss/NAME`` and each ``exp(-s_i)`` as ``weight/NAME``.
        """
        truth = batch.boxes.float()
        given = self._given(truth[0])
        truth = moved_alike(truth, given)
        step = self.model(batch.frames, given)
        scored = batch.presence[1:] & batch.presence[0]
        losses = self._losses(step, truth[1:], scored)
        total = sum(
            IMPORTANCE[term] * ((-scale).exp() * losses[term] + scale)
            for term, scale in zip(
                IMPORTANCE, self.log_scale.clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE), strict=True
            )
            if term in losses
        )
        metrics = {f"loss/{term}": value.detach() for term, value in losses.items()}
        weights = (-self.log_scale.detach()).exp()
        metrics |= {f"weight/{t}": w for t, w in zip(IMPORTANCE, weights, strict=True)}
        with torch.no_grad():
            metrics["iou"] = masked_mean(box_ops.iou(step.boxes[1:], truth[1:]), scored)
        return total, metrics

    def _losses(self, step: Step, target: Tensor, scored: Tensor) -> dict[str, Tensor]:
        """The terms that the model has, for ``target (T - 1, B, N, 4)`` from the second frame."""
        config, windows = self.model.config, step.windows[1:]
        losses = {"box": box_loss(step.boxes[1:], target, scored)}
        if config.look == "glimpse":
            ideal = surround(target, config.context)
            losses["window"] = window_loss(windows, ideal, target, scored)
        if config.appearance:
            losses["mask"] = mask_loss(step.mask[1:], windows, target, scored)
        if "response" in step.extras:
            displacement, scale = self._template_target(step, target)
            response = step.extras["response"][1:]
            losses["response"] = response_loss(response, displacement, scale, scored)
        return losses

    def _given(self, box: Tensor) -> Tensor:
        """The first boxes ``(B, N, 4)`` as a user would draw them: a little off in training.

        An absent object (its box is zero) gets one in the frame's corner, so that all stay finite.
        """
        absent = torch.cat((box.new_zeros(2), box.new_full((2,), ABSENT_SIDE)))
        box = torch.where((box[..., 2:] > 0).all(-1, keepdim=True), box, absent)
        if not self.training or not self.jitter:
            return box
        noise = torch.randn_like(box) * self.jitter
        centred = box_ops.to_centre(box)
        centre = centred[..., :2] + noise[..., :2] * centred[..., 2:]
        return box_ops.from_centre(torch.cat((centre, centred[..., 2:] * noise[..., 2:].exp()), -1))

    def _template_target(self, step: Step, target: Tensor) -> tuple[Tensor, Tensor]:
        """Where the template should fit in each window from the second frame on.

        Returns:
            ``(T - 1, B, N, 2)`` displacement in cells from the template's own place, and
            ``(T - 1, B, N)`` steps of scale by which the object looks larger.
        """
        windows, first, given = step.windows[1:], step.windows[0], step.boxes[0]
        anchor = (box_ops.to_centre(given)[..., :2] - first[..., :2]) / first[..., 2:]
        centre = box_ops.to_centre(target)[..., :2]
        cells = ((centre - windows[..., :2]) / windows[..., 2:] - anchor) * self.model.side
        now = box_ops.area(target).clamp_min(1) / box_ops.area(windows)
        then = box_ops.area(given) / box_ops.area(first)
        return cells, (now / then).log() / 2 / SCALE_STEP


def moved_alike(truth: Tensor, given: Tensor) -> Tensor:
    """The boxes ``truth (T, B, N, 4)``, each as far off as ``given (B, N, 4)`` is off the first.

    The offset of the centre, in the true box's sides, and the ratio of the sides stay what they are
    in the first frame, so that a tracker learns to follow the box that was drawn, not to redraw it
    the way that its training data are annotated.
    """
    ours, theirs = box_ops.to_centre(given), box_ops.to_centre(truth)
    first, sides = theirs[0], theirs[..., 2:]
    valid = (first[..., 2:] > 0).all(-1, keepdim=True)
    off = torch.where(valid, (ours - first)[..., :2] / first[..., 2:].clamp_min(1e-3), 0)
    ratio = torch.where(valid, ours[..., 2:] / first[..., 2:].clamp_min(1e-3), 1)
    return box_ops.from_centre(torch.cat((theirs[..., :2] + off * sides, sides * ratio), -1))
