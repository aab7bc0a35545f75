"""The default tracker's loss: which terms count, how much, and for which objects."""

from __future__ import annotations

import pytest
import torch

from common import boxes as box_ops
from datasets.clip import Batch
from hart.model import Hart
from hart.objective import IMPORTANCE, HartObjective, moved_alike
from hart.pretrained import build
from tests.hart_variants import SMALL, VARIANTS, clips

TERMS = {
    "hart": {"box", "mask", "response", "window"},
    "steady": {"box", "mask", "response", "window"},
    "spatial": {"box", "window"},
    "appearance": {"box", "mask", "response"},
    "soft": {"box", "mask"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_learned_weights_balance_the_terms_by_their_importance(name: str) -> None:
    """``L = sum_i c_i (exp(-s_i) L_i + s_i)``, so ``dL / ds_i = c_i (1 - exp(-s_i) L_i)``."""
    objective = HartObjective(build(VARIANTS[name]))
    scales = torch.tensor([0.5, -0.7, 1.2, -0.1])
    objective.log_scale.data.copy_(scales)
    loss, metrics = objective(clips())
    loss.backward()
    assert {m.removeprefix("loss/") for m in metrics if m.startswith("loss/")} == TERMS[name]
    total, gradient = 0.0, []
    for term, scale in zip(IMPORTANCE, scales, strict=True):
        present = term in TERMS[name]
        weighted = torch.exp(-scale) * metrics[f"loss/{term}"] if present else torch.tensor(0.0)
        total += IMPORTANCE[term] * (weighted + scale) * present
        gradient.append(IMPORTANCE[term] * (1 - weighted) * present)
        torch.testing.assert_close(metrics[f"weight/{term}"], torch.exp(-scale))
    torch.testing.assert_close(loss.detach(), total)
    torch.testing.assert_close(objective.log_scale.grad, torch.stack(gradient))
    assert (
        (objective.log_scale.grad != 0) == torch.tensor([t in TERMS[name] for t in IMPORTANCE])
    ).all()


@pytest.mark.parametrize("name", VARIANTS)
def test_half_precision_learns_the_same(name: str) -> None:
    """Boxes stay in full precision under autocast (``--precision bf16``), and gradients finite."""
    torch.manual_seed(0)
    objective, batch = HartObjective(build(VARIANTS[name]), jitter=0), clips()
    exact = objective(batch)[0]
    with torch.autocast("cpu", torch.bfloat16):
        loss, metrics = objective(batch)
        boxes = objective.model(batch.frames, objective._given(batch.boxes[0])).boxes
    loss.backward()
    assert boxes.dtype == loss.dtype == metrics["iou"].dtype == torch.float32
    torch.testing.assert_close(loss, exact, atol=0, rtol=0.02)
    gradients = [p.grad for p in objective.parameters() if p.grad is not None]
    assert gradients and all(g.isfinite().all() for g in gradients)


def test_learned_weights_are_bounded() -> None:
    objective = HartObjective(Hart(SMALL), jitter=0)
    batch = clips()
    objective.log_scale.data.fill_(-3.0)
    at_bound = objective(batch)[0]
    objective.log_scale.data.fill_(-9.0)
    torch.testing.assert_close(objective(batch)[0], at_bound)


def test_absent_objects_do_not_change_the_loss() -> None:
    objective = HartObjective(Hart(SMALL), jitter=0).eval()
    batch = clips()
    loss = objective(batch)[0]
    kept = Batch(
        batch.frames, batch.boxes[:, :, :2], batch.presence[:, :, :2], batch.mask, batch.ids
    )
    two = Batch(*(x[:, :1] for x in kept[:4]), kept.ids[:1])  # first clip: two objects are there
    three = Batch(*(x[:, 1:] for x in batch[:4]), batch.ids[1:])  # second clip: all three
    parts = [objective(b)[0] for b in (two, three)]
    torch.testing.assert_close(loss, (2 * parts[0] + 3 * parts[1]) / 5, atol=5e-3, rtol=1e-3)


def test_the_given_box_is_off_in_training_only() -> None:
    objective = HartObjective(Hart(SMALL), jitter=0.1)
    first = clips(length=1, batch=1).boxes[0].expand(500, 3, 4)  # the last object is absent
    exact = objective.eval()._given(first)
    assert torch.equal(exact[:, :2], first[:, :2])
    assert torch.equal(exact[:, 2], torch.tensor([0.0, 0, 8, 8]).expand(500, 4))
    error = box_ops.to_centre(objective.train()._given(first)) - box_ops.to_centre(exact)
    expected = 0.1 * exact[0, :, 2:].repeat(1, 2)  # a tenth of the sides, in all four
    torch.testing.assert_close(error.std(0), expected, atol=0, rtol=0.15)
    assert (error.mean(0).abs() < 0.2 * expected).all()


def test_what_is_followed_is_the_box_that_was_given() -> None:
    """A tenth too far right, a fifth too wide: it stays so when the object is twice as large."""
    truth = torch.tensor([[10.0, 10.0, 20.0, 40.0], [50.0, 30.0, 40.0, 80.0]])[:, None, None]
    given = torch.tensor([12.0 - 2, 10.0, 24.0, 40.0])[None, None]
    expected = torch.tensor([[10.0, 10.0, 24.0, 40.0], [50.0, 30.0, 48.0, 80.0]])[:, None, None]
    torch.testing.assert_close(moved_alike(truth, given), expected)
    torch.testing.assert_close(moved_alike(truth, truth[0]), truth)
    gone = torch.zeros(2, 1, 1, 4)
    torch.testing.assert_close(moved_alike(gone, given), gone)
