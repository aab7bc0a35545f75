"""The AlexNet trunk, and its weights: what is read, what is refused, what a pickle may not do."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from paper_reference import convolve, normalise_responses

from hart.backbone import Backbone, read_alexnet, same_padding

SHAPES = {
    "conv1": (11, 11, 3, 96),
    "conv2": (5, 5, 48, 256),
    "conv3": (3, 3, 256, 384),
}


def caffe_layers() -> dict[str, list[np.ndarray]]:
    generator = np.random.default_rng(0)
    return {
        name: [
            generator.normal(0, 0.02, shape).astype(np.float32),
            generator.normal(0, 0.1, shape[-1]).astype(np.float32),
        ]
        for name, shape in SHAPES.items()
    }


def python2_text(text: bytes) -> bytes:
    """A Python 2 ``str`` as its pickler writes it in protocol 2."""
    if len(text) < 256:
        return b"U" + struct.pack("<B", len(text)) + text
    return b"T" + struct.pack("<i", len(text)) + text


def python2_array(kind: bytes, shape: tuple[int, ...], content: bytes) -> bytes:
    """A numpy array as Python 2's pickler writes it; ``content`` is its pickled data."""
    sizes = b"".join(b"K" + struct.pack("<B", n) if n < 256 else b"M" + struct.pack("<H", n)
                     for n in shape)  # fmt: skip
    order = python2_text(b"|" if kind == b"O8" else b"<")
    flags = b"K\x3f" if kind == b"O8" else b"K\x00"
    itemsize = b"J" + struct.pack("<i", -1)
    kind_state = b"(K\x03" + order + b"NNN" + itemsize + itemsize + flags + b"tb"
    kind_made = b"cnumpy\ndtype\n(" + python2_text(kind) + b"K\x00K\x01tR" + kind_state
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(K\x00t" + python2_text(b"b")
    return made + b"\x87R(K\x01(" + sizes + b"t" + kind_made + b"\x89" + content + b"tb"


def write_python2(path: Path, layers: dict[str, list[np.ndarray]]) -> None:
    """A ``.npy`` with a dictionary of lists of arrays as Python 2 with numpy 1 wrote it."""
    pickled = b"}("
    for name, arrays in layers.items():
        pickled += python2_text(name.encode()) + b"]("
        for array in arrays:
            data = python2_text(array.tobytes())
            pickled += python2_array(b"f4", array.shape, data)
        pickled += b"e"
    pickled += b"u"
    pickled = b"\x80\x02" + python2_array(b"O8", (), b"]" + pickled + b"a") + b"."
    write_npy(path, pickled)


def write_npy(path: Path, pickled: bytes) -> None:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickled)


def assert_are(found: dict[str, torch.Tensor], layers: dict[str, list[np.ndarray]]) -> None:
    assert set(found) == {f"{n}.{part}" for n in SHAPES for part in ("weight", "bias")}
    for name, (kernel, bias) in layers.items():
        np.testing.assert_array_equal(found[f"{name}.weight"], kernel.transpose(3, 2, 0, 1))
        np.testing.assert_array_equal(found[f"{name}.bias"], bias)


@pytest.mark.parametrize(
    ("extent", "kernel", "stride", "expected"),
    [(56, 11, 4, (3, 4)), (55, 11, 4, (4, 4)), (14, 5, 1, (2, 2)), (8, 1, 4, (0, 0))],
)
def test_same_padding(extent: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding(extent, kernel, stride) == expected


def test_features_equal_a_second_implementation() -> None:
    torch.manual_seed(0)
    trunk = Backbone().double()
    with torch.no_grad():  # responses large enough for their normalisation to show
        trunk.conv1.weight.mul_(30)
    glimpse = torch.rand(2, 3, 56, 56, dtype=torch.float64)
    features = trunk(glimpse).detach()
    assert features.shape == (2, 384, 14, 14)
    x = (glimpse[1] - glimpse[1].mean((1, 2), keepdim=True)).permute(1, 2, 0).numpy()
    for layer, stride, groups in ((trunk.conv1, 4, 1), (trunk.conv2, 1, 2), (trunk.conv3, 1, 1)):
        kernel, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        x = np.maximum(convolve(x, kernel, stride, groups) + bias, 0)
        if layer is not trunk.conv3:
            if layer is trunk.conv1:
                assert np.abs(normalise_responses(x) / np.maximum(x, 1e-9) - 1).max() > 1e-3
            x = normalise_responses(x)
    np.testing.assert_allclose(features[1].permute(1, 2, 0), x, rtol=1e-9, atol=1e-12)


def test_reads_what_python_2_wrote(tmp_path: Path) -> None:
    layers = caffe_layers()
    write_python2(tmp_path / "alexnet.npy", layers)
    # the file is what numpy itself takes for one of Python 2's
    theirs = np.load(tmp_path / "alexnet.npy", allow_pickle=True, encoding="latin1").item()
    np.testing.assert_array_equal(theirs["conv3"][0], layers["conv3"][0])
    assert_are(read_alexnet(tmp_path / "alexnet.npy"), layers)


def test_reads_what_python_3_writes(tmp_path: Path) -> None:
    layers = caffe_layers()
    extra = {"fc8": [np.zeros((4, 10), np.float32), np.zeros(10, np.float32)]}
    np.save(tmp_path / "lists.npy", layers | extra, allow_pickle=True)
    assert_are(read_alexnet(tmp_path / "lists.npy"), layers)
    named = {name: {"weights": np.asfortranarray(k), "biases": b.astype(">f8")}
             for name, (k, b) in layers.items()}  # fmt: skip
    np.save(tmp_path / "named.npy", named, allow_pickle=True)
    assert_are(read_alexnet(tmp_path / "named.npy"), layers)


@pytest.mark.parametrize("names", [("conv1", "conv2", "conv3"), ("f.0", "f.4", "f.8")])
def test_reads_a_state_dict_of_the_same_net(tmp_path: Path, names: tuple[str, ...]) -> None:
    layers = caffe_layers()
    state = {}
    for name, (kernel, bias) in zip(names, layers.values(), strict=True):
        state[f"{name}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
        state[f"{name}.bias"] = torch.from_numpy(bias)
    state["classifier.weight"] = torch.zeros(10, 4)
    torch.save({"state_dict": state}, tmp_path / "alexnet.pth")
    trunk = Backbone()
    trunk.load_alexnet(tmp_path / "alexnet.pth")
    assert_are(trunk.state_dict(), layers)


def test_refuses_torchvisions_alexnet_by_its_shapes(tmp_path: Path) -> None:
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3)}
    state = {}
    for index, shape in shapes.items():
        state[f"features.{index}.weight"] = torch.zeros(shape)
        state[f"features.{index}.bias"] = torch.zeros(shape[0])
    torch.save(state, tmp_path / "torchvision.pth")
    with pytest.raises(ValueError, match="torchvision.pth") as caught:
        read_alexnet(tmp_path / "torchvision.pth")
    for text in ("conv1.weight is (64, 3, 11, 11), not (96, 3, 11, 11)",
                 "conv2.weight is (192, 64, 5, 5), not (256, 48, 5, 5)",
                 "conv3.weight is (384, 192, 3, 3), not (384, 256, 3, 3)"):  # fmt: skip
        assert text in str(caught.value)
    assert "conv3.bias" not in str(caught.value)


class Touch:
    """Writes a file when unpickled by anyone who trusts it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_pickle_cannot_run_code(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    write_npy(tmp_path / "evil.npy", pickle.dumps({"conv1": Touch(proof)}))
    with pytest.raises(ValueError, match=r"evil\.npy.*not admitted"):
        read_alexnet(tmp_path / "evil.npy")
    assert not proof.exists()
    np.load(tmp_path / "evil.npy", allow_pickle=True)
    assert proof.exists()  # the file would have


@pytest.mark.parametrize("kind", [b"V8", b"f4,O", b"O16"])
def test_arrays_of_structures_are_refused(tmp_path: Path, kind: bytes) -> None:
    array = python2_array(kind, (), python2_text(b"12345678"))
    write_npy(tmp_path / "a.npy", b"\x80\x02" + array + b".")
    with pytest.raises(ValueError, match="not admitted"):
        read_alexnet(tmp_path / "a.npy")


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.npy"
    np.save(path, np.zeros(3))
    with pytest.raises(ValueError, match=r"weights\.npy: expected a \.npy that holds one dict"):
        read_alexnet(path)
    np.save(path, {"conv1": caffe_layers()["conv1"]}, allow_pickle=True)
    with pytest.raises(ValueError, match=r"weights\.npy: expected weights and biases of 'conv2'"):
        read_alexnet(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"weights\.npy: not a readable"):
        read_alexnet(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"weights\.npy: neither"):
        read_alexnet(path)
    torch.save({"conv1.weight": torch.zeros(96, 3, 11, 11)}, path)
    with pytest.raises(ValueError, match=r"weights\.npy: expected at least three convolutions"):
        read_alexnet(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match=r"weights\.npy: expected a state dict, got list"):
        read_alexnet(path)
