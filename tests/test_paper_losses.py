"""Losses of the published tracker: worked values, a rasteriser in loops, the objective."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hart import paper_losses as losses
from hart.paper import HartPaper, PaperConfig
from hart.paper_objective import PaperObjective

LARGEST = -math.log(1e-8)
ALL = torch.ones(1, 1, 1, dtype=torch.bool)
TARGET = (250.0, 88.0, 25.0, 18.0)


def one(*box: float) -> Tensor:
    """``(1, 1, 1, 4)``: one box in one frame."""
    return torch.tensor(box, dtype=torch.float64).view(1, 1, 1, 4)


def test_logarithm_is_bounded() -> None:
    values = torch.tensor([1.0, 0.5, 0.0, 1e-8], dtype=torch.float64)
    expected = [0.0, math.log(2), LARGEST, -math.log(2e-8)]
    assert losses.negative_log(values).tolist() == pytest.approx(expected, abs=1e-7)
    assert pytest.approx(18.42068, abs=1e-5) == LARGEST


def test_worked_box_loss() -> None:
    loss = losses.box_loss(one(255, 90, 22, 20), one(*TARGET), ALL)
    assert loss.item() == pytest.approx(0.577315, abs=1e-6)
    assert math.exp(-loss.item()) == pytest.approx(0.561404, abs=1e-6)


def test_worked_attention_loss() -> None:
    loss = losses.attention_loss(one(240, 80, 50, 40), one(*TARGET), ALL, (187, 621))
    assert loss.item() == pytest.approx(0.017373, abs=1e-6)


def test_attention_counts_what_is_missed() -> None:
    # the window ends at x = 260: 10 of the box's 25 columns are inside
    loss = losses.attention_loss(one(240, 80, 20, 40), one(*TARGET), ALL, (187, 621))
    assert loss.item() == pytest.approx(-math.log(0.4) - math.log(1 - 800 / (187 * 621)), abs=1e-6)


@pytest.mark.parametrize(("times", "weight"), [(1.0, 1.0), (3.0, 3.0), (50.0, 10.0)])
def test_oversized_windows(times: float, weight: float) -> None:
    """At ten times the frame and more the area term is the 184.2068 seen in a public log."""
    window = one(0, 0, 621 * times, 187)
    loss = losses.attention_loss(window, one(*TARGET), ALL, (187, 621))
    assert loss.item() == pytest.approx(weight * LARGEST, rel=1e-6)


def test_no_overlap_has_no_gradient() -> None:
    box = one(10, 10, 20, 20).requires_grad_()
    loss = losses.box_loss(box, one(*TARGET), ALL)
    loss.backward()
    assert loss.item() == pytest.approx(LARGEST)
    assert not box.grad.any()


def test_a_window_beyond_the_frame_shrinks_by_its_weight_alone() -> None:
    window = one(0, 0, 621 * 2, 187 * 2).requires_grad_()
    losses.attention_loss(window, one(*TARGET), ALL, (187, 621)).backward()
    assert window.grad[0, 0, 0, 2].item() == pytest.approx(LARGEST * 2 / 621, rel=1e-6)


def test_boxes_turned_inside_out_are_finite() -> None:
    for box in (one(270, 100, -30, 20), one(270, 100, -30, -20), one(0, 0, 0, 0)):
        box.requires_grad_()
        loss = losses.box_loss(box, one(*TARGET), ALL)
        (loss + losses.attention_loss(box, one(*TARGET), ALL, (187, 621))).backward()
        assert loss.item() == pytest.approx(LARGEST)
        assert torch.isfinite(box.grad).all()


def test_average_is_per_frame_first() -> None:
    values = torch.tensor([[1.0, 2, 3], [10, 99, 99], [5, 5, math.nan]]).view(3, 3, 1)
    scored = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]]).bool().view(3, 3, 1)
    assert losses.average(values, scored).item() == pytest.approx((2 + 10) / 2)
    assert losses.average(values, torch.zeros_like(scored)).item() == 0


def test_what_is_not_scored_gives_no_gradient() -> None:
    boxes = torch.stack((one(255, 90, 22, 20)[0, 0, 0], torch.zeros(4).double()))
    boxes = boxes.view(1, 2, 1, 4).requires_grad_()
    target = torch.stack((one(*TARGET)[0, 0, 0], torch.zeros(4).double())).view(1, 2, 1, 4)
    scored = torch.tensor([True, False]).view(1, 2, 1)
    loss = losses.box_loss(boxes, target, scored)
    (loss + losses.attention_loss(boxes, target, scored, (187, 621))).backward()
    assert loss.item() == pytest.approx(0.577315, abs=1e-6)
    assert boxes.grad[0, 0].any()
    assert not boxes.grad[0, 1].any()


def drawn_mask(window: tuple, box: tuple, side: int) -> np.ndarray:
    """The mask's target by drawing it pixel by pixel and resizing it as TensorFlow does."""
    x, y, width, height = window
    rows, columns = round(height), round(width)
    grid = np.zeros((rows, columns))
    left, top = max(box[0], x), max(box[1], y)
    right = min(box[0] + box[2], x + width)
    bottom = min(box[1] + box[3], y + height)
    if right > left and bottom > top:
        first_row, first_column = round(top - y), round(left - x)
        for i in range(first_row, min(first_row + round(bottom - top), rows)):
            for j in range(first_column, min(first_column + round(right - left), columns)):
                grid[i, j] = 1
    result = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            u, v = i * rows / side, j * columns / side
            a, b = math.floor(u), math.floor(v)
            c, d = min(a + 1, rows - 1), min(b + 1, columns - 1)
            up = grid[a, b] * (1 - (v - b)) + grid[a, d] * (v - b)
            down = grid[c, b] * (1 - (v - b)) + grid[c, d] * (v - b)
            result[i, j] = up * (1 - (u - a)) + down * (u - a)
    return result


def test_mask_target_equals_drawing_it() -> None:
    generator = np.random.default_rng(0)
    soft = 0
    for _ in range(60):
        window = (*generator.uniform(-20, 60, 2), *generator.uniform(3, 80, 2))
        box = (*generator.uniform(-20, 60, 2), *generator.uniform(1, 80, 2))
        got = losses.mask_target(one(*window)[0, 0, 0], one(*box)[0, 0, 0], 14).numpy()
        wanted = drawn_mask(window, box, 14)
        soft += ((wanted > 0) & (wanted < 1)).sum()
        np.testing.assert_allclose(got, wanted, atol=1e-12)
    assert soft > 100  # the cases have soft edges to get wrong


def test_mask_target_has_no_half_pixel_shift() -> None:
    # 28 pixels on 14 cells: cell i reads pixel 2 i alone, so an odd edge is sharp
    mask = losses.mask_target(one(0, 0, 28, 28)[0, 0, 0], one(5, 0, 8, 28)[0, 0, 0], 14)
    assert mask[0].tolist() == [0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("side", [0.2, -10.0, math.nan])
def test_mask_target_of_no_window_is_empty(side: float) -> None:
    mask = losses.mask_target(one(0, 0, side, side)[0, 0, 0], one(0, 0, 9, 9)[0, 0, 0], 14)
    assert not mask.any()


def test_mask_loss_balances_the_classes() -> None:
    target = torch.zeros(1, 1, 1, 14, 14, dtype=torch.float64)
    target[..., :7, :4] = 1  # 28 cells, a seventh of them
    logits = torch.full_like(target, 0.5)
    share = 28 / 196
    on, off = math.log1p(math.exp(-0.5)), math.log1p(math.exp(0.5))
    expected = share * on / share + (1 - share) * off / (1 - share)
    assert losses.mask_loss(logits, target, ALL).item() == pytest.approx(expected)
    soft = target * 0.5  # a soft target still is the object's, by its own share
    expected = 28 / 196 * (0.5 * on + 0.5 * off) / (14 / 196) + off * (168 / 196) / (182 / 196)
    assert losses.mask_loss(logits, soft, ALL).item() == pytest.approx(expected)
    # one class alone weighs one
    assert losses.mask_loss(logits, target * 0, ALL).item() == pytest.approx(off)
    assert losses.mask_loss(logits, target * 0 + 1, ALL).item() == pytest.approx(on)


def test_mask_loss_is_a_flat_mean() -> None:
    logits = torch.zeros(2, 2, 1, 14, 14)
    logits[1, 0] = 2.0
    scored = torch.tensor([[1, 1], [1, 0]]).bool().unsqueeze(-1)
    expected = (2 * math.log(2) + math.log1p(math.exp(2))) / 3
    got = losses.mask_loss(logits, torch.zeros_like(logits), scored)
    assert got.item() == pytest.approx(expected, rel=1e-6)


def test_total_of_a_public_log() -> None:
    """A line another group's run printed; the formula must add up to its total."""
    weights = torch.tensor([0.3984, 3.3323, 0.7344], dtype=torch.float64)
    terms = torch.tensor([2.9466, 1.0707, 1.4026], dtype=torch.float64)
    total = losses.weighted_sum(terms, weights) + 0.1032
    assert total.item() == pytest.approx(5.9006, abs=3e-4)
    assert (terms.sum() + 0.1032).item() == pytest.approx(5.5232, abs=2e-4)


def test_loss_weights_settle_at_one_over_the_loss() -> None:
    roots = torch.tensor([1 / math.sqrt(4.0), 1 / math.sqrt(0.3)], requires_grad=True)
    losses.weighted_sum(torch.tensor([4.0, 0.3]), losses.loss_weights(roots)).backward()
    assert roots.grad.abs().max() < 1e-5
    assert losses.loss_weights(torch.zeros(1)).item() == pytest.approx(1e-8)


def test_decay_is_of_matrices_and_kernels() -> None:
    layers = nn.Sequential(nn.Linear(2, 3), nn.Conv2d(1, 1, 2), nn.BatchNorm2d(1))
    for parameter in layers.parameters():
        nn.init.constant_(parameter, 2.0)
    assert losses.weight_norm(layers).item() == (6 + 4) * 4 / 2
    norms = torch.tensor([4.0, 8, 99]).view(3, 1, 1)
    counted = torch.tensor([True, True, False]).view(3, 1, 1)
    assert losses.filter_norm(norms, counted).item() == 3


class Batch(NamedTuple):
    frames: Tensor
    boxes: Tensor
    presence: Tensor
    mask: Tensor


def batch() -> Batch:
    """Three frames of two videos: the second is a frame shorter, its second object is padding."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (3, 2, 3, 40, 60), dtype=torch.uint8, generator=generator)
    boxes = torch.tensor([[[14.0, 9, 21, 16], [3, 3, 12, 9]], [[30, 20, 18, 12], [0, 0, 0, 0]]])
    boxes = boxes.expand(3, 2, 2, 4).clone()
    presence = torch.ones(3, 2, 2, dtype=torch.bool)
    presence[:, 1, 1] = False
    mask = torch.ones(3, 2, dtype=torch.bool)
    mask[2, 1] = False
    return Batch(frames, boxes, presence, mask)


def test_objective_reaches_every_parameter() -> None:
    objective = PaperObjective(HartPaper(PaperConfig(glimpse=16)))
    assert sum(p.numel() for p in PaperObjective(HartPaper()).parameters()) == 1_701_715
    loss, metrics = objective(batch())
    loss.backward()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name
    assert not any(value.requires_grad for value in metrics.values())
    terms = torch.stack([metrics[f"loss/{name}"] for name in ("box", "attention", "mask")])
    unweighted = terms.sum() + metrics["loss/decay"]
    # weights start at one, whose logarithm is nothing
    torch.testing.assert_close(loss.detach(), unweighted)
    torch.testing.assert_close(metrics["loss/unweighted"], unweighted)
    assert 0 < metrics["iou"] < 1
    assert 0 <= metrics["mask_accuracy"] <= 1


def test_objective_scores_samples_to_their_first_absence() -> None:
    objective = PaperObjective(HartPaper(PaperConfig(glimpse=16))).eval()
    whole = batch()
    late = whole.presence.clone()
    late[1, 0, 1] = False  # absent once: the rest is not scored either
    changed = whole.boxes.clone()
    changed[2, 0, 1] = torch.tensor([45.0, 30, 5, 5])
    changed[2, 1] = 7.0  # a padded frame of the second video
    first = objective(whole._replace(presence=late))[1]
    second = objective(whole._replace(presence=late, boxes=changed))[1]
    assert first["iou"] == second["iou"]
    assert first["loss/box"] == second["loss/box"]
    assert first["loss/mask"] == second["loss/mask"]
    assert objective(whole._replace(boxes=changed))[1]["loss/box"] != first["loss/box"]


def test_first_mask_is_judged_by_the_reported_window() -> None:
    """The bias never moves the window that is looked through, so only the target changes."""
    objective = PaperObjective(HartPaper(PaperConfig(glimpse=16))).eval()
    before = objective(batch())[1]
    with torch.no_grad():
        objective.model.window_bias.fill_(1.0)
    after = objective(batch())[1]
    assert after["loss/mask"] != before["loss/mask"]
    assert after["loss/attention"] == before["loss/attention"]


def test_objective_learns_a_batch() -> None:
    torch.manual_seed(0)
    config = PaperConfig(glimpse=16, dropout=0, zoneout_cell=0, zoneout_hidden=0)
    objective = PaperObjective(HartPaper(config))
    boxes = batch().boxes + torch.tensor([3.0, 2, 0, 0]) * torch.arange(3.0).view(3, 1, 1, 1)
    moving = batch()._replace(boxes=boxes)
    optimiser = torch.optim.Adam(objective.parameters(), 1e-3)
    ious = []
    for _ in range(12):
        loss, metrics = objective(moving)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        ious.append(metrics["iou"].item())
    assert np.mean(ious[-3:]) > ious[0] + 0.2
