"""SQAIR, sequential attend, infer, repeat (Kosiorek et al. 2018, arXiv 1806.01794), in Pyro.

``sqair.load()`` gives a ready ``sqair.Inference`` with the shipped weights: objects and tracks from
raw video by ``infer``, videos by ``sample``, futures of a video by ``predict``.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Inference", "load"]


def __getattr__(name: str) -> Any:
    """Load lazily: importing ``sqair`` costs nothing until a model is wanted."""
    if name == "Inference":
        from sqair.inference import Inference

        return Inference
    if name == "load":
        from sqair.pretrained import load

        return load
    raise AttributeError(f"module 'sqair' has no attribute {name!r}")
