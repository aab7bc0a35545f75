"""What a tracker saw and said, drawn: boxes, windows and ways on frames, masks over glimpses.

Drawings on frames are arrays ``(H, W, 3)`` RGB uint8 for videos; figures follow the style of
:mod:`common.plotting`; an object has the colour of its id in both. Arguments never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from common.overlay import colour, draw_boxes
from common.plotting import new_figure, styled
from common.writer import as_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHIFT = 4  # OpenCV draws to 1/16 of a pixel
MARGIN = 0.08  # of a view's size, kept free around what it must show


class Look(NamedTuple):
    """What a tracker saw of one object in one frame."""

    number: int  # of the frame, as it shall be written
    frame: np.ndarray  # (H, W, 3) uint8 RGB
    box: np.ndarray  # (4,) xywh pixels, what the tracker says
    window: np.ndarray  # (4,) xywh pixels, what the glimpse was read through
    glimpse: np.ndarray  # (C, g, g) in 0..1
    mask: np.ndarray | None  # (h, w) logits over the glimpse; None in the first frame
    truth: np.ndarray | None = None  # (4,) xywh pixels


def annotate(
    frame: np.ndarray,
    boxes: np.ndarray,
    ids: Sequence[int],
    windows: np.ndarray | None = None,
    trails: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """A copy of the frame with each object's box and id, and where it came from.

    Args:
        frame: ``(H, W, 3)`` array or ``(3, H, W)`` tensor, uint8 RGB.
        boxes: ``(N, 4)`` xywh pixels, which may reach outside the frame.
        ids: ``N`` integers, which also choose the colours.
        windows: ``(N, 4)`` xywh pixels, drawn as thin corners.
        trails: per object ``(L, 2)`` pixels, where its centre has been, oldest first.

    Raises:
        ValueError: the frame is not RGB uint8, or there is not one id for each box.
    """
    image = as_image(frame).copy()
    for trail, name in zip(trails or (), ids):
        _polyline(image, np.asarray(trail, float), colour(name))
    for window, name in zip(windows if windows is not None else (), ids):
        for corner in _corners(np.asarray(window, float)):
            _polyline(image, corner, colour(name))
    return draw_boxes(image, boxes, ids, thickness=max(1, round(min(image.shape[:2]) / 160)))


def mask_over(
    glimpse: np.ndarray, mask: np.ndarray, tint: Sequence[int] = (255, 220, 60)
) -> np.ndarray:
    """A glimpse with the mask laid over it: tinted where the object is, grey elsewhere.

    Args:
        glimpse: ``(C, g, g)`` in 0..1, 1 or 3 channels.
        mask: ``(h, w)`` logits.
        tint: RGB, 0..255.

    Returns:
        ``(g, g, 3)`` uint8 RGB.
    """
    image = to_image(glimpse).astype(np.float32)
    height, width = image.shape[:2]
    share = 1 / (1 + np.exp(-np.clip(np.asarray(mask, np.float32), -30, 30)))
    share = cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    inside = 0.55 * image + 0.45 * np.asarray(tint, np.float32)
    outside = 0.6 * image.mean(2, keepdims=True)
    return (share * inside + (1 - share) * outside).round().astype(np.uint8)


def to_image(glimpse: np.ndarray) -> np.ndarray:
    """``(C, h, w)`` in 0..1, of 1 or 3 channels, to ``(h, w, 3)`` uint8."""
    glimpse = np.asarray(glimpse, np.float32)
    if glimpse.shape[0] == 1:
        glimpse = glimpse.repeat(3, 0)
    return (np.clip(glimpse, 0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)


@styled
def look_figure(looks: Sequence[Look], title: str = "", name: int = 0) -> Figure:
    """One object over time: where it was, where the tracker looked, what it saw, and the mask.

    Args:
        looks: the object at increasing times, one column each.
        name: the object's id, which chooses its colour.

    Raises:
        ValueError: no looks.
    """
    if not looks:
        raise ValueError("a figure of looks needs at least one")
    view = _view(looks)
    columns, tall = len(looks), view[3] / view[2]
    figure, axes = new_figure(3, columns, (1.35, 1.5))
    figure.set_size_inches(1.35 * columns + 0.4, 1.35 * (2 + tall) + 0.75)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)
    grid = axes[0, 0].get_gridspec()
    grid.set_height_ratios((tall, 1, 1))
    for column, look in zip(axes.T, looks):
        _show_place(column[0], look, view, np.divide(colour(name), 255))
        column[0].set_title(f"frame {look.number}", loc="center", fontsize=8, fontweight="normal")
        glimpse = to_image(look.glimpse)
        _show(column[1], glimpse)
        if look.mask is None:
            _show(column[2], np.full_like(glimpse, 244))
            column[2].text(
                0.5,
                0.5,
                "box\ngiven",
                ha="center",
                va="center",
                fontsize=8,
                transform=column[2].transAxes,
            )
        else:
            _show(column[2], mask_over(look.glimpse, look.mask, colour(name)))
    place = "box, window" + (", truth" if any(look.truth is not None for look in looks) else "")
    for row, label in zip(axes[:, 0], (place, "glimpse", "mask")):
        row.set_ylabel(label, fontsize=8)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    return figure


@styled
def show_images(images: Sequence[np.ndarray], titles: Sequence[str] = ()) -> Figure:
    """Images ``(h, w, 3)`` uint8 side by side, equally tall, each under its title."""
    from matplotlib.figure import Figure

    tall = 1.9  # inches
    ratios = [image.shape[1] / image.shape[0] for image in images]
    figure = Figure((tall * sum(ratios), tall + 0.3), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0)
    axes = figure.subplots(1, len(images), squeeze=False, width_ratios=ratios)[0]
    for place, image in zip(axes, images):
        _show(place, image)
    for place, title in zip(axes, titles):
        place.set_title(title, loc="center", fontsize=8, fontweight="normal")
    return figure


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


def _outline(box: np.ndarray) -> np.ndarray:
    x, y, w, h = box
    return np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])


def _corners(box: np.ndarray) -> list[np.ndarray]:
    """Four right angles at the box's corners, each arm a sixth of a side."""
    points = _outline(box)
    return [
        np.stack((here + (before - here) / 6, here, here + (after - here) / 6))
        for before, here, after in zip(np.roll(points, 1, 0), points, np.roll(points, -1, 0))
    ]


def _polyline(image: np.ndarray, points: np.ndarray, rgb: tuple[int, int, int]) -> None:
    """Draw a thin line with a dark rim, so that it is seen on any ground; in place."""
    if len(points) < 2 or not np.isfinite(points).all():
        return
    far = 4 * max(image.shape[:2])
    fixed = np.clip(points - 0.5, -far, far) * 2**SHIFT  # OpenCV's pixel i is centred at i
    fixed = fixed.round().astype(np.int32).reshape(-1, 1, 2)
    for ink, width in (((0, 0, 0), 2), (rgb, 1)):
        cv2.polylines(image, [fixed], False, ink, width, cv2.LINE_AA, SHIFT)
