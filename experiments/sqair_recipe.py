"""How unsupervised models are trained: on moving digits, made as they are needed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

    from common.curriculum import Stage
    from datasets.digits import Digits
    from datasets.moving_mnist import MnistBatch, MovingMnist, MovingMnistConfig
    from experiments.sqair_presets import SqairPreset

HELD_OUT = 16  # every so many-th digit of the training files is for validation
SPREAD = 2**32  # seeds of clips lie so far apart for runs of different seeds
SHOWN = 4  # clips in a picture
AVERAGED = 1000, 10  # clips, and their frames, that a mean image is of
NONE_ON = 0.05  # slots on average below which none is said to be on


@dataclass(frozen=True)
class TrainOptions:
    """What to train on, where to run."""

    digits: str = ""
    """Folder of MNIST's train-* files, plain or .gz; by default digits are drawn."""
    variations: int = 3
    """Bent copies of each digit of --digits that are trained on, too; digits are few."""
    init: str = ""
    """Weights to begin with: a file or default:NAME."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    threads: int = 0
    """Threads on the CPU; 0: one per core."""
    output: str = ""
    """Run folder; by default a new one under runs/."""
    resume: str = ""
    """Run folder to continue; only device, threads, workers, cuda-graphs and max-minutes may
    change."""


class Clips:
    """Training batches by number, each process its share."""

    def __init__(self, data: MovingMnist, seed: int) -> None:
        self.data, self.seed = data, seed

    def __call__(self, number: int, stage: Stage, rank: int, world: int) -> MnistBatch:
        """Clips of the stage's length; as many as its ``batch``, shared by ``world`` processes.

        Raises:
            ValueError: a batch that cannot be shared.
        """
        batch = stage.settings["batch"]
        if batch % world:
            raise ValueError(f"a batch of {batch} cannot be shared by {world} processes")
        seed = self.seed * SPREAD + number * world + rank
        return self.data.batch(seed, batch // world, stage.length)


def begin(objective: nn.Module, name: str, options: TrainOptions, preset: SqairPreset) -> None:
    """Load the weights that training begins with, and say which; a mean image begins as the data's.

    Raises:
        ValueError: weights of another model, or files that are not digits.
        FileNotFoundError: no such file.
    """
    if not options.init:
        _start_mean_image(objective.model, options, preset)
        return
    from common.pretrained import begin_with
    from sqair.pretrained import load_model

    begin_with(objective.model, name, options.init, load_model)
    print(f"begins with the weights of {options.init}")


def make_batches(options: TrainOptions, preset: SqairPreset) -> Clips:
    """Training clips; raises FileNotFoundError or ValueError for files that are not digits."""
    from common.allocation import keep_freed

    _without_checks()
    keep_freed()
    return Clips(_data(options, preset, held_out=False), preset.trainer.seed)


def make_validate(
    model: nn.Module, options: TrainOptions, preset: SqairPreset
) -> Callable[[Stage], dict[str, float]]:
    """The function that steers training, on digits that are not trained on."""
    from experiments.sqair_validation import make_validation

    return make_validation(model, _data(options, preset, held_out=True))


def make_picture(
    model: nn.Module, options: TrainOptions, preset: SqairPreset
) -> Callable[[Path], Any] | None:
    """A function that draws reconstructions with boxes by id into a file."""
    from experiments.sqair_validation import SEED

    clips = _data(options, preset, held_out=True).batch(SEED + 1, SHOWN, preset.curriculum.longest)

    def picture(path: Path) -> None:
        from common.plotting import save
        from experiments.pictures import reconstructions

        save(reconstructions(model, clips.frames), path)

    return picture


def make_watch(preset: SqairPreset) -> Callable[[Mapping[str, float]], str]:
    """A function that names a collapse: hardly any slot, or nearly every one, is on."""
    slots = getattr(preset.model, "slots", 0)

    def watch(metrics: Mapping[str, float]) -> str:
        present = metrics.get("present")
        if not slots or present is None:
            return ""
        if present < NONE_ON:
            return f"collapsed: no object is found ({present:.2f} of {slots} slots are on)"
        if present > slots - NONE_ON:
            return f"collapsed: every slot is always on ({present:.2f} of {slots})"
        return ""

    return watch


def _start_mean_image(model: nn.Module, options: TrainOptions, preset: SqairPreset) -> None:
    """Let the model's mean image, if it has one, be the mean of clips that the run may train on."""
    import torch

    if getattr(model, "mean_image", None) is None:
        return
    seed = (preset.trainer.seed + 1) * SPREAD - 1  # the run's last, which no batch reaches
    frames = _data(options, preset, held_out=False).batch(seed, *AVERAGED).frames
    with torch.no_grad():
        model.mean_image.copy_(frames.float().mean((0, 1)) / 255)


def _data(options: TrainOptions, preset: SqairPreset, held_out: bool) -> MovingMnist:
    """Clips of the digits to validate on, or of those to train on; made once."""
    variations = options.variations if options.digits and not held_out else 0
    return _clips(options.digits, variations, preset.trainer.seed, preset.clips, held_out)


@functools.lru_cache(maxsize=2)  # what is trained on, what is held out
def _clips(
    folder: str, variations: int, seed: int, config: MovingMnistConfig, held_out: bool
) -> MovingMnist:
    from datasets.moving_mnist import MovingMnist
    from datasets.variations import vary

    return MovingMnist(config, vary(_part(_digits(folder), held_out), variations, seed))


@functools.lru_cache(maxsize=1)
def _digits(folder: str) -> Digits:
    from datasets import digits

    return digits.load(folder or None, "train")


def _part(found: Digits, held_out: bool) -> Digits:
    """The digits to validate on, or the others."""
    import torch

    number = torch.arange(len(found.labels))
    chosen = (number % HELD_OUT == HELD_OUT - 1) == held_out
    return type(found)(*(part[chosen] for part in found))


def _without_checks() -> None:
    """Distributions check no values in training: it would take a tenth of the time."""
    import pyro
    import torch

    pyro.enable_validation(False)
    torch.distributions.Distribution.set_default_validate_args(False)
