"""The published trunk: AlexNet's first three convolutions without the pools, and their weights.

HART's "V1" (sec. 3.2): the grouped AlexNet of Krizhevsky et al. 2012 as Caffe shipped it, kept at
the resolution of its first convolution. torchvision's AlexNet is another net (64, 192, 384
channels, no groups, no response normalisation).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

LAYERS = ("conv1", "conv2", "conv3")
STRIDE = 4
# TensorFlow multiplies the sum over the window by 2e-5, torch the mean over its 5 channels.
RESPONSE_ALPHA = 5 * 2e-5


def same_padding(extent: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and after so that ``ceil(extent / stride)`` outputs fit (TensorFlow's SAME)."""
    outputs = -(-extent // stride)
    total = max((outputs - 1) * stride + kernel - extent, 0)
    return total // 2, total - total // 2


class Backbone(nn.Module):
    """AlexNet conv1 to conv3, no pooling: ``(R, 3, g, g)`` to ``(R, 384, g / 4, g / 4)``."""

    out_channels = 384

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, stride=STRIDE)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)

    def forward(self, glimpses: Tensor) -> Tensor:
        """Features of RGB glimpses in ``[0, 1]``; each channel's own mean is taken off first."""
        centred = glimpses - glimpses.mean((-2, -1), keepdim=True)
        top, bottom = same_padding(glimpses.shape[-2], 11, STRIDE)
        left, right = same_padding(glimpses.shape[-1], 11, STRIDE)
        features = self.conv1(functional.pad(centred, (left, right, top, bottom)))
        features = _normalise_responses(functional.relu(features))
        features = _normalise_responses(functional.relu(self.conv2(features)))
        return functional.relu(self.conv3(features))

    def load_alexnet(self, path: str | Path) -> None:
        """Start from the weights in ``path`` (see ``read_alexnet``), as they are.

        As published, the glimpse is not brought to the BGR, 0 to 255 input that Caffe's filters
        saw: the filters are reused, the scale of their responses is not.
        """
        self.load_state_dict(read_alexnet(path))


def _normalise_responses(features: Tensor) -> Tensor:
    return functional.local_response_norm(features, 5, alpha=RESPONSE_ALPHA, beta=0.75, k=1.0)


def read_alexnet(path: str | Path) -> dict[str, Tensor]:
    """Weights of AlexNet's first three convolutions, named as ``Backbone`` names them.

    Args:
        path: a ``.npy`` dictionary as converted from Caffe, or a PyTorch state dict of the net.

    Raises:
        ValueError: names the file and what is wrong with it: not weights, objects other than
            arrays, dictionaries and strings, or another net's shapes (torchvision's AlexNet).
    """
    path = Path(path)
    with path.open("rb") as file:
        is_numpy = file.read(6) == b"\x93NUMPY"
    found = _from_caffe(path) if is_numpy else _from_state_dict(path)
    expected = Backbone().state_dict()
    wrong = [
        f"{name} is {tuple(found[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if found[name].shape != tensor.shape
    ]
    if wrong:
        raise ValueError(
            f"{path}: not the grouped AlexNet of Caffe (torchvision's, for one, is another net): "
            + "; ".join(wrong)
        )
    return found


def _from_caffe(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        layers = _read_object(file, path)
    found = {}
    for name in LAYERS:
        parts = layers.get(name)
        if isinstance(parts, Mapping):
            parts = [parts.get("weights"), parts.get("biases")]
        if not isinstance(parts, list | tuple) or len(parts) != 2:
            raise ValueError(f"{path}: expected weights and biases of {name!r}")
        if not all(isinstance(getattr(part, "value", None), np.ndarray) for part in parts):
            raise ValueError(f"{path}: expected {name!r} to hold two arrays")
        kernel, bias = (torch.from_numpy(np.array(part.value, np.float32)) for part in parts)
        if kernel.ndim == 4:
            kernel = kernel.permute(3, 2, 0, 1).contiguous()  # from (kh, kw, in, out)
        found[f"{name}.weight"], found[f"{name}.bias"] = kernel, bias
    return found


def _from_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ValueError(f"{path}: neither .npy nor a PyTorch state dict: {error}") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise ValueError(f"{path}: expected a state dict, got {type(state).__name__}")
    # Ports differ in names (conv1, features.0, module.features.0), not in order.
    kernels = [
        name
        for name, value in state.items()
        if name.endswith(".weight") and isinstance(value, Tensor) and value.ndim == 4
    ][: len(LAYERS)]
    biases = [name.removesuffix("weight") + "bias" for name in kernels]
    if len(kernels) < len(LAYERS) or not all(name in state for name in biases):
        raise ValueError(f"{path}: expected at least three convolutions with biases")
    found = {}
    for layer, kernel, bias in zip(LAYERS, kernels, biases, strict=True):
        found[f"{layer}.weight"] = state[kernel].float()
        found[f"{layer}.bias"] = state[bias].float()
    return found


class _Kind:
    """Stands for ``numpy.dtype``: numbers or objects in either byte order, no structures."""

    def __init__(self, name: str, *_: object) -> None:
        if re.fullmatch(r"[fiu][1248]|b1|O8?", name) is None:
            raise pickle.UnpicklingError(f"arrays of {name!r} are not admitted")
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]


class _Array:
    """Stands for ``numpy.ndarray``, whose own way of taking its state trusts the pickle."""

    def __init__(self, *_: object) -> None:
        self.value: Any = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, by_columns, content = state
        if kind.name.startswith("O"):
            self.value = content
            return
        # Python 2's strings are bytes, read as latin1: the code points are the bytes.
        data = content.encode("latin1") if isinstance(content, str) else content
        numbers = np.frombuffer(
            data, np.dtype(kind.name).newbyteorder(kind.order.strip("|") or "=")
        )
        self.value = numbers.reshape(shape, order="F" if by_columns else "C")


class _ArrayUnpickler(pickle.Unpickler):
    """Admits arrays, dictionaries, lists, numbers and strings: nothing that could run code."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        match module_name, global_name:
            case "numpy", "ndarray":
                return _Array
            case "numpy", "dtype":
                return _Kind
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "_reconstruct"):
                return _Array
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is not admitted")


def _read_object(file: BinaryIO, path: Path) -> dict:
    """The dictionary in a ``.npy`` file that holds one object, as Python 2 or 3 wrote it."""
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(file)
        if dtype.hasobject and shape == ():
            (content,) = _ArrayUnpickler(file, encoding="latin1").load().value
            if isinstance(content, dict):
                return content
    except Exception as error:  # a damaged pickle may raise almost anything
        raise ValueError(f"{path}: not a readable .npy of weights: {error}") from error
    raise ValueError(f"{path}: expected a .npy that holds one dictionary of layers")
