"""``attend evaluate`` of models that find their objects themselves, on generated moving digits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experiments.kinds import UNSUPERVISED, kind, kind_in

if TYPE_CHECKING:
    import torch
    from torch import nn

    from experiments.unsupervised import Scored

FIGURES = (".png", ".pdf", ".svg")
DATA = "moving-mnist"


@dataclass(frozen=True)
class EvaluateSqairConfig:
    """Score SQAIR, AIR or a VRNN on generated moving digits: bounds, counting, tracking.

    Tracks are those of one particle per sequence, drawn by its weight; a track's box is the tight
    box of what its slot paints. Objects with under a quarter of their ink in sight are not judged.
    """

    weights: str
    """Weight file, run folder, or default:NAME for shipped ones."""
    data: Literal["moving-mnist"] = DATA
    """Made on the fly, on the canvas that the model was trained on."""
    digits: Path | None = None
    """Folder of MNIST's files, t10k-* (the probe is trained on train-*); drawn digits without."""
    sequences: int = 512
    """How many."""
    length: int = 10
    """Frames in a sequence."""
    particles: int = 5
    """Of the bound, and of all else."""
    bound_particles: int = 0
    """Of a second, tighter bound, such as 100, which takes minutes; 0: leave it out."""
    seed: int = 0
    """Of the sequences, and of what the model draws."""
    counts: tuple[int, ...] = (0, 1, 2)
    """Digits in a sequence, equally likely."""
    inside: bool = False
    """Digits stay on the canvas."""
    noise: float = 0.0
    """Standard deviation of noise in every pixel, of a range of 1."""
    background: bool = False
    """A drifting texture behind the digits."""
    probe: bool = False
    """Train a small classifier of the sum of the digits on the latents, and test it."""
    json: Path | None = None
    """File for what the tables show, and where it comes from."""
    figure: Path | None = None
    """File (.png, .pdf, .svg) for counting, and ids kept, over time."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    """Of the CPU; 0: as many as there are."""


def is_meant(argv: Sequence[str]) -> bool:
    """Whether these options of ``attend evaluate`` are this module's: so say weights or data."""
    model = kind_in(argv)
    named = any(word.rpartition("=")[2] == DATA for word in argv)
    return model in UNSUPERVISED or (model is None and named)


@contextmanager
def help_below(argv: Sequence[str]) -> Iterator[None]:
    """Within, other options' help is followed by that of these, where no weights are named."""
    try:
        yield
    except SystemExit as end:
        if not end.code and kind_in(argv) is None:
            print(f"\nWith weights of {', '.join(UNSUPERVISED)}:\n", flush=True)
            main(["--help"])
        raise


def main(argv: list[str]) -> int:
    """Evaluate what the options in ``argv`` name; returns 0.

    Raises:
        OSError, ValueError: something is wrong with them; the message names the option.
    """
    import tyro

    style = (tyro.conf.PositionalRequiredArgs, tyro.conf.FlagCreatePairsOff)
    config = tyro.cli(EvaluateSqairConfig, args=argv, prog="attend evaluate", config=style)
    check(config)
    run(config)
    return 0


def check(config: EvaluateSqairConfig) -> None:
    """Raise ``ValueError`` for options that cannot be, before anything slow begins."""
    least = {"sequences": 1, "length": 1, "particles": 1, "bound_particles": 0, "threads": 0}
    for name, smallest in {**least, "seed": 0}.items():
        if getattr(config, name) < smallest:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} {getattr(config, name)}: expected {smallest} or more")
    if config.figure is not None and config.figure.suffix.lower() not in FIGURES:
        raise ValueError(f"--figure {config.figure}: expected a name in {', '.join(FIGURES)}")
    for name, path in (("--json", config.json), ("--figure", config.figure)):
        if path is not None and path.is_dir():
            raise ValueError(f"{name} {path}: a folder, expected a file's name")


def run(config: EvaluateSqairConfig) -> None:
    """Score the model, print the tables and write the files."""
    import torch

    from common.distributed import choose_device
    from common.loading import seed_everything
    from common.plotting import save
    from common.text import write
    from experiments import findings, runs
    from experiments.following import option

    if config.threads:
        torch.set_num_threads(config.threads)
    with option("--device"):
        device = choose_device(config.device)
    model, preset = load(config.weights)
    name = kind(config.weights) or UNSUPERVISED[0]
    make = data_maker(config, model)
    data = make("test")
    seed_everything(config.seed)
    started = time.perf_counter()
    scored, tight = measure(config, model.to(device), data, device, tracked=name == "sqair")
    values = findings.summarise(scored, tight, config.particles, config.bound_particles)
    if config.probe:
        values["addition"] = probe(config, model, make("train"), scored, device)
    values |= {
        "weights": config.weights,
        "preset": preset,
        "model": name,
        **{key: getattr(config, key) for key in ("digits", "sequences", "length", "particles")},
        **{key: getattr(config, key) for key in ("seed", "counts", "inside", "noise")},
        "background": config.background,
        "device": str(device),
        "git": runs.git_hash(),
        "seconds": time.perf_counter() - started,
    }
    print(findings.table(values))
    if config.json is not None:
        write(config.json, json.dumps(runs.plain(values), indent=1) + "\n")
        print(f"wrote {config.json}")
    if config.figure is not None:
        print(f"wrote {save(findings.figure(scored), config.figure)}")


def load(weights: str) -> tuple[nn.Module, str]:
    """Model in evaluation mode, and preset, of WEIGHTS.

    Raises:
        ValueError: there are none, or they cannot be used.
    """
    from experiments import runs
    from experiments.following import option

    shipped = weights.partition(":")[0] == "default"
    with option("WEIGHTS"):
        path = weights if shipped else runs.find_checkpoint(weights)
        from sqair.pretrained import load_model

        return load_model(path)


def data_maker(config: EvaluateSqairConfig, model: Any) -> Callable[[str], Any]:
    """A function of the split, ``train`` or ``test``, that gives the sequences' generator.

    Raises:
        ValueError: the options do not fit together, or the digits cannot be read.
    """
    from datasets import digits
    from datasets.moving_mnist import MovingMnist, MovingMnistConfig
    from experiments.following import option

    with option("--counts, --noise"):
        scenes = MovingMnistConfig(
            model.config.size, config.counts, config.inside, config.noise, config.background
        )

    def make(split: Literal["train", "test"]) -> MovingMnist:
        with option("--digits"):
            return MovingMnist(scenes, digits.load(config.digits, split))

    return make


def measure(
    config: EvaluateSqairConfig, model: Any, data: Any, device: torch.device, tracked: bool
) -> tuple[Scored, torch.Tensor | None]:
    """All scores, and the tighter bound ``(B,)`` where it is wanted; a bar on a terminal."""
    import torch
    from tqdm import tqdm

    from experiments import unsupervised

    generator = torch.Generator().manual_seed(config.seed)
    per_sequence = config.particles + config.bound_particles
    total, parts, bounds = config.sequences * per_sequence, [], []
    with tqdm(total=total, disable=None, leave=False, unit=" particles") as bar:
        for batch in unsupervised.blocks(data, config.sequences, config.length, config.seed):
            for part in unsupervised.score(
                model, batch, config.particles, generator, ids=tracked, device=device
            ):
                parts.append(part)
                bar.update(config.particles * len(part.count))
            if config.bound_particles:
                for part in unsupervised.bound(model, batch.frames, config.bound_particles, device):
                    bounds.append(part)
                    bar.update(config.bound_particles * len(part))
    return unsupervised.join(parts), torch.cat(bounds) if bounds else None


def probe(
    config: EvaluateSqairConfig, model: Any, data: Any, scored: Scored, device: torch.device
) -> float:
    """The digit-addition probe's accuracy on what was scored; a bar on a terminal."""
    from tqdm import tqdm

    from experiments import addition

    collected = addition.collect(model, data, config.length, config.seed, device)
    blocks = -(-addition.SEQUENCES // addition.unsupervised.BLOCK)
    known = addition.join(list(tqdm(collected, "probe", blocks, disable=None, leave=False)))
    with tqdm(total=addition.EPOCHS, desc="probe", disable=None, leave=False) as bar:
        objects, classes = getattr(model.config, "slots", 1), 9 * max(config.counts) + 1
        fitted = addition.fit(known, objects, classes, config.seed, bar.update)
    return addition.accuracy(fitted, addition.latents(scored.features, scored.labels))
