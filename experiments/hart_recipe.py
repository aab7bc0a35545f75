"""How trackers of given objects are trained: on video with boxes, and on generated clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

    from common.curriculum import Stage
    from datasets.windows import TrackingWindows
    from experiments.presets import Preset


@dataclass(frozen=True)
class TrainOptions:
    """What to train on, what to judge by, where to run."""

    data: tuple[str, ...] = ()
    """Annotated video (kitti:DIR, mot:DIR, mot:DIR:FIRST-LAST), mixed with generated clips."""
    shares: tuple[float, ...] = ()
    """How often each source is drawn, relative to the others; evenly by default."""
    validate: tuple[str, ...] = ("sprites",)
    """Sources as for --data, never trained on: their mean IoU picks the best checkpoint."""
    init: str = ""
    """Weights to begin with: a file or default:NAME."""
    alexnet_weights: str = ""
    """hart-paper only: AlexNet's weights, Caffe .npy or PyTorch state dict; else from scratch."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    threads: int = 0
    """Threads on the CPU; 0: one per core."""
    output: str = ""
    """Run folder; by default a new one under runs/."""
    resume: str = ""
    """Run folder to continue; only device, threads, workers, cuda-graphs and max-minutes may
    change."""


def begin(objective: nn.Module, name: str, options: TrainOptions, _preset: Preset) -> None:
    """Load the weights that training begins with into ``objective.model``, and say which.

    Raises:
        ValueError: weights of another model, or AlexNet's for a model without it.
        FileNotFoundError: no such file.
    """
    from common.pretrained import begin_with
    from hart.paper import HartPaper
    from hart.pretrained import load_model

    if options.init:
        begin_with(objective.model, name, options.init, load_model)
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


def make_validate(
    model: nn.Module, options: TrainOptions, _preset: Preset | None = None
) -> Callable[[Stage], dict[str, float]] | None:
    """The function that steers training, on the sources of ``--validate``; None without any.

    Each goes by the last part of its path; by all of it where two would have the same name.
    """
    from datasets.source import load
    from experiments.validation import make_validation

    if not options.validate:
        return None
    names = [source.rstrip("/").rpartition("/")[2] for source in options.validate]
    if len(set(names)) < len(names):
        names = options.validate
    return make_validation(model, {n: load(s) for n, s in zip(names, options.validate)})


def make_picture(_model: nn.Module, _options: TrainOptions, _preset: Preset) -> None:
    """No pictures in training: ``attend visualise`` draws them."""


def make_watch(_preset: Preset) -> None:
    """Nothing to watch: losses that are not finite are the trainer's."""
