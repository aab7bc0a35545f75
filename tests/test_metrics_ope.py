"""common/metrics/ope.py against hand-computed values and loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from common.metrics import ope
from common.metrics.overlap import clip, coverage, iou

# Three windows of four steps: the second ends after two, the third misses step 2.
IOU = np.array([[1.0, 1.0, 1.0], [0.8, 0.4, 0.5], [0.6, 0.9, np.nan], [0.0, np.nan, 0.52]])
VALID = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 0], [1, 0, 1]], bool)
SCORED = [0.8, 0.6, 0.0, 0.4, 0.5, 0.52]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_iou_by_step_counts_samples():
    steps = ope.iou_by_step(IOU, VALID)
    assert steps.count.tolist() == [3, 3, 1, 2]
    np.testing.assert_allclose(steps.mean, [1, 1.7 / 3, 0.6, 0.26])
    nothing = ope.iou_by_step(IOU, VALID & (np.arange(4) != 2)[:, None])
    assert np.isnan(nothing.mean[2]) and nothing.count[2] == 0


def test_the_given_box_never_counts():
    assert ope.mean_iou(IOU, VALID) == pytest.approx(sum(SCORED) / 6)
    changed = IOU.copy()
    changed[0] = 0
    assert ope.mean_iou(changed, VALID) == ope.mean_iou(IOU, VALID)
    assert ope.success_auc(changed, VALID) == ope.success_auc(IOU, VALID)


def test_success_curve_is_the_share_above_each_threshold():
    curve = ope.success_curve(IOU, VALID)
    assert curve.shape == (21,)
    by_hand = [sum(v > k / 20 for v in SCORED) / 6 for k in range(21)]
    np.testing.assert_allclose(curve, by_hand)
    assert curve[0] == 5 / 6 and curve[20] == 0  # an IoU of 0 is never a success
    assert ope.success_auc(IOU, VALID) == pytest.approx(sum(by_hand) / 21)
    area = ope.success_area(IOU)[ope.scored(VALID)].mean()
    assert area == pytest.approx(ope.success_auc(IOU, VALID))


def test_fractions_are_strictly_above():
    assert ope.fraction_over(IOU, VALID) == 3 / 6  # 0.5 itself is not
    assert ope.fraction_over(IOU, VALID, 0.49) == 4 / 6


def test_lost_is_no_overlap_at_the_last_scored_step():
    assert ope.lost_rate(IOU, VALID) == pytest.approx(1 / 3)
    found_again = np.array([[1.0], [0.0], [0.3]])
    assert ope.lost_rate(found_again, np.ones((3, 1), bool)) == 0
    never_scored = np.concatenate((VALID, [[True], [False], [False], [False]]), 1)
    more = np.concatenate((IOU, np.full((4, 1), np.nan)), 1)
    assert ope.lost_rate(more, never_scored) == pytest.approx(1 / 3)


def test_precision_curve_by_hand():
    true = np.array([10.0, 20.0, 4.0, 6.0])
    apart = np.array([[0, 0, 0, 0], [3, 4, 0, 0], [20, 0, 0, 0], [20.5, 0, 0, 0], [3, 0, -6, 0]])
    error = ope.centre_error(true + apart, true)[:, None]
    assert error[:, 0].tolist() == [0, 5, 20, 20.5, 0]  # the last has the same centre
    curve = ope.precision_curve(error, np.ones((5, 1), bool))
    assert curve.shape == (51,)
    assert curve[[0, 4, 5, 19, ope.PRECISION_AT, 21]].tolist() == [0.25, 0.25, 0.5, 0.5, 0.75, 1]


def test_got10k_pools_or_averages_classes():
    pooled = ope.got10k(IOU, VALID)
    assert pooled.ao == pytest.approx(sum(SCORED) / 6)
    assert (pooled.sr_50, pooled.sr_75) == pytest.approx((3 / 6, 1 / 6))
    balanced = ope.got10k(IOU, VALID, np.array(["car", "dog", "car"]))
    car = [0.8, 0.6, 0.0, 0.5, 0.52]
    assert balanced.ao == pytest.approx((sum(car) / 5 + 0.4) / 2)
    assert (balanced.sr_50, balanced.sr_75) == pytest.approx(((3 / 5 + 0) / 2, (1 / 5 + 0) / 2))


def test_nothing_scored_is_nan():
    none = np.zeros_like(VALID)
    for score in (ope.mean_iou, ope.success_auc, ope.fraction_over, ope.lost_rate):
        assert np.isnan(score(IOU, none))
    assert np.isnan(ope.got10k(IOU, none)).all()
    assert np.isnan(ope.bootstrap(IOU, none, np.arange(3))).all()


def test_values_that_cannot_be_averaged_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        ope.mean_iou(IOU, np.ones_like(VALID))
    with pytest.raises(ValueError, match="expected the same shape"):
        ope.success_curve(IOU, VALID[:, :2])
    with pytest.raises(ValueError, match="not finite"):
        ope.bootstrap(IOU, np.ones_like(VALID), np.arange(3))


def test_bootstrap_draws_whole_objects(rng):
    # Two objects: a resample holds a twice, b twice, or one of each, in the ratio 1 : 1 : 2.
    values = np.array([[0.2, 0.4, 0.9], [0.2, 0.4, 0.9]])
    mask = np.ones((2, 3), bool)
    groups = np.array([7, 7, 3])
    wide = ope.bootstrap(values, mask, groups, samples=4000, level=0.6)
    assert wide.mean == pytest.approx(0.5)  # (4 * 0.3 + 2 * 0.9) / 6: windows weigh by length
    assert (wide.low, wide.high) == pytest.approx((0.3, 0.9))
    narrow = ope.bootstrap(values, mask, groups, samples=4000, level=0.4)
    assert (narrow.low, narrow.high) == pytest.approx((0.5, 0.5))


def test_bootstrap_equals_every_resample(rng):
    values, mask = rng.random((5, 6)), rng.random((5, 6)) < 0.8
    groups = np.array([0, 1, 1, 2, 3, 3])
    means = []
    for drawn in itertools.product(range(4), repeat=4):
        columns = [k for g in drawn for k in np.flatnonzero(groups == g)]
        means.append(values[:, columns][mask[:, columns]].mean())
    found = ope.bootstrap(values, mask, groups, samples=40_000)
    assert found.mean == pytest.approx(values[mask].mean())
    expected = np.quantile(means, (0.025, 0.975))
    np.testing.assert_allclose((found.low, found.high), expected, atol=0.01)


def test_bootstrap_is_seeded(rng):
    values, mask, groups = rng.random((5, 9)), np.ones((5, 9), bool), np.arange(9)
    assert ope.bootstrap(values, mask, groups) == ope.bootstrap(values, mask, groups)
    assert ope.bootstrap(values, mask, groups) != ope.bootstrap(values, mask, groups, seed=1)


def test_one_object_has_no_interval():
    found = ope.bootstrap(IOU, VALID, np.zeros(3))
    assert found.mean == pytest.approx(IOU[VALID].mean()) and np.isnan(found[1:]).all()


def test_summary_is_the_single_scores(rng):
    groups = np.arange(3)
    found = ope.summarise(IOU, VALID, groups, seed=3, samples=500)
    assert found["mean_iou"].mean == pytest.approx(ope.mean_iou(IOU, VALID))
    assert found["auc"].mean == pytest.approx(ope.success_auc(IOU, VALID))
    assert found["over_50"].mean == pytest.approx(ope.fraction_over(IOU, VALID))
    assert found["lost"].mean == pytest.approx(ope.lost_rate(IOU, VALID))
    assert all(score.low <= score.mean <= score.high for score in found.values())
    expected = ope.bootstrap(IOU, ope.scored(VALID), groups, seed=3, samples=500)
    assert found["mean_iou"] == expected


def test_paired_differences_are_tighter_than_two_intervals(rng):
    difficulty = rng.uniform(0.2, 0.8, 40)  # of each object, shared by both trackers
    a = np.clip(difficulty + rng.normal(0.05, 0.01, (10, 40)), 0, 1)
    b = np.clip(difficulty + rng.normal(0, 0.01, (10, 40)), 0, 1)
    valid, groups = np.ones((10, 40), bool), np.arange(40)
    paired = ope.compare(a, b, valid, groups)
    assert paired["mean_iou"].mean == pytest.approx(ope.mean_iou(a, valid) - ope.mean_iou(b, valid))
    assert 0.045 < paired["mean_iou"].low < paired["mean_iou"].high < 0.055
    alone = ope.summarise(a, valid, groups)["mean_iou"]
    assert alone.high - alone.low > 0.05
    swapped = ope.compare(b, a, valid, groups)
    assert swapped["auc"].mean == pytest.approx(-paired["auc"].mean)
    assert paired["lost"] == (0, 0, 0)


def test_overlap_of_boxes_is_that_of_tensors(rng):
    torch = pytest.importorskip("torch")
    from common import boxes

    a, b = (
        np.concatenate((rng.uniform(-9, 9, (50, 2)), rng.uniform(0, 9, (50, 2))), 1) for _ in "ab"
    )
    a[0, 2:] = 0
    tensors = torch.from_numpy(a), torch.from_numpy(b)
    np.testing.assert_allclose(iou(a, b), boxes.iou(*tensors).numpy(), atol=1e-12)
    np.testing.assert_allclose(clip(a, 5, 7), boxes.clip(tensors[0], 5, 7).numpy(), atol=1e-12)
    share = boxes.intersection(*tensors) / boxes.area(tensors[0]).clamp_min(1e-9)
    np.testing.assert_allclose(coverage(a, b), share.numpy(), atol=1e-12)
