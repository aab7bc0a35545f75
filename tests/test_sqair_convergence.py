"""A broken gradient fails here: the first stage of training must learn to count digits."""

from __future__ import annotations

import pyro
import torch

from common.curriculum import Stage
from datasets import digits
from datasets.moving_mnist import MovingMnist, MovingMnistConfig
from sqair.model import Sqair
from sqair.training import SqairObjective

STEPS, TEACHER, WARM, RATE = 400, 400, 100, 1e-3


def test_400_steps_on_single_frames_count_nine_digits_of_ten() -> None:
    """The recipe's first stage: every count is taught, evenly at first, less and less so."""
    data = MovingMnist(MovingMnistConfig(), digits.load(None, "train"))
    model = Sqair()
    objective = SqairObjective(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE, betas=(0.9, 0.99), fused=True)
    with pyro.validation_enabled(False):
        for step in range(STEPS):
            for group in optimiser.param_groups:
                group["lr"] = RATE * min(1, (step + 1) / WARM)
            settings = {"batch": 64, "explore": max(0.0, 0.5 * (1 - step / TEACHER))}
            loss, _ = objective(data.batch(step, 64, 1), Stage("first", 1, settings=settings))
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
            optimiser.step()
        unseen = data.batch(10**6, 512, 1)
        with torch.no_grad():
            found = model.unroll(unseen.frames)
    counts = found.slots.presence[0, 0].sum(-1), unseen.presence[0].sum(-1)
    counting = (counts[0] == counts[1]).float().mean().item()
    assert counting > 0.9, f"counted {counting:.3f} of the frames right"
