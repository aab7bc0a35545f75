"""``attend track`` with the shipped SQAIR: moving digits are found, followed and handed over."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from common import tracks
from common.metrics import mot
from common.tracks import Tracks, read_mot
from datasets import digits
from experiments import cli

SIZE, SCALE, LENGTH, SECOND = (160, 200), 4, 30, 8  # (H, W); digits enlarged; frames


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tracks]:
    """A folder of images in which one digit passes above another, which comes later; its truth."""
    drawn, folder = digits.load(None, "test", 20), tmp_path_factory.mktemp("scene")
    ways = [(2.5, 0.5, 10, 2, 0), (-3.0, 0.0, 150, 84, SECOND)]  # speed, corner, first frame
    frames, rows = np.zeros((LENGTH, *SIZE), np.uint8), []
    for name, (dx, dy, x, y, first) in enumerate(ways):
        digit = int((drawn.labels == 3 + 2 * name).nonzero()[0])
        h, w = (SCALE * drawn.sizes[digit]).tolist()
        picture = drawn.images[digit].numpy()[: h // SCALE, : w // SCALE]
        picture = cv2.resize(picture, (w, h), interpolation=cv2.INTER_LINEAR)
        for time in range(first, LENGTH):
            left, top = round(x + dx * time), round(y + dy * time)
            part = frames[time, top : top + h, left : left + w]
            np.maximum(part, picture[: part.shape[0], : part.shape[1]], out=part)
            rows.append((time, name, left, top, w, h))
    for time, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{time:03d}.png"), frame)
    table = np.array(rows, float)
    return folder, tracks.build(table[:, 0], table[:, 1], table[:, 2:])


@pytest.mark.parametrize("option", ["--weights", "--discover"])
def test_digits_of_a_video_without_boxes(
    option: str, scene: tuple[Path, Tracks], tmp_path: Path
) -> None:
    folder, truth = scene
    words = f"track --source {folder} {option} default:sqair --tracks {tmp_path / 'tracks.txt'}"
    assert cli.main([*words.split(), "--device", "cpu"]) == 0
    found = read_mot(tmp_path / "tracks.txt")
    scores = mot.evaluate(truth, found)
    # The second digit is there from frame 8 on and found with the next part, from frame 10 on.
    assert sorted(set(found.id.tolist())) == [1, 2]
    assert found.frame[found.id == 2].min() in range(SECOND, SECOND + 12)
    assert scores["IDSW"] == 0
    assert scores["IDF1"] > 85 and scores["MOTA"] > 75, scores
