"""``attend train PRESET``: a run folder with checkpoints, metrics and figures."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

if TYPE_CHECKING:
    from torch import nn

    from experiments.presets import Preset

RESUMABLE = (
    "resume",
    "device",
    "threads",
    "max_minutes",
    "workers",
)  # what a resumed run may change


@dataclass(frozen=True)
class TrainOptions:
    """What to train on, what to judge by, where to run."""

    data: tuple[str, ...] = ()
    """Annotated video: kitti:DIR, mot:DIR, mot:DIR:FIRST-LAST; generated clips are mixed in (none: only those)."""
    shares: tuple[float, ...] = ()
    """How often each source is drawn, relative to the others; evenly by default."""
    validate: tuple[str, ...] = ("sprites",)
    """Sources as for --data, never trained on: their mean IoU picks the best checkpoint."""
    init: str = ""
    """Weights to begin with: a file or default:NAME."""
    alexnet_weights: str = ""
    """hart-paper only: AlexNet as Caffe .npy or PyTorch state dict; without it the trunk starts from scratch."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    threads: int = 0
    """Threads on the CPU; 0: one per core."""
    output: str = ""
    """Run folder; by default a new one under runs/."""
    resume: str = ""
    """Run folder to continue as it began; only device, threads, workers and max-minutes may change."""


def main(argv: list[str]) -> int:
    """Train a preset: ``attend train PRESET [options]``."""
    from experiments.presets import PRESETS, find

    if not argv or argv[0].startswith("-"):
        lines = (f"  {name:18} {preset.about}" for name, preset in PRESETS.items())
        usage = "usage: attend train PRESET [options]; attend train PRESET --help lists them"
        print(usage, "\npresets:", *lines, sep="\n", file=sys.stdout if argv else sys.stderr)
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    preset = find(argv[0])
    options, preset = parse(argv[0], preset, argv[1:])
    return run(argv[0], options, preset)


def parse(name: str, preset: Preset, argv: list[str]) -> tuple[TrainOptions, Preset]:
    """Options and the preset with its overrides; a resumed run starts from its own ``config.json``.

    Raises:
        ValueError: a resumed run is of another preset, or an option is given that it may not change.
    """
    import tyro

    from experiments import runs

    bare = tyro.conf.arg(name="")
    recipe = [field for field in fields(preset) if field.name != "about"]
    kinds = [("options", Annotated[TrainOptions, bare])]
    for field in recipe:
        kind = type(getattr(preset, field.name))
        kinds.append((field.name, Annotated[kind, bare] if field.name == "trainer" else kind))
    command = make_dataclass("Command", kinds, frozen=True)
    defaults = {field.name: getattr(preset, field.name) for field in recipe}
    start = command(options=TrainOptions(), **defaults)
    about = f"Train {name}: {preset.about}."
    given = tyro.cli(
        command, args=argv, default=start, prog=f"attend train {name}", description=about
    )
    if given.options.resume:
        record = runs.read_config(given.options.resume)
        if record["preset"] != name:
            raise ValueError(
                f"--resume {given.options.resume} is a run of {record['preset']}, not {name}"
            )
        kept = rebuild(start, record["config"])
        given = tyro.cli(
            command, args=argv, default=kept, prog=f"attend train {name}", description=about
        )
        changed = _changes(kept, given) - set(RESUMABLE)
        if changed:
            raise ValueError(f"a resumed run cannot change {', '.join(sorted(changed))}")
    values = {field.name: getattr(given, field.name) for field in recipe}
    return given.options, dataclasses.replace(preset, **values)


def rebuild(like: Any, values: dict[str, Any]) -> Any:
    """A dataclass like ``like`` with the plain ``values`` that ``runs.plain`` made of one."""
    changes = {}
    for field in fields(like):
        old, new = getattr(like, field.name), values.get(field.name)
        if dataclasses.is_dataclass(old):
            changes[field.name] = rebuild(old, new or {})
        elif field.name in values:
            infinite = new is None and isinstance(old, float)  # JSON has no infinity
            changes[field.name] = old if infinite else tuple(new) if isinstance(new, list) else new
    return dataclasses.replace(like, **changes)


def _changes(a: Any, b: Any) -> set[str]:
    names = set()
    for field in fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if dataclasses.is_dataclass(x):
            names |= _changes(x, y)
        elif x != y:
            names.add(field.name)
    return names


def run(name: str, options: TrainOptions, preset: Preset) -> int:
    """Train and say where the result lies; 1 when stopped by a signal."""
    from common import distributed
    from common.loading import seed_everything
    from common.training import Trainer
    from experiments import presets, runs
    from experiments.report import RunReporter

    device = prepare(options.device, options.threads)
    seed_everything(preset.trainer.seed)
    objective = presets.make_objective(preset)
    first = distributed.join(device).first
    if first:
        begin(objective, name, options)
    objective = objective.to(device)
    folder = Path(options.resume or options.output or runs.new_folder(name))
    if first and not options.resume:
        record = {"options": options} | {f.name: getattr(preset, f.name) for f in fields(preset)}
        runs.create(folder, name, record, preset.trainer.seed)
    config = presets.trainer_config(preset, objective)
    trainer = Trainer(
        objective,
        make_batches(options, preset),
        presets.make_optimiser(preset.optimiser, objective),
        presets.learning_rate(preset.optimiser, config.steps),
        presets.make_stages(preset.curriculum, config.steps),
        config,
        folder,
        validate=make_validate(objective.model, options) if options.validate and first else None,
        reporter=RunReporter(folder),
        metadata={"preset": name, "config": presets.model_record(preset.model)},
    )
    fit = trainer.fit(resume=bool(options.resume))
    if first:
        finish(folder, fit)
    return 1 if fit.reason == "interrupted" else 0


def prepare(device: str, threads: int) -> Any:
    """Set threads and choose the device.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    import cv2
    import torch

    if threads:
        torch.set_num_threads(threads)
    cv2.setNumThreads(1)  # its pieces are too small to share out
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch sees no GPU here; use --device cpu or auto")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def begin(objective: nn.Module, name: str, options: TrainOptions) -> None:
    """Load what training begins with, and say what it is."""
    from hart.paper import HartPaper
    from hart.pretrained import load_model

    if options.init:
        model, preset = load_model(options.init)
        try:
            objective.model.load_state_dict(model.state_dict())
        except RuntimeError as error:
            raise ValueError(
                f"--init {options.init} holds {preset}, not {name}: {error}"
            ) from error
        print(f"begins with the weights of {options.init}")
    paper = isinstance(objective.model, HartPaper)
    if options.alexnet_weights and not paper:
        raise ValueError(f"--alexnet-weights is for hart-paper; {name} has no AlexNet in it")
    if options.alexnet_weights:
        objective.model.backbone.load_alexnet(options.alexnet_weights)
        print(f"the trunk begins with AlexNet's weights from {options.alexnet_weights}")
    elif paper and not options.init:
        print(
            "no --alexnet-weights: the AlexNet trunk trains from scratch (the paper's was pre-trained)"
        )


def make_batches(options: TrainOptions, preset: Preset) -> Any:
    """Training batches by step: windows of the sources of ``--data``, and sprites."""
    from datasets.source import load
    from datasets.windows import TrackingWindows

    if options.shares and len(options.shares) != len(options.data):
        raise ValueError(
            f"--shares has {len(options.shares)} numbers for {len(options.data)} sources"
        )
    sequences, shares = [], []
    for number, source in enumerate(options.data):
        found = load(source)
        share = options.shares[number] if options.shares else 1.0
        sequences += found
        shares += [share / len(found)] * len(found)
    return TrackingWindows(sequences, preset.windows, preset.trainer.seed, shares)


def make_validate(model: nn.Module, options: TrainOptions) -> Any:
    """The function that steers training, on the sources of ``--validate``."""
    from datasets.source import load
    from experiments.validation import make_validation

    names = {source: source.rstrip("/").rpartition("/")[2] for source in options.validate}
    return make_validation(model, {names[source]: load(source) for source in options.validate})


def finish(folder: Path, fit: Any) -> None:
    """Draw the training curves and say what came out."""
    from common.plotting import training_curves
    from experiments import runs

    train, validation = runs.read_metrics(folder), runs.read_metrics(folder, "validation")
    if train:
        training_curves(train, validation).savefig(folder / "figures" / "training.png")
    best = f", best mean IoU {fit.best['mean_iou']:.3f}" if "mean_iou" in fit.best else ""
    skipped = f", {fit.skipped} steps skipped (not finite)" if fit.skipped else ""
    print(f"{fit.reason} after {fit.step} steps{best}{skipped}; the run is in {folder}")
    print(f"next: attend evaluate {folder} --data SOURCE, or attend train ... --resume {folder}")
