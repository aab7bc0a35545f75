"""Checkpoints: exact round trips, atomic writes, damage noticed, weights in half precision."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from common import checkpoint
from common.checkpoint import CheckpointError

CONTENT = {
    "model": {
        "w": torch.arange(6.0).reshape(2, 3),
        "n": torch.tensor(7),
        "b": torch.ones(2).bfloat16(),
    },
    "step": 3,
    "nested": [(1, 2.5, None), {"a": "text", "b": True}],
}


def write(folder: Path, name: str = "a.pt") -> Path:
    return checkpoint.save(folder / name, CONTENT)


def test_round_trip(tmp_path: Path) -> None:
    record = checkpoint.load_training(write(tmp_path / "deep" / "folder"))
    assert record["kind"] == "training"
    assert record["step"] == 3
    assert record["nested"] == CONTENT["nested"]
    for name, value in CONTENT["model"].items():
        assert torch.equal(record["model"][name], value)
        assert record["model"][name].dtype == value.dtype


def test_a_failed_write_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path)

    def half_written(_record: object, file: object) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"step": 4})
    assert checkpoint.load(path)["step"] == 3
    assert list(tmp_path.iterdir()) == [path]


def test_any_damage_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path)
    good = path.read_bytes()
    record = checkpoint.load(path)
    noticed = 0
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x40]) + good[place + 1 :])
        try:
            again = checkpoint.load(path)
        except CheckpointError as error:
            assert str(path) in str(error)
            noticed += 1
        else:  # padding and names of the archive: the content must be the same
            assert checkpoint.digest(again) == checkpoint.digest(record)
    assert noticed > 20
    for length in (0, 10, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoint.load(path)


def test_a_changed_value_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path)
    raw = torch.load(path, weights_only=True)
    raw["model"]["w"][0, 0] += 1e-3
    torch.save(raw, path)
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.load(path)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*nothing\.pt"):
        checkpoint.load(tmp_path / "nothing.pt")
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this project"):
        checkpoint.load(tmp_path / "other.pt")
    torch.save(Path("objects are not admitted"), tmp_path / "object.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this project"):
        checkpoint.load(tmp_path / "object.pt")
    with pytest.raises(TypeError, match="PosixPath|WindowsPath"):
        checkpoint.save(tmp_path / "b.pt", {"path": tmp_path})


def test_digest_tells_types_shapes_and_nesting_apart() -> None:
    contents = [
        1, 1.0, True, "1", None, [1], {"1": 1}, [[], []], [[[]]], 0.0, -0.0,
        torch.tensor(1), torch.tensor(1.0), torch.tensor([1]), torch.zeros(2, 3), torch.zeros(3, 2),
        ["ab", "c"], ["a", "bc"],
    ]  # fmt: skip
    assert len({checkpoint.digest(c) for c in contents}) == len(contents)
    strided = torch.arange(6).reshape(2, 3).T
    assert checkpoint.digest(strided) == checkpoint.digest(strided.contiguous())


def test_weights_are_stored_in_half_and_read_in_single_precision(tmp_path: Path) -> None:
    model = {"w": torch.randn(100, 100), "count": torch.tensor(5)}
    path = checkpoint.save_weights(tmp_path / "w.pt", "hart", {"size": 56}, model)
    assert path.stat().st_size < 100 * 100 * 2 + 4096
    loaded = checkpoint.load_weights(path)
    assert (loaded["preset"], loaded["config"]) == ("hart", {"size": 56})
    assert loaded["model"]["w"].dtype == torch.float32
    torch.testing.assert_close(loaded["model"]["w"], model["w"], rtol=1e-3, atol=1e-6)
    assert loaded["model"]["count"].dtype == torch.int64
    with pytest.raises(CheckpointError, match="weights only"):
        checkpoint.load_training(path)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_half_precision_cannot_hold_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="layer: not finite in half precision"):
        checkpoint.save_weights(tmp_path / "w.pt", "p", {}, {"layer": torch.tensor([value])})


def test_weights_of_a_training_checkpoint_are_the_averaged_model(tmp_path: Path) -> None:
    content = {
        "preset": "hart",
        "config": {},
        "model": {"model.w": torch.zeros(2), "model.mean": torch.ones(1), "loss": torch.ones(3)},
        "ema": {"updates": 9, "average": {"model.w": torch.full((2,), 4.0), "loss": torch.ones(3)}},
    }
    loaded = checkpoint.load_weights(checkpoint.save(tmp_path / "t.pt", content))
    assert loaded["preset"] == "hart"
    assert {k: v.tolist() for k, v in loaded["model"].items()} == {"w": [4, 4], "mean": [1]}
    checkpoint.save(tmp_path / "t.pt", content | {"ema": None})
    assert checkpoint.load_weights(tmp_path / "t.pt")["model"]["w"].tolist() == [0, 0]


def test_random_states_survive_a_file(tmp_path: Path) -> None:
    def draw() -> tuple:
        return random.random(), np.random.rand(), np.random.randn(), torch.rand(3).tolist()

    draw()
    path = checkpoint.save(tmp_path / "r.pt", {"random": checkpoint.random_states()})
    expected = [draw(), draw()]
    checkpoint.restore_random_states(checkpoint.load(path)["random"])
    assert [draw(), draw()] == expected
