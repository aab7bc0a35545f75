"""Every notebook runs from top to bottom in its fast mode, and is stored without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
LONGEST = 100  # lines of code in a notebook: it is thin, what it shows lives in the library

# The kernel's own libraries warn; what a notebook does is judged by its cells.
pytestmark = pytest.mark.filterwarnings("default")


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {"02_hart", "03_sqair"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_thin_and_without_outputs(path: Path) -> None:
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    assert sum(len(cell.source.splitlines()) for cell in cells) <= LONGEST


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTEND_FAST", "1")
    monkeypatch.setenv("PYTHONPATH", str(path.parent.parent))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=240, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    figures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(figures) >= 4
