"""Trackers side by side on the same windows: table, record and figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from common.metrics import ope
from common.metrics.ope import Interval
from experiments.protocol import Result, compare, summarise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STAR = " *"  # after the name of a tracker that sees a second true box
MEASURES = ("mean_iou", "auc", "over_50", "lost")
FOOTNOTE = """\
mean IoU, AUC (OTB success) and P50 (share of IoU above .5) are over all frames after the first;
lost: share of windows that end without overlap; [95 % interval, bootstrap over objects];
ahead: how much the first row's mean IoU is higher, paired over the same windows;
updates/s: per second of CPU time, one object alone; * sees a second true box."""


class Row(NamedTuple):
    """One tracker's result; the rows of a table are over the same windows."""

    name: str
    result: Result
    rate: float = float("nan")  # updates per CPU-second, one object


def part(rows: Sequence[Row], windows: np.ndarray, rates: Mapping[str, float]) -> list[Row]:
    """The rows over some of their windows (a mask ``(M,)``), with the rates measured there."""
    return [
        Row(name, Result(*(field[windows] for field in result)), rates.get(name, float("nan")))
        for name, result, _ in rows
    ]


def describe(rows: Sequence[Row], length: int, stride: int) -> str:
    """What the rows are over: windows of ``length`` frames, or of fewer where clips are short."""
    frames = np.isfinite(rows[0].result.iou).sum(1)
    extent = f"{length}" if frames.min() == length else f"{frames.min()} to {frames.max()}"
    objects = len(np.unique(rows[0].result.objects))
    return (
        f"{len(frames)} windows of {extent} frames at stride {stride}, "
        f"{objects} objects, {frames.sum() - len(frames)} scored frames"
    )


def table(rows: Sequence[Row]) -> str:
    """Text: a line for each tracker, the first being the one compared with the others."""
    width = max(len(row.name) for row in rows) + 1
    head = f"{'':{width}} {'mean IoU':<18} {'AUC':>5} {'P50':>5} {'lost':>5}"
    lines = [f"{head}  {'ahead':<19} {'updates/s':>9}"]
    for row in rows:
        scores = summarise(row.result)
        cells = [f"{_three(scores[name].mean):>5}" for name in MEASURES[1:]]
        ahead = "" if row is rows[0] else _interval(_ahead(rows[0], row)["mean_iou"], "+")
        rate = f"{row.rate:>9,.0f}" if np.isfinite(row.rate) else f"{'':>9}"
        scored = f"{_interval(scores['mean_iou']):<18} {' '.join(cells)}"
        lines.append(f"{row.name:{width}} {scored}  {ahead:<19} {rate}".rstrip())
    return "\n".join(lines)


def record(rows: Sequence[Row]) -> dict[str, Any]:
    """What the table shows as plain values: the first row's, and all in ``trackers`` by name."""
    trackers = {}
    for row in rows:
        trackers[row.name.removesuffix(STAR)] = values = _values(row)
        if row is not rows[0]:
            values["ahead"] = _plain(_ahead(rows[0], row))
    return {**_values(rows[0]), "trackers": trackers}


def figure(panels: dict[int, Sequence[Row]]) -> Figure:
    """IoU over time with sample counts, and the success plot; a line of panels for each length.

    Args:
        panels: by the windows' length, the rows.
    """
    from common.plotting import iou_over_time, new_figure, success_plot

    drawn, axes = new_figure(len(panels), 2)
    for (length, rows), (left, right) in zip(panels.items(), axes, strict=True):
        steps = {row.name: _steps(row.result) for row in rows}
        successes = {
            row.name: ope.success_curve(row.result.iou.T, _valid(row.result)) for row in rows
        }
        counts = steps[rows[0].name].count[1:]
        curves = {name: found.mean[1:] for name, found in steps.items()}
        iou_over_time(curves, counts=counts, title=f"windows of {length} frames", axes=left)
        success_plot(successes, title="success", axes=right)
    return drawn


def _values(row: Row) -> dict[str, Any]:
    scores, steps = summarise(row.result), _steps(row.result)
    return {
        **{name: interval.mean for name, interval in scores.items()},
        "interval": {name: [found.low, found.high] for name, found in scores.items()},
        "iou_by_step": steps.mean.tolist(),
        "samples_by_step": steps.count.tolist(),
        "windows": len(row.result.iou),
        "objects": len(np.unique(row.result.objects)),
        "updates_per_second": row.rate,
    }


def _plain(scores: dict[str, Interval]) -> dict[str, Any]:
    return {name: found._asdict() for name, found in scores.items()}


def _ahead(first: Row, row: Row) -> dict[str, Interval]:
    return compare(first.result, row.result)


def _steps(result: Result) -> ope.Steps:
    return ope.iou_by_step(result.iou.T, _valid(result))


def _valid(result: Result) -> np.ndarray:
    return np.isfinite(result.iou.T)


def _interval(found: Interval, sign: str = "") -> str:
    mean, low, high = (_three(value, sign) for value in found)
    return f"{mean} [{low}, {high}]" if np.isfinite(found.low) else mean


def _three(value: float, sign: str = "") -> str:
    """``.123``, as tables of fractions are read most easily."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:{sign}.3f}"
