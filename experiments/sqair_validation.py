"""What steers the training of unsupervised models: bound, counts and ids on digits held out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from common.curriculum import Stage
from common.loading import to_device
from datasets.moving_mnist import MnistBatch, MovingMnist
from sqair.geometry import windows
from sqair.state import Slots

SEED = 2**62  # of the clips, beyond those of training
NEAR = 10.0  # pixels within which a slot is on a digit
SEEN = 0.25  # share of a digit's ink on the canvas from which on it counts for ids


def make_validation(
    model: nn.Module, data: MovingMnist, sequences: int = 128
) -> Callable[[Stage], dict[str, float]]:
    """A function of the stage that runs ``model`` freely on clips of the stage's length.

    Returns:
        Gives ``elbo`` and ``likelihood`` (nats per frame; clips with each number of digits weigh
        the same, since a digit costs 100 nats), and for models with objects ``counting`` (share of
        frames with the nominal number of them), ``late`` (discoveries per frame after the first)
        and ``same_id``, see :func:`same_id`.
    """

    def validate(stage: Stage) -> dict[str, float]:
        device = next(model.parameters()).device
        batch = to_device(data.batch(SEED, sequences, stage.length), device)
        run = model.unroll(batch.frames, 1)
        number = batch.presence[0].sum(-1)
        found = {
            "elbo": evenly(run.log_weight.mean((0, 1)), number),
            "likelihood": evenly(run.log_likelihood.mean((0, 1)), number),
        }
        if run.slots is not None:
            slots = Slots(*(part[:, 0] for part in run.slots))
            count = slots.presence.sum(-1)
            right = count == batch.presence.sum(-1)
            found |= {
                "counting": right.float().mean(),
                "late": late(slots.id),
                "same_id": same_id(slots, batch, model),
            }
        return {name: float(value) for name, value in found.items()}

    return validate


def evenly(values: Tensor, group: Tensor) -> Tensor:
    """The mean over groups of the mean of ``values (B,)`` within each ``group (B,)``."""
    return torch.stack([values[group == g].mean() for g in group.unique()]).mean()


def late(ids: Tensor) -> Tensor:
    """New ids per frame after the first, of ids ``(T, B, K)``; 0 for single frames."""
    if len(ids) < 2:
        return torch.zeros(())
    highest = ids.amax(-1).cummax(0).values
    return (ids[1:] > highest[:-1, :, None]).sum(-1).float().mean()


def same_id(slots: Slots, batch: MnistBatch, model: nn.Module) -> Tensor:
    """Share of visible digits after the first frame that the slot that had them there is on.

    A slot is on a digit when it is the nearest and the centre of its window is within ``NEAR``
    pixels of the centre of the digit's visible ink. 1 where there is nothing to judge.

    Args:
        slots: ``(T, B, K, ...)``.
        batch: the clips.
        model: gives the geometry.
    """
    config = model.config
    boxes = windows(slots.where, config.size, config.glimpse)
    centre = boxes[..., :2] + boxes[..., 2:] / 2
    truth = batch.boxes[..., :2] + batch.boxes[..., 2:] / 2
    distance = (truth[..., :, None, :] - centre[..., None, :, :]).norm(dim=-1)
    distance = torch.where(slots.presence[..., None, :] > 0, distance, torch.inf)
    nearest, index = distance.min(-1)
    ids = slots.id.gather(-1, index)  # (T, B, N)
    on = nearest <= NEAR
    judged = batch.presence[1:] & (batch.visible[1:] >= SEEN)
    same = on[1:] & on[:1] & (ids[1:] == ids[:1]) & judged
    return same.sum() / judged.sum() if judged.any() else torch.ones(())
