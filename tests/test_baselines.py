"""The trivial trackers: boxes that stand still or move on, kept apart by their ids."""

from __future__ import annotations

import numpy as np
import pytest

from hart.baselines import ConstantVelocity, StaticBox

FRAME = np.zeros((40, 60, 3), np.uint8)
BOXES = np.array([[1.0, 2, 3, 4], [10, 20, 5, 6], [30, 5, 7, 8]])


def test_static_box_stays() -> None:
    tracker = StaticBox()
    tracker.init(FRAME, BOXES)
    for _ in range(3):
        assert tracker.update(FRAME).numpy() == pytest.approx(BOXES)
    assert tracker.ids == [0, 1, 2]
    assert not tracker.lost.any()


def test_one_box_is_one_object_and_none_are_none() -> None:
    tracker = StaticBox()
    tracker.init(FRAME, BOXES[0])
    assert tracker.update(FRAME).tolist() == [BOXES[0].tolist()]
    tracker.init(FRAME, [])
    assert tracker.update(FRAME).shape == (0, 4)


def test_objects_come_and_go() -> None:
    tracker = StaticBox()
    tracker.init(FRAME, BOXES[:2], ids=[7, 3])
    assert tracker.add(BOXES[2]) == [8]
    tracker.drop([7])
    assert tracker.ids == [3, 8]
    assert tracker.update(FRAME).numpy() == pytest.approx(BOXES[1:])
    with pytest.raises(ValueError, match="one new id"):
        tracker.add(BOXES[0], ids=[3])
    with pytest.raises(ValueError, match="one new id"):
        tracker.add(BOXES[:2], ids=[1])
    assert tracker.ids == [3, 8]
    tracker.init(FRAME, BOXES)
    assert tracker.ids == [0, 1, 2]


def test_what_is_given_out_is_not_what_is_kept() -> None:
    tracker = StaticBox()
    tracker.init(FRAME, BOXES)
    tracker.update(FRAME)[:] = 0
    tracker.boxes[:] = 0
    assert tracker.update(FRAME).numpy() == pytest.approx(BOXES)


def test_constant_velocity_moves_on_and_keeps_its_size() -> None:
    velocity = np.array([[1.0, 0], [0, -2], [0.5, 0.25]])
    tracker = ConstantVelocity()
    tracker.init(FRAME, BOXES, velocity=velocity)
    for step in range(1, 6):
        found = tracker.update(FRAME).numpy()
        assert found[:, :2] == pytest.approx(BOXES[:, :2] + step * velocity)
        assert found[:, 2:] == pytest.approx(BOXES[:, 2:])


def test_each_object_keeps_its_own_velocity() -> None:
    tracker = ConstantVelocity()
    tracker.init(FRAME, BOXES[:2], ids=[4, 5], velocity=[[1, 0], [2, 0]])
    tracker.update(FRAME)
    tracker.drop([4])
    tracker.add(BOXES[2], ids=[6], velocity=[0, 3])
    found = tracker.update(FRAME).numpy()
    assert found[0] == pytest.approx(BOXES[1] + [4, 0, 0, 0])
    assert found[1] == pytest.approx(BOXES[2] + [0, 3, 0, 0])
    with pytest.raises(ValueError, match="1 velocities for 2 boxes"):
        tracker.add(BOXES[:2], velocity=[1, 1])
    assert tracker.ids == [5, 6]
    tracker.init(FRAME, BOXES[:1], velocity=[[0, 1]])
    assert tracker.update(FRAME).numpy()[0] == pytest.approx(BOXES[0] + [0, 1, 0, 0])
