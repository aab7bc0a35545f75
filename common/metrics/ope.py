"""One-pass evaluation: a tracker is given the first box and scored on what follows.

Functions take arrays ``(T, M)``: T frames of M windows (an object followed from a given box), and
``valid (T, M)``, which is false where there is nothing to score (after a window's end, or where the
object is absent). Step 0 shows the given box and never counts. Means are over all scored (step,
window) pairs, not over windows first. Boxes should be clipped to the frame before their IoU
(:func:`common.metrics.overlap.clip`, :func:`~common.metrics.overlap.iou`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SUCCESS_THRESHOLDS = np.linspace(0, 1, 21)  # IoU, OTB (Wu et al. 2013)
PRECISION_THRESHOLDS = np.arange(51.0)  # centre error in pixels, OTB
PRECISION_AT = 20  # pixels: OTB's one-number precision


class Steps(NamedTuple):
    """Mean over the windows that are scored at each step."""

    mean: np.ndarray  # (T,) NaN where there is none
    count: np.ndarray  # (T,) number of windows


class Got10k(NamedTuple):
    """GOT-10k's scores (Huang et al. 2019), fractions."""

    ao: float  # average overlap
    sr_50: float  # success rate: overlaps above 0.5
    sr_75: float  # above 0.75


class Interval(NamedTuple):
    """A mean with its confidence interval, NaN where there is nothing to resample."""

    mean: float
    low: float
    high: float


def scored(valid: np.ndarray) -> np.ndarray:
    """``valid (T, M)`` without step 0."""
    mask = np.array(valid, bool)
    mask[:1] = False
    return mask


def iou_by_step(iou: np.ndarray, valid: np.ndarray) -> Steps:
    """Mean IoU and sample count of every step, step 0 included."""
    count = np.asarray(valid, bool).sum(1)
    total = np.where(valid, iou, 0.0).sum(1)
    return Steps(np.where(count > 0, total / np.maximum(count, 1), np.nan), count)


def mean_iou(iou: np.ndarray, valid: np.ndarray) -> float:
    """Mean IoU for t >= 1; NaN when nothing is scored."""
    return _mean(_chosen(iou, scored(valid)))


def success_area(iou: np.ndarray) -> np.ndarray:
    """Share of the 21 success thresholds below each IoU ``(...)``; the AUC is its mean."""
    return (np.asarray(iou)[..., None] > SUCCESS_THRESHOLDS).mean(-1)


def success_curve(iou: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Fraction of scored pairs with IoU above each of the 21 thresholds, ``(21,)`` (OTB)."""
    values = _chosen(iou, scored(valid))
    return np.array([_mean(values > threshold) for threshold in SUCCESS_THRESHOLDS])


def success_auc(iou: np.ndarray, valid: np.ndarray) -> float:
    """Area under the success curve: its mean over the thresholds (OTB)."""
    return float(success_curve(iou, valid).mean())


def fraction_over(iou: np.ndarray, valid: np.ndarray, threshold: float = 0.5) -> float:
    """Fraction of scored pairs with IoU above ``threshold``."""
    return _mean(_chosen(iou, scored(valid)) > threshold)


def lost(iou: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which windows ``(M,)`` end without any overlap, and which are scored at all ``(M,)``."""
    mask = scored(valid)
    last = len(mask) - 1 - np.argmax(mask[::-1], 0)
    ends = np.take_along_axis(np.asarray(iou), last[None], 0)[0]
    return (ends <= 0) & mask.any(0), mask.any(0)


def lost_rate(iou: np.ndarray, valid: np.ndarray) -> float:
    """Fraction of windows whose last scored IoU is 0: the box has left its object."""
    gone, counted = lost(iou, valid)
    return _mean(gone[counted])


def centre_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance in pixels between the centres of xywh boxes ``(..., 4)``, elementwise."""
    apart = (a[..., :2] + a[..., 2:] / 2) - (b[..., :2] + b[..., 2:] / 2)
    return np.hypot(apart[..., 0], apart[..., 1])


def precision_curve(error: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Fraction of scored pairs whose error is at most 0, 1, ... 50 pixels, ``(51,)`` (OTB)."""
    values = _chosen(error, scored(valid))
    return np.array([_mean(values <= threshold) for threshold in PRECISION_THRESHOLDS])


def got10k(iou: np.ndarray, valid: np.ndarray, classes: np.ndarray | None = None) -> Got10k:
    """Average overlap and success rates; with ``classes (M,)`` means over classes (mAO, mSR)."""
    mask = scored(valid)
    names = np.zeros(mask.shape[1], int) if classes is None else np.asarray(classes)
    member = np.broadcast_to(names, mask.shape)[mask]
    values = _chosen(iou, mask)
    kinds = [values[member == kind] for kind in np.unique(member)] or [values]
    rows = [[_mean(v), _mean(v > 0.5), _mean(v > 0.75)] for v in kinds]
    return Got10k(*np.mean(rows, 0).tolist())


def bootstrap(
    values: np.ndarray,
    mask: np.ndarray,
    groups: np.ndarray,
    *,
    seed: int = 0,
    samples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Mean of ``values[mask]`` with a percentile bootstrap interval over groups.

    Windows of one object are not independent: whole objects are drawn, with replacement.

    Args:
        values: (T, M) or (M,).
        mask: like ``values``, what counts; steps at 0 are not left out here (see :func:`scored`).
        groups: (M,) whose window each is; with fewer than two groups there is no interval.
    """
    _chosen(values, mask)  # refuses what cannot be averaged
    mask = np.atleast_2d(mask)
    total = np.where(mask, np.atleast_2d(values), 0.0).sum(0)
    member = np.unique(np.asarray(groups), return_inverse=True)[1]
    sums, counts = np.bincount(member, total), np.bincount(member, mask.sum(0))
    sums, counts = sums[counts > 0], counts[counts > 0]
    if not len(counts):
        return Interval(np.nan, np.nan, np.nan)
    mean = float(sums.sum() / counts.sum())
    if len(counts) < 2:
        return Interval(mean, np.nan, np.nan)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(samples, len(counts)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return Interval(mean, float(low), float(high))


def summarise(iou: np.ndarray, valid: np.ndarray, groups: np.ndarray, **settings) -> dict:
    """``mean_iou``, ``auc``, ``over_50`` and ``lost``, each an :class:`Interval`.

    ``groups (M,)`` names each window's object; ``settings`` (seed, samples, level) are those of
    :func:`bootstrap`.
    """
    return _summarise(lambda measure: measure(iou), valid, groups, settings)


def compare(
    a: np.ndarray, b: np.ndarray, valid: np.ndarray, groups: np.ndarray, **settings
) -> dict:
    """As :func:`summarise`, of the paired differences ``a - b`` of two trackers' IoU ``(T, M)``."""

    def difference(measure: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return measure(a) - measure(b)

    return _summarise(difference, valid, groups, settings)


def _summarise(apply: Callable, valid: np.ndarray, groups: np.ndarray, settings: dict) -> dict:
    mask = scored(valid)
    measures = {
        "mean_iou": lambda iou: np.asarray(iou, float),
        "auc": success_area,
        "over_50": lambda iou: (np.asarray(iou) > 0.5).astype(float),
    }
    found = {
        name: bootstrap(apply(measure), mask, groups, **settings)
        for name, measure in measures.items()
    }
    ends = apply(lambda iou: lost(iou, valid)[0].astype(float))
    return {**found, "lost": bootstrap(ends, mask.any(0), groups, **settings)}


def _chosen(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    values, mask = np.asarray(values, float), np.asarray(mask, bool)
    if values.shape != mask.shape:
        raise ValueError(f"values {values.shape}, mask {mask.shape}: expected the same shape")
    chosen = values[mask]
    if not np.isfinite(chosen).all():
        raise ValueError("a scored value is not finite, expected it outside the mask")
    return chosen


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
