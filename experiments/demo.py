"""``attend demo``: what the shipped weights do with generated clips.

HART follows objects that it is given boxes of; SQAIR finds digits, counts them, follows them, and
imagines how it goes on (``experiments.demo_sqair``).
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from common.looks import Look
    from datasets.clip import Clip
    from experiments.following import Seen
    from sqair.inference import Inference

SEED = 22
LENGTH, STRIDE = 30, 15  # frames, of the windows that are scored
SCENES, COLUMNS = 3, 8  # of the figure: whole frames, and looks at one object
CLIP, BOXES = "clip.mp4", "boxes.txt"
OVERLAY, TRACKS, GLIMPSES = "tracked.mp4", "tracks.txt", "glimpses.png"


@dataclass(frozen=True)
class DemoConfig:
    """Track several objects of a generated clip, score it, and draw what the tracker saw; then
    find, count and track digits of which nothing is said, and draw three futures."""

    output: Path = Path("runs/demo")
    """Folder for the clips, the overlay videos, the tracks and the figures."""
    weights: str = "default:hart"
    """HART's: weight file, run folder, or default:NAME for shipped ones."""
    sqair: str = "default:sqair"
    """SQAIR's, likewise."""
    digits: Path | None = None
    """Folder of MNIST's files, t10k-*, for SQAIR's clips; drawn digits without."""
    seed: int = SEED
    """Of the generated clips, and of what SQAIR draws."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    """Of the CPU; 0: as many as there are."""


def main(argv: list[str]) -> int:
    """Run the demo; returns 0. Raises OSError or ValueError when an option is wrong."""
    import tyro

    config = tyro.cli(DemoConfig, args=argv, prog="attend demo")
    if config.seed < 0:
        raise ValueError(f"--seed {config.seed}: expected 0 or more")
    if config.threads < 0:
        raise ValueError(f"--threads {config.threads}: expected 0 or more")
    if config.output.exists() and not config.output.is_dir():
        raise ValueError(f"--output {config.output}: a file, expected a folder")
    run(config)
    return 0


def run(config: DemoConfig) -> None:
    """Make the clips, show what each model does with them, and say what to do next.

    Raises:
        OSError, ValueError: weights or digits cannot be read, or the output cannot be written.
    """
    import torch

    from experiments import demo_sqair
    from experiments.following import load_tracker, option

    if config.threads:
        torch.set_num_threads(config.threads)
    tracker = load_tracker(config.weights, config.device)
    inference = load_sqair(config.sqair, config.device)
    with option("--digits"):
        digits = demo_sqair.make_clips(inference.model.config.size, config.digits, config.seed)
    track(tracker, config)
    demo_sqair.run(inference, digits, config.output, config.seed)


def track(tracker: Any, config: DemoConfig) -> None:
    """HART's half: score trackers on a clip, draw what was seen, and say what to do next.

    Raises:
        OSError, ValueError: the output cannot be written.
    """
    from experiments.following import follow, option
    from experiments.visualise import true_starts

    clip = make_clip(config.seed)
    length, objects, _ = clip.boxes.shape
    height, width = clip.frames.shape[-2:]
    print(f"a generated clip: {length} frames of {width} x {height} pixels, {objects} objects\n")
    print(score(tracker, clip))
    starts = true_starts(clip)
    begin = time.perf_counter()
    seen = list(follow(tracker, clip.frames, starts, steps=True))
    seconds = time.perf_counter() - begin
    boxes = sum(len(item.ids) for item in seen)
    print(
        f"all {len(starts)} objects at once through the clip: {boxes / seconds:.0f} boxes a second"
    )
    with option("--output"):
        write(config.output, clip, seen)
    print(next_steps(config.output))


def load_sqair(weights: str, device: str) -> Inference:
    """SQAIR ready for use, as ``--sqair`` and ``--device`` say; raises ValueError otherwise."""
    from common.distributed import choose_device
    from experiments import runs
    from experiments.following import option
    from sqair.pretrained import load

    with option("--device"):
        device = choose_device(device)
    with option("--sqair"):
        shipped = weights.partition(":")[0] == "default"
        return load(weights if shipped else runs.find_checkpoint(weights), device)


def make_clip(seed: int = SEED) -> Clip:
    """Several textured objects that pass one another, four seconds long."""
    from datasets.sprites import SpritesConfig, make_clip

    config = SpritesConfig(
        size=(270, 480),
        length=100,
        objects=(5, 6),
        distractors=(1, 2),
        occluders=(0, 1),
        object_size=(26.0, 60.0),
        speed=(0.01, 0.1),
        growth=2.0,
        bounce=1.0,
        degraded=0.0,
        grey=0.0,
    )
    return make_clip(config, seed)


def score(tracker: Any, clip: Clip) -> str:
    """The tracker beside the trivial ones on every window of the clip, as a table."""
    from datasets.recording import from_clip
    from experiments import evaluate, scores
    from experiments.protocol import Contender, cut
    from hart.baselines import ConstantVelocity, StaticBox

    contenders = [
        Contender("hart", lambda: tracker),
        Contender("static", StaticBox),
        Contender("constant velocity" + scores.STAR, ConstantVelocity, velocity=True),
    ]
    windows = cut([from_clip(clip)], LENGTH, STRIDE)
    rows = evaluate.score(contenders, windows, evaluate.measure(contenders, windows))
    about = scores.describe(rows, LENGTH, STRIDE)
    return f"{about}\n{scores.table(rows)}\n\n{scores.FOOTNOTE}\n"


def write(folder: Path, clip: Clip, seen: list[Seen]) -> None:
    """The clip and its boxes, the overlay video, the tracks, the glimpses of one object."""
    from common import tracks
    from common.looks import look_figure
    from common.plotting import save
    from common.writer import VideoWriter, write_video
    from experiments.track import Record
    from experiments.visualise import collect, spaced

    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / CLIP, clip.frames, clip.frame_rate)
    record, scenes = Record(), {}
    shown = sorted(spaced(len(seen), SCENES))
    with VideoWriter(folder / OVERLAY, clip.frame_rate) as writer:
        for time_step, item in enumerate(seen):
            record.add(item)
            image = record.draw(item)
            writer.write(image)
            if time_step in shown:
                scenes[f"frame {item.number + 1}"] = image
    found = record.tracks()
    tracks.write_mot(folder / TRACKS, found)
    tracks.write_mot(folder / BOXES, tracks.take(found, found.frame == 0))
    looks = collect(seen, len(seen), COLUMNS, clip)
    name = max(looks, key=lambda name: interest(looks[name]))
    drawn = look_figure(looks[name], f"object {name}", name, list(scenes.values()), list(scenes))
    save(drawn, folder / GLIMPSES)


def interest(looks: list[Look]) -> tuple[int, float]:
    """How much an object has to show: in how many looks it is followed, and how far it goes."""
    from common.metrics.overlap import iou

    there = [look for look in looks if look.truth is not None]
    followed = sum(bool(iou(look.box, look.truth) > 0.5) for look in there)
    places = [look.truth[:2] for look in there]
    return followed, sum(math.dist(a, b) for a, b in itertools.pairwise(places))


def next_steps(folder: Path) -> str:
    """What was written, and how to go on."""
    return f"""
wrote {folder / OVERLAY}  all objects with their boxes, windows and ways
      {folder / GLIMPSES}  what the tracker saw of one of them
      {folder / TRACKS}  MOTChallenge text

the same from the command line, on the clip that was made:
  attend track --source {folder / CLIP} --boxes {folder / BOXES} --output again.mp4
on your own video, with a box (x,y,w,h in pixels) for each object in its first frame:
  attend track --source VIDEO --box 100,80,40,90 300,60,50,50 --output out.mp4 --tracks out.txt
what it looked at:
  attend visualise --source VIDEO --box 100,80,40,90 --output figure.png
train your own, on generated clips or on annotated video too:
  attend train hart --max-minutes 20 --data mot:DIR"""
