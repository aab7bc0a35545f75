"""``attend evaluate``: a model beside trivial and OpenCV trackers, on annotated video.

Weights of a model that finds its objects itself go to ``experiments.evaluate_sqair``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experiments.options import check_files, check_least, check_suffix, use_threads

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from experiments.protocol import Contender, Window
    from experiments.scores import Row

SHORTEST = {"kitti": 5}  # frames; other sources give complete windows only
TIMED, TURN = 4, 0.3  # windows that speed is measured on, CPU seconds on each
FIGURES = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class EvaluateConfig:
    """Score a model beside trivial trackers, from the first true box of each window.

    Every track is cut where its frames are not consecutive, then into complete windows; of KITTI,
    whose clips may be short, a piece of 5 frames or more is a window too.
    """

    weights: str
    """Weight file, run folder, or default:NAME for shipped ones."""
    data: tuple[str, ...] = ("sprites",)
    """Annotated video: kitti:DIR, mot:DIR, mot:DIR:FIRST-LAST (frames from 1), or sprites."""
    windows: tuple[int, ...] = (30,)
    """Length of the windows, frames; with several, a table for each."""
    stride: int = 15
    """Frames from the start of a window to the next one's."""
    peers: bool = False
    """Also score the trackers of the installed OpenCV: MIL; of the contrib wheel CSRT, KCF,
    MedianFlow, MOSSE, too. Slow."""
    json: Path | None = None
    """File for what the table shows, and IoU by step; the model's are at its top, of the first
    length."""
    figure: Path | None = None
    """File (.png, .pdf, .svg) for IoU over time and the success plot."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    """Of the CPU; 0: as many as there are."""


def main(argv: list[str]) -> int:
    """Evaluate what the options in ``argv`` name; returns 0.

    The model in the weights says which options there are; help without weights shows all.

    Raises:
        OSError, ValueError: something is wrong with them; the message names the option.
    """
    import tyro

    from experiments import evaluate_sqair

    if evaluate_sqair.is_meant(argv):
        return evaluate_sqair.main(argv)
    style = (tyro.conf.PositionalRequiredArgs, tyro.conf.FlagCreatePairsOff)
    with evaluate_sqair.help_below(argv):
        config = tyro.cli(EvaluateConfig, args=argv, prog="attend evaluate", config=style)
    check(config)
    run(config)
    return 0


def check(config: EvaluateConfig) -> None:
    """Raise ``ValueError`` for options that cannot be, before anything slow begins."""
    if (
        not config.windows
        or min(config.windows) < 2
        or len({*config.windows}) < len(config.windows)
    ):
        raise ValueError(f"--windows {config.windows}: expected different lengths of 2 or more")
    check_least(config, stride=1, threads=0)
    if not config.data or len({*config.data}) < len(config.data):
        raise ValueError("--data: expected one source or several different ones")
    check_suffix(config, "figure", FIGURES)
    check_files(config, "json", "figure")


def run(config: EvaluateConfig) -> None:
    """Score every tracker, print the tables and write the files."""
    from common.plotting import save
    from common.text import write
    from datasets.source import load
    from experiments import runs, scores
    from experiments.following import option

    use_threads(config.threads)
    contenders = make_contenders(config)
    with option("--data"):
        sources = {source: load(source) for source in config.data}
        cuts = {length: cut_all(sources, length, config.stride) for length in config.windows}
    rates = measure_each(contenders, *cuts[config.windows[0]])
    panels, records = {}, []
    for length, (windows, owner) in cuts.items():
        panels[length] = rows = score(contenders, windows, rates["all"])
        sections = {source: scores.part(rows, owner == source, rates[source]) for source in sources}
        if len(sources) > 1:
            sections = {"all": rows, **sections}
        for source, some in sections.items():
            heading = scores.describe(some, length, config.stride)
            print(f"{source}: {heading}\n{scores.table(some)}\n")
        by_source = {source: scores.record(some) for source, some in sections.items()}
        records.append({**scores.record(rows), "length": length, "sources": by_source})
    print(scores.FOOTNOTE)
    if config.json is not None:
        about = {"weights": config.weights, "model": contenders[0].name, "stride": config.stride}
        lengths = {str(record["length"]): record for record in records}
        content = runs.plain({**records[0], **about, "lengths": lengths})
        write(config.json, json.dumps(content, indent=1) + "\n")
        print(f"wrote {config.json}")
    if config.figure is not None:
        print(f"wrote {save(scores.figure(panels), config.figure)}")


def make_contenders(config: EvaluateConfig) -> list[Contender]:
    """The model first, then the trivial trackers, then OpenCV's where they are wanted."""
    from common.distributed import choose_device
    from experiments import peers
    from experiments.following import option
    from experiments.protocol import Contender
    from experiments.scores import STAR
    from hart.baselines import ConstantVelocity, StaticBox
    from hart.tracker import Tracker

    with option("--device"):
        device = choose_device(config.device)
    model, preset = load_weights(config.weights, "WEIGHTS")
    contenders = [
        Contender(preset or "model", lambda: Tracker(model, device)),
        Contender("static", StaticBox),
        Contender("constant velocity" + STAR, ConstantVelocity, velocity=True),
    ]
    return contenders + (peers.opencv() if config.peers else [])


def load_weights(weights: str, name: str) -> tuple[nn.Module, str]:
    """Model and preset of a weight file, run folder or ``default:NAME``, given as option ``name``.

    Raises:
        ValueError: there is none, or it cannot be used.
    """
    from experiments import runs
    from experiments.following import option
    from hart.pretrained import load_model

    shipped = weights.partition(":")[0] == "default"
    with option(name):
        return load_model(weights if shipped else runs.find_checkpoint(weights))


def cut_all(
    sources: dict[str, Sequence[Any]], length: int, stride: int
) -> tuple[list[Window], np.ndarray]:
    """Windows of every source, and which source each is of: ``(M,)`` names.

    Raises:
        ValueError: a source has none of that length.
    """
    import numpy as np

    from experiments.protocol import cut

    windows, owner, objects = [], [], 0
    for source, sequences in sources.items():
        found = cut(sequences, length, stride, SHORTEST.get(source.partition(":")[0]))
        if not found:
            if not any(len(sequence.tracks.frame) for sequence in sequences):
                raise ValueError(f"{source}: no boxes in it, expected annotated video")
            raise ValueError(f"{source}: no track of {length} frames; try shorter --windows")
        windows += [window._replace(object=window.object + objects) for window in found]
        owner += [source] * len(found)
        objects = windows[-1].object + 1
    return windows, np.array(owner)


def measure_each(
    contenders: Sequence[Contender], windows: Sequence[Window], owner: np.ndarray
) -> dict[str, dict[str, float]]:
    """``measure`` on the windows of every source, and under ``all`` the mean over sources."""
    rates = {}
    for source in dict.fromkeys(owner.tolist()):
        own = [window for window, name in zip(windows, owner, strict=True) if name == source]
        rates[source] = measure(contenders, own)
    first = next(iter(rates.values()))
    mean = {name: sum(r[name] for r in rates.values()) / len(rates) for name in first}
    return {**rates, "all": mean}


def measure(contenders: Sequence[Contender], windows: Sequence[Window]) -> dict[str, float]:
    """Updates per CPU-second of one object alone, the median over a few windows, by name.

    Trivial trackers are not timed: they do not look.
    """
    import numpy as np

    from experiments.peers import Scene, speed
    from experiments.protocol import velocities
    from hart.baselines import ConstantVelocity, StaticBox

    scenes = []
    for number in np.linspace(0, len(windows) - 1, TIMED).astype(int):
        window = windows[number]
        frames = window.sequence.read(range(window.first, window.first + len(window.boxes)))
        scenes.append(Scene(frames, window.boxes[:1], velocities([window])))
    trivial = (StaticBox, ConstantVelocity)
    timed = [contender for contender in contenders if contender.make not in trivial]
    return {
        name: float(np.median(found)) for name, found in speed(timed, scenes, TIMED, TURN).items()
    }


def score(
    contenders: Sequence[Contender], windows: Sequence[Window], rates: dict[str, float]
) -> list[Row]:
    """Run every tracker over the windows, with a progress bar on a terminal."""
    from tqdm import tqdm

    from experiments.protocol import evaluate_windows
    from experiments.scores import Row

    rows = []
    for name, make, velocity, prepare in (bar := tqdm(contenders, disable=None, leave=False)):
        bar.set_description(name)
        result = evaluate_windows(make, windows, velocity, prepare)
        rows.append(Row(name, result, rates.get(name, float("nan"))))
    return rows
