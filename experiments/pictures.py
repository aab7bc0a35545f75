"""Figures of what a model that finds its objects itself makes of videos."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from common.overlay import draw_boxes
from common.strips import Row, frames_row, mosaic, picture, spaced, strip
from sqair import painted, sample
from sqair.state import Slots
from sqair.vrnn import Vrnn
from sqair.vrnn import run as run_vrnn

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from sqair.inference import Videos

SHOWN = 4  # sequences
FRAMES = 20  # at most; of longer sequences evenly spaced ones
EMPTY = 0.95  # grey of frames that there are none of
TILE = 200  # pixels at least, of one video among others
WATCHED, IMAGINED = (176, 203, 226), (255, 255, 255)  # grounds, RGB


def reconstructions(
    model: nn.Module, frames: Tensor, shown: int = SHOWN, seed: int = 0, title: str = ""
) -> Figure:
    """What a model sees: the input, what it makes of it, its objects one by one.

    Boxes are drawn around what slots paint, in the colour of the object's id. Neither the state of
    random numbers nor the model's mode changes, so a run can draw this as often as it likes.

    Args:
        model: SQAIR, AIR, or a VRNN, which has no objects.
        frames: ``(T, B, C, H, W)`` uint8, or float in [0, 1]; the first ``shown`` are drawn.
        seed: of what the model draws.
    """
    frames = frames[:, :shown]
    device = next(model.parameters()).device
    with torch.no_grad(), sample.seeded(seed, device):
        if isinstance(model, Vrnn):
            canvas = run_vrnn(model.model, model.guide, frames.to(device), 1)[0]
            canvas = canvas.nodes["_RETURN"]["value"].canvas[:, 0].clamp(0, 1)
            slots = None
        else:
            run = model.unroll(frames.to(device), 1)
            slots = Slots(*(part[:, 0] for part in run.slots))
            found = model.decode(slots)
            canvas = found.canvas.clamp(0, 1)
    times = spaced(len(frames), FRAMES)
    rows: list[Row] = []
    for b in range(frames.shape[1]):
        views: dict[str, Any] = {}
        if slots is not None:
            boxes = painted.boxes(slots, found.glimpses, found.canvases)[times, b]
            views = {"boxes": boxes, "ids": slots.id[times, b]}
        rows.append(frames_row(frames[times, b], "input", group=True))
        rows.append(frames_row(canvas[times, b], "reconstruction", **views))
        if slots is not None:
            glimpses = found.glimpses[times, b].clamp(0, 1)
            rows.append(Row(glimpses, "objects", owners=slots.id[times, b]))
    return strip(rows, [str(t + 1) for t in times], title=title)


def videos_figure(
    videos: Videos, came: Tensor | None = None, observed: int = 0, columns: int = FRAMES
) -> Figure:
    """A row for each video, boxes in the colour of the object's id.

    Args:
        videos: without a batch.
        came: ``(T', 1, S, S)`` in [0, 1], what really came, drawn above; grey after its end.
        observed: frames of it that were watched.
        columns: frames to show at most, evenly spaced.
    """
    length, count = videos.frames.shape[:2]
    times = spaced(length, columns)
    rows = []
    if came is not None:
        rows.append(frames_row(_lengthened(came, length)[times], "what came"))
    name = "sample" if came is None else "future"
    for n in range(count):
        views = videos.boxes[times, n], videos.slots.id[times, n]
        rows.append(frames_row(videos.frames[times, n], f"{name} {n + 1}", *views))
    seen = sum(t < observed for t in times)
    return strip(rows, [str(t + 1) for t in times], seen)


def side_by_side(
    videos: Videos, came: Tensor | None = None, observed: int = 0
) -> Iterator[np.ndarray]:
    """Images ``(H, W, 3)`` uint8 of all videos at one time after another; arguments as above.

    What was watched has a blue ground, what is imagined a white one; what came is the first tile.
    """
    length, count = videos.frames.shape[:2]
    scale = -(-TILE // videos.frames.shape[-1])
    tiles = count + (came is not None)
    columns = math.ceil(math.sqrt(tiles))
    for t in range(length):
        images = [] if came is None else [_enlarged(_lengthened(came, length)[t], scale)]
        for n in range(count):
            image = _enlarged(videos.frames[t, n], scale)
            boxes, ids = videos.boxes[t, n] * scale, videos.slots.id[t, n].tolist()
            images.append(draw_boxes(image, boxes, ids, thickness=2))
        what = "" if came is None else ", observed" if t < observed else ", imagined"
        ground = WATCHED if t < observed else IMAGINED
        yield mosaic(images, columns, f"frame {t + 1}{what}", ground)


def _lengthened(came: Tensor, length: int) -> Tensor:
    """``(T', ...)`` followed by light grey up to ``length``, or cut there."""
    rest = came.new_full((max(length - len(came), 0), *came.shape[1:]), EMPTY)
    return torch.cat((came, rest))[:length]


def _enlarged(frame: Tensor, scale: int) -> np.ndarray:
    """``(1, S, S)`` in [0, 1] as ``(scale S, scale S, 3)`` uint8, every pixel a square."""
    return picture(frame.numpy()).repeat(scale, 0).repeat(scale, 1)
