"""``attend visualise``: what a tracker looked at, a figure for each object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from common.looks import Look
    from datasets.clip import Clip
    from experiments.following import Seen, Start

SPRITES = "sprites"


@dataclass(frozen=True)
class VisualiseConfig:
    """Draw windows, glimpses and masks over time, a figure for each object."""

    source: str
    """Video file, folder of images, or "sprites" for a generated clip."""
    output: Path
    """The figure (.png, .pdf, .svg); with several objects, the id is added to each one's name."""
    weights: str = "default:hart"
    """Weight file, run folder, or default:NAME for shipped ones."""
    box: tuple[tuple[str, ...], ...] = ()
    """x,y,w,h of each object in frame --first-frame: pixels, from the top-left corner. A generated
    clip knows its objects: there, these are all drawn by default."""
    first_frame: int = 1
    """Where to begin, from 1."""
    length: int = 40
    """Frames to follow the objects for."""
    columns: int = 8
    """Frames to show of these, evenly spaced."""
    seed: int = 0
    """Of a generated clip."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    """Of the CPU; 0: as many as there are."""


def main(argv: list[str]) -> int:
    """Draw what the options in ``argv`` name; returns 0.

    Raises:
        OSError, ValueError: something is wrong with them; the message names the option.
    """
    import tyro

    config = tyro.cli(
        VisualiseConfig, args=argv, prog="attend visualise", config=(tyro.conf.UseAppendAction,)
    )
    check(config)
    for path in run(config):
        print(f"wrote {path}")
    return 0


def check(config: VisualiseConfig) -> None:
    """Raise ``ValueError`` for options that cannot be."""
    if config.first_frame < 1:
        raise ValueError(f"--first-frame {config.first_frame}: frames count from 1")
    if config.length < 2:
        raise ValueError(f"--length {config.length}: expected at least 2")
    if not 2 <= config.columns <= config.length:
        raise ValueError(f"--columns {config.columns}: expected 2 to {config.length} (--length)")
    if config.threads < 0:
        raise ValueError(f"--threads {config.threads}: expected 0 or more")
    if config.source == SPRITES and config.first_frame > 1 and not config.box:
        raise ValueError("--first-frame: a generated clip's boxes are those of its first frame")


def run(config: VisualiseConfig) -> list[Path]:
    """Follow the objects and draw a figure for each; returns the files.

    Raises:
        OSError, ValueError: a file cannot be read or written, or a box is outside its frame.
    """
    import torch

    from common.looks import look_figure
    from common.plotting import save
    from common.stream import Stream
    from experiments.following import follow, load_tracker, option, read_starts

    if config.threads:
        torch.set_num_threads(config.threads)
    clip = None
    if config.source == SPRITES:
        clip = generated_clip(config.length + config.first_frame - 1, config.seed)
    given = clip is not None and not config.box
    if given:
        starts = true_starts(clip)
    else:
        starts = read_starts(config.box, None, config.first_frame - 1)
    tracker = load_tracker(config.weights, config.device)
    if clip is not None:
        seen = follow(tracker, clip.frames, starts, steps=True)
        looks = collect(seen, config.length, config.columns, clip if given else None)
    else:
        with option("--source"):
            stream = Stream(config.source.removeprefix("video:"))
        with stream:
            seen = follow(tracker, stream, starts, steps=True)
            looks = collect(seen, config.length, config.columns)
    if not looks:
        raise ValueError(f"--source {config.source}: ended before frame {config.first_frame}")
    files = names(config.output, list(looks))
    with option("--output"):
        return [
            save(look_figure(found, f"object {name}", name), path)
            for (name, found), path in zip(looks.items(), files)
        ]


def generated_clip(length: int, seed: int) -> Clip:
    """Several objects, some of which pass before others, in a clip made from a seed."""
    from datasets.sprites import SpritesConfig, make_clip

    config = SpritesConfig(size=(240, 320), length=length, objects=(3, 4), object_size=(24.0, 60.0))
    return make_clip(config, seed)


def true_starts(clip: Clip) -> list[Start]:
    """The objects of a generated clip that are in its first frame, ids from 1."""
    from experiments.following import Start

    return [
        Start(0, int(name) + 1, tuple(box.tolist()), "--source sprites")
        for name, box, present in zip(clip.ids, clip.boxes[0], clip.presence[0])
        if present
    ]


def collect(
    frames: Iterable[Seen], length: int, columns: int, truth: Clip | None = None
) -> dict[int, list[Look]]:
    """The looks to draw by object: ``columns`` of ``length`` frames, evenly, until it is lost."""
    shown = spaced(length, columns)
    looks: dict[int, list[Look]] = {}
    for time, seen in enumerate(frames):
        if time >= length:
            break
        for row, name in enumerate(seen.ids if time in shown else ()):
            true_box = None
            if truth is not None and truth.presence[seen.number, name - 1]:
                true_box = truth.boxes[seen.number, name - 1].numpy()
            looks.setdefault(name, []).append(_look(seen, row, time == 0, true_box))
    return looks


def spaced(length: int, columns: int) -> set[int]:
    """``columns`` of the frames ``0 .. length - 1``, evenly, the first and the last among them."""
    return {round(n * (length - 1) / (columns - 1)) for n in range(columns)}


def names(output: Path, ids: Sequence[int]) -> list[Path]:
    """A file for each object: ``output`` itself for one, else with ``-ID`` before its suffix."""
    if len(ids) == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{name}{output.suffix}") for name in ids]


def _look(seen: Seen, row: int, first: bool, truth: Tensor | None) -> Look:
    from common.looks import Look
    from common.writer import as_image

    step = seen.step
    return Look(
        number=seen.number + 1,
        frame=as_image(seen.frame),
        box=seen.boxes[row],
        window=step.windows[row].numpy(),
        glimpse=step.glimpses[row].numpy(),
        mask=None if first else step.mask[row].numpy(),
        truth=truth,
    )
