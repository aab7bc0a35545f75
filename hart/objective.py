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

IMPORTANCE = {
    "box": 1.0,
    "mask": 0.2,
    "response": 0.3,
    "window": 0.2,
}  # the box is what is asked for


class HartObjective(nn.Module):
    """Multi-task loss ``sum_i c_i (exp(-s_i) L_i + s_i)`` with learned ``s_i`` (Kendall et al. 2018; HART eq. 13).

    The learned weights level the terms out whatever their units; ``IMPORTANCE`` says what each is worth then.

    Args:
        model: the tracker.
        jitter: standard deviation of the noise on the given box, in its sides: users draw boxes by hand.
    """

    def __init__(self, model: Hart, jitter: float = 0.04) -> None:
        super().__init__()
        self.model = model
        self.jitter = jitter
        self.log_scale = nn.Parameter(torch.zeros(len(IMPORTANCE)))

    def forward(self, batch: Any, stage: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch of clips.

        Args:
            batch: frames ``(T, B, 3, H, W)`` uint8, boxes ``(T, B, N, 4)`` xywh pixels, presence
                ``(T, B, N)``; objects absent from the first frame are not scored.
            stage: of the curriculum; its length is the batch's already.

        Returns:
            The scalar loss, and detached scalars: each term, its weight, mean IoU for ``t >= 1``.
        """
        truth = batch.boxes.float()
        step = self.model(batch.frames, self._given(truth[0]))
        scored = batch.presence[1:] & batch.presence[0]
        target, boxes, windows = truth[1:], step.boxes[1:], step.windows[1:]
        config = self.model.config
        losses = {"box": box_loss(boxes, target, scored)}
        if config.look == "glimpse":
            ideal = surround(target, config.context)
            losses["window"] = window_loss(windows, ideal, target, scored)
        if config.appearance:
            losses["mask"] = mask_loss(step.mask[1:], windows, target, scored)
        if "response" in step.extras:
            place, scale = self._fit(windows, target, step)
            losses["response"] = response_loss(step.extras["response"][1:], place, scale, scored)
        total = sum(
            IMPORTANCE[term] * ((-scale).exp() * losses[term] + scale)
            for term, scale in zip(IMPORTANCE, self.log_scale.clamp(-3, 3), strict=True)
            if term in losses
        )
        metrics = {f"loss/{term}": value.detach() for term, value in losses.items()}
        weights = (-self.log_scale.detach()).exp()
        metrics |= {f"weight/{t}": w for t, w in zip(IMPORTANCE, weights, strict=True)}
        with torch.no_grad():
            metrics["iou"] = masked_mean(box_ops.iou(boxes, target), scored)
        return total, metrics

    def _given(self, box: Tensor) -> Tensor:
        """The first box as a user would draw it: off by a few per cent in training; 8 px if absent."""
        box = torch.where(
            (box[..., 2:] > 0).all(-1, keepdim=True), box, box.new_tensor([0, 0, 8, 8])
        )
        if not self.training or not self.jitter:
            return box
        noise = torch.randn_like(box) * self.jitter
        centred = box_ops.to_centre(box)
        centre = centred[..., :2] + noise[..., :2] * centred[..., 2:]
        return box_ops.from_centre(torch.cat((centre, centred[..., 2:] * noise[..., 2:].exp()), -1))

    def _fit(self, windows: Tensor, target: Tensor, step: Any) -> tuple[Tensor, Tensor]:
        """How the template should lie: ``(T, B, N, 2)`` cells from its own place, ``(T, B, N)`` scale steps."""
        first, given = step.windows[0], step.boxes[0]
        anchor = (box_ops.to_centre(given)[..., :2] - first[..., :2]) / first[..., 2:]
        centre = box_ops.to_centre(target)[..., :2]
        cells = ((centre - windows[..., :2]) / windows[..., 2:] - anchor) * self.model.side
        seen = box_ops.area(target).clamp_min(1) / box_ops.area(windows)
        then = box_ops.area(given) / box_ops.area(first)
        return cells, (seen / then).log() / 2 / SCALE_STEP
