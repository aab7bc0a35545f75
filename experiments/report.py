"""How a run shows itself: a progress bar on a terminal, lines elsewhere, files for later."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from common.curriculum import Stage
from common.reporter import Reporter
from experiments import runs

PICTURE_EVERY = 60.0  # seconds, at least


class RunReporter(Reporter):
    """Reports to a stream, to ``metrics.jsonl`` and, when it is installed, to TensorBoard."""

    def __init__(
        self,
        folder: str | Path,
        stream: TextIO | None = None,
        picture: Callable[[Path], object] | None = None,
        watch: Callable[[Mapping[str, float]], str] | None = None,
    ) -> None:
        """``folder`` is the run's; ``stream`` is standard output unless given.

        ``picture`` draws the model as it is into a file; asked for now and then. ``watch`` says of
        training metrics what is wrong with them, if anything is; said when it changes.
        """
        self.folder = Path(folder)
        self.picture, self.watch = picture, watch
        self._wrong = ""
        self._pictured = -math.inf
        self.stream = stream or sys.stdout
        self._bar: tqdm | None = None
        self._board: Any = None

    def start(self, step: int, steps: int) -> None:
        """Open files and bar at ``step`` of ``steps``; records of later steps are dropped."""
        self.folder.mkdir(parents=True, exist_ok=True)
        runs.forget_metrics_after(self.folder, step)
        self._steps = steps
        self._mark = (step, time.monotonic())
        self._board = _tensorboard(self.folder / "tensorboard", step)
        if self.stream.isatty():
            self._bar = tqdm(
                total=steps, initial=step, file=self.stream, unit="step", dynamic_ncols=True
            )

    def tick(self, step: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(1)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Store training metrics; show them by the bar, or as a line with rate and time left."""
        before, since = self._mark
        now = time.monotonic()
        self._mark = (step, now)
        rate = (step - before) / max(now - since, 1e-9)
        self._store("train", step, {**metrics, "steps_per_second": rate})
        wrong = self.watch(metrics) if self.watch else ""
        if wrong and wrong != self._wrong:
            self.notice(f"step {step}  {wrong}")
        self._wrong = wrong
        if self._bar is not None:
            self._bar.set_postfix_str(_numbers(metrics))
            return
        left = duration((self._steps - step) / rate) if rate else "?"
        self._line(
            f"step {step}/{self._steps}  {_numbers(metrics)}  {rate:.3g} steps/s  {left} left"
        )

    def validated(self, step: int, metrics: Mapping[str, float], best: bool) -> None:
        """Store and show a validation."""
        self._store("validation", step, {**metrics, "best": best})
        self._line(f"step {step}  validation  {_numbers(metrics)}{'  (best)' if best else ''}")
        if self.picture is not None and time.monotonic() - self._pictured >= PICTURE_EVERY:
            self.picture(self.folder / "figures" / f"step-{step:07}.png")
            self._pictured = time.monotonic()

    def stage(self, step: int, stage: Stage) -> None:
        """Store and show that a stage begins."""
        self._store("stage", step, {"name": stage.name, "length": stage.length})
        self._line(f"step {step}  stage {stage.name}: {stage.length} frames")

    def notice(self, text: str) -> None:
        """Store and show a line."""
        self._store("notice", self._mark[0], {"text": text})
        self._line(text)

    def close(self) -> None:
        """Close the bar and the files."""
        if self._bar is not None:
            self._bar.close()
        if self._board is not None:
            self._board.close()

    def _line(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        if self._bar is not None:
            self._bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    def _store(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Append a record; numbers of training and validation also go to TensorBoard."""
        record = {"step": step, "kind": kind, "time": round(time.time(), 3), **runs.plain(values)}
        with (self.folder / runs.METRICS).open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self._board is not None and kind in ("train", "validation"):
            for name, value in values.items():
                self._board.add_scalar(f"{kind}/{name}", float(value), step)


def duration(seconds: float) -> str:
    """``m:ss``, or ``h:mm:ss`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _numbers(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _tensorboard(folder: Path, step: int) -> Any:
    """A TensorBoard writer, or None when it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
