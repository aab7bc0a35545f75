"""``attend benchmark glimpse``: the glimpse core beside what PyTorch offers for the same."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from common.glimpse import extract

FRAME = (187, 621)  # KITTI at half its size, as HART reads it
SIZE = 56
LOADS = ((1, 1), (32, 1), (32, 16))  # frames, boxes in each


@dataclass(frozen=True)
class GlimpseConfig:
    """Time of common.glimpse.extract, and its ratio to a baseline measured in turn with it.

    Where windows enlarge the baseline is affine_grid and grid_sample, all boxes of a frame in one
    call; where they shrink by up to d, grid_sample at 2 ceil(d) samples per output and axis, and
    their mean. Windows are of 621 x 187 float frames, glimpses 56 x 56, gradients to the boxes.
    """

    device: str = "cpu"
    """As PyTorch names it: cpu, cuda, cuda:1."""
    threads: int = 1
    """Threads of the CPU; with one, CPU time is measured, otherwise elapsed time."""
    shrink: float = 2.0
    """The largest d of the windows that shrink."""
    rounds: int = 15
    """Turns of each; their median is shown."""
    seconds: float = 6.0
    """A comparison ends after so long, once three turns are done."""
    json: Path | None = None
    """File for what is shown."""


class Row(NamedTuple):
    """Medians of one comparison; the ratio is the median over the turns of ours to the other."""

    what: str
    milliseconds: float
    baseline: float
    ratio: float
    limit: float | None


def main(argv: list[str]) -> int:
    """Measure what the options in ``argv`` name; returns 0.

    Raises:
        OSError, ValueError: something is wrong with them; the message names the option.
    """
    import tyro

    config = tyro.cli(GlimpseConfig, args=argv, prog="attend benchmark glimpse")
    for name in ("threads", "rounds", "seconds"):
        if getattr(config, name) <= 0:
            raise ValueError(f"--{name} {getattr(config, name)}: expected more than 0")
    if not 1 < config.shrink <= 3:
        raise ValueError(f"--shrink {config.shrink}: expected more than 1 and at most 3")
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {config.device}: there is no GPU that PyTorch can use")
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        run(config)
    finally:
        torch.set_num_threads(threads)
    return 0


def run(config: GlimpseConfig) -> None:
    """Measure, print and write."""
    from common.text import write

    clock = "CPU time" if _clock(config) is time.thread_time else "elapsed time"
    print(f"{config.device}, {config.threads} threads, PyTorch {torch.__version__}, {clock}, ms")
    print(f"{'':44} {'ours':>9} {'baseline':>9} {'ratio':>6} {'limit':>6}")
    rows = []
    for row in measure(config):
        rows.append(row)
        limit = "" if row.limit is None else f"{row.limit:.1f}"
        times = f"{row.milliseconds:>9.3f} {row.baseline:>9.3f}"
        print(f"{row.what:44} {times} {row.ratio:>6.2f} {limit:>6}", flush=True)
    if config.json is not None:
        about = {name: value for name, value in asdict(config).items() if name != "json"}
        record = {**about, "torch": torch.__version__, "rows": [row._asdict() for row in rows]}
        write(config.json, json.dumps(record, indent=1) + "\n")
        print(f"wrote {config.json}")


def measure(config: GlimpseConfig) -> Iterator[Row]:
    """Each comparison in turn, on random frames and windows."""
    down = f"shrinking by up to {config.shrink:g}"
    for name, sizes, limit in (
        ("enlarging", (0.4 * SIZE, SIZE), 1.0),
        (down, (SIZE, config.shrink * SIZE), 1.2),
    ):
        samples = 2 * math.ceil(sizes[1] / SIZE) if sizes[1] > SIZE else 1
        for load in LOADS:
            frames, boxes = random_input(load, FRAME, sizes, config.device)
            ours = partial(extract, frames, boxes, SIZE)
            theirs = partial(grid_sampled, frames, boxes, SIZE, samples)
            what = f"{name}, {load[0]} x {load[1]}"
            yield compare(f"{what}, forward", ours, theirs, config, limit)
            boxes.requires_grad_()
            ours, theirs = partial(backward, ours, boxes), partial(backward, theirs, boxes)
            yield compare(f"{what}, both ways", ours, theirs, config, limit)
    large, box = random_input((1, 1), (2160, 3840), (60, 60), config.device, torch.uint8)
    small, near = random_input((1, 1), FRAME, (60, 60), config.device, torch.uint8)
    ours, theirs = partial(extract, large, box, SIZE), partial(extract, small, near, SIZE)
    yield compare("3840 x 2160, baseline: 621 x 187", ours, theirs, config, 1.5)
    frames, boxes = random_input((32, 1), (160, 160), (64, 128), config.device, torch.uint8)
    boxes.requires_grad_()
    ours = partial(backward, partial(extract, frames, boxes, 64), boxes)
    theirs = partial(backward, partial(grid_sampled, frames, boxes, 64, 4), boxes)
    yield compare("training: 32 x 1, 160 x 160, to 64 x 64", ours, theirs, config, None)


def random_input(
    load: tuple[int, int],
    frame: tuple[int, int],
    sizes: tuple[float, float],
    device: str,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """RGB frames ``(F, 3, H, W)`` in 0..255, boxes ``(F, N, 4)`` of these sizes inside them."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (load[0], 3, *frame), dtype=torch.uint8, generator=generator)
    low, high = sizes
    size = low + (high - low) * torch.rand(*load, 2, generator=generator)
    room = torch.tensor(frame[::-1]) - size
    start = room * torch.rand(*load, 2, generator=generator)
    return frames.to(device, dtype), torch.cat((start, size), -1).to(device)


def grid_sampled(frames: Tensor, boxes: Tensor, size: int, samples: int) -> Tensor:
    """``(F, N, C, size, size)`` by affine_grid and grid_sample, each the mean of samples^2."""
    (count, channels, height, width), share = frames.shape, boxes.shape[1]
    x, y, w, h = boxes.flatten(0, 1).unbind(-1)
    zero = torch.zeros_like(x)
    rows = (w / width, zero, (2 * x + w) / width - 1, zero, h / height, (2 * y + h) / height - 1)
    side = size * samples
    shape = (len(x), channels, side, side)
    grid = functional.affine_grid(torch.stack(rows, -1).view(-1, 2, 3), shape, align_corners=False)
    grid = grid.view(count, share * side, side, 2)
    glimpses = functional.grid_sample(frames.float(), grid, align_corners=False)
    if samples > 1:
        glimpses = functional.avg_pool2d(glimpses, samples)
    return glimpses.view(count, channels, share, size, size).transpose(1, 2)


def backward(forward: Callable[[], Tensor], boxes: Tensor) -> None:
    """Forward, and backward to the boxes, of a gradient of ones."""
    glimpses = forward()
    torch.autograd.grad(glimpses, boxes, torch.ones_like(glimpses))


def compare(
    what: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    config: GlimpseConfig,
    limit: float | None,
) -> Row:
    """Time the two in turn."""
    for call in (ours, theirs):
        _milliseconds(call, 1, config)  # a first call makes what later ones have, a GPU's kernels
    once = max(_milliseconds(ours, 1, config), _milliseconds(ours, 1, config))
    calls = max(1, round(5 / max(once, 0.01)))  # so that a turn of ours is some milliseconds
    turns: list[tuple[float, float]] = []
    started = time.perf_counter()
    while len(turns) < 3 or (
        len(turns) < config.rounds and time.perf_counter() - started < config.seconds
    ):
        turns.append((_milliseconds(ours, calls, config), _milliseconds(theirs, calls, config)))
    first, second = (statistics.median(times) for times in zip(*turns, strict=True))
    return Row(what, first, second, statistics.median(a / b for a, b in turns), limit)


def _clock(config: GlimpseConfig) -> Callable[[], float]:
    """CPU time is what a busy machine disturbs least, but it counts one thread, and no GPU."""
    alone = config.device == "cpu" and config.threads == 1
    return time.thread_time if alone else time.perf_counter


def _milliseconds(call: Callable[[], object], calls: int, config: GlimpseConfig) -> float:
    clock = _clock(config)
    if config.device != "cpu":
        torch.cuda.synchronize(config.device)
    started = clock()
    for _ in range(calls):
        call()
    if config.device != "cpu":
        torch.cuda.synchronize(config.device)
    return (clock() - started) / calls * 1e3
