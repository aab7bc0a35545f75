"""``attend metrics``: HOTA, CLEAR and ID scores of MOTChallenge or KITTI files."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from common.tracks import Tracks

COMBINED = "COMBINED"
EVERY_CATEGORY = "all"


@dataclass(frozen=True)
class MetricsConfig:
    """Score tracks against ground truth: HOTA, CLEAR and ID metrics, per sequence and combined."""

    ground_truth: Path
    """Label file; or a folder of SEQUENCE.txt, SEQUENCE/gt/gt.txt or SEQUENCE/gt.txt."""
    tracks: Path
    """Result file; or a folder of SEQUENCE.txt."""
    format: Literal["auto", "mot", "kitti"] = "auto"
    """Of both files' rows; auto looks at each file."""
    clear: Literal["trackeval", "motmetrics"] = "trackeval"
    """Whose CLEAR rule: a match is kept from the previous frame (trackeval) or over any gap."""
    threshold: float = 0.5
    """Least IoU of a match in CLEAR and ID metrics."""
    category: str | None = None
    """KITTI: score one category, its neighbours ignored (vans for Car), or "all" as one. By default
    the category of the tracks when they have a single one, else all."""
    json: Path | None = None
    """Write the scores there, unrounded."""


class Sequence(NamedTuple):
    """One sequence's files, read."""

    name: str
    truth: Tracks
    tracks: Tracks
    ignore: Tracks


def main(argv: list[str]) -> int:
    """Score what the options name; returns the exit status (1: something is wrong with the files).

    Args:
        argv: options, without the subcommand.
    """
    import tyro

    config = tyro.cli(MetricsConfig, args=argv, prog="attend metrics")
    try:
        sequences = [read_sequence(config, *files) for files in find_sequences(config)]
        category = choose_category(config, sequences)
        scores = score(config, sequences, category)
        if config.json is not None:
            from common import text

            text.write(config.json, json.dumps(scores, indent=2) + "\n")
    except (OSError, ValueError) as error:
        print(f"attend metrics: {error}", file=sys.stderr)
        return 1
    print(table(scores))
    print(footer(config, category))
    return 0


def find_sequences(config: MetricsConfig) -> list[tuple[str, Path, Path]]:
    """Name, ground-truth file and track file of every sequence.

    Raises:
        FileNotFoundError: a path does not exist, or a sequence has no track file.
        ValueError: one path is a file and the other a folder, or a folder holds no sequence.
    """
    truth, tracks = config.ground_truth, config.tracks
    for path in (truth, tracks):
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
    if tracks.is_file():
        inside = [truth / "gt" / "gt.txt", truth / "gt.txt"] if truth.is_dir() else [truth]
        found = next((path for path in inside if path.is_file()), None)
        if found is None:
            raise ValueError(f"{tracks} is a file, {truth} a folder: expected two of a kind")
        return [(_name(found), found, tracks)]
    if truth.is_file():
        raise ValueError(f"{truth} is a file, {tracks} a folder: expected two of a kind")
    files = [path for path in truth.glob("*.txt") if path.is_file()]
    files += truth.glob("*/gt/gt.txt")
    files += [path for path in truth.glob("*/gt.txt") if not (path.parent / "gt").is_dir()]
    if not files:
        raise ValueError(f"{truth}: no SEQUENCE.txt or SEQUENCE/gt/gt.txt in it")
    found = sorted((_name(path), path) for path in files)
    for name, path in found:
        if not (tracks / f"{name}.txt").is_file():
            raise FileNotFoundError(f"{tracks / name}.txt: missing, expected the tracks of {path}")
    return [(name, path, tracks / f"{name}.txt") for name, path in found]


def read_sequence(config: MetricsConfig, name: str, truth: Path, tracks: Path) -> Sequence:
    """Read one sequence's two files, each in its own format.

    Raises:
        ValueError: a line is malformed.
    """
    from common import tracks as files

    formats = [
        files.detect_format(path) if config.format == "auto" else config.format
        for path in (truth, tracks)
    ]
    ignore = files.empty()
    if formats[0] == "kitti":
        objects, ignore, *_ = files.read_kitti(truth)
    else:
        objects = files.read_mot_ground_truth(truth)
    read = {"kitti": lambda path: files.read_kitti(path).tracks, "mot": files.read_mot}
    return Sequence(name, objects, read[formats[1]](tracks), ignore)


def choose_category(config: MetricsConfig, sequences: list[Sequence]) -> str:
    """The category to score.

    Raises:
        ValueError: the ground truth has no labels or not this one.
    """
    import numpy as np

    truth, tracks = (
        {str(label) for side in sides if side.label is not None for label in np.unique(side.label)}
        for sides in ([s.truth for s in sequences], [s.tracks for s in sequences])
    )
    if config.category is None:
        return tracks.pop() if len(tracks) == 1 and tracks <= truth else EVERY_CATEGORY
    known = {label.lower() for label in truth} | {EVERY_CATEGORY}
    if config.category.lower() not in known:
        names = ", ".join(sorted(truth)) or "no categories"
        raise ValueError(f"{config.ground_truth}: {names} in it, expected {config.category}")
    return config.category


def score(config: MetricsConfig, sequences: list[Sequence], category: str) -> dict[str, dict]:
    """Scores by sequence, and of all as one under ``COMBINED``.

    Raises:
        ValueError: a sequence is called ``COMBINED``, or the threshold is not in (0, 1].
    """
    from common.metrics import ignore, mot
    from common.tracks import concatenate

    counts = {}
    for sequence in sequences:
        name, truth, tracks, ignored = sequence
        if name == COMBINED or name in counts:
            raise ValueError(f"{config.ground_truth}: sequence {name} twice, expected other names")
        if category.lower() != EVERY_CATEGORY:
            truth, neighbours = ignore.select_category(truth, category)
            ignored = concatenate((ignored, neighbours))
            if tracks.label is not None:
                tracks = ignore.select_category(tracks, category)[0]
        settings = {"threshold": config.threshold, "clear": config.clear}
        counts[name] = mot.count(truth, tracks, ignored, **settings)
    counts[COMBINED] = mot.combine(list(counts.values()))
    return {name: mot.scores(count) for name, count in counts.items()}


def table(scores: dict[str, dict]) -> str:
    """Scores as aligned text; percentages with TrackEval's five digits."""
    names = list(next(iter(scores.values())))
    rows = [["sequence", *names]]
    rows += [[name, *(_cell(row[key]) for key in names)] for name, row in scores.items()]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])])
        for row in rows
    ]
    return "\n".join(lines)


def footer(config: MetricsConfig, category: str) -> str:
    """What the numbers mean."""
    kept = {"trackeval": "the previous frame only", "motmetrics": "any gap"}[config.clear]
    return (
        "\nPercentages but for the counts IDSW MT PT ML Frag FP FN; COMBINED adds counts up.\n"
        "MOTP is the mean IoU of matches (higher is better; motmetrics prints 1 - IoU).\n"
        f"CLEAR as {config.clear}: matches are carried over {kept}. "
        f"Matches need IoU {config.threshold:g}; HOTA, 0.05 to 0.95. Category: {category}."
    )


def _cell(value: float | int) -> str:
    return str(value) if isinstance(value, int) else f"{value:.5g}"


def _name(path: Path) -> str:
    """A sequence is called after its file, or after its folder where the file is ``gt.txt``."""
    if path.stem != "gt":
        return path.stem
    folder = path.resolve().parent
    return folder.parent.name if folder.name == "gt" else folder.name
