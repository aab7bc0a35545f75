"""Which model a weight file holds, told before anything of it is built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

UNSUPERVISED = ("sqair", "air", "vrnn")  # as ``model`` in the configuration beside the weights


def kind(weights: str) -> str | None:
    """The model in a weight file, run folder or ``default:NAME``; None where there are no weights.

    What is wrong with them is left to whoever loads them, who knows the option's name.
    """
    path = _find(weights)
    if path is None:
        return None
    from common.checkpoint import load_weights

    try:
        return str(load_weights(path)["config"].get("model", "hart"))
    except (OSError, ValueError, AttributeError):
        return None


def kind_in(words: Sequence[str]) -> str | None:
    """The model of the first of a command's words that names weights."""
    found = (kind(word) for word in words if not word.startswith("-"))
    return next((name for name in found if name is not None), None)


def _find(weights: str) -> Path | None:
    import hart
    import sqair
    from experiments.runs import find_checkpoint

    start, _, name = weights.partition(":")
    if start == "default":
        rooms = (Path(room.__file__).parent / "weights" for room in (hart, sqair))
        files = (room / f"{name or 'hart'}.pt" for room in rooms)
        return next((file for file in files if file.is_file()), None)
    try:
        return find_checkpoint(weights)
    except OSError:
        return None
