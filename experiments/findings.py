"""What an unsupervised model was found to do: as plain values, as tables, as a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from common.metrics import identity, mot
from common.plotting import DASHES, PALETTE, new_figure, styled
from experiments.unsupervised import GATE, Scored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_OBJECTS = "the model has no objects"
NO_IDS = "the model gives no id that lasts"
NO_TRUTH = "no object is in sight"
FOLLOWED = (
    *("mota", "idf1", "hota", "id_switches"),
    *("mota_ink", "idf1_ink", "id_switches_ink"),
    *("mota_10px", "idf1_10px", "id_switches_10px", "same_id"),
)
NAMES = {"elbo": "ELBO", "reconstruction": "log p(x|z)", "kl": "KL", "ess": "sample size"}
NAMES |= {"counting": "counting accuracy", "late_discoveries": "late discoveries"}
FOOTNOTE = f"""\
Nats are per sequence, +- one standard error. IWAE (K particles) and ELBO bound log p(x) from below.
log p(x|z), KL = log q(z|x) - log p(z), counting accuracy (frames with the nominal number) and late
discoveries (new ids per frame after the first) are means over particles by importance weight;
sample size: the effective number of particles. Tracks: of one particle per sequence, drawn by
weight; boxes match at IoU .5, or at {GATE:.0f} px between centres; same id: as in frame 0."""


def summarise(scored: Scored, tight: Tensor | None, particles: int, more: int) -> dict[str, Any]:
    """Scores by name: nats per sequence, shares as fractions, None for what cannot be said.

    Args:
        scored: everything measured with ``particles``.
        tight: ``(B,)`` the bound with ``more`` particles, or None.

    Returns:
        The values over all sequences; ``per_count`` has them by the true number of objects,
        ``reasons`` why one is None.
    """
    bounds = {f"iwae_k{particles}": scored.iwae, "elbo": scored.elbo}
    bounds |= {"reconstruction": scored.reconstruction, "kl": scored.kl}
    if tight is not None:
        bounds = {f"iwae_k{more}": tight, **bounds}
    measured = {**bounds, "ess": scored.sample_size}
    reasons = {}
    if scored.correct is None:
        reasons |= dict.fromkeys(("counting", "late_discoveries", *FOLLOWED), NO_OBJECTS)
    elif scored.ids is None:
        reasons |= dict.fromkeys(("late_discoveries", *FOLLOWED), NO_IDS)
    else:
        measured["late_discoveries"] = scored.late
    values = {**dict.fromkeys(("counting", "late_discoveries", *FOLLOWED)), "reasons": reasons}
    values |= _means(scored, measured, torch.ones_like(scored.count, dtype=torch.bool))
    values["standard_error"] = {name: _error(value) for name, value in bounds.items()}
    values["per_count"] = {
        str(number): _means(scored, measured, scored.count == number)
        for number in scored.count.unique().tolist()
    }
    if scored.correct is not None:
        values["counting_by_time"] = scored.correct.mean(1).tolist()
    return values if scored.ids is None else values | _followed(scored, reasons)


def table(values: Mapping[str, Any]) -> str:
    """Text: bounds and counting, in all and by number of objects; then tracking."""
    columns = {"all": values}
    columns |= {_objects(n): column for n, column in values["per_count"].items()}
    first = [["", *columns], ["sequences", *(str(c["sequences"]) for c in columns.values())]]
    rows = [name for name in values["per_count"][min(values["per_count"])] if name != "sequences"]
    for name in rows:
        label = NAMES.get(name) or f"IWAE, K = {name.removeprefix('iwae_k')}"
        cells = [_number(name, column[name]) for column in columns.values()]
        if name in values["standard_error"] and math.isfinite(values["standard_error"][name]):
            cells[0] += f" +- {values['standard_error'][name]:.0f}"
        first.append([label, *cells])
    parts = [_aligned(first)]
    if "tracking" in values:
        names = ("MOTA", "IDF1", "HOTA", "IDSW", "FP", "FN")
        second = [["tracks", *names, "same id"]]
        for label, end in (("IoU .5", ""), (f"{GATE:.0f} px", f"_{GATE:.0f}px")):
            found = values["tracking" + end]
            cells = [_three(found[n] / 100) for n in names[: 2 if end else 3]]
            cells += [""] * (3 - len(cells)) + [str(found[n]) for n in names[3:]]
            second.append([label, *cells, _three(values["same_id"]) if end else ""])
        parts.append(_aligned(second))
    reasons: dict[str, list[str]] = {}
    for name, reason in values["reasons"].items():
        reasons.setdefault(reason, []).append(name)
    parts += [f"not scored, {reason}: {', '.join(names)}" for reason, names in reasons.items()]
    if values.get("addition") is not None:
        parts.append(f"digits added up (probe): {_three(values['addition'])} of the frames")
    return "\n\n".join((*parts, FOOTNOTE))


@styled
def figure(scored: Scored) -> Figure:
    """Over time: counting accuracy by the true number of objects, and who keeps the id of frame 0.

    Raises:
        ValueError: the model has no objects.
    """
    if scored.correct is None:
        raise ValueError(f"{NO_OBJECTS}: nothing to draw over time")
    drawn, axes = new_figure(1, 1 if scored.ids is None else 2)
    curves = {"all": scored.correct.mean(1)}
    for number in scored.count.unique().tolist():
        curves[_objects(number)] = scored.correct[:, scored.count == number].mean(1)
    for k, (name, curve) in enumerate(curves.items()):
        style = {"color": PALETTE[k % len(PALETTE)], "linestyle": DASHES[k % len(DASHES)]}
        axes[0, 0].plot(curve, label=name, linewidth=1.4 if k else 2.4, **style)
    axes[0, 0].set(title="counting accuracy", xlabel="frame", ylim=(0, 1.02))
    axes[0, 0].legend(loc="lower left")
    if scored.ids is not None:
        kept = scored.ids.kept
        axes[0, 1].plot(_shares(kept), color=PALETTE[0], linewidth=2.4)
        axes[0, 1].set(title="objects with the id of frame 0", xlabel="frame", ylim=(0, 1.02))
    return drawn


def _followed(scored: Scored, reasons: dict[str, str]) -> dict[str, Any]:
    over, ink, near = (mot.scores(part) for part in scored.ids[:3])
    found = {"hota": over["HOTA"] / 100, "same_id": identity.share_kept(scored.ids.kept)}
    for end, part in (("", over), ("_ink", ink), (f"_{GATE:.0f}px", near)):
        found |= {f"mota{end}": part["MOTA"] / 100, f"idf1{end}": part["IDF1"] / 100}
        found |= {f"id_switches{end}": part["IDSW"], f"tracking{end}": part}
    if not scored.ids.overlap.clear.tp + scored.ids.overlap.clear.fn:
        reasons |= dict.fromkeys(FOLLOWED, NO_TRUTH)
        return dict.fromkeys(FOLLOWED)
    return {**found, "same_id_by_time": _shares(scored.ids.kept)}


def _shares(kept: identity.KeptCounts) -> list[float]:
    pairs = zip(kept.same.tolist(), kept.total.tolist())
    return [same / total if total else math.nan for same, total in pairs]


def _means(scored: Scored, measured: Mapping[str, Tensor], chosen: Tensor) -> dict[str, Any]:
    values = {name: float(value[chosen].mean()) for name, value in measured.items()}
    values["sequences"] = int(chosen.sum())
    if scored.correct is not None:
        values["counting"] = float(scored.correct[:, chosen].mean())
    return values


def _objects(number: int | str) -> str:
    return f"{number} object" + "s" * (str(number) != "1")


def _error(value: Tensor) -> float:
    return float(value.std() / math.sqrt(len(value))) if len(value) > 1 else math.nan


def _number(name: str, value: float) -> str:
    if name in ("counting", "late_discoveries"):
        return _three(value)
    return f"{value:.2f}" if name == "ess" else f"{value:,.1f}"


def _three(value: float) -> str:
    """``.123``, as tables of fractions are read most easily."""
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def _aligned(rows: list[list[str]]) -> str:
    """Lines of cells: the first column to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))])
        for row in rows
    )
