"""How a box moves: values by hand, and that nothing depends on the scale."""

from __future__ import annotations

import math

import pytest
import torch

from hart.motion import MOVES, POSE, Motion, advance_box, pose, surround, whole_frame

LAST = Motion(
    box=torch.tensor([[10.0, 10.0, 20.0, 20.0]]),
    expected=torch.tensor([[24.0, 20.0]]),
    velocity=torch.tensor([[0.2, 0.0]]),
)
FRAME = torch.zeros(1, 3, 100, 100)
SURE = 40.0  # a gain of one


def moves(**given: float) -> torch.Tensor:
    """Raw outputs of the motion head: by name, of both axes where there are two; zero else."""
    columns = {"alpha": [0], "shift": [1, 2], "resize": [3, 4], "carry": [5], "beta": [6]}
    columns |= {"lead": [7, 8], "follow": [9]}
    values = torch.zeros(1, MOVES)
    for name, value in given.items():
        values[:, columns[name]] = value
    return values


def test_the_box_is_where_it_was_found_as_far_as_that_is_believed() -> None:
    place, given = torch.tensor([[28.0, 20.0]]), moves(carry=SURE, beta=-SURE)
    box, expected, velocity = advance_box(LAST, place, torch.zeros(1, 1), given, FRAME)
    torch.testing.assert_close(box, torch.tensor([[16.0, 10.0, 20.0, 20.0]]))  # half of the way
    torch.testing.assert_close(velocity, LAST.velocity)
    torch.testing.assert_close(expected, torch.tensor([[30.0, 20.0]]))  # 0.2 of 20 px ahead


def test_the_velocity_follows_the_motion_that_is_seen() -> None:
    place, given = torch.tensor([[26.0, 14.0]]), moves(alpha=SURE, beta=SURE, carry=-SURE)
    _, expected, velocity = advance_box(LAST, place, torch.zeros(1, 1), given, FRAME)
    torch.testing.assert_close(velocity, torch.tensor([[0.3, -0.3]]))  # (6, -6) px of 20
    torch.testing.assert_close(expected, place)  # nothing is carried on


def test_the_size_follows_the_growth_that_is_found() -> None:
    growth = torch.tensor([[math.log(1.5)]])
    box, *_ = advance_box(LAST, LAST.expected, growth, moves(follow=SURE), FRAME)
    torch.testing.assert_close(box, torch.tensor([[9.0, 5.0, 30.0, 30.0]]))  # around (24, 20)
    box, *_ = advance_box(LAST, LAST.expected, growth, moves(follow=-SURE), FRAME)
    torch.testing.assert_close(box[:, 2:], LAST.box[:, 2:])


def test_the_lstms_own_corrections_are_bounded() -> None:
    given = moves(shift=1e6, resize=-1e6, lead=1e6, carry=-SURE)
    box, expected, _ = advance_box(LAST, LAST.expected, torch.zeros(1, 1), given, FRAME)
    centre, side = torch.tensor([[32.0, 28.0]]), 20 * math.exp(-0.05)  # 0.4 of 20 px farther
    torch.testing.assert_close(box, torch.cat((centre - side / 2, torch.full((1, 2), side)), 1))
    torch.testing.assert_close(expected, centre + 0.3 * side)


def test_boxes_stay_near_the_frame_and_keep_a_size() -> None:
    far, sure = torch.tensor([[9e5, -9e5]]), moves(alpha=SURE, follow=SURE)
    box, *_ = advance_box(LAST, far, torch.tensor([[20.0]]), sure, FRAME)
    torch.testing.assert_close(box, torch.tensor([[100.0, -200.0, 200.0, 200.0]]))
    box, *_ = advance_box(LAST, far, torch.tensor([[-20.0]]), sure, FRAME)
    torch.testing.assert_close(box[:, 2:], torch.tensor([[2.0, 2.0]]))


def test_pose_in_units_of_box_and_frame() -> None:
    last = Motion(
        torch.tensor([[10.0, 20.0, 20.0, 40.0]]),
        torch.tensor([[26.0, 37.0]]),
        torch.tensor([[0.5, -0.25]]),
    )
    relative = (math.log(20 / 200) + math.log(40 / 100)) / 2 / 2 + 1
    expected = [[0.5, -0.25, 6 / 30, -3 / 30, relative, math.log(2), 20 / 200 * 2 - 1]]
    actual = pose(last, torch.zeros(1, 3, 100, 200))
    assert actual.shape == (1, POSE)
    torch.testing.assert_close(actual, torch.tensor(expected))


@pytest.mark.parametrize("zoom", [0.5, 3.0])
def test_nothing_depends_on_the_scale(zoom: float) -> None:
    larger = Motion(LAST.box * zoom, LAST.expected * zoom, LAST.velocity)
    frame = torch.zeros(1, 3, int(100 * zoom), int(100 * zoom))
    torch.testing.assert_close(pose(larger, frame), pose(LAST, FRAME))
    place, growth, given = torch.tensor([[27.0, 15.0]]), torch.tensor([[0.1]]), torch.randn(1, 10)
    box, expected, velocity = advance_box(LAST, place, growth, given, FRAME)
    zoomed = advance_box(larger, place * zoom, growth, given, frame)
    torch.testing.assert_close(zoomed.box, box * zoom)
    torch.testing.assert_close(zoomed.expected, expected * zoom)
    torch.testing.assert_close(zoomed.velocity, velocity)


def test_surround_keeps_the_centre_and_adds_mean_sides() -> None:
    window = surround(torch.tensor([0.0, 0.0, 10.0, 30.0]), 0.5)
    torch.testing.assert_close(window, torch.tensor([-5.0, -5.0, 20.0, 40.0]))


def test_the_whole_frame_is_a_window() -> None:
    window = whole_frame(torch.zeros(2, 3, 30, 50, dtype=torch.uint8), torch.ones(2, 5, 4))
    assert torch.equal(window, torch.tensor([0.0, 0.0, 50.0, 30.0]).expand(2, 5, 4))
