"""``attend benchmark sqair``: how fast a training step is, and how much of the machine it uses."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import nn

    from experiments.sqair_step import TrainingStep

# Frames per second that are aimed at, at these sizes, where a matrix product of SIDE makes so much.
TARGETS = {"sqair": 680.0, "sqair-paper": 450.0}
SIZES = (10, 32, 5)  # T, B, P
TARGET_GFLOPS = 175.0
SIDE = 2048
QUICK = 3  # rounds


@dataclass(frozen=True)
class SqairConfig:
    """Training steps of sqair and sqair-paper: data apart, optimiser and clipping included.

    Steps with Pyro's handlers and without take turns with a matrix product of 2048^3, by which
    frames per second are compared with what is aimed at: 680 and 450 at the default sizes, for a
    product of 175 GFLOP/s. Memory is the most that the process held. On a GPU the step is a CUDA
    graph, as in training; "eager" is the time without.
    """

    presets: tuple[str, ...] = ("sqair", "sqair-paper")
    """What to measure."""
    weights: str = "default:sqair"
    """Of the sqair that is measured, file or default:NAME. Where it is not shipped, and for others,
    untrained weights, with objects as in the ground truth."""
    lengths: tuple[int, ...] = (SIZES[0],)
    """Frames of a clip, T; each is measured."""
    batch: int = SIZES[1]
    """Clips."""
    particles: int = SIZES[2]
    """Samples of each."""
    device: str = "cpu"
    """As PyTorch names it: cpu, cuda, cuda:1."""
    threads: int = 2
    """Threads of the CPU."""
    rounds: int = 11
    """Turns of each; their median is shown."""
    quick: bool = False
    """Three rounds."""
    json: Path | None = None
    """File for what is shown."""


class Row(NamedTuple):
    """Medians over the turns of one preset and length."""

    preset: str
    frames: int  # T
    seconds: float  # of a step
    eager: float | None  # seconds of a step that is no CUDA graph; None on a CPU
    rate: float  # frames per second
    gflop: float  # of a step
    gflops: float  # per second
    share: float  # of the matrix product's
    pyro: float  # share of the step that handlers take
    gigabytes: float  # at most
    present: float  # objects in a frame
    target: float | None  # frames per second, on this machine


def main(argv: list[str]) -> int:
    """Measure what the options in ``argv`` name; returns 0.

    Raises:
        OSError, ValueError: something is wrong with them; the message names the option.
    """
    import tyro

    config = tyro.cli(SqairConfig, args=argv, prog="attend benchmark sqair")
    import torch

    for name in ("batch", "threads", "rounds"):
        if getattr(config, name) <= 0:
            raise ValueError(f"--{name} {getattr(config, name)}: expected more than 0")
    if not config.lengths or min(config.lengths) < 1:
        raise ValueError(f"--lengths {config.lengths}: expected 1 or more")
    if config.particles < 2:
        raise ValueError(f"--particles {config.particles}: expected 2 or more, that are compared")
    for preset in config.presets:
        if preset not in TARGETS:
            raise ValueError(f"--presets {preset}: expected {' or '.join(TARGETS)}")
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {config.device}: there is no GPU that PyTorch can use")
    import pyro

    from common.allocation import keep_freed

    keep_freed()  # as in training
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with pyro.validation_enabled(False):
            run(config)
    finally:
        torch.set_num_threads(threads)
    return 0


def run(config: SqairConfig) -> None:
    """Measure, print and write."""
    import torch

    from common.text import write

    print(
        f"{config.device}, {config.threads} threads, PyTorch {torch.__version__}; "
        f"{config.batch} clips, {config.particles} particles"
    )
    names = ("step s", "eager s", "frames/s", "GFLOP", "GFLOP/s", "of product", "Pyro", "GB")
    print(f"{'':12} {'T':>3} " + " ".join(f"{name:>10}" for name in (*names, "objects")))
    rows, peaks = [], []
    for row, peak in measure(config):
        rows.append(row)
        peaks.append(peak)
        print(line(row), flush=True)
    peak = statistics.median(peaks)
    print(f"a product of {SIDE}^3 makes {peak:.0f} GFLOP/s here")
    for row in rows:
        if row.target is not None:
            print(f"{row.preset}: {row.rate:.0f} frames/s, aimed at are {row.target:.0f}")
    if config.json is not None:
        about = {name: value for name, value in asdict(config).items() if name != "json"}
        rest = {"torch": torch.__version__, "product_gflops": peak}
        record = {**about, **rest, "rows": [row._asdict() for row in rows]}
        write(config.json, json.dumps(record, indent=1) + "\n")
        print(f"wrote {config.json}")


def line(row: Row) -> str:
    """A row of the table."""
    numbers = (
        f"{row.seconds:.4f}",
        "-" if row.eager is None else f"{row.eager:.4f}",
        f"{row.rate:.0f}",
        f"{row.gflop:.1f}",
        f"{row.gflops:.1f}",
        f"{row.share:.0%}",
        f"{row.pyro:.0%}",
        f"{row.gigabytes:.2f}",
        f"{row.present:.2f}",
    )
    return f"{row.preset:12} {row.frames:>3} " + " ".join(f"{text:>10}" for text in numbers)


def measure(config: SqairConfig) -> Iterator[tuple[Row, float]]:
    """Each preset and length in turn, and the matrix product's GFLOP/s beside it."""
    from datasets import digits
    from datasets.moving_mnist import MovingMnist
    from experiments.sqair_presets import SQAIR_PRESETS
    from experiments.sqair_step import TrainingStep

    found = digits.load(None, "train")
    for preset in config.presets:
        model, forced = make_model(preset, config.weights)
        clips = MovingMnist(SQAIR_PRESETS[preset].clips, found, config.device)
        for length in config.lengths:
            _forget_peak(config.device)
            shape = (length, config.batch, config.particles)
            step = TrainingStep(preset, model, forced, clips, shape)
            whole = step
            if config.device != "cpu":
                whole = TrainingStep(preset, model, forced, clips, shape, graphs=True)
            yield measure_step(preset, step, whole, shape, config)


def make_model(preset: str, weights: str) -> tuple[nn.Module, bool]:
    """A preset's model, and whether its objects are to be forced, as it is untrained.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: they are of another model.
    """
    import torch

    from experiments.sqair_presets import SQAIR_PRESETS
    from sqair.pretrained import build, load_model, resolve

    shipped = True
    if weights == SqairConfig.weights:
        try:
            shipped = resolve(weights).is_file()
        except FileNotFoundError:
            shipped = False
    if preset == "sqair" and shipped:
        model, name = load_model(weights)
        if name != preset:
            raise ValueError(f"--weights {weights}: of {name}, expected {preset}")
        return model, False
    torch.manual_seed(0)
    return build(SQAIR_PRESETS[preset].model), True


def measure_step(
    preset: str,
    step: TrainingStep,
    whole: TrainingStep,
    shape: tuple[int, int, int],
    config: SqairConfig,
) -> tuple[Row, float]:
    """Time a kind of step, by turns with handlers, without, as a graph, and a matrix product."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from common.graphs import WARM

    for handlers in (True, False):
        step(0, handlers)
    with FlopCounterMode(display=False) as counter:
        step(0)
    gflop = counter.get_total_flops() / 1e9
    matrix = torch.rand(SIDE, SIDE, device=config.device)
    for turn in range(WARM + 1 if whole is not step else 0):
        whole(turn)
    step.read()
    turns = []
    for turn in range(QUICK if config.quick else config.rounds):
        eager = _seconds(partial(step, turn), config)
        seconds = eager if whole is step else _seconds(partial(whole, turn), config)
        plain = _seconds(partial(step, turn, handlers=False), config)
        products = [_seconds(partial(torch.mm, matrix, matrix), config) for _ in range(3)]
        product = statistics.median(products)
        peak = 2 * SIDE**3 / product / 1e9
        turns.append((seconds, eager, 1 - plain / eager, peak, gflop / seconds / peak))
    columns = zip(*turns, strict=True)
    seconds, eager, pyro, peak, share = (statistics.median(column) for column in columns)
    length, batch, particles = shape
    target = None
    if shape == SIZES and config.device == "cpu":
        target = TARGETS[preset] * peak / TARGET_GFLOPS
    return Row(
        preset,
        length,
        seconds,
        None if whole is step else eager,
        length * batch / seconds,
        gflop,
        gflop / seconds,
        share,
        pyro,
        _peak_gigabytes(config.device),
        step.read()["present"],
        target,
    ), peak


def _seconds(call: Callable[[], object], config: SqairConfig) -> float:
    """How long a call takes; with one thread its CPU time, which a busy machine disturbs least."""
    import torch

    gpu = config.device != "cpu"
    clock = time.thread_time if not gpu and config.threads == 1 else time.perf_counter
    if gpu:
        torch.cuda.synchronize(config.device)
    started = clock()
    call()
    if gpu:
        torch.cuda.synchronize(config.device)
    return clock() - started


def _forget_peak(device: str) -> None:
    """Count the most memory anew from here on, where the system can."""
    import torch

    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def _peak_gigabytes(device: str) -> float:
    """The most memory that was in use: the process's on a CPU, the tensors' on a GPU."""
    import resource

    import torch

    if device != "cpu":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    kilobytes = next(text.split()[1] for text in lines if text.startswith("VmHWM"))
    return int(kilobytes) * 1024 / 1e9
