"""What training is steered by: mean IoU on annotated windows that are not trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from common.curriculum import Stage
from experiments.protocol import cut, evaluate_windows, mean_iou
from hart.tracker import Tracker


def make_validation(
    model: nn.Module, sources: Mapping[str, Sequence[Any]], length: int = 30, stride: int = 5
) -> Callable[[Stage], dict[str, float]]:
    """A function of the training stage that scores ``model`` on each source.

    Args:
        model: a tracker's model, scored as it is whenever the function is called.
        sources: name to annotated sequences (``datasets.clip.Sequence``).
        length, stride: of the windows, frames.

    Returns:
        Gives ``mean_iou`` and, for each source, ``iou/NAME``: the mean IoU for ``t >= 1``. The
        former is the mean of the latter: each source weighs the same, so that a short video counts
        among many generated clips.

    Raises:
        ValueError: a source has no window of that length.
    """
    windows = {name: cut(sequences, length, stride) for name, sequences in sources.items()}
    for name, found in windows.items():
        if not found:
            raise ValueError(f"--validate {name}: no track of {length} frames")
    device = next(model.parameters()).device

    def validate(_stage: Stage) -> dict[str, float]:
        scores = {}
        for name, found in windows.items():
            result = evaluate_windows(lambda: Tracker(model, device), found)
            scores[f"iou/{name}"] = mean_iou(result).mean
        return {"mean_iou": sum(scores.values()) / len(scores), **scores}

    return validate
