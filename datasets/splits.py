"""How KITTI's recordings are divided into training and test data, both ways."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.kitti import native_size
from datasets.recording import Recording

HELD_OUT = ("0004", "0009", "0014", "0019")  # every fifth sequence: about 20 % of them


def split_time(
    recordings: Sequence[Recording], share: float = 0.8
) -> tuple[list[Recording], list[Recording]]:
    """The paper's split: the first 80 % of every recording's frames, and the rest of each.

    A recording of at most two frames, or whose rest would be one frame, is not divided (as in
    HART's code).
    Both parts show the same scenes, often the same objects.

    Raises:
        ValueError: a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"the share of training frames must lie between 0 and 1, got {share}")
    train, test = [], []
    for recording in recordings:
        cut = round(share * len(recording))
        if len(recording) <= 2 or len(recording) - cut <= 1:
            cut = len(recording)
        train.append(recording.part(0, cut))
        if cut < len(recording):
            test.append(recording.part(cut, len(recording)))
    return train, test


def split_sequences(
    recordings: Sequence[Recording], held_out: Sequence[str] = HELD_OUT
) -> tuple[list[Recording], list[Recording]]:
    """Recordings of the other sequences, and those of ``held_out``: no scene is in both.

    Raises:
        ValueError: a name that is no sequence's.
    """
    for name in held_out:
        native_size(name)
    parts: tuple[list[Recording], list[Recording]] = [], []
    for recording in recordings:
        parts[recording.name[:4] in held_out].append(recording)
    return parts
