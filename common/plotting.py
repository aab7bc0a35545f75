"""Figures in one style: curves of tracking quality and of training, and what a tracker looked at.

Matplotlib is imported when a figure is made, never on import. Figures are plain ``Figure`` objects
outside pyplot: they need no display, no global state, and free their memory by themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart, without its black and yellow;
# the first is the figure's subject.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6a4f")
GREY = "#8a8a8a"
INK = "#262626"

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.dpi": 110,
    "savefig.dpi": 150,
}
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def styled(draw: Callable) -> Callable:
    """Decorator: whatever ``draw`` makes has the project's style."""

    @functools.wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Any:
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


@styled
def new_figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (4.4, 3.6)) -> Any:
    """A figure in the project's style and its axes ``(rows, columns)``; ``size`` of one, inches."""
    from matplotlib.figure import Figure

    figure = Figure((size[0] * columns, size[1] * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


@styled
def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure; the suffix says as what (png, pdf, svg). Makes missing folders.

    Raises:
        ValueError: a suffix that matplotlib cannot write.
    """
    path = Path(path)
    kinds = figure.canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise ValueError(f"{path}: a figure can be {', '.join(sorted(kinds))}, not {path.suffix!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor="white")
    return path


@styled
def iou_over_time(
    curves: Mapping[str, ArrayLike],
    *,
    counts: ArrayLike | None = None,
    bands: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    title: str = "",
    axes: Axes | None = None,
) -> Figure:
    """Mean IoU against the frame since the box was given.

    Args:
        curves: by name, ``(L,)`` mean IoU at steps ``1 .. L``, NaN where nothing was scored; the
            first is the figure's subject.
        counts: ``(L,)`` boxes scored at each step, written under the steps.
        bands: by name, lower and upper ends ``(L,)`` of an interval.
        axes: draw here instead of in a new figure.
    """
    if axes is None:
        axes = new_figure()[1][0, 0]
    longest = max((len(np.asarray(curve)) for curve in curves.values()), default=1)
    for number, (name, curve) in enumerate(curves.items()):
        steps = np.arange(1, len(np.asarray(curve)) + 1)
        line = _line(axes, number, steps, np.asarray(curve, float), name)
        if bands and name in bands:
            low, high = bands[name]
            axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xlim=(1, max(longest, 2)), ylim=(0, 1.02), ylabel="mean IoU", title=title)
    axes.set_xlabel("frames since the box was given")
    axes.set_xticks(_ticks(longest))
    if counts is not None:
        scored = dict(enumerate(np.asarray(counts).tolist(), 1))
        labels = [f"{step}\nn={scored.get(step, 0):.0f}" for step in _ticks(longest)]
        axes.set_xticklabels(labels, fontsize=8)
    _legend(axes)
    return axes.figure


@styled
def success_plot(
    curves: Mapping[str, ArrayLike],
    thresholds: ArrayLike | None = None,
    *,
    title: str = "",
    axes: Axes | None = None,
) -> Figure:
    """Share of boxes whose IoU exceeds a threshold (OTB's success plot), with each curve's area.

    Args:
        curves: by name, ``(K,)`` shares; the first is the figure's subject.
        thresholds: ``(K,)``; evenly from 0 to 1 by default, as OTB's 21.
        axes: draw here instead of in a new figure.
    """
    if axes is None:
        axes = new_figure()[1][0, 0]
    for number, (name, curve) in enumerate(curves.items()):
        shares = np.asarray(curve, float)
        places = np.linspace(0, 1, len(shares)) if thresholds is None else np.asarray(thresholds)
        _line(axes, number, places, shares, f"{name} [{shares.mean():.3f}]")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), title=title)
    axes.set(xlabel="IoU threshold", ylabel="share of boxes above it")
    _legend(axes, "AUC in brackets")
    return axes.figure


@styled
def training_curves(
    train: Iterable[Mapping[str, Any]], validation: Iterable[Mapping[str, Any]] = ()
) -> Figure:
    """A panel for each quantity that a run measured, against the step.

    Args:
        train: records of ``metrics.jsonl``, each with its ``step``; numbers among its other values
            are drawn, long series with their running mean. ``time`` is not drawn.
        validation: likewise, drawn as points on a line, in panels of their own.

    Raises:
        ValueError: there is no number in any record.
    """
    panels = [(name, False, *points) for name, points in _series(train).items()]
    panels += [(f"validation: {n}", True, *points) for n, points in _series(validation).items()]
    if not panels:
        raise ValueError("training curves: nothing was measured")
    columns = min(3, len(panels))
    figure, axes = new_figure(-(-len(panels) // columns), columns, (3.4, 2.3))
    for panel, (name, rare, steps, values) in zip(axes.flat, panels):
        smooth = not rare and len(values) > 20
        shown = PALETTE[1 if rare else 0]
        panel.plot(
            steps, values, "o-" if rare else "-", ms=3, color=shown, alpha=0.3 if smooth else 1
        )
        if smooth:
            panel.plot(steps, _smooth(values), color=shown, linewidth=1.8)
        panel.set(title=name, xlabel="step")
    for panel in axes.flat[len(panels) :]:
        panel.set_axis_off()
    return figure


def _series(records: Iterable[Mapping[str, Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Steps and values ``(M,)`` of every number in the records."""
    points: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, value in record.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and name not in ("step", "time"):
                points.setdefault(name, []).append((record["step"], value))
    return {name: tuple(np.array(found, float).T) for name, found in points.items()}


def _line(axes: Axes, number: int, x: np.ndarray, y: np.ndarray, label: str) -> Any:
    """One curve: the first strong, later ones thin and told apart by dashes as well as colour."""
    return axes.plot(
        x,
        y,
        color=PALETTE[number % len(PALETTE)],
        linestyle=DASHES[number % len(DASHES)],
        linewidth=1.4 if number else 2.4,
        zorder=3 if number else 4,
        label=label,
    )[0]


def _legend(axes: Axes, title: str | None = None) -> None:
    """The names of the curves, below the axes, where they hide nothing."""
    count = len(axes.get_legend_handles_labels()[0])
    if count:
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.22)}
        axes.legend(**place, ncols=min(count, 2), title=title, handlelength=2.6)


def _ticks(longest: int) -> list[int]:
    """The first step and a few round ones."""
    stride = next((s for s in (1, 2, 5, 10, 20, 50) if longest <= 8 * s), 100)
    return [1, *range(stride if stride > 1 else 2, longest + 1, stride)]


def _smooth(values: np.ndarray, share: float = 0.05) -> np.ndarray:
    """Exponential average over about ``share`` of the series, unbiased at its start."""
    rate = 1 / max(1.0, share * len(values))
    total, weight, smoothed = 0.0, 0.0, np.empty(len(values))
    for place, value in enumerate(values):
        if np.isfinite(value):
            total, weight = total + rate * (value - total), weight + rate * (1 - weight)
        smoothed[place] = total / weight if weight else np.nan
    return smoothed
