"""CUDA graphs: a function's thousands of small kernels, launched as one.

On a GPU small networks wait for Python, which launches a kernel in ten microseconds or more, while
the kernel runs for two. A graph records what a call launches, and launches all of it again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from common.loading import to_device

WARM = 3  # calls before the one that is recorded, in which libraries choose what they launch


class Recorded(NamedTuple):
    """A graph, what it reads, and what it leaves."""

    graph: torch.cuda.CUDAGraph
    inputs: Any
    result: Any
    gradients: list[Tensor | None]


class GradientGraphs:
    """Calls a function that leaves gradients; repeated calls of a kind as one CUDA graph.

    One graph is kept, that of the last kind of call: a curriculum goes from stage to stage. Random
    numbers differ from call to call, and follow the seed, as without a graph.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], device: torch.device) -> None:
        self.parameters = list(parameters)
        self.device = device
        self._kind: Hashable = None
        self._calls = 0  # of that kind, one after another
        self._recorded: Recorded | None = None

    def __call__(self, function: Callable[[Any], Any], inputs: Any, kind: Hashable) -> Any:
        """``function(inputs)``, which sets the parameters' gradients.

        Args:
            function: waits for no value and needs no memory but the GPU's; apart from ``inputs``,
                all that it depends on is at the same place in every call of a kind.
            inputs: nested tuples, lists and dicts of tensors.
            kind: tells calls apart that do not launch the same, but for the inputs' shapes.

        Returns:
            What the function does: tensors, which the next call overwrites.

        Raises:
            RuntimeError: the call cannot be recorded.
        """
        kind = (kind, layout(inputs))
        if kind != self._kind:
            self._kind, self._calls, self._recorded = kind, 0, None
        self._calls += 1
        if self._calls <= WARM:
            return function(to_device(inputs, self.device))
        if self._recorded is None:
            self._recorded = self._record(function, inputs)
        recorded = self._recorded
        overwrite(recorded.inputs, inputs)
        recorded.graph.replay()
        for parameter, gradient in zip(self.parameters, recorded.gradients):
            parameter.grad = gradient
        return recorded.result

    def _record(self, function: Callable[[Any], Any], inputs: Any) -> Recorded:
        for parameter in self.parameters:
            parameter.grad = None  # those of the graph are its own
        # Its own: inputs that are on the GPU already are the caller's, and would be overwritten.
        inputs = copy.deepcopy(to_device(inputs, self.device))
        graph = torch.cuda.CUDAGraph()
        try:  # other threads, which bring batches, may use the GPU meanwhile
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                result = function(inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise RuntimeError(
                "the training step cannot be recorded as a CUDA graph (does it wait for a value?); "
                f"--no-cuda-graphs trains without: {error}"
            ) from error
        return Recorded(graph, inputs, result, [p.grad for p in self.parameters])


def layout(value: Any) -> Hashable:
    """Shapes and types of the tensors in nested tuples, lists and dicts; what else is there."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype
    if isinstance(value, (tuple, list)):
        return tuple(layout(part) for part in value)
    if isinstance(value, dict):
        return tuple((name, layout(part)) for name, part in value.items())
    return value


def overwrite(target: Any, source: Any) -> None:
    """Copy the tensors of one nest into those of another like it, without waiting."""
    if isinstance(target, Tensor):
        target.copy_(source.pin_memory() if not source.is_cuda else source, non_blocking=True)
    elif isinstance(target, (tuple, list)):
        for old, new in zip(target, source, strict=True):
            overwrite(old, new)
    elif isinstance(target, dict):
        for name, old in target.items():
            overwrite(old, source[name])
