"""A broken gradient fails here: 250 short steps must beat the box that stays put, and the start."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from common import boxes as box_ops
from common.curriculum import Stage
from datasets.windows import TrackingWindows, WindowsConfig
from experiments.optimisers import OptimiserConfig, learning_rate, make_optimiser
from hart.config import HartConfig
from hart.losses import masked_mean
from hart.model import Hart
from hart.objective import HartObjective

STEPS = 250


def test_250_steps_beat_the_static_box_and_the_untrained_model() -> None:
    model = Hart(HartConfig(glimpse=32, stem=(16, 24, 32), keys=16, features=48, reach=3))
    untrained = copy.deepcopy(model)
    objective = HartObjective(model)
    config = OptimiserConfig(rate=3e-3)
    optimiser, rate = make_optimiser(config, objective), learning_rate(config, STEPS)
    windows = WindowsConfig(batch=12, side=80, object_size=(12.0, 32.0), glide=0, pool=8, fresh=0.2)
    batches, stage = TrackingWindows([], windows), Stage("test", 4)
    rates = [group["lr"] for group in optimiser.param_groups]
    for step in range(STEPS):
        for group, base in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = base * rate(step)
        loss, _ = objective(batches(step, stage))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimiser.step()
    unseen = WindowsConfig(batch=64, side=80, object_size=(12.0, 32.0), glide=0, pool=0)
    clips = TrackingWindows([], unseen, seed=1)(0, Stage("test", 10))
    truth, there = clips.boxes[1:], clips.presence[1:]

    def score(boxes: Tensor) -> float:
        return masked_mean(box_ops.iou(boxes, truth), there).item()

    with torch.no_grad():
        before, after = (
            score(m.eval()(clips.frames, clips.boxes[0]).boxes[1:]) for m in (untrained, model)
        )
    static = score(clips.boxes[:1].expand_as(truth))
    assert after > static + 0.12, f"mean IoU {after:.3f}, static box {static:.3f}"
    assert after > before + 0.05, f"mean IoU {after:.3f}, untrained {before:.3f}"
