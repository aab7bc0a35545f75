"""What the trainer minimises for the default tracker: the model, its losses and their weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from common import boxes as box_ops
from hart.losses import box_loss, mask_loss, masked_mean, response_loss, window_loss
from hart.model import Hart, surround

TERMS = ("box", "mask", "response", "window")
START = {"box": 1.0, "mask": 0.3, "response": 0.5, "window": 0.3}


class HartObjective(nn.Module):
    """Multi-task loss ``sum_i exp(-s_i) L_i + s_i`` with learned ``s_i`` (Kendall et al. 2018; HART eq. 13).

    Args:
        model: the tracker.
        jitter: standard deviation of the noise on the given box, in its sides: users draw boxes by hand.
    """

    def __init__(self, model: Hart, jitter: float = 0.04) -> None:
        super().__init__()
        self.model = model
        self.jitter = jitter
        self.log_scale = nn.Parameter(-torch.tensor([START[t] for t in TERMS]).log())

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
            displacement = self._displacement(windows, target, step)
            losses["response"] = response_loss(step.extras["response"][1:], displacement, scored)
        total = sum(
            (-scale).exp() * losses[term] + scale
            for term, scale in zip(TERMS, self.log_scale.clamp(-3, 3), strict=True)
            if term in losses
        )
        metrics = {f"loss/{term}": value.detach() for term, value in losses.items()}
        metrics |= {
            f"weight/{t}": (-s).exp() for t, s in zip(TERMS, self.log_scale.detach(), strict=True)
        }
        with torch.no_grad():
            metrics["iou"] = masked_mean(box_ops.iou(boxes, target), scored)
        return total, metrics

    def _given(self, box: Tensor) -> Tensor:
        """The first box as a user would draw it: off by a few per cent in training; 8 px if absent."""
        box = torch.where((box[..., 2:] > 0).all(-1, keepdim=True), box, box.new_tensor([0, 0, 8, 8]))
        if not self.training or not self.jitter:
            return box
        noise = torch.randn_like(box) * self.jitter
        centred = box_ops.to_centre(box)
        centre = centred[..., :2] + noise[..., :2] * centred[..., 2:]
        return box_ops.from_centre(torch.cat((centre, centred[..., 2:] * noise[..., 2:].exp()), -1))

    def _displacement(self, windows: Tensor, target: Tensor, step: Any) -> Tensor:
        """``(T, B, N, 2)``: where the template should be found, in cells from its own place."""
        first = step.windows[0]
        anchor = (box_ops.to_centre(step.boxes[0])[..., :2] - first[..., :2]) / first[..., 2:]
        centre = box_ops.to_centre(target)[..., :2]
        return ((centre - windows[..., :2]) / windows[..., 2:] - anchor) * self.model.side
