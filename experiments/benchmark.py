"""``attend benchmark PART``: speed on this machine; parts are ``experiments.benchmark_<part>``."""

from __future__ import annotations

import importlib

PARTS = {
    "glimpse": "the glimpse core beside affine_grid and grid_sample",
    "peers": "the tracker beside OpenCV's, several objects at once",
    "sqair": "a training step of SQAIR, its speed and its share of the machine",
}


def main(argv: list[str]) -> int:
    """Run the part that ``argv`` names first, with the rest of it; its exit code.

    Raises:
        ValueError: there is no such part.
    """
    name = argv[0] if argv else ""
    if name in ("-h", "--help"):
        print(help_text())
        return 0
    if name not in PARTS:
        raise ValueError(f"attend benchmark {name}: expected one of {', '.join(PARTS)}")
    return importlib.import_module(f"experiments.benchmark_{name}").main(argv[1:])


def help_text() -> str:
    """Usage, and a line for each part."""
    lines = [f"  {name:<{max(map(len, PARTS))}}  {what}" for name, what in PARTS.items()]
    usage = "usage: attend benchmark PART [options]"
    last = "attend benchmark PART --help lists its options."
    return "\n".join((usage, "", "Measure speed on this machine.", "", *lines, "", last))
