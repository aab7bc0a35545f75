"""What a trainer tells whoever listens; the library itself prints and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from common.curriculum import Stage


class Reporter:
    """What the trainer tells; this one listens to nothing. Called in the first process only."""

    def start(self, step: int, steps: int) -> None:
        """Training (re)starts after ``step`` of ``steps``; later records are to be forgotten."""

    def tick(self, step: int) -> None:
        """A step was made (called at every step, so it must be cheap)."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Mean training metrics since the last call."""

    def validated(self, step: int, metrics: Mapping[str, float], best: bool) -> None:
        """Metrics of a validation, and whether it is the best so far."""

    def stage(self, step: int, stage: Stage) -> None:
        """``stage`` begins, or goes on after a resume."""

    def notice(self, text: str) -> None:
        """Something worth a line: a restart, skipped steps, a stop."""

    def close(self) -> None:
        """Training has ended."""
