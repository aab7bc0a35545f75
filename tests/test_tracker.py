"""Following objects frame by frame: boxes as the model's, objects come and go, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hart.config import HartConfig
from hart.model import Hart
from hart.tracker import Tracker, is_lost

BOXES = [[10.0, 8, 12, 20], [30, 20, 16, 16]]


@pytest.fixture
def model() -> Hart:
    torch.manual_seed(3)
    return Hart(HartConfig(glimpse=24, stem=(8, 16, 16), keys=8, features=16, reach=2))


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)


def test_updates_equal_one_forward_pass(model: Hart, frames: np.ndarray) -> None:
    tracker = Tracker(model)
    tracker.init(frames[0], BOXES)
    found = torch.stack([tracker.boxes] + [tracker.update(frame) for frame in frames[1:]])
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2).unsqueeze(1)
    with torch.no_grad():
        expected = model(clip, torch.tensor([BOXES])).boxes[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


def test_arrays_and_tensors_are_the_same_frame(model: Hart, frames: np.ndarray) -> None:
    one, two = Tracker(model), Tracker(model)
    one.init(frames[0], BOXES)
    two.init(torch.from_numpy(frames[0]).permute(2, 0, 1), torch.tensor(BOXES))
    assert torch.equal(
        one.update(frames[1]), two.update(torch.from_numpy(frames[1]).permute(2, 0, 1))
    )


def test_objects_come_and_go(model: Hart, frames: np.ndarray) -> None:
    tracker, alone = Tracker(model), Tracker(model)
    tracker.init(frames[0], BOXES[:1], ids=[7])
    tracker.update(frames[1])
    assert tracker.add([BOXES[1]]) == [8]
    alone.init(frames[1], BOXES[1])
    both = tracker.update(frames[2])
    torch.testing.assert_close(both[1:], alone.update(frames[2]), atol=1e-3, rtol=1e-4)
    tracker.drop(7)
    assert tracker.ids == [8]
    last = tracker.update(frames[3])
    torch.testing.assert_close(last, alone.update(frames[3]), atol=1e-3, rtol=1e-4)
    tracker.drop([8])
    assert tracker.update(frames[4]).shape == (0, 4)
    assert tracker.add(BOXES) == [9, 10]


def test_objects_may_all_come_later(model: Hart, frames: np.ndarray) -> None:
    tracker, alone = Tracker(model), Tracker(model)
    assert tracker.init(frames[0], []).boxes.shape == (0, 4)
    assert tracker.update(frames[1]).shape == (0, 4) and tracker.lost.shape == (0,)
    assert tracker.add(BOXES) == [0, 1]
    alone.init(frames[1], BOXES)
    torch.testing.assert_close(tracker.update(frames[2]), alone.update(frames[2]))


def test_glimpses_masks_and_windows_can_be_had(model: Hart, frames: np.ndarray) -> None:
    tracker = Tracker(model)
    first = tracker.init(frames[0], BOXES)
    step = tracker.update(frames[1], return_glimpses=True)
    for s in (first, step):
        assert s.glimpses.shape == (2, 3, 24, 24) and s.mask.shape == (2, 6, 6)
        assert s.windows.shape == (2, 4) and 0 <= s.glimpses.min() <= s.glimpses.max() <= 1
    assert torch.equal(step.boxes, tracker.boxes)


def test_lost_objects_hold_their_last_box(model: Hart, frames: np.ndarray) -> None:
    tracker = Tracker(model)
    tracker.init(frames[0], BOXES)
    far = tracker._state.window.clone()
    far[0, 0, 0] = 500.0
    expected = tracker._state.expected.clone()
    expected[0, 0, 0] = 500.0
    tracker._state = tracker._state._replace(window=far, expected=expected)
    boxes = tracker.update(frames[1])
    assert tracker.lost.tolist() == [True, False]
    assert boxes[0].tolist() == BOXES[0]
    tracker.update(frames[2])
    assert tracker.lost[0] and tracker.boxes[0].tolist() == BOXES[0]


def test_what_counts_as_lost() -> None:
    out, nearly_out, small = [-9.5, 0, 10, 10], [-8.0, 0, 10, 10], [5, 5, 1, 2]
    boxes = torch.tensor([out, nearly_out, small, [float("nan"), 0, 5, 5], [0, 0, 64, 48]])
    assert is_lost(boxes, 48, 64).tolist() == [True, False, True, True, False]


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([[1, 2, 0, 5]], "w, h > 0"),
        ([[float("nan"), 2, 4, 5]], "finite"),
        ([[80, 2, 4, 5]], "outside the 64 x 48 frame"),
        ([[5, 6, 4, 5, 0.9]], r"boxes are \(1, 5\): expected \(N, 4\)"),
        ([[5, 6], [7, 8], [9, 10], [11, 12]], r"boxes are \(4, 2\)"),  # not two boxes
        ([5, 6, 4, 5, 7, 8, 4, 5], r"boxes are \(8,\)"),
    ],
)
def test_bad_boxes_are_refused(model: Hart, frames: np.ndarray, boxes: list, words: str) -> None:
    tracker = Tracker(model)
    tracker.init(frames[0], BOXES)
    with pytest.raises(ValueError, match=words):
        tracker.init(frames[0], boxes)
    with pytest.raises(RuntimeError, match="call init"):  # and nothing is followed half-way
        tracker.update(frames[1])


def test_bad_calls_are_refused(model: Hart, frames: np.ndarray) -> None:
    tracker = Tracker(model)
    with pytest.raises(RuntimeError, match="call init"):
        tracker.update(frames[0])
    with pytest.raises(ValueError, match="RGB uint8"):
        tracker.init(frames[0].astype(float), BOXES)
    with pytest.raises(ValueError, match="RGB uint8"):
        tracker.init(frames[0][..., 0], BOXES)
    tracker.init(frames[0], BOXES)
    with pytest.raises(ValueError, match="call init when the size changes"):
        tracker.update(frames[1][:40])
    with pytest.raises(ValueError, match="in use"):
        tracker.add([BOXES[0]], ids=[1])
    with pytest.raises(KeyError, match="no object has id"):
        tracker.drop(5)
