"""Strips: every picture, box and colour is where and what it was given as."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from common.overlay import colour
from common.strips import BAND, Row, frames_row, mosaic, spaced, strip

pytestmark = pytest.mark.filterwarnings("error")


def frames(length: int = 3, shade: int = 0) -> np.ndarray:
    """``(T, 1, 8, 8)``, each of a shade of its own."""
    shades = shade + 40 * np.arange(length, dtype=np.uint8)
    return np.broadcast_to(shades[:, None, None, None], (length, 1, 8, 8))


def patches(figure: Figure, fill: bool = False) -> list[Rectangle]:
    return [patch for patch in figure.axes[0].patches if patch.get_fill() == fill]


def places(figure: Figure) -> list[tuple[float, ...]]:
    """Left, right, bottom, top of the pictures, in order."""
    return [tuple(image.get_extent()) for image in figure.axes[0].images]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in (*figure.axes[0].texts, *figure.texts) if text.get_text()]


def test_frames_stand_in_rows_and_columns() -> None:
    figure = strip([frames_row(frames(), "above"), frames_row(frames(shade=9), "below")])
    found = places(figure)
    assert len(found) == 6
    for k, image in enumerate(figure.axes[0].images):
        assert (np.asarray(image.get_array()) == 40 * (k % 3) + 9 * (k // 3)).all()
        left, right, bottom, top = found[k]
        assert (right - left, bottom - top) == pytest.approx((1, 1))
        assert left == pytest.approx(found[k % 3][0])
        assert top == pytest.approx(found[3 * (k // 3)][3])
    lefts, tops = [p[0] for p in found[:3]], [found[0][3], found[3][3]]
    assert lefts[0] == tops[0] == 0
    assert min(np.diff(lefts)) > 1 and tops[1] > 1
    assert texts(figure) == ["above", "below", "1", "2", "3"]
    # Cells are square on paper, too.
    axes = figure.axes[0]
    box = axes.get_position().size * figure.get_size_inches()
    assert box[0] / np.ptp(axes.get_xlim()) == pytest.approx(box[1] / np.ptp(axes.get_ylim()))


def test_boxes_are_drawn_in_the_colour_of_their_id() -> None:
    boxes, ids = np.zeros((3, 2, 4)), np.full((3, 2), -1)
    boxes[1, 0], ids[1, 0] = (2, 4, 4, 1), 5
    boxes[1, 1], ids[1, 1] = (0, 0, 8, 8), -1  # absent
    boxes[2, 1], ids[2, 1] = (0, 0, 0, 3), 5  # paints nothing
    boxes[2, 0], ids[2, 0] = (1, 1, 2, 2), 0
    figure = strip([frames_row(frames()), frames_row(frames(), "", boxes, torch.tensor(ids))])
    first, second = patches(figure)
    assert to_rgb(first.get_edgecolor()) == pytest.approx(np.divide(colour(5), 255))
    assert to_rgb(second.get_edgecolor()) == pytest.approx(np.divide(colour(0), 255))
    left, _, _, top = places(figure)[4]
    assert first.get_bbox().bounds == pytest.approx((left + 0.25, top + 0.5, 0.5, 0.125))
    left, _, _, top = places(figure)[5]
    assert second.get_bbox().bounds == pytest.approx((left + 1 / 8, top + 1 / 8, 0.25, 0.25))


def test_a_cell_can_hold_several_pictures_with_owners() -> None:
    small = np.random.default_rng(0).random((2, 3, 1, 4, 4))
    owners = torch.tensor([[7, -1, 3], [3, 7, -1]])
    figure = strip([frames_row(frames(2)), Row(small, "objects", owners=owners)])
    edges, empty = patches(figure), patches(figure, fill=True)
    assert [to_rgb(edge.get_edgecolor()) for edge in edges] == [
        pytest.approx(np.divide(colour(name), 255)) for name in (7, 3, 3, 7)
    ]
    assert len(empty) == 2
    found = places(figure)
    assert len(found) == 2 + 4
    for place in found[2:]:
        left, right, bottom, top = place
        assert right - left == pytest.approx(bottom - top)
        assert right - left < 1 / 3
    assert found[2][0] == found[0][0]
    assert found[3][1] == pytest.approx(found[0][1])  # the third picture ends where the frame does
    shown = np.asarray(figure.axes[0].images[2].get_array())[..., 0]
    np.testing.assert_array_equal(shown, np.round(small[0, 0, 0] * 255))


def test_what_was_observed_is_marked() -> None:
    figure = strip([frames_row(frames(5))], ["a", "b", "c", "d", "e"], observed=2, title="Futures")
    assert {"observed", "imagined", "Futures", "a", "e"} <= set(texts(figure))
    [band] = patches(figure, fill=True)
    assert to_rgb(band.get_facecolor()) == to_rgb(BAND)
    lefts = [place[0] for place in places(figure)]
    assert band.get_x() <= lefts[0] and lefts[1] + 1 <= band.get_x() + band.get_width() < lefts[2]
    steps = np.diff(lefts)
    assert steps[1] > steps[0] == pytest.approx(steps[2])
    assert "imagined" not in texts(strip([frames_row(frames(2))], observed=2))


def test_groups_of_rows_have_room_between_them() -> None:
    rows = [frames_row(frames(), group=g) for g in (True, False, True)]
    tops = [place[3] for place in places(strip(rows))[::3]]
    assert tops[0] == 0
    assert tops[2] - tops[1] > tops[1] - tops[0] > 1


def test_everything_is_on_the_page() -> None:
    """Nothing that is drawn touches the edge of the picture file."""
    rows = [
        frames_row(frames(6), "a rather long label, in one line", np.ones((6, 1, 4)), [[0]] * 6)
    ]
    figure = strip(rows, observed=2, title="A title")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[..., :3]
    edge = np.concatenate((image[:2].reshape(-1, 3), image[-2:].reshape(-1, 3)))
    sides = np.concatenate((image[:, :2].reshape(-1, 3), image[:, -2:].reshape(-1, 3)))
    assert (edge == 255).all() and (sides == 255).all()


def test_rows_that_do_not_agree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got lengths \[2, 3\]"):
        strip([frames_row(frames(2)), frames_row(frames(3))])
    with pytest.raises(ValueError, match=r"got lengths \[\]"):
        strip([])
    with pytest.raises(ValueError, match=r"row 'x': boxes \(3, 2, 4\) with ids \(3, 1\)"):
        strip([frames_row(frames(), "x", np.zeros((3, 2, 4)), np.zeros((3, 1)))])
    with pytest.raises(ValueError, match="with ids None"):
        strip([frames_row(frames(), "x", np.zeros((3, 2, 4)))])


def test_mosaic() -> None:
    images = [np.full((4, 6, 3), 10 * n, np.uint8) for n in range(3)]
    whole = mosaic(images, 2, ground=(1, 2, 3))
    gap = (whole.shape[1] - 12) // 3
    assert whole.shape == (2 * 4 + 3 * gap, 12 + 3 * gap, 3)
    for n, image in enumerate(images):
        y, x = gap + n // 2 * (4 + gap), gap + n % 2 * (6 + gap)
        np.testing.assert_array_equal(whole[y : y + 4, x : x + 6], image)
    assert (whole == (1, 2, 3)).all(-1).sum() == whole[..., 0].size - 3 * 24
    titled = mosaic(images, 2, "frame 1", (255, 255, 255))
    head = titled.shape[0] - whole.shape[0]
    assert head > 0 and titled[:head].min() < 50
    rest = mosaic(images, 2)
    np.testing.assert_array_equal(titled[head + gap :], rest[gap:])


def test_columns_are_spaced_evenly() -> None:
    assert spaced(5, 9) == [0, 1, 2, 3, 4]
    assert spaced(9, 5) == [0, 2, 4, 6, 8]
    assert spaced(100, 1) == spaced(1, 4) == [0]
