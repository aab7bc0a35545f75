"""What training is steered by: mean IoU on annotated windows that are not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from common.curriculum import Stage
from experiments.protocol import cut, evaluate_windows, mean_iou
from hart.tracker import Tracker


def make_validation(
    model: nn.Module, sequences: Sequence[Any], length: int = 30, stride: int = 5
) -> Callable[[Stage], dict[str, float]]:
    """A function of the training stage that scores ``model`` on each sequence.

    Args:
        model: a tracker's model, followed by reference.
        sequences: annotated (``datasets.clip.Sequence``).
        length, stride: of the windows, frames.

    Returns:
        Gives ``mean_iou`` (over sequences' names, each weighing the same: a video among generated
        clips keeps its voice) and ``iou/NAME`` for each name.

    Raises:
        ValueError: a sequence has no window of that length.
    """
    names: dict[str, list[Any]] = {}
    for sequence in sequences:
        names.setdefault(sequence.name.split(":")[0], []).append(sequence)
    windows = {name: cut(found, length, stride) for name, found in names.items()}
    for name, found in windows.items():
        if not found:
            raise ValueError(f"validation: {name} has no track of {length} frames")
    device = next(model.parameters()).device

    def validate(_stage: Stage) -> dict[str, float]:
        scores = {}
        for name, found in windows.items():
            result = evaluate_windows(lambda: Tracker(model, device), found)
            scores[f"iou/{name}"] = mean_iou(result).mean
        return {"mean_iou": sum(scores.values()) / len(scores), **scores}

    return validate
