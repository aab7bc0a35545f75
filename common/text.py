"""Text files: tables of numbers read with errors that name the line, and files written whole."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Table(NamedTuple):
    """The rows of a text file that are not empty; missing trailing columns are NaN."""

    lines: np.ndarray  # (M,) int64, line numbers from 1
    numbers: np.ndarray  # (M, columns) float64; zero in the column of words
    words: np.ndarray | None  # (M,) str, the column that holds words


def read(path: str | Path) -> str:
    """A file's text; bytes that are not UTF-8 become replacement characters."""
    return Path(path).read_text(encoding="utf-8-sig", errors="replace")


def read_table(
    path: str | Path, columns: str, required: int, word_column: int | None = None
) -> Table:
    """Read rows of finite numbers separated by commas, or by spaces where a line has no comma.

    Args:
        columns: their names, with spaces; a row may leave out those after the first ``required``.
        word_column: the one column that is not a number.

    Raises:
        ValueError: a row has another number of columns or something else than a finite number.
    """
    names = columns.split()
    lines, rows, words = [], [], []
    for number, line in enumerate(read(path).splitlines(), 1):
        if not line.strip():
            continue
        fields = line.split(",") if "," in line else line.split()
        if not required <= len(fields) <= len(names):
            many = str(required) if required == len(names) else f"{required} to {len(names)}"
            raise ValueError(
                f"{path}, line {number}: {len(fields)} columns, expected {many} ({columns})"
            )
        if word_column is not None:
            words.append(fields[word_column].strip())
            fields[word_column] = "0"
        row = [_number(field) for field in fields]
        if None in row:
            wrong = row.index(None)
            raise ValueError(
                f"{path}, line {number}: {names[wrong]} is {fields[wrong]!r}, "
                "expected a finite number"
            )
        lines.append(number)
        rows.append(row + [math.nan] * (len(names) - len(row)))
    numbers = np.asarray(rows, np.float64).reshape(-1, len(names))
    text = None if word_column is None else np.asarray(words, str)
    return Table(np.asarray(lines, np.int64), numbers, text)


def write(path: str | Path, text: str) -> None:
    """Write a whole file or nothing: a reader never sees half of it. Makes missing folders."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _number(field: str) -> float | None:
    try:
        value = float(field)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
