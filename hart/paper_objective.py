"""What the trainer minimises for the published tracker: the model and its learned loss weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from common import boxes as box_ops
from hart import paper_losses as losses
from hart.paper import HartPaper
from hart.state import Step

TERMS = ("box", "attention", "mask")


class Clips(NamedTuple):
    """The part of a batch that the loss reads: boxes, and which of them are samples' frames."""

    boxes: Tensor  # (T, B, N, 4) xywh pixels
    scored: Tensor  # (T, B, N) bool
    counted: Tensor  # (T, B, N) bool, also the padded frames of a sample
    size: tuple[int, int]  # (H, W)


class PaperObjective(nn.Module):
    """The published loss: ``sum_i w_i L_i - ln w_i`` of three terms, plus L2.

    An object is a sample from the first frame, if it is there, to its first absence. What comes
    later, like a batch's padding in time, is run (and counts in the filters' norm and the batch
    statistics, as published) but not scored.
    """

    def __init__(self, model: HartPaper) -> None:
        super().__init__()
        self.model = model
        self.weight_roots = nn.Parameter(torch.ones(len(TERMS)))

    def forward(self, batch: Any, stage: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch of clips.

        Args:
            batch: frames ``(T, B, 3, H, W)`` uint8, boxes ``(T, B, N, 4)`` xywh pixels, presence
                ``(T, B, N)`` and mask ``(T, B)`` bool.
            stage: of the curriculum; its length is the batch's already.

        Returns:
            The scalar loss, and detached scalars: ``iou`` (mean for ``t >= 1``), ``mask_iou`` and
            ``mask_accuracy``, each term, its weight, the L2 term and the unweighted sum.
        """
        present = batch.presence & batch.mask.unsqueeze(-1)
        clips = Clips(
            batch.boxes.to(self.weight_roots.dtype),
            present.cumprod(0).bool(),
            present[0].expand_as(present),
            tuple(batch.frames.shape[-2:]),
        )
        step = self.model(batch.frames, clips.boxes[0], present[0])
        target = losses.mask_target(step.extras["reported"], clips.boxes, step.mask.shape[-1])
        terms = self._terms(step, clips, target)
        decay = self.model.config.weight_decay * (
            losses.weight_norm(self.model)
            + losses.filter_norm(step.extras["filters"], clips.counted)
        )
        weights = losses.loss_weights(self.weight_roots)
        total = losses.weighted_sum(terms, weights) + decay
        metrics = {f"loss/{name}": value for name, value in zip(TERMS, terms, strict=True)}
        metrics |= {f"weight/{name}": value for name, value in zip(TERMS, weights, strict=True)}
        metrics |= {"loss/decay": decay, "loss/unweighted": sum(terms) + decay}
        metrics |= _quality(step, clips, target)
        return total, {name: value.detach() for name, value in metrics.items()}

    def _terms(self, step: Step, clips: Clips, target: Tensor) -> tuple[Tensor, ...]:
        """Scalars in the order of ``TERMS``; the given boxes of the first frame say nothing."""
        boxes, scored = clips.boxes[1:], clips.scored[1:]
        return (
            losses.box_loss(step.boxes[1:], boxes, scored),
            losses.attention_loss(step.windows[1:], boxes, scored, clips.size),
            losses.mask_loss(step.mask.float(), target, clips.scored),
        )


@torch.no_grad()
def _quality(step: Step, clips: Clips, target: Tensor) -> dict[str, Tensor]:
    """Overlap of boxes (``t >= 1``) and of masks, and the share of right cells in the masks."""
    said, true = step.mask > 0, target > 0
    shared = (said & true).sum((-2, -1))
    union = (said | true).sum((-2, -1))
    right = (said == true).float().mean((-2, -1))
    overlap = box_ops.iou(step.boxes[1:], clips.boxes[1:])
    return {
        "iou": losses.average(overlap, clips.scored[1:]),
        "mask_iou": losses.average(shared / union.clamp_min(1), clips.scored & (union > 0)),
        "mask_accuracy": losses.average(right, clips.scored),
    }
