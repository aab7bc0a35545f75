"""``attend train PRESET``: a run folder with checkpoints, metrics and figures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

    from common.curriculum import Stage
    from common.training import Fit
    from datasets.windows import TrackingWindows
    from experiments.presets import Preset
    from experiments.train_options import TrainOptions


def main(argv: list[str]) -> int:
    """Train a preset: ``attend train PRESET [options]``; the exit code."""
    from experiments.presets import PRESETS, find
    from experiments.train_options import parse

    if not argv or argv[0].startswith("-"):
        lines = (f"  {name:18} {preset.about}" for name, preset in PRESETS.items())
        usage = "usage: attend train PRESET [options]; attend train PRESET --help lists them"
        print(usage, "\npresets:", *lines, sep="\n", file=sys.stdout if argv else sys.stderr)
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    preset = find(argv[0])
    options, preset = parse(argv[0], preset, argv[1:])
    return run(argv[0], options, preset)


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
    if first and not options.resume:  # a resumed run's weights are in its checkpoint
        begin(objective, name, options)
    objective = objective.to(device)
    folder = Path(options.resume or options.output or runs.new_folder(name))
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
    if first and not options.resume:  # only now: nothing is left behind by options that are wrong
        record = {"options": options} | {f.name: getattr(preset, f.name) for f in fields(preset)}
        runs.create(folder, name, record, preset.trainer.seed)
    fit = trainer.fit(resume=bool(options.resume))
    if first:
        finish(folder, fit)
    return 1 if fit.reason == "interrupted" else 0


def prepare(device: str, threads: int) -> torch.device:
    """Set the number of threads (0: leave it), choose the device; raises as ``choose_device``."""
    import cv2
    import torch

    from common.distributed import choose_device

    if threads:
        torch.set_num_threads(threads)
    cv2.setNumThreads(1)  # its pieces are too small to share out
    return choose_device(device)


def begin(objective: nn.Module, name: str, options: TrainOptions) -> None:
    """Load the weights that training begins with into ``objective.model``, and say which.

    Raises:
        ValueError: weights of another model, or AlexNet's for a model without it.
        FileNotFoundError: no such file.
    """
    from hart.paper import HartPaper
    from hart.pretrained import load_model

    if options.init:
        model, preset = load_model(options.init)
        try:
            objective.model.load_state_dict(model.state_dict())
        except RuntimeError as error:
            reason = " ".join(str(error).split("\n\t")[:2])  # the first tensor that differs
            raise ValueError(f"--init {options.init} is {preset}, not {name}: {reason}") from error
        print(f"begins with the weights of {options.init}")
    paper = isinstance(objective.model, HartPaper)
    if options.alexnet_weights and not paper:
        raise ValueError(f"--alexnet-weights is for hart-paper; {name} has no AlexNet in it")
    if options.alexnet_weights:
        objective.model.backbone.load_alexnet(options.alexnet_weights)
        print(f"the trunk begins with AlexNet's weights from {options.alexnet_weights}")
    elif paper and not options.init:
        print("no --alexnet-weights: the trunk trains from scratch (the paper's was pre-trained)")


def make_batches(options: TrainOptions, preset: Preset) -> TrackingWindows:
    """Training batches by step: windows of the sources of ``--data``, and sprites.

    Raises:
        ValueError: not one share for each source, or data that cannot be used.
        FileNotFoundError: a source that is not there.
    """
    from datasets.source import load
    from datasets.windows import TrackingWindows

    if min(options.shares, default=1) <= 0:
        raise ValueError(f"--shares {options.shares}: expected numbers above 0")
    if options.shares and len(options.shares) != len(options.data):
        raise ValueError(
            f"--shares has {len(options.shares)} numbers for {len(options.data)} sources"
        )
    sequences, shares = [], []
    for source, share in zip(options.data, options.shares or [1.0] * len(options.data)):
        found = load(source)
        sequences += found
        shares += [share / len(found)] * len(found)  # a source's sequences divide its share
    return TrackingWindows(sequences, preset.windows, preset.trainer.seed, shares)


def make_validate(model: nn.Module, options: TrainOptions) -> Callable[[Stage], dict[str, float]]:
    """The function that steers training, on the sources of ``--validate``.

    Each goes by the last part of its path; by all of it where two would have the same name.
    """
    from datasets.source import load
    from experiments.validation import make_validation

    names = [source.rstrip("/").rpartition("/")[2] for source in options.validate]
    if len(set(names)) < len(names):
        names = options.validate
    return make_validation(model, {n: load(s) for n, s in zip(names, options.validate)})


def finish(folder: Path, fit: Fit) -> None:
    """Draw the training curves into the run's ``figures`` and say what came out."""
    from common.plotting import training_curves
    from experiments import runs

    train, validation = runs.read_metrics(folder), runs.read_metrics(folder, "validation")
    if train:
        training_curves(train, validation).savefig(folder / "figures" / "training.png")
    best = f", best mean IoU {fit.best['mean_iou']:.3f}" if "mean_iou" in fit.best else ""
    skipped = f", {fit.skipped} steps skipped (not finite)" if fit.skipped else ""
    print(f"{fit.reason} after {fit.step} steps{best}{skipped}; the run is in {folder}")
    print(f"next: attend evaluate {folder} --data SOURCE, or attend train ... --resume {folder}")
