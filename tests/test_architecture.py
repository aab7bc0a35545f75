"""The shape of the house: which layer imports which, what stays cheap, who prints, what ships."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ("common", "hart", "sqair", "datasets", "experiments")
MAY_IMPORT = {
    "common": {"common"},
    "datasets": {"common", "datasets"},
    "hart": {"common", "hart"},
    "sqair": {"common", "sqair"},
    "experiments": set(LIBRARY),
}
PRESENTATION = {"matplotlib", "pandas", "argparse", "tyro", "tqdm"}  # tensorboard comes with torch
FILES = [path for name in LIBRARY for path in sorted((ROOT / name).rglob("*.py"))]
QUIET = [path for path in FILES if not path.is_relative_to(ROOT / "experiments")]


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Top-level names of the packages that import statements name; relative ones stay within."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


def wrong_imports(package: str, source: str) -> set[str]:
    """Library packages that ``source`` in ``package`` imports, anywhere, and must not."""
    return (imported(ast.walk(ast.parse(source))) & set(LIBRARY)) - MAY_IMPORT[package]


def prints(source: str) -> list[int]:
    """Lines that call ``print``."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"
    ]


def test_the_checks_find_what_they_look_for() -> None:
    assert wrong_imports("hart", "def f():\n    from sqair.model import x") == {"sqair"}
    assert wrong_imports("common", "import datasets.mot as m") == {"datasets"}
    assert wrong_imports("experiments", "import hart, sqair") == set()
    assert prints("x = 1\nprint(x)") == [2]
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert wrong_imports(package, path.read_text()) == set()


@pytest.mark.parametrize("path", QUIET, ids=lambda p: str(p.relative_to(ROOT)))
def test_library_modules_neither_print_nor_load_presentation_at_import(path: Path) -> None:
    source = path.read_text()
    assert prints(source) == []
    assert imported(iter(ast.parse(source).body)) & PRESENTATION == set()


@pytest.mark.parametrize("name", ["hart", "sqair", "common", "datasets", "experiments"])
def test_importing_a_package_is_cheap(name: str) -> None:
    code = f"import {name}, sys; print(*{{'torch', 'cv2', 'matplotlib'}} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == []


def test_exactly_the_library_folders_are_packaged() -> None:
    setuptools = pytest.importorskip("setuptools")
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    assert parser["options"]["packages"] == "find:"
    include = parser["options.packages.find"]["include"].split()
    found = setuptools.find_packages(str(ROOT), include=include)
    assert {name.split(".")[0] for name in found} == set(LIBRARY)
    with_code = {".".join(p.parent.relative_to(ROOT).parts) for p in FILES}
    assert set(found) == with_code  # every folder with code has its __init__.py


def test_versions_are_pinned_for_every_machine() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert "torch==2.13.0" in pins
    assert all(pin.count("==") == 1 and "+" not in pin for pin in pins)
    assert not any(pin.startswith(("nvidia", "-e", "attend")) for pin in pins)
    assert sum(pin.startswith("opencv") for pin in pins) == 1
