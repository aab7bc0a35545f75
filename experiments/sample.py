"""``attend sample``: videos that a model imagines, or several futures of a video."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.watched import Source
    from sqair.inference import Inference, Videos

DIGITS = "moving-mnist"
AFTER, PARTICLES = 5, 20  # defaults of what only a video to go on from has
FIGURE, MOVIE, TRACKS, RECORD = "strip.png", "sample", "tracks-{}.txt", "sample.json"


@dataclass(frozen=True)
class SampleConfig:
    """Let SQAIR or AIR imagine videos, or with --condition several futures of one.

    All is drawn from the model's prior: how many objects there are, where they appear, how they
    move and when they go. Writes a figure (a row for each video, boxes around what the model paints
    in the colour of the object's id), a video of them side by side, MOTChallenge tracks of each,
    and a record of where it all comes from.
    """

    weights: str
    """Weight file, run folder, or default:NAME for shipped ones."""
    output: Path = Path("runs/sample")
    """Folder for the files."""
    frames: int = 20
    """Of each video, those watched among them."""
    count: int = 8
    """How many videos."""
    seed: int = 0
    """Of all that is drawn, generated digits included."""
    condition: str | None = None
    """What to go on from: video:FILE (a video, or a folder of images), brought onto the model's
    canvas; or moving-mnist for generated digits. Nothing by default."""
    after: int | None = None
    """Frames of it that are watched; 5 by default."""
    digits: Path | None = None
    """Folder of MNIST's files, t10k-*, for moving-mnist; drawn digits without."""
    particles: int | None = None
    """Explanations to draw of what is watched, of which each future takes one by its weight; 20 by
    default."""
    columns: int = 20
    """Frames that the figure shows at most, evenly spaced."""
    video: Literal["gif", "mp4"] = "gif"
    """Format of the video."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    """Of the CPU; 0: as many as there are."""


def main(argv: list[str]) -> int:
    """Sample what the options in ``argv`` name; returns 0.

    Raises:
        OSError, ValueError: something is wrong with them; the message names the option.
    """
    import tyro

    style = (tyro.conf.PositionalRequiredArgs, tyro.conf.FlagCreatePairsOff)
    config = tyro.cli(SampleConfig, args=argv, prog="attend sample", config=style)
    check(config)
    run(config)
    return 0


def check(config: SampleConfig) -> None:
    """Raise ``ValueError`` for options that cannot be, before anything slow begins."""
    least = {"frames": 1, "count": 1, "seed": 0, "columns": 1, "threads": 0}
    for name, smallest in {**least, "after": 1, "particles": 1}.items():
        value = getattr(config, name)
        if value is not None and value < smallest:
            raise ValueError(f"--{name} {value}: expected {smallest} or more")
    for name in ("after", "particles"):
        if config.condition is None and getattr(config, name) is not None:
            raise ValueError(f"--{name}: without --condition there is nothing to watch")
    if config.digits is not None and config.condition != DIGITS:
        raise ValueError(f"--digits: only --condition {DIGITS} has digits")
    if config.condition is not None:
        word, _, file = config.condition.partition(":")
        if config.condition != DIGITS and (word != "video" or not file):
            raise ValueError(f"--condition {config.condition}: expected video:FILE or {DIGITS}")
        after = config.after or AFTER
        if after >= config.frames:
            raise ValueError(
                f"--after {after}: expected less than --frames {config.frames}, "
                "which counts the frames that are watched"
            )
    if config.output.exists() and not config.output.is_dir():
        raise ValueError(f"--output {config.output}: a file, expected a folder")


def run(config: SampleConfig) -> None:
    """Sample, write the files, and say what there is.

    Raises:
        OSError, ValueError: something cannot be read or written; the message names the option.
    """
    import torch

    from common.distributed import choose_device
    from experiments import watched
    from experiments.following import option

    if config.threads:
        torch.set_num_threads(config.threads)
    with option("--device"):
        device = choose_device(config.device)
    source = None
    if config.condition not in (None, DIGITS):
        file = config.condition.partition(":")[2]
        with option("--condition"):
            source = watched.video(file, config.frames, config.after or AFTER)
    inference, record = load(config.weights, device)
    if config.condition == DIGITS:
        with option("--digits"):
            size = inference.model.config.size
            source = watched.digits(config.digits, size, config.frames, config.seed)
    videos, came = imagine(config, inference, source)
    record = {**asked(config), **record, "device": str(device), **found(videos)}
    with option("--output"):
        files = write(config, videos, came, source.rate if source else watched.RATE, record)
    print(summary(config, videos, source))
    for file in files:
        print(f"wrote {file}")


def load(weights: str, device: Any) -> tuple[Inference, dict[str, Any]]:
    """The model, and what to record of it.

    Raises:
        ValueError: there are no such weights, or they cannot be used.
    """
    from hashlib import sha256

    from experiments.evaluate_sqair import load as load_model
    from experiments.following import option
    from experiments.runs import find_checkpoint
    from sqair.inference import Inference
    from sqair.pretrained import resolve

    model, preset = load_model(weights)
    with option("WEIGHTS"):
        inference = Inference(model, device)
    shipped = weights.partition(":")[0] == "default"
    file = resolve(weights) if shipped else find_checkpoint(weights)
    about = {"preset": preset, "model": type(model).__name__.lower()}
    return inference, {**about, "sha256": sha256(file.read_bytes()).hexdigest()}


def imagine(
    config: SampleConfig, inference: Inference, source: Source | None
) -> tuple[Videos, Tensor | None]:
    """The videos, and what really came ``(T', 1, S, S)``, on the model's canvas."""
    if source is None:
        return inference.sample(config.frames, config.count, config.seed), None
    from sqair.canvas import fit

    after = config.after or AFTER
    videos = inference.predict(
        source.frames[:after],
        config.frames - after,
        config.count,
        config.seed,
        particles=config.particles or PARTICLES,
        resize=True,
    )
    came = fit(source.frames[:, None], inference.model.config.size, resize=True)
    return videos, came.pixels.squeeze(1)


def asked(config: SampleConfig) -> dict[str, Any]:
    """What the options say, with the defaults that hold; where it is written does not matter."""
    values = {n: getattr(config, n) for n in ("weights", "frames", "count", "seed", "condition")}
    if config.condition is not None:
        values |= {"after": config.after or AFTER, "particles": config.particles or PARTICLES}
    if config.condition == DIGITS:
        values["digits"] = config.digits
    return values


def found(videos: Videos) -> dict[str, Any]:
    """What there is in the videos: objects in each frame, by video."""
    import torch

    from experiments.runs import git_hash

    counts = videos.slots.presence.sum(-1).T.int().tolist()
    return {"objects": counts, "git": git_hash(), "torch": torch.__version__}


def write(
    config: SampleConfig, videos: Videos, came: Tensor | None, rate: float, record: dict[str, Any]
) -> list[Path]:
    """Write everything into the folder; returns the files."""
    from common import text, tracks
    from common.plotting import save
    from common.writer import write_video
    from experiments import pictures, runs

    after = 0 if came is None else config.after or AFTER
    folder = config.output
    drawn = pictures.videos_figure(videos, came, after, config.columns)
    files = [save(drawn, folder / FIGURE), folder / f"{MOVIE}.{config.video}"]
    write_video(files[1], pictures.side_by_side(videos, came, after), rate)
    for number, one in enumerate(videos.tracks, 1):
        files.append(folder / TRACKS.format(number))
        tracks.write_mot(files[-1], one)
    record = {**record, "files": [file.name for file in files]}
    files.append(folder / RECORD)
    text.write(files[-1], json.dumps(runs.plain(record), indent=1) + "\n")
    return files


def summary(config: SampleConfig, videos: Videos, source: Source | None) -> str:
    """One line about what was imagined."""
    first, last = (videos.slots.presence[t].sum(-1).mean() for t in (0, -1))
    what = f"{config.count} videos of {config.frames} frames"
    if source is not None:
        after, side = config.after or AFTER, videos.frames.shape[-1]
        height, width = source.frames.shape[-2:]
        what = f"{config.count} futures of {config.frames - after} frames after {after} watched"
        if (height, width) != (side, side):
            what += f" ({width} x {height} pixels, seen as {side} x {side})"
    return f"{what}: {first:.1f} objects at first, {last:.1f} at the end"
