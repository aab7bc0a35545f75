"""``attend evaluate`` of SQAIR, AIR and VRNN: which options are whose, and what is written."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from lanes import FINE, Lanes, Reader

from common.checkpoint import save_weights
from experiments import addition, cli, evaluate_sqair, kinds
from experiments.evaluate_sqair import EvaluateSqairConfig, check

ROOT = Path(__file__).parents[1]


def weights(folder: Path, model: str) -> Path:
    """A file that says which model it holds, and no more."""
    return save_weights(folder / f"{model}.pt", "tiny", {"model": model}, {"w": torch.zeros(1)})


@pytest.fixture
def attend(tmp_path, monkeypatch):
    """``attend evaluate`` with rectangles instead of digits; returns what it wrote."""

    def evaluate(*options: str, model: str = "sqair", reader: Reader | None = None) -> dict:
        monkeypatch.setattr(evaluate_sqair, "load", lambda _weights: (reader or Reader(), "tiny"))
        monkeypatch.setattr(evaluate_sqair, "data_maker", lambda *_: lambda _split: Lanes())
        file = tmp_path / "new" / "e.json"
        command = ["evaluate", str(weights(tmp_path, model)), "--sequences", "6", "--threads", "1"]
        threads = torch.get_num_threads()
        assert cli.main([*command, *options, "--json", str(file)]) == 0
        torch.set_num_threads(threads)
        return json.loads(file.read_text())

    return evaluate


def test_the_json_holds_what_scripts_look_for(attend, tmp_path, capsys) -> None:
    picture = tmp_path / "e.png"
    options = ["--length", "4", "--particles", "5", "--bound-particles", "10"]
    found = attend(*options, "--seed", "3", "--figure", str(picture))
    for name in ("counting", "mota", "idf1", "hota", "mota_10px", "idf1_10px", "same_id"):
        assert found[name] == pytest.approx(1), name
    assert found["id_switches"] == found["late_discoveries"] == 0
    assert found["iwae_k5"] == pytest.approx(4 * FINE + math.log(4 / 5))
    assert found["iwae_k10"] == pytest.approx(4 * FINE + math.log(9 / 10))
    assert found["reconstruction"] - found["kl"] == pytest.approx(4 * FINE)
    assert found["elbo"] < found["iwae_k5"]
    assert found["ess"] == pytest.approx(4)
    assert [found["per_count"][n]["counting"] for n in "012"] == [1, 1, 1]
    about = ("preset", "model", "seed", "sequences", "length", "particles", "digits", "counts")
    assert [found[name] for name in about] == ["tiny", "sqair", 3, 6, 4, 5, None, [0, 1, 2]]
    assert found["weights"].endswith("sqair.pt")
    assert found["seconds"] > 0
    assert picture.stat().st_size > 10_000
    assert "counting accuracy" in capsys.readouterr().out


def test_there_is_a_second_bound_on_request_only(attend) -> None:
    found = attend("--length", "2")
    assert [name for name in found if name.startswith("iwae")] == ["iwae_k5"]


def test_the_seed_decides(attend) -> None:
    first, again, other = (
        attend("--length", "9", "--seed", seed, reader=Reader(swap=4)) for seed in ("0", "0", "5")
    )
    scores = ("tracking", "same_id", "iwae_k5")
    assert [first[name] for name in scores] == [again[name] for name in scores]
    assert first["tracking"] != other["tracking"]


@pytest.mark.parametrize(("model", "counting"), [("air", 1), ("vrnn", None)])
def test_models_without_ids_are_not_tracked(attend, model, counting) -> None:
    reader = Reader(objects=model == "air")
    found = attend("--length", "2", model=model, reader=reader)
    assert found["model"] == model
    assert (found["mota"], found["id_switches"], found["late_discoveries"]) == (None,) * 3
    assert found["counting"] == counting
    assert "no id" in found["reasons"]["mota"] or "no objects" in found["reasons"]["mota"]


def test_the_probe_is_trained_and_tested(attend, monkeypatch) -> None:
    monkeypatch.setattr(addition, "SEQUENCES", 6)
    monkeypatch.setattr(addition, "EPOCHS", 2)
    found = attend("--length", "2", "--probe")
    assert 0 <= found["addition"] <= 1
    assert "addition" not in attend("--length", "2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequences": 0}, "--sequences 0"),
        ({"length": 0}, "--length 0"),
        ({"particles": 0}, "--particles 0"),
        ({"bound_particles": -1}, "--bound-particles -1"),
        ({"seed": -1}, "--seed -1"),
        ({"threads": -1}, "--threads -1"),
        ({"figure": Path("a.txt")}, "--figure a.txt"),
        ({"json": Path("/")}, "--json /"),
    ],
)
def test_wrong_options_are_named_at_once(change, message) -> None:
    check(EvaluateSqairConfig("w.pt"))
    with pytest.raises(ValueError, match=message):
        check(EvaluateSqairConfig("w.pt", **change))


def test_the_model_in_the_weights_says_whose_options_are_meant(tmp_path) -> None:
    found = str(weights(tmp_path, "vrnn"))
    other = str(weights(tmp_path, "hart"))
    assert evaluate_sqair.is_meant([found])
    assert evaluate_sqair.is_meant(["--threads", "1", found])
    assert not evaluate_sqair.is_meant([other, "--data", "sprites"])
    assert not evaluate_sqair.is_meant([other, "--data", "moving-mnist"])
    assert not evaluate_sqair.is_meant(["none.pt"])
    assert evaluate_sqair.is_meant(["none.pt", "--data", "moving-mnist"])
    assert evaluate_sqair.is_meant(["none.pt", "--data=moving-mnist"])
    assert not evaluate_sqair.is_meant(["default:hart", "--data", "sprites"])


def test_kinds_are_read_from_files_run_folders_and_shipped_weights(tmp_path) -> None:
    assert kinds.kind("default") == kinds.kind("default:hart") == "hart"
    assert kinds.kind("default:none") is None
    assert kinds.kind(str(tmp_path)) is kinds.kind(str(tmp_path / "none.pt")) is None
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    weights(tmp_path, "air").rename(tmp_path / "run" / "checkpoints" / "last.pt")
    assert kinds.kind(str(tmp_path / "run")) == "air"
    (tmp_path / "text.pt").write_text("no weights")
    assert kinds.kind(str(tmp_path / "text.pt")) is None
    assert kinds.kind_in(["--json", str(tmp_path / "text.pt"), str(tmp_path / "run")]) == "air"


def test_wrong_use_is_one_line(tmp_path, capsys) -> None:
    missing = str(tmp_path / "none.pt")
    assert cli.main(["evaluate", missing, "--data", "moving-mnist"]) == 2
    assert f"WEIGHTS: {missing}" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", str(weights(tmp_path, "sqair")), "--windows", "30"])
    assert stop.value.code == 2
    assert "windows" in capsys.readouterr().err


def test_help_shows_both_sets_of_options_and_that_of_given_weights_only(tmp_path, capsys) -> None:
    def shown(*words: str) -> str:
        with pytest.raises(SystemExit) as stop:
            cli.main(["evaluate", *words, "--help"])
        assert stop.value.code == 0
        return capsys.readouterr().out

    both = shown()
    assert "--windows" in both
    assert "--bound-particles" in both
    assert "--windows" not in shown(str(weights(tmp_path, "sqair")))
    assert "--bound-particles" not in shown(str(weights(tmp_path, "hart")))


def test_help_is_quick_and_loads_no_torch() -> None:
    code = (
        "import sys; from experiments import cli\n"
        "try: cli.main(['evaluate', '--help'])\n"
        "except SystemExit: print({'torch', 'cv2'} & {*sys.modules})"
    )
    start = time.perf_counter()
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert answer.stdout.endswith("set()\n"), answer.stderr
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("model", ["sqair", "air", "vrnn"])
def test_real_models_on_real_clips(model: str, tmp_path) -> None:
    """Untrained, so all that can be said is that nothing contradicts anything else."""
    from sqair.pretrained import MODELS, build

    small = {"hidden": 16, **({"latent": 4} if model == "vrnn" else {"what": 4, "glimpse": 8})}
    config = MODELS[model][0](**small)
    path = tmp_path / "w.pt"
    save_weights(path, "tiny", {"model": model, **asdict(config)}, build(config).state_dict())
    options = ["--sequences", "3", "--length", "3", "--bound-particles", "50", "--counts", "1", "2"]
    threads = torch.get_num_threads()
    command = ["evaluate", str(path), *options, "--json", str(tmp_path / "e.json")]
    assert cli.main([*command, "--device", "cpu", "--threads", "1"]) == 0
    torch.set_num_threads(threads)
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["elbo"] < found["iwae_k5"] < found["iwae_k50"] < 3 * 712.6
    assert 1 <= found["ess"] <= 5
    assert set(found["per_count"]) <= {"1", "2"}
    assert (found["mota"] is None) == (model != "sqair")
    assert (found["counting"] is None) == (model == "vrnn")
