"""``attend track``: follow given objects through a video; tracks and an overlay video come out."""

from __future__ import annotations

import sys
from array import array
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from experiments.following import Seen, Start

TRAIL = 20  # frames that an object's way is drawn for


@dataclass(frozen=True)
class TrackConfig:
    """Follow objects through a video, given the box of each where it begins.

    Writes an overlay video (--output), MOTChallenge tracks (--tracks), or shows a window (--show).
    An object that is lost (its box left the frame or collapsed) is no longer drawn or written.
    """

    source: str
    """Video file, folder of images, camera number, or address such as rtsp://..."""
    weights: str = "default:hart"
    """Weight file, run folder, or default:NAME for shipped ones."""
    box: tuple[tuple[str, ...], ...] = ()
    """x,y,w,h of each object in frame --first-frame: pixels, from the top-left corner."""
    boxes: Path | None = None
    """File of lines x,y,w,h; or MOTChallenge rows (frame,id,x,y,w,h,..., counted from 1), where
    each object begins in its first row and later rows are not used."""
    output: Path | None = None
    """Overlay video; the suffix says how: .mp4, .avi, .mkv, .mov, or .gif for short ones."""
    tracks: Path | None = None
    """Tracks as MOTChallenge text."""
    first_frame: int = 1
    """Where to begin, from 1."""
    last_frame: int | None = None
    """Where to end; by default with the video."""
    windows: bool = False
    """Draw where the tracker looks, too."""
    show: bool = False
    """Show the overlay while it is made; q or Esc stops."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    """Of the CPU; 0: as many as there are."""


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
    suffixes = (".gif", *VIDEO_SUFFIXES)
    if config.output is not None and config.output.suffix.lower() not in suffixes:
        raise ValueError(f"--output {config.output}: expected a name in {', '.join(suffixes)}")
    for name, path in (("--output", config.output), ("--tracks", config.tracks)):
        if path is not None and path.is_dir():
            raise ValueError(f"{name} {path}: a folder, expected a file's name")
    if config.first_frame < 1:
        raise ValueError(f"--first-frame {config.first_frame}: frames count from 1")
    if config.last_frame is not None and config.last_frame < config.first_frame:
        raise ValueError(f"--last-frame {config.last_frame}: before --first-frame")
    if config.threads < 0:
        raise ValueError(f"--threads {config.threads}: expected 0 or more")
    if config.show:
        _check_display()


def run(config: TrackConfig) -> None:
    """Follow all objects to the end of the video, writing as it goes, and say what came of it.

    Raises:
        OSError, ValueError: a file cannot be read or written, or a box is outside its frame.
    """
    import cv2
    import torch

    from common import tracks
    from common.stream import Stream
    from common.writer import VideoWriter
    from experiments.following import follow, load_tracker, option, read_starts

    if config.threads:
        torch.set_num_threads(config.threads)
        cv2.setNumThreads(config.threads)
    starts = read_starts(config.box, config.boxes, config.first_frame - 1)
    tracker = load_tracker(config.weights, config.device)
    with ExitStack() as stack:
        with option("--source"):
            stream = stack.enter_context(Stream(config.source.removeprefix("video:")))
        writer = None
        if config.output is not None:
            writer = stack.enter_context(VideoWriter(config.output, stream.frame_rate))
        record = Record()
        for seen in watch(config, follow(tracker, stream, starts, steps=config.windows)):
            record.add(seen)
            if writer is not None or config.show:
                image = record.draw(seen)
            if writer is not None:
                writer.write(image)
            if config.show and _stopped_by_user(image):
                break
    if not record.frames:
        raise ValueError(f"--source {config.source}: ended before frame {starts[0].frame + 1}")
    if config.tracks is not None:
        tracks.write_mot(config.tracks, record.tracks())
    report(config, record, starts)


class Record:
    """What has been seen so far: rows for the tracks, the last of each object's way, losses."""

    def __init__(self) -> None:
        self.frames = 0
        self.lost: dict[int, int] = {}  # id: frame, from 0
        self.last = -1  # frame, from 0
        self._rows = array("d")  # frame, id, x, y, w, h of each box, one after the other
        self._trails: dict[int, deque] = {}

    def add(self, seen: Seen) -> None:
        """Take in a frame."""
        self.frames += 1
        self.last = seen.number
        self.lost.update(dict.fromkeys(seen.lost, seen.number))
        for name, box in zip(seen.ids, seen.boxes.tolist()):
            self._rows.extend((seen.number, name, *box))
        trails = {name: self._trails.get(name, deque(maxlen=TRAIL)) for name in seen.ids}
        for name, box in zip(seen.ids, seen.boxes):
            trails[name].append(box[:2] + box[2:] / 2)
        self._trails = trails

    def draw(self, seen: Seen) -> np.ndarray:
        """The frame with boxes, ways and (when the steps are there) windows, ``(H, W, 3)``."""
        from common.drawing import annotate

        windows = None if seen.step is None else seen.step.windows.numpy()
        trails = [self._trails[name] for name in seen.ids]
        return annotate(seen.frame, seen.boxes, seen.ids, windows, trails)

    def tracks(self) -> Any:
        """``common.tracks.Tracks`` of all frames so far."""
        import numpy as np

        from common.tracks import build

        rows = np.frombuffer(self._rows).reshape(-1, 6)
        return build(rows[:, 0], rows[:, 1], rows[:, 2:])


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


def report(config: TrackConfig, record: Record, starts: list[Start]) -> None:
    """Say what was followed, what was lost, and where the results are."""
    begun = [start for start in starts if start.frame <= record.last]
    objects = "1 object" if len(begun) == 1 else f"{len(begun)} objects"
    print(f"followed {objects} through {record.frames} frames")
    for name, number in record.lost.items():
        print(f"  object {name} was lost in frame {number + 1}")
    if len(begun) < len(starts):
        print(f"  {len(starts) - len(begun)} would have begun after the last frame")
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
