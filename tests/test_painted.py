"""sqair/painted.py: boxes around what is painted, by hand and by loops over pixels."""

from __future__ import annotations

import pytest
import torch

from common.glimpse import paste
from sqair import painted
from sqair.state import Slots


def slow_box(image: torch.Tensor, level: float) -> list[float]:
    pixels = [
        (x, y)
        for y, row in enumerate(image.tolist())
        for x, value in enumerate(row)
        if value > level and value > 0
    ]
    if not pixels:
        return [0.0, 0.0, 0.0, 0.0]
    (x0, y0), (x1, y1) = (tuple(f(p[k] for p in pixels) for k in (0, 1)) for f in (min, max))
    return [x0, y0, x1 - x0 + 1, y1 - y0 + 1]


def test_boxes_are_those_of_a_loop_over_pixels() -> None:
    canvases = (torch.rand(3, 4, 2, 9, 12) - 0.85).clamp_min(-0.1)
    found = painted.tight(canvases)
    assert found.shape == (3, 4, 4)
    for t in range(3):
        for k in range(4):
            image = canvases[t, k].amax(0)
            assert found[t, k].tolist() == slow_box(image, 0.2 * float(image.max()))


def test_a_pixel_is_a_box_of_one_pixel_and_nothing_is_none() -> None:
    canvas = torch.zeros(1, 5, 7)
    assert painted.tight(canvas).tolist() == [0, 0, 0, 0]
    assert painted.tight(canvas - 1).tolist() == [0, 0, 0, 0]  # darker than nothing
    canvas[0, 4, 6] = 1e-3
    assert painted.tight(canvas).tolist() == [6, 4, 1, 1]
    canvas[0, 1, 2] = 0.2e-3  # at the share, not above it
    assert painted.tight(canvas).tolist() == [6, 4, 1, 1]
    canvas[0, 1, 2] = 0.21e-3
    assert painted.tight(canvas).tolist() == [2, 1, 5, 4]
    assert painted.tight(canvas, share=0.3).tolist() == [6, 4, 1, 1]


def test_the_faint_rim_of_what_is_outside_is_nothing() -> None:
    """A bright spot outside of the canvas, and a tenth of it inside."""
    glimpse = torch.tensor([[1.0, 0.1], [1.0, 0.1]]).expand(1, 1, 1, 2, 2)
    boxes = torch.tensor([[[-20.0, 10.0, 24.0, 10.0]]])
    canvases = paste(glimpse, boxes, (30, 30))
    assert float(canvases.max()) > 0
    slots = Slots(None, None, torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.long))
    assert painted.boxes(slots, glimpse, canvases).tolist() == [[[0, 0, 0, 0]]]
    assert float(painted.tight(canvases)[..., 2:].min()) > 0  # by the canvas alone, there is a box
    shifted = paste(glimpse, boxes + torch.tensor([20.0, 0, 0, 0]), (30, 30))
    found = painted.boxes(slots, glimpse, shifted)[0, 0]
    assert float(found[2] * found[3]) > 60


def test_absent_slots_have_no_box() -> None:
    canvases = torch.ones(2, 1, 4, 4)
    slots = Slots(None, None, torch.tensor([1.0, 0.0]), torch.tensor([5, -1]))
    found = painted.boxes(slots, torch.ones(2, 1, 2, 2), canvases)
    assert found.tolist() == [[0, 0, 4, 4], [0, 0, 0, 0]]


def test_tracks_are_the_boxes_in_order_of_time() -> None:
    ids = torch.tensor([[[3, -1], [0, 1]], [[3, 4], [1, 0]]])  # T B K
    boxes = torch.zeros(2, 2, 2, 4)
    boxes[0, 0, 0] = torch.tensor([1.0, 2, 3, 4])
    boxes[1, 0, 0] = torch.tensor([2.0, 2, 3, 4])
    boxes[1, 0, 1] = torch.tensor([5.0, 6, 7, 8])
    boxes[1, 1, 0] = torch.tensor([9.0, 9, 1, 0])  # no height
    boxes[1, 1, 1] = torch.tensor([9.0, 9, 1, 1])
    first, second = painted.tracks(ids, boxes)
    assert list(zip(first.frame.tolist(), first.id.tolist())) == [(0, 3), (1, 3), (1, 4)]
    assert first.box.tolist() == [[1, 2, 3, 4], [2, 2, 3, 4], [5, 6, 7, 8]]
    assert (second.frame.tolist(), second.id.tolist()) == ([1], [0])
    assert second.box.tolist() == [[9, 9, 1, 1]]


@pytest.mark.parametrize("batch", [1, 3])
def test_empty_sequences_have_empty_tracks(batch: int) -> None:
    found = painted.tracks(torch.full((4, batch, 2), -1), torch.zeros(4, batch, 2, 4))
    assert [len(tracks.id) for tracks in found] == [0] * batch
