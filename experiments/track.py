"""``attend track``: follow objects through a video; tracks and an overlay video come out.

HART follows objects that are given; SQAIR finds its own, for itself or for HART.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from experiments.options import check_files, check_least, check_suffix, use_threads
from experiments.record import Record

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from experiments.following import Plan, Seen, Start
    from sqair.follower import Follower


@dataclass(frozen=True)
class TrackConfig:
    """Follow objects through a video.

    HART's weights need the box of each object where it begins (--box, --boxes), or SQAIR's weights
    that find the objects (--discover). With SQAIR's as --weights no boxes are needed: it finds and
    follows its objects itself, each with the tight box of what it paints of it.

    Writes an overlay video (--output), MOTChallenge tracks (--tracks), or shows a window (--show).
    An object that is lost (its box left the frame or collapsed) is no longer drawn or written.
    """

    source: str
    """Video file, folder of images, camera number, or address such as rtsp://..."""
    weights: str = "default:hart"
    """Weight file, run folder, or default:NAME for shipped ones. SQAIR's see the whole video in
    grey on their own canvas (default:sqair 50 x 50 pixels), as large as it fits without changing
    its proportions; boxes are those of the video."""
    box: tuple[tuple[str, ...], ...] = ()
    """x,y,w,h of each object in frame --first-frame: pixels, from the top-left corner."""
    boxes: Path | None = None
    """File of lines x,y,w,h; or MOTChallenge rows (frame,id,x,y,w,h,..., counted from 1), where
    each object begins in its first row and later rows are not used."""
    discover: str | None = None
    """SQAIR's weights, in place of boxes: the video is read twice, first by SQAIR, then --weights
    follow each object from where it is first well visible, and again where they had lost it."""
    persistence: int = 3
    """Frames that SQAIR must have seen an object in to --discover it."""
    particles: int = 5
    """Explanations that SQAIR draws of each part of the video, of which it takes the best."""
    seed: int = 0
    """Of that drawing."""
    output: Path | None = None
    """Overlay video; the suffix says how: .mp4, .avi, .mkv, .mov, or .gif for short ones. Videos of
    a side under 200 pixels are enlarged."""
    tracks: Path | None = None
    """Tracks as MOTChallenge text."""
    first_frame: int = 1
    """Where to begin, from 1."""
    last_frame: int | None = None
    """Where to end; by default with the video."""
    windows: bool = False
    """Draw where the tracker looks, too."""
    show: bool = False
    """Show the overlay while it is made; q or Esc stops. SQAIR's comes in parts of 10 frames."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    """Of the CPU; 0: as many as there are."""


class Job(NamedTuple):
    """What is to be done with a video."""

    follow: Callable[[Iterable[Tensor]], Iterator[Seen]]
    first: int  # frame from 0 where that begins
    starts: list[Start]  # given objects


def main(argv: list[str]) -> int:
    """Track what the options in ``argv`` name; returns 0.

    Raises:
        OSError, ValueError: something is wrong with them; the message names the option.
    """
    import tyro

    style = (tyro.conf.UseAppendAction, tyro.conf.FlagCreatePairsOff)
    config = tyro.cli(TrackConfig, args=argv, prog="attend track", config=style)
    check(config)
    run(config)
    return 0


def check(config: TrackConfig) -> None:
    """Raise ``ValueError`` for options that contradict each other or cannot be."""
    from common.writer import VIDEO_SUFFIXES

    if config.output is None and config.tracks is None and not config.show:
        raise ValueError("nothing to make: give --output, --tracks or --show")
    check_suffix(config, "output", (".gif", *VIDEO_SUFFIXES))
    check_files(config, "output", "tracks")
    check_least(config, persistence=1, particles=1, seed=0, threads=0)
    if config.first_frame < 1:
        raise ValueError(f"--first-frame {config.first_frame}: frames count from 1")
    if config.last_frame is not None and config.last_frame < config.first_frame:
        raise ValueError(f"--last-frame {config.last_frame}: before --first-frame")
    if config.discover and (config.source.isdigit() or "://" in config.source):
        raise ValueError(f"--discover reads the video twice, --source {config.source} comes once")
    if config.show:
        _check_display()


def run(config: TrackConfig) -> None:
    """Follow all objects to the end of the video, writing as it goes, and say what came of it.

    Raises:
        OSError, ValueError: a file cannot be read or written, or a box is outside its frame.
    """
    from common import tracks
    from common.writer import VideoWriter
    from experiments.following import open_source

    use_threads(config.threads)
    job = prepare(config)
    with ExitStack() as stack:
        stream = stack.enter_context(open_source(config.source))
        writer = None
        if config.output is not None:
            writer = stack.enter_context(VideoWriter(config.output, stream.frame_rate))
        record = Record()
        for seen in watch(config, job.follow(stream)):
            record.add(seen)
            if writer is not None or config.show:
                image = record.draw(seen)
            if writer is not None:
                writer.write(image)
            if config.show and _stopped_by_user(image):
                break
    if not record.frames:
        raise ValueError(f"--source {config.source}: ended before frame {job.first + 1}")
    if config.tracks is not None:
        tracks.write_mot(config.tracks, record.tracks())
    report(config, record, sum(start.frame > record.last for start in job.starts))


def prepare(config: TrackConfig) -> Job:
    """Load the models, and learn where objects begin.

    Raises:
        ValueError: options that do not go together, or one of them cannot be used.
    """
    from experiments import discovering
    from experiments.following import Plan, follow, load_tracker, read_starts
    from experiments.kinds import UNSUPERVISED, kind

    first, last, model = config.first_frame - 1, config.last_frame, kind(config.weights)
    given = [name for name in ("box", "boxes", "discover") if getattr(config, name)]
    if model in UNSUPERVISED:
        if given:
            raise ValueError(f"--{given[0]}: {model.upper()} finds its own objects, leave it out")
        follower = _follower(config, "--weights", config.weights)
        return Job(lambda s: discovering.find(follower, s, first, last, config.windows), first, [])
    if not given:
        raise ValueError("give the objects by --box x,y,w,h ..., --boxes FILE or --discover")
    if config.discover and len(given) > 1:
        raise ValueError(f"--{given[0]}: --discover finds the objects, leave one of both out")
    starts = [] if config.discover else read_starts(config.box, config.boxes, first)
    tracker = load_tracker(config.weights, config.device)
    plan = _discover(config) if config.discover else Plan(starts)
    return Job(lambda s: follow(tracker, s, plan, steps=config.windows), plan.first, starts)


def _discover(config: TrackConfig) -> Plan:
    """Let the weights of ``--discover`` see the video."""
    from experiments import discovering
    from experiments.following import open_source
    from experiments.kinds import kind

    if kind(config.discover) == "air":
        raise ValueError("--discover: AIR keeps no object from frame to frame, expected SQAIR")
    follower, first = _follower(config, "--discover", config.discover), config.first_frame - 1
    with open_source(config.source) as stream:
        return discovering.discover(follower, stream, first, config.last_frame, config.persistence)


def _follower(config: TrackConfig, name: str, weights: str) -> Follower:
    """What finds objects, with the weights of the option ``name``."""
    from experiments.discovering import load

    return load(weights, name, config.device, config.particles, config.seed)


def watch(config: TrackConfig, seen: Iterator[Seen]) -> Iterator[Seen]:
    """Pass frames on with a progress bar, up to the last one wanted or until Ctrl-C."""
    from tqdm import tqdm

    from common.interruption import interruptible

    total = None if config.last_frame is None else config.last_frame - config.first_frame + 1
    with interruptible() as stop, tqdm(total=total, unit=" frames", disable=None) as bar:
        for item in seen:
            yield item
            bar.update()
            bar.set_postfix(objects=len(item.ids), refresh=False)
            if stop() or item.number + 1 == config.last_frame:
                break


def report(config: TrackConfig, record: Record, waiting: int) -> None:
    """Say what was followed, what was lost, and where the results are.

    Args:
        waiting: objects that have not begun.
    """
    count = len(record.ids)
    objects = "1 object" if count == 1 else f"{count} objects"
    if count:
        print(f"followed {objects} through {record.frames} frames")
    else:
        print(f"found no object in {record.frames} frames")
    for name, number in record.lost.items():
        print(f"  object {name} was lost in frame {number + 1}")
    if waiting:
        print(f"  {waiting} would have begun after the last frame")
    for path in (config.output, config.tracks):
        if path is not None:
            print(f"wrote {path}")


def _check_display() -> None:
    """OpenCV's window would end the process where there is no display: refuse before."""
    import os

    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise ValueError("--show: no display here (neither DISPLAY nor WAYLAND_DISPLAY is set)")


def _stopped_by_user(image: np.ndarray) -> bool:
    """Show a frame; whether q or Esc was pressed."""
    import cv2

    from common.video import to_bgr

    try:
        cv2.imshow("attend track", to_bgr(image))
        return cv2.waitKey(1) & 0xFF in (27, ord("q"))
    except cv2.error as error:
        raise ValueError("--show: this build of OpenCV has no windows") from error
