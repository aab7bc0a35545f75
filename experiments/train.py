"""``attend train PRESET``: a run folder with checkpoints, metrics and figures."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from common.training import Fit


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


def run(name: str, options: Any, preset: Any) -> int:
    """Train and say where the result lies; 1 when stopped by a signal."""
    from common import distributed
    from common.loading import seed_everything
    from common.training import Trainer
    from experiments import presets, runs
    from experiments.optimisers import learning_rate, make_optimiser
    from experiments.report import RunReporter
    from experiments.train_options import recipe_of

    recipe = recipe_of(preset)
    device = prepare(options.device, options.threads)
    seed_everything(preset.trainer.seed)
    objective = presets.make_objective(preset)
    first = distributed.join(device).first
    if first and not options.resume:  # a resumed run's weights are in its checkpoint
        recipe.begin(objective, name, options, preset)
    objective = objective.to(device)
    folder = Path(options.resume or options.output or runs.new_folder(name))
    config = presets.trainer_config(preset, objective)
    trainer = Trainer(
        objective,
        recipe.make_batches(options, preset),
        make_optimiser(preset.optimiser, objective),
        learning_rate(preset.optimiser, config.steps),
        presets.make_stages(preset.curriculum, config.steps),
        config,
        folder,
        validate=recipe.make_validate(objective.model, options, preset) if first else None,
        reporter=RunReporter(
            folder,
            picture=recipe.make_picture(objective.model, options, preset),
            watch=recipe.make_watch(preset),
        ),
        metadata={"preset": name, "config": presets.model_record(preset.model)},
        fresh=lambda seed: fresh_weights(name, options, preset, seed),
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


def fresh_weights(name: str, options: Any, preset: Any, seed: int) -> dict[str, Any]:
    """The weights of a new model, which begins with none that were given."""
    from common.loading import seed_everything
    from experiments import presets
    from experiments.train_options import recipe_of

    seed_everything(seed)
    objective = presets.make_objective(preset)
    recipe_of(preset).begin(objective, name, replace(options, init=""), preset)
    return objective.state_dict()


def finish(folder: Path, fit: Fit) -> None:
    """Draw the training curves into the run's ``figures`` and say what came out."""
    from common.plotting import training_curves
    from experiments import runs

    train, validation = runs.read_metrics(folder), runs.read_metrics(folder, "validation")
    if train:
        training_curves(train, validation).savefig(folder / "figures" / "training.png")
    best = next((f", best {k} {v:.4g}" for k, v in fit.best.items()), "")
    skipped = f", {fit.skipped} steps skipped (not finite)" if fit.skipped else ""
    print(f"{fit.reason} after {fit.step} steps{best}{skipped}; the run is in {folder}")
    print(f"next: attend evaluate {folder} --data ..., or attend train ... --resume {folder}")
