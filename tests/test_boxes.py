"""common/boxes.py against counted pixels, closed forms and finite differences."""

from __future__ import annotations

import itertools

import pytest
import torch

from common import boxes

SIZE = 24


def random_boxes(n, low=-4, high=20, side=12):
    """``(n, 4)`` whole-pixel xywh boxes, some partly outside a SIZE x SIZE frame."""
    corner = torch.randint(low, high, (n, 2))
    return torch.cat((corner, torch.randint(1, side, (n, 2))), 1).double()


def mask(box, offset=8, size=48):
    """The pixels a whole-pixel box covers, on a canvas that begins at ``-offset``."""
    x, y, w, h = (int(v) for v in box)
    canvas = torch.zeros(size, size, dtype=torch.bool)
    canvas[y + offset : y + offset + h, x + offset : x + offset + w] = True
    return canvas


def test_areas_and_overlaps_are_counted_pixels():
    a, b = random_boxes(200), random_boxes(200)
    shared = torch.tensor([(mask(p) & mask(q)).sum() for p, q in zip(a, b)]).double()
    union = torch.tensor([(mask(p) | mask(q)).sum() for p, q in zip(a, b)]).double()
    assert (shared > 0).sum() > 30 and (shared == 0).sum() > 30  # both cases occur
    torch.testing.assert_close(boxes.area(a), torch.tensor([mask(p).sum() for p in a]).double())
    torch.testing.assert_close(boxes.intersection(a, b), shared)
    torch.testing.assert_close(boxes.iou(a, b), shared / union)


def test_giou_is_counted_pixels():
    a, b = random_boxes(100), random_boxes(100)
    expected = []
    for p, q in zip(a, b):
        both = mask(p) | mask(q)
        rows, columns = both.any(1).nonzero(), both.any(0).nonzero()
        hull = int((rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1))
        union = int(both.sum())
        expected.append(int((mask(p) & mask(q)).sum()) / union - (hull - union) / hull)
    torch.testing.assert_close(boxes.giou(a, b), torch.tensor(expected).double())


def test_clip_is_the_part_inside():
    a = random_boxes(200, low=-14, high=34)
    frame = mask((0, 0, SIZE, SIZE - 5), offset=16, size=64)
    clipped = boxes.clip(a, SIZE - 5, SIZE)
    inside = torch.stack([mask(p, 16, 64) & frame for p in a])
    areas = inside.sum((1, 2))
    torch.testing.assert_close(boxes.area(clipped), areas.double())
    for box, pixels in zip(clipped[areas > 0], inside[areas > 0]):
        assert torch.equal(mask(box, 16, 64), pixels)
    assert (areas == 0).sum() > 10 and (clipped >= 0).all()
    assert (clipped[:, :2] + clipped[:, 2:] <= torch.tensor([SIZE, SIZE - 5])).all()


def test_the_whole_frame_is_left_alone_by_clip():
    whole = torch.tensor([0.0, 0.0, 621.0, 187.0])
    assert torch.equal(boxes.clip(whole, 187, 621), whole)


@pytest.mark.parametrize(
    ("convert", "back", "expected"),
    [
        (boxes.to_corners, boxes.from_corners, [3.0, 5.0, 13.0, 25.0]),
        (boxes.to_centre, boxes.from_centre, [8.0, 15.0, 10.0, 20.0]),
    ],
)
def test_conversions_and_their_inverses(convert, back, expected):
    box = torch.tensor([3.0, 5.0, 10.0, 20.0])
    assert convert(box).tolist() == expected
    many = random_boxes(30).reshape(2, 3, 5, 4)
    torch.testing.assert_close(back(convert(many)), many)


@pytest.mark.parametrize(
    ("a", "b", "iou", "giou"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 1, 1),
        ((0, 0, 4, 4), (2, 0, 4, 4), 8 / 24, 8 / 24),  # hull = union
        ((0, 0, 2, 2), (4, 0, 2, 2), 0, -4 / 12),  # a gap of two pixels
        ((0, 0, 2, 2), (2, 2, 2, 2), 0, -8 / 16),  # touching at a corner
        ((0, 0, 8, 8), (2, 2, 4, 4), 16 / 64, 16 / 64),  # inside
        ((1, 1, 0, 3), (0, 0, 4, 4), 0, 0),  # no width
        ((3, 3, 0, 0), (3, 3, 0, 0), 0, -1),  # two points: nothing shared, nothing enclosed
    ],
)
def test_closed_forms(a, b, iou, giou):
    a, b = torch.tensor([a, b]).double()
    assert boxes.iou(a, b).item() == pytest.approx(iou, abs=1e-9)
    assert boxes.iou(b, a).item() == pytest.approx(iou, abs=1e-9)
    assert boxes.giou(a, b).item() == pytest.approx(giou, abs=1e-9)


def test_a_negative_side_has_no_area():
    flipped = torch.tensor([5.0, 5.0, -3.0, 4.0])
    assert boxes.area(flipped) == 0
    assert boxes.iou(flipped, torch.tensor([0.0, 0.0, 9.0, 9.0])) == 0


def test_pairwise_is_every_pair():
    a, b = random_boxes(10).reshape(2, 5, 4), random_boxes(6).reshape(2, 3, 4)
    found = boxes.pairwise_iou(a, b)
    assert found.shape == (2, 5, 3)
    for k, i, j in itertools.product(range(2), range(5), range(3)):
        assert found[k, i, j] == boxes.iou(a[k, i], b[k, j])


def test_leading_dimensions_broadcast():
    a, b = random_boxes(6).reshape(2, 3, 1, 4), random_boxes(4)
    assert boxes.iou(a, b).shape == (2, 3, 4)
    torch.testing.assert_close(boxes.iou(a, b)[1, 2], boxes.iou(a[1, 2], b))


@pytest.mark.parametrize("score", [boxes.iou, boxes.giou])
def test_gradients_are_finite_differences(score):
    a = (random_boxes(12) + torch.rand(12, 4).double() / 3).requires_grad_()
    b = (random_boxes(12) + torch.rand(12, 4).double() / 3).requires_grad_()
    assert torch.autograd.gradcheck(score, (a, b))


@pytest.mark.parametrize("way", [(30.0, 0.0), (-30.0, 0.0), (0.0, 40.0), (25.0, -25.0)])
def test_giou_pulls_boxes_without_overlap_together(way):
    target = torch.tensor([50.0, 50.0, 10.0, 10.0]).double()
    box = (target + torch.tensor([*way, 0.0, 0.0])).requires_grad_()
    assert boxes.iou(box, target) == 0
    boxes.giou(box, target).backward()
    towards = -torch.tensor(way).double()
    assert (box.grad[:2] * towards).sum() > 1e-4
    assert torch.equal(torch.sign(box.grad[:2]) * (towards != 0), torch.sign(towards))


def test_arguments_are_left_unchanged():
    a, b = random_boxes(5), random_boxes(5)
    before = a.clone(), b.clone()
    for function in (boxes.iou, boxes.giou, boxes.intersection, boxes.pairwise_iou):
        function(a, b)
    boxes.clip(a, 3, 3)
    assert torch.equal(a, before[0]) and torch.equal(b, before[1])
