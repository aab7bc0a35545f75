"""HART, hierarchical attentive recurrent tracking (Kosiorek et al. 2017, arXiv 1706.09262).

``hart.load()`` gives a ready ``hart.Tracker`` with the shipped weights.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Tracker", "load"]


def __getattr__(name: str) -> Any:
    """Load lazily: importing ``hart`` costs nothing until a model is wanted."""
    if name == "Tracker":
        from hart.tracker import Tracker

        return Tracker
    if name == "load":
        from hart.pretrained import load

        return load
    raise AttributeError(f"module 'hart' has no attribute {name!r}")
