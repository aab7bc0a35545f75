"""Figures of images: what a tracker looked at over time, and images side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from common.drawing import mask_over, to_image
from common.overlay import colour
from common.plotting import styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN = 0.08  # of a view's size, kept free around what it must show
CELL = 1.35  # inches, a glimpse
CAPTION = {"loc": "center", "fontsize": 8, "fontweight": "normal"}


class Look(NamedTuple):
    """What a tracker saw of one object in one frame."""

    number: int  # of the frame, as it shall be written
    frame: np.ndarray  # (H, W, 3) uint8 RGB
    box: np.ndarray  # (4,) xywh pixels, what the tracker says
    window: np.ndarray  # (4,) xywh pixels, what the glimpse was read through
    glimpse: np.ndarray  # (C, g, g) in 0..1
    mask: np.ndarray | None  # (h, w) logits over the glimpse; None in the first frame
    truth: np.ndarray | None = None  # (4,) xywh pixels


@styled
def look_figure(
    looks: Sequence[Look],
    title: str = "",
    name: int = 0,
    scenes: Sequence[np.ndarray] = (),
    captions: Sequence[str] = (),
) -> Figure:
    """One object over time: where it was, where the tracker looked, what it saw, and the mask.

    Args:
        looks: the object at increasing times, one column each.
        name: the object's id, which chooses its colour.
        scenes: whole frames ``(H, W, 3)`` uint8 to show above, under their ``captions``.

    Raises:
        ValueError: no looks.
    """
    from matplotlib.figure import Figure

    if not looks:
        raise ValueError("a figure of looks needs at least one")
    view = _view(looks)
    shape = view[3] / view[2]
    width, height = CELL * len(looks) + 0.4, CELL * (2 + shape) + 0.75
    if not scenes:
        figure = Figure((width, height), layout="constrained")
        _draw_looks(figure, looks, view, name)
        part = figure
    else:
        above = width / sum(scene.shape[1] / scene.shape[0] for scene in scenes) + 0.35
        figure = Figure((width, above + height), layout="constrained")
        top, part = figure.subfigures(2, 1, height_ratios=(above, height))
        _draw_images(top, scenes, captions)
        _draw_looks(part, looks, view, name)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)
    if any(look.truth is not None for look in looks):
        title = f"{title} (white: the true box)".strip()
    if title:
        part.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    return figure


@styled
def show_images(images: Sequence[np.ndarray], captions: Sequence[str] = ()) -> Figure:
    """Images ``(h, w, 3)`` uint8 side by side, equally tall, each under its caption."""
    from matplotlib.figure import Figure

    tall = 1.9  # inches
    wide = tall * sum(image.shape[1] / image.shape[0] for image in images)
    figure = Figure((wide, tall + 0.3), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0)
    _draw_images(figure, images, captions)
    return figure


def _draw_images(figure: Any, images: Sequence[np.ndarray], captions: Sequence[str]) -> None:
    """A row of images in a figure or a part of one."""
    ratios = [image.shape[1] / image.shape[0] for image in images]
    axes = figure.subplots(1, len(images), squeeze=False, width_ratios=ratios)[0]
    for place, image in zip(axes, images):
        _show(place, image)
    for place, caption in zip(axes, captions):
        place.set_title(caption, **CAPTION)


def _draw_looks(figure: Any, looks: Sequence[Look], view: np.ndarray, name: int) -> None:
    """A column for each look: its place within the view, the glimpse, the mask over it."""
    axes = figure.subplots(3, len(looks), squeeze=False, height_ratios=(view[3] / view[2], 1, 1))
    for (place, seen, masked), look in zip(axes.T, looks):
        _show_place(place, look, view, np.divide(colour(name), 255))
        place.set_title(f"frame {look.number}", **CAPTION)
        glimpse = to_image(look.glimpse)
        _show(seen, glimpse)
        if look.mask is None:
            _show(masked, np.full_like(glimpse, 244))
            where = {"transform": masked.transAxes, "ha": "center", "va": "center"}
            masked.text(0.5, 0.5, "box\ngiven", fontsize=8, **where)
        else:
            _show(masked, mask_over(look.glimpse, look.mask, colour(name)))
    for row, label in zip(axes[:, 0], ("box, window", "glimpse", "mask")):
        row.set_ylabel(label, fontsize=8)


def _show(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _show_place(axes: Axes, look: Look, view: np.ndarray, rgb: np.ndarray) -> None:
    """The frame within the view, the box solid, the window dashed, the true box thin and white."""
    from matplotlib.patches import Rectangle

    height, width = look.frame.shape[:2]
    axes.imshow(look.frame, extent=(0, width, height, 0), interpolation="bilinear")
    marks = [(look.window, rgb, "--", 1.0), (look.box, rgb, "-", 1.6)]
    if look.truth is not None:
        marks.insert(1, (look.truth, "white", "-", 0.9))
    for (x, y, w, h), edge, style, line in marks:
        axes.add_patch(
            Rectangle((x, y), w, h, fill=False, edgecolor=edge, linestyle=style, lw=line)
        )
    axes.set(xlim=(view[0], view[0] + view[2]), ylim=(view[1] + view[3], view[1]))
    axes.set(xticks=[], yticks=[], facecolor="#f4f4f4")
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _view(looks: Sequence[Look]) -> np.ndarray:
    """xywh of the part of the frame that holds all windows, so that the object's way is seen.

    No narrower or wider than 2:3 or 3:2, except where the frame ends.
    """
    boxes = np.stack([box for look in looks for box in (look.window, look.box)])
    low, high = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
    centre, extent = (low + high) / 2, (high - low) * (1 + 2 * MARGIN)
    extent = np.maximum(extent, extent[::-1] / 1.5)
    frame = np.array(looks[0].frame.shape[1::-1], float)
    extent = np.minimum(extent, frame)
    start = np.clip(centre - extent / 2, 0, frame - extent)
    return np.concatenate((start, extent))
