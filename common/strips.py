"""Figures of sequences: time from left to right, a row for each video, boxes coloured by id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from common.drawing import to_image
from common.overlay import colour
from common.plotting import GREY, INK, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAP = 0.06  # between cells, of a cell's side
BREAK = 0.16  # between observed and imagined frames, and between groups of rows
BAND = "#dbe6ef"  # behind what was observed
EDGE = 1.4  # points, lines in an object's colour
LETTERS = 8.0  # points
SEAM, HEAD = 6, 18  # pixels, between images of a mosaic, and of its caption


class Row(NamedTuple):
    """A row of a figure: T cells side by side, each with M pictures side by side."""

    pictures: ArrayLike  # (T, M, C, h, w): uint8, or float in [0, 1]; C is 1 or 3
    label: str = ""
    boxes: ArrayLike | None = None  # (T, N, 4) xywh pixels, on the first picture of a cell
    ids: ArrayLike | None = None  # (T, N) int, of the boxes; those below 0 are not drawn
    owners: ArrayLike | None = None  # (T, M) int: whose picture; those below 0 stay empty
    group: bool = False  # begins a group of rows: some room above


def frames_row(
    frames: ArrayLike,
    label: str = "",
    boxes: ArrayLike | None = None,
    ids: ArrayLike | None = None,
    group: bool = False,
) -> Row:
    """The row of a video ``(T, C, H, W)``."""
    return Row(as_array(frames)[:, None], label, boxes, ids, group=group)


@styled
def strip(
    rows: Sequence[Row],
    columns: Sequence[str] | None = None,
    observed: int = 0,
    title: str = "",
    side: float = 0.62,
) -> Figure:
    """Videos as rows, frames as columns.

    Boxes have the colour of their id wherever it appears (``common.overlay.colour``).

    Args:
        rows: all of T cells, from top to bottom.
        columns: what to write above each; 1, 2, ... by default.
        observed: so many columns are marked as observed, the others as imagined; 0: no marks.
        title: above all.
        side: of a cell, inches.

    Raises:
        ValueError: no rows, rows of different lengths, or boxes without an id for each.
    """
    from matplotlib.figure import Figure

    length = _check(rows)
    columns = [str(t + 1) for t in range(length)] if columns is None else columns
    lefts = np.arange(length) * (1 + GAP)
    if observed:
        lefts[observed:] += BREAK
    heights = [_height(row) for row in rows]
    above = [BREAK if row.group and n else 0.0 for n, row in enumerate(rows)]
    tops = np.cumsum([a + b for a, b in zip(above, [0.0, *(h + GAP for h in heights[:-1])])])
    width, height = float(lefts[-1] + 1), float(tops[-1] + heights[-1])
    margin = 0.16 + max(_inches(row.label) for row in rows)
    head = 0.24 + 0.18 * bool(observed) + 0.24 * bool(title)
    inches = (margin + width * side + 0.08, head + height * side + 0.08)
    figure = Figure(inches)
    axes = figure.add_axes(
        (margin / inches[0], 0.08 / inches[1], width * side / inches[0], height * side / inches[1])
    )
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    axes.set_aspect("auto")
    for row, top in zip(rows, tops):
        _draw(axes, row, lefts, float(top))
        where = {"ha": "right", "va": "center", "fontsize": LETTERS}
        axes.text(-0.08 / side, float(top) + _height(row) / 2, row.label, **where)
    for left, text in zip(lefts, columns):
        axes.text(left + 0.5, -0.06, text, ha="center", va="bottom", fontsize=7, color=GREY)
    if observed:
        _mark(axes, lefts, observed, height, side)
    if title:
        figure.text(0.09 / inches[0], 1 - 0.08 / inches[1], title, va="top", weight="bold", size=10)
    return figure


def mosaic(
    images: Sequence[np.ndarray],
    columns: int,
    caption: str = "",
    ground: Sequence[int] = (255, 255, 255),
) -> np.ndarray:
    """Images ``(h, w, 3)`` uint8 of one size in rows of ``columns``, for a frame of a video.

    Args:
        caption: written above, black.
        ground: RGB around and between the images.
    """
    import cv2

    height, width = images[0].shape[:2]
    high, wide, head = height + SEAM, width + SEAM, HEAD if caption else 0
    rows = -(-len(images) // columns)
    whole = np.empty((head + rows * high + SEAM, columns * wide + SEAM, 3), np.uint8)
    whole[:] = ground
    for number, image in enumerate(images):
        y, x = head + SEAM + number // columns * high, SEAM + number % columns * wide
        whole[y : y + height, x : x + width] = image
    if caption:
        face = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(whole, caption, (SEAM, head - 4), face, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return whole


def spaced(length: int, columns: int) -> list[int]:
    """At most ``columns`` of the frames ``0 .. length - 1``, evenly, the first one among them."""
    count = min(length, columns)
    return [round(n * (length - 1) / max(count - 1, 1)) for n in range(count)]


def as_array(values: Any) -> np.ndarray:
    """An array from an array, or from a tensor on any device."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def picture(values: np.ndarray) -> np.ndarray:
    """``(C, h, w)`` uint8, or float in [0, 1], as ``(h, w, 3)`` uint8."""
    return to_image(values / 255.0 if values.dtype == np.uint8 else values)


def _check(rows: Sequence[Row]) -> int:
    """T; raises ValueError where rows do not agree."""
    lengths = {len(row.pictures) for row in rows}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"a strip needs rows of one length, got lengths {sorted(lengths)}")
    for row in rows:
        shapes = [None if part is None else as_array(part).shape for part in row[2:4]]
        if (shapes[0] is None) != (shapes[1] is None) or (shapes[0] or ())[:2] != (shapes[1] or ()):
            raise ValueError(f"row {row.label!r}: boxes {shapes[0]} with ids {shapes[1]}")
    return lengths.pop()


def _inches(label: str) -> float:
    """How wide a label is."""
    if not label:
        return 0.0
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    return TextPath((0, 0), label, LETTERS, prop=FontProperties()).get_extents().width / 72


def _height(row: Row) -> float:
    """Of a row whose cells are one wide."""
    count, _, height, width = as_array(row.pictures).shape[1:]
    return (1 - (count - 1) * GAP) / count * height / width


def _draw(axes: Axes, row: Row, lefts: np.ndarray, top: float) -> None:
    """The pictures and boxes of a row."""
    from matplotlib.patches import Rectangle

    pictures = as_array(row.pictures)
    count, _, pixels_high, pixels_wide = pictures.shape[1:]
    side, height = (1 - (count - 1) * GAP) / count, _height(row)
    owners = None if row.owners is None else as_array(row.owners)
    for t, left in enumerate(lefts):
        for m in range(count):
            x = left + m * (side + GAP)
            corner = ((x, top), side, height)
            if owners is not None and owners[t, m] < 0:
                axes.add_patch(Rectangle(*corner, facecolor="#f3f3f3", edgecolor="none", zorder=1))
                continue
            extent = (x, x + side, top + height, top)
            image = picture(pictures[t, m])
            axes.imshow(image, extent=extent, interpolation="nearest", aspect="auto", zorder=1)
            if owners is not None:
                edge = np.divide(colour(int(owners[t, m])), 255)
                axes.add_patch(Rectangle(*corner, fill=False, ec=edge, lw=EDGE, zorder=2))
        if row.boxes is not None:
            scale = (side / pixels_wide, height / pixels_high)
            _boxes(axes, as_array(row.boxes)[t], as_array(row.ids)[t], (left, top), scale)


def _boxes(
    axes: Axes,
    boxes: np.ndarray,
    ids: np.ndarray,
    corner: tuple[float, float],
    scale: tuple[float, float],
) -> None:
    """Boxes ``(N, 4)`` on a picture whose corner and pixels are there."""
    from matplotlib.patches import Rectangle

    for (x, y, w, h), name in zip(boxes, ids):
        if name < 0 or not (w > 0 and h > 0):
            continue
        start = (corner[0] + x * scale[0], corner[1] + y * scale[1])
        edge = np.divide(colour(int(name)), 255)
        sides = (w * scale[0], h * scale[1])
        axes.add_patch(Rectangle(start, *sides, fill=False, ec=edge, lw=EDGE, zorder=3))


def _mark(axes: Axes, lefts: np.ndarray, observed: int, height: float, side: float) -> None:
    """A band behind the observed columns; above the columns, what they are."""
    from matplotlib.patches import Rectangle

    pad = GAP / 2
    spans = {"observed": (lefts[0], lefts[observed - 1] + 1)}
    if observed < len(lefts):
        spans["imagined"] = (lefts[observed], lefts[-1] + 1)
    for name, (start, stop) in spans.items():
        axes.text((start + stop) / 2, -0.2 / side, name, ha="center", va="bottom", fontsize=8)
        line = {"color": INK, "linewidth": 0.8, "clip_on": False}
        axes.plot((start, stop), (-0.19 / side,) * 2, **line)
    start, stop = spans["observed"]
    band = Rectangle((start - pad, -pad), stop - start + 2 * pad, height + 2 * pad, lw=0)
    band.set(facecolor=BAND, clip_on=False, zorder=0)
    axes.add_patch(band)
