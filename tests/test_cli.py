"""The command line: help at once, every subcommand there, one-line errors, run folders, reports."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
import types
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

from common.curriculum import Stage
from experiments import cli, runs
from experiments.report import RunReporter, duration

ROOT = Path(__file__).parents[1]
# What must come before options.
GIVEN = {"train": ("hart",), "evaluate": ("weights.pt",), "sample": ("weights.pt",)}


def attend(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run ``attend`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "experiments.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_answers_at_once() -> None:
    took = []
    for _ in range(3):  # the quickest of three: the machine may be busy
        started = time.perf_counter()
        answer = attend("--help")
        took.append(time.perf_counter() - started)
    assert answer.returncode == 0
    assert all(f"  {name} " in answer.stdout for name in cli.COMMANDS)
    assert min(took) < 0.3


def test_help_imports_the_standard_library_only() -> None:
    code = (
        "import sys; from experiments import cli; cli.main(['--help']); "
        "print(*{m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    foreign = {n for n in answer.stdout.splitlines()[-1].split() if not n.startswith("_")}
    assert foreign - {"sitecustomize", "usercustomize", "distutils"} <= {"experiments"}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_subcommand_has_help(name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        raise SystemExit(cli.main([name, "--help"]))
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: attend {name}" in shown
    assert len(shown.splitlines()) > 3


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_an_unknown_option_is_an_error(name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        raise SystemExit(cli.main([name, *GIVEN.get(name, ()), "--no-such-option", "1"]))
    assert stop.value.code == 2
    assert "no-such-option" in capsys.readouterr().err


def test_modules_with_a_main_are_subcommands() -> None:
    """No script unlisted, none listed that is not there; a part is named after its command."""
    found = set()
    for path in (ROOT / "experiments").glob("*.py"):
        names = {n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)}
        found |= {path.stem} if "main" in names else set()
    parts = {name for name in found if name.partition("_")[0] in cli.COMMANDS and "_" in name}
    assert found - parts - {"cli"} == set(cli.COMMANDS)


def test_wrong_use_is_told_in_one_line() -> None:
    answer = attend("trian")
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr == (
        "attend: error: unknown command 'trian'; did you mean 'train'? "
        "(attend --help lists the commands)\n"
    )
    assert "unknown option '--verbose'" in attend("--verbose").stderr
    nothing = attend()
    assert nothing.returncode == 2
    assert "usage: attend COMMAND" in nothing.stderr


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("labels.txt, line 3:\n  six numbers expected"), 2, "labels.txt, line 3: six"),
        (FileNotFoundError(2, "No such file or directory", "a.mp4"), 2, "directory: 'a.mp4'"),
        (FloatingPointError("50 steps in a row"), 2, "50 steps in a row"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_of_the_library_are_one_line(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    def failing(_argv: list[str]) -> int:
        raise error

    module = types.SimpleNamespace(main=failing)
    monkeypatch.setattr(importlib, "import_module", lambda name: module)
    monkeypatch.delenv("ATTEND_DEBUG", raising=False)
    assert cli.main(["train"]) == code
    told = capsys.readouterr().err
    assert told.startswith("attend: error: ")
    assert line in told
    assert told.count("\n") == 1
    if code == 2:
        monkeypatch.setenv("ATTEND_DEBUG", "1")
        with pytest.raises(type(error)):
            cli.main(["train"])


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.SimpleNamespace(main=lambda argv: {}["key"])
    monkeypatch.setattr(importlib, "import_module", lambda name: module)
    with pytest.raises(KeyError):
        cli.main(["train"])


@dataclass(frozen=True)
class Settings:
    """Stands for a run's configuration."""

    rate: float = 1e-3
    data: tuple[str, ...] = ("sprites",)
    folder: Path = Path("somewhere")


def test_a_run_folder_says_what_was_run(tmp_path: Path) -> None:
    folder = runs.create(tmp_path / "run", "hart", Settings(), seed=7)
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoints", "config.json", "figures"]
    record = runs.read_config(folder)
    assert (record["preset"], record["seed"]) == ("hart", 7)
    assert record["config"] == {"rate": 1e-3, "data": ["sprites"], "folder": "somewhere"}
    head = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True
    )
    assert record["git"].removesuffix("-dirty") == (head.stdout.strip() or "unknown")
    with pytest.raises(ValueError, match="already holds a run"):
        runs.create(folder, "hart", {}, seed=0)
    with pytest.raises(FileNotFoundError, match=r"not a run folder: no config\.json"):
        runs.read_config(tmp_path)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: not valid JSON"):
        runs.read_config(folder)


def test_new_folders_do_not_collide(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        folder = runs.new_folder("hart", tmp_path)
        folder.mkdir(parents=True)
        names.add(folder)
    assert len(names) == 3


def test_find_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="neither a weight file nor a run folder"):
        runs.find_checkpoint(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for name in ("last.pt", "best.pt"):
        file = tmp_path / "checkpoints" / name
        file.touch()
        assert runs.find_checkpoint(tmp_path) == file
        assert runs.find_checkpoint(file) == file


def report(folder: Path, stream: StringIO) -> RunReporter:
    reporter = RunReporter(folder, stream)
    reporter.start(0, 100)
    reporter.stage(0, Stage("length-5", 5))
    for step in range(10):
        reporter.tick(step + 1)
    reporter.log(10, {"loss": 0.5, "error": float("nan")})
    reporter.validated(10, {"iou": 0.25}, True)
    reporter.notice("a word")
    return reporter


def test_reports_are_lines_and_records_where_there_is_no_terminal(tmp_path: Path) -> None:
    stream = StringIO()
    report(tmp_path, stream).close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "step 0  stage length-5: 5 frames"
    assert lines[1].startswith("step 10/100  loss 0.5  error nan  ")
    assert lines[1].endswith(" left")
    assert lines[2:] == ["step 10  validation  iou 0.25  (best)", "a word"]
    [train] = runs.read_metrics(tmp_path)
    assert (train["step"], train["loss"], train["error"]) == (10, 0.5, None)
    assert train["steps_per_second"] > 0
    [validation] = runs.read_metrics(tmp_path, "validation")
    assert (validation["iou"], validation["best"]) == (0.25, True)


def test_reports_are_a_bar_on_a_terminal(tmp_path: Path) -> None:
    stream = StringIO()
    stream.isatty = lambda: True
    reporter = report(tmp_path, stream)
    reporter.close()
    shown = stream.getvalue()
    assert "10/100" in shown
    assert "loss 0.5" in shown
    assert "a word\n" in shown


def test_a_resumed_run_forgets_what_it_makes_again(tmp_path: Path) -> None:
    report(tmp_path, StringIO()).close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        for step in (20, 30):
            file.write(json.dumps({"step": step, "kind": "train"}) + "\n")
        file.write('{"step": 40, "ki')  # cut short by a crash
    assert [r["step"] for r in runs.read_metrics(tmp_path)] == [10, 20, 30]
    reporter = RunReporter(tmp_path, StringIO())
    reporter.start(20, 100)
    assert [r["step"] for r in runs.read_metrics(tmp_path)] == [10, 20]
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: not valid JSON"):
        runs.read_metrics(tmp_path)


def test_duration() -> None:
    assert [duration(s) for s in (0.4, 59.6, 3599, 3600, 36061)] == [
        "0:00",
        "1:00",
        "59:59",
        "1:00:00",
        "10:01:01",
    ]
