"""The demo's second half: SQAIR finds, counts and follows digits that nobody pointed out to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from common.metrics import identity, mot
from common.strips import Row, frames_row, picture, strip
from datasets.digits import load
from datasets.moving_mnist import MnistBatch, MovingMnist, MovingMnistConfig, truth
from experiments import pictures, unsupervised
from experiments.watched import RATE
from sqair.inference import Inference, Inferred, Videos

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from matplotlib.figure import Figure

COUNTS, CLIPS, LENGTH = (0, 1, 2), 16, 20  # digits in a clip, clips of each number, frames
DRAWN = 8 * CLIPS  # clips to choose from: enough of each number for any seed
SHOWN, COLUMNS = {2: 2, 1: 1}, 12  # of the figure: clips by their digits, frames
TILES = 4  # of the video: clips of each number
WATCHED, IMAGINED, FUTURES = 5, 10, 3  # frames, frames, and how many futures of them
CLIP, OVERLAY, FIGURE = "digits.gif", "sqair.mp4", "sqair.png"
FUTURE, FUTURE_OVERLAY = "futures.png", "futures.mp4"


class Line(NamedTuple):
    """How the clips of some number of digits went."""

    digits: int
    clips: int
    frames: int
    counted: float  # objects in a frame, the mean
    right: int  # frames with the right number of them
    kept: float  # share of later frames' digits with the id of frame 0; NaN without any
    switches: int  # of ids


def make_clips(size: int, digits: Path | None = None, seed: int = 0) -> MnistBatch:
    """``CLIPS`` clips of moving digits for each number in ``COUNTS``, the fewest first.

    Those of a number come in the order of how much can be seen in their first ``WATCHED`` frames.

    Args:
        size: side of the canvas, pixels.
        digits: folder of MNIST's files, ``t10k-*``; None: drawn digits.

    Raises:
        FileNotFoundError, ValueError: the files cannot be read, or a digit does not fit.
    """
    data = MovingMnist(MovingMnistConfig(size, COUNTS), load(digits, "test"))
    batch = data.batch(seed, DRAWN, LENGTH)
    number, sight = batch.presence[0].sum(-1), in_sight(batch, WATCHED)
    chosen = [(number == n).nonzero()[:CLIPS, 0] for n in COUNTS]
    return columns(batch, torch.cat([own[sight[own].argsort()] for own in chosen]))


def columns(batch: MnistBatch, chosen: Tensor) -> MnistBatch:
    """The clips at ``chosen (B',)``."""
    return MnistBatch(*(p[chosen] if p.dim() == 2 else p[:, chosen] for p in batch))


def in_sight(batch: MnistBatch, frames: int) -> Tensor:
    """How much of its digits each clip shows in its first so many frames, ``(B,)`` in [0, 1]."""
    there = batch.presence[0].sum(-1).clamp_min(1)
    return batch.visible[:frames].mean(0).sum(-1) / there


def score(batch: MnistBatch, inferred: Inferred) -> list[Line]:
    """What was found beside the truth, a line for each number of digits."""
    number, counted = batch.presence[0].sum(-1), inferred.slots.presence.sum(-1)
    compared = []
    for column, tracks in enumerate(inferred.tracks):
        (judged, places), (_, ink) = (truth(batch, column, kind) for kind in ("place", "ink"))
        compared.append(unsupervised.compare(judged, (places, ink), tracks, len(batch.frames)))
    lines = []
    for digits in number.unique().tolist():
        own = (number == digits).nonzero()[:, 0].tolist()
        there, ids = counted[:, own], unsupervised.combine([compared[b] for b in own])
        right = int((there == digits).sum())
        about = digits, len(own), there.numel(), float(there.mean()), right
        switches = mot.scores(ids.overlap)["IDSW"]
        lines.append(Line(*about, identity.share_kept(ids.kept), switches))
    return lines


def table(lines: list[Line]) -> str:
    """The lines under their names."""
    rows = ["digits  clips  frames  counted  right count  same id  id switches"]
    for line in lines:
        same = "-" if not line.digits else f"{line.kept:.1%}"
        rows.append(
            f"{line.digits:6}  {line.clips:5}  {line.frames:6}  {line.counted:7.2f}  "
            f"{line.right / line.frames:11.1%}  {same:>7}  {line.switches:11}"
        )
    return "\n".join(rows)


def found_figure(batch: MnistBatch, inferred: Inferred) -> Figure:
    """Clips with most to see: what goes in, what was found in it, and the objects one by one."""
    number, sight = batch.presence[0].sum(-1), in_sight(batch, COLUMNS)
    slots, rendered = inferred.slots, inferred.rendered
    rows: list[Row] = []
    for digits, clips in SHOWN.items():
        for b in sight.where(number == digits, -1).topk(clips).indices.tolist():
            ids = slots.id[:COLUMNS, b]
            boxes = inferred.boxes[:COLUMNS, b]
            rows.append(frames_row(batch.frames[:COLUMNS, b], "input", group=True))
            canvas = rendered.canvas[:COLUMNS, b].clamp(0, 1)
            rows.append(frames_row(canvas, "found", boxes, ids))
            rows.append(Row(rendered.glimpses[:COLUMNS, b].clamp(0, 1), "objects", owners=ids))
    return strip(rows)


def imagine(inference: Inference, batch: MnistBatch, seed: int = 0) -> tuple[Videos, Tensor]:
    """Futures of the last clip, and what came ``(T, 1, S, S)`` in [0, 1]."""
    frames = batch.frames[:, -1]
    videos = inference.predict(frames[:WATCHED], IMAGINED, FUTURES, seed)
    return videos, frames[: WATCHED + IMAGINED] / 255


def found_video(batch: MnistBatch, inferred: Inferred) -> Iterator[np.ndarray]:
    """Images ``(H, W, 3)`` uint8 of the last ``TILES`` clips of each number, side by side."""
    number = batch.presence[0].sum(-1)
    own = torch.cat([(number == n).nonzero()[-TILES:, 0] for n in COUNTS])
    slots, rendered = (
        type(parts)(*(part[:, own] for part in parts))
        for parts in (inferred.slots, inferred.rendered)
    )
    tracks = tuple(inferred.tracks[b] for b in own)
    frames, boxes = batch.frames[:, own] / 255, inferred.boxes[:, own]
    return pictures.side_by_side(Videos(frames, tracks, slots, rendered, boxes))


def write(
    folder: Path, batch: MnistBatch, inferred: Inferred, futures: Videos, came: Tensor
) -> None:
    """The last clip, some clips with what was found, the futures, the figures."""
    from common.plotting import save
    from common.writer import write_video

    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / CLIP, (picture(frame.numpy()) for frame in batch.frames[:, -1]), RATE)
    write_video(folder / OVERLAY, found_video(batch, inferred), RATE)
    save(found_figure(batch, inferred), folder / FIGURE)
    write_video(folder / FUTURE_OVERLAY, pictures.side_by_side(futures, came, WATCHED), RATE)
    save(pictures.videos_figure(futures, came, WATCHED), folder / FUTURE)


def run(inference: Inference, batch: MnistBatch, folder: Path, seed: int = 0) -> None:
    """Find the digits of clips, imagine how one of them goes on, print and write it all.

    Args:
        batch: from :func:`make_clips`.
        folder: made where there is none.
        seed: of what the model draws.

    Raises:
        OSError, ValueError: the output cannot be written.
    """
    from experiments.following import option

    inferred = inference.infer(batch.frames, seed=seed)
    print("\nSQAIR, which was trained on pixels alone, on clips of digits that move:\n")
    print(table(score(batch, inferred)))
    futures, came = imagine(inference, batch, seed)
    with option("--output"):
        write(folder, batch, inferred, futures, came)
    print(next_steps(folder))


def next_steps(folder: Path) -> str:
    """How to read the table, what was written, and how to go on."""
    return f"""
counted: mean number of objects in a frame; same id: share of digits in later frames followed
(within {unsupervised.GATE:.0f} px) by the object that was on them first; id switches: at IoU .5

wrote {folder / FIGURE}  clips, what was found in them, and the objects one by one
      {folder / OVERLAY}  clips with what was found
      {folder / FUTURE}  {WATCHED} frames watched, {FUTURES} futures imagined
      {folder / FUTURE_OVERLAY}  the same as a video

no box is given: on the clip that was watched, or on your own video
  attend track --source {folder / CLIP} --weights default:sqair --output found.gif
futures of it, and videos out of nothing:
  attend sample default:sqair --condition video:{folder / CLIP} --after {WATCHED} --count 3
  attend sample default:sqair --frames 20 --count 8"""
