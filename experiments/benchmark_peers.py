"""``attend benchmark peers``: how fast the tracker is beside OpenCV's, several objects at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from experiments.peers import Scene


@dataclass(frozen=True)
class PeersConfig:
    """Updates per second of CPU time and object, side by side, on one thread.

    Counted is what an update takes, given a decoded frame; not decoding, not initialisation.
    The wheel opencv-python has MIL; opencv-contrib-python CSRT, KCF, MedianFlow and MOSSE, too.
    """

    weights: str = "default:hart"
    """Weight file, run folder, or default:NAME for shipped ones."""
    objects: int = 8
    """In one generated video."""
    size: tuple[int, int] = (480, 360)
    """Width and height of the video, pixels."""
    rounds: int = 7
    """Turns of each tracker; their median is shown."""
    seconds: float = 1.0
    """CPU time of a turn."""
    json: Path | None = None
    """File for what is shown, and each turn's rate."""


def main(argv: list[str]) -> int:
    """Measure what the options in ``argv`` name; returns 0.

    Raises:
        OSError, ValueError: something is wrong with them; the message names the option.
    """
    import tyro

    config = tyro.cli(PeersConfig, args=argv, prog="attend benchmark peers")
    for name in ("objects", "rounds", "seconds"):
        if getattr(config, name) <= 0:
            raise ValueError(f"--{name} {getattr(config, name)}: expected more than 0")
    run(config)
    return 0


def run(config: PeersConfig) -> None:
    """Measure, print and write."""
    import cv2
    import torch

    from common.text import write
    from experiments import peers
    from experiments.evaluate import load_weights
    from experiments.protocol import Contender
    from hart.tracker import Tracker

    model, preset = load_weights(config.weights, "--weights")
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        ours = Contender(preset or "model", lambda: Tracker(model), prepare=peers.as_rgb)
        scene = make_scene(config)
        rates = peers.speed([ours, *peers.opencv()], [scene], config.rounds, config.seconds)
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
    width, height = config.size
    print(
        f"{config.objects} objects in one {width} x {height} video, one thread, OpenCV "
        f"{cv2.__version__}: updates per second of CPU time and object,\n"
        f"median of {config.rounds} turns [slowest, fastest]"
    )
    print(table(rates))
    if config.json is not None:
        about = {"objects": config.objects, "size": config.size, "opencv": cv2.__version__}
        write(config.json, json.dumps({**about, "trackers": record(rates)}, indent=1) + "\n")
        print(f"wrote {config.json}")


def make_scene(config: PeersConfig) -> Scene:
    """A generated video of 30 frames with that many objects, all in view throughout.

    Raises:
        ValueError: so many do not fit.
    """
    import numpy as np

    from datasets.sprites import SpritesConfig, make_clip
    from experiments.peers import Scene

    sprites = SpritesConfig(
        size=config.size[::-1],
        length=30,
        objects=(config.objects, config.objects),
        distractors=(0, 0),
        occluders=(0, 0),
        object_size=(24.0, 48.0),
        growth=1.5,
        bounce=1.0,
    )
    for seed in range(20):
        clip = make_clip(sprites, seed)
        if len(clip.ids) == config.objects and clip.presence.all():
            boxes = clip.boxes.numpy().astype(np.float64)
            centres = boxes[:2, :, :2] + boxes[:2, :, 2:] / 2
            return Scene(clip.frames, boxes[0], centres[1] - centres[0])
    raise ValueError(f"--objects {config.objects}: they do not fit into --size {config.size}")


def table(rates: Mapping[str, Sequence[float] | np.ndarray]) -> str:
    """A line for each tracker; the first is compared with the others, turn by turn."""
    width = max(map(len, rates))
    lines = []
    for name, row in record(rates).items():
        low, high = min(row["turns"]), max(row["turns"])
        line = f"{name:{width}}  {row['updates_per_second']:>8,.0f}  [{low:,.0f}, {high:,.0f}]"
        first = next(iter(rates))
        lines.append(line if name == first else f"{line}  {first} is {row['ratio']:.3g} x as fast")
    return "\n".join(lines)


def record(rates: Mapping[str, Sequence[float] | np.ndarray]) -> dict[str, Any]:
    """By tracker: the median rate, each turn's, and the median ratio of the first one's to it."""
    import numpy as np

    first = np.asarray(next(iter(rates.values())))
    return {
        name: {
            "updates_per_second": float(np.median(turns)),
            "ratio": float(np.median(first / turns)),
            "turns": np.asarray(turns).tolist(),
        }
        for name, turns in rates.items()
    }
