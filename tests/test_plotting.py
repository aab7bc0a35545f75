"""Figures and drawings: they show the numbers they were given, where they belong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from common import plotting
from common.drawing import annotate, mask_over
from common.looks import Look, look_figure, show_images
from common.overlay import colour

pytestmark = pytest.mark.filterwarnings("error")


def frame(height: int = 60, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def look(number: int = 3, box: tuple = (20, 10, 16, 24), **fields: object) -> Look:
    values = {
        "frame": frame(),
        "window": np.array((10.0, 4.0, 36.0, 36.0)),
        "glimpse": np.full((3, 12, 12), 0.5, np.float32),
        "mask": np.zeros((6, 6), np.float32),
    }
    return Look(number=number, box=np.array(box, float), **{**values, **fields})


def test_import_is_light() -> None:
    code = "import sys, common.plotting, common.looks; print('matplotlib' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "False"


def test_iou_over_time_draws_steps_from_one() -> None:
    curves = {"ours": [0.9, 0.8, 0.7], "static box": [0.5, np.nan, 0.1]}
    bands = {"ours": ([0.8, 0.7, 0.6], [1.0, 0.9, 0.8])}
    figure = plotting.iou_over_time(curves, counts=[9, 8, 7], bands=bands, title="a clip")
    axes = figure.axes[0]
    for line, (name, values) in zip(axes.lines, curves.items(), strict=True):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_xdata(), (1, 2, 3))
        np.testing.assert_array_equal(line.get_ydata(), values)
    assert axes.lines[0].get_linewidth() > axes.lines[1].get_linewidth()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1\nn=9", "2\nn=8", "3\nn=7"]
    extent = axes.collections[0].get_paths()[0].get_extents()
    assert (extent.y0, extent.y1) == pytest.approx((0.6, 1.0))
    assert axes.get_title(loc="left") == "a clip"


def test_success_plot_names_the_area() -> None:
    curve = 1 - np.linspace(0, 1, 21) ** 2
    axes = plotting.success_plot({"ours": curve}).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), np.arange(21) / 20)
    assert axes.lines[0].get_label() == f"ours [{np.mean(curve):.3f}]"


def test_curves_share_a_figure(tmp_path: Path) -> None:
    figure, axes = plotting.new_figure(1, 2)
    assert plotting.iou_over_time({"ours": [1.0]}, axes=axes[0, 0]) is figure
    plotting.success_plot({"ours": np.ones(21)}, axes=axes[0, 1])
    path = plotting.save(figure, tmp_path / "new" / "both.png")
    assert imread(path).std() > 0
    with pytest.raises(ValueError, match=r"both\.xyz: a figure can be .*png"):
        plotting.save(figure, tmp_path / "both.xyz")


def test_training_curves() -> None:
    train = [
        {"step": s, "kind": "train", "time": 1e9, "loss": 4.0 - s / 10, "best": True}
        for s in range(1, 31)
    ]
    figure = plotting.training_curves(train, [{"step": 10, "mean_iou": 0.5}])
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in shown] == ["loss", "validation: mean_iou"]
    raw, smooth = (line.get_ydata() for line in shown[0].lines)
    np.testing.assert_allclose(raw, 4 - np.arange(1, 31) / 10)
    assert smooth[0] == pytest.approx(3.9)  # no bias towards zero at the start
    assert (np.diff(smooth) < 0).all()
    assert (smooth >= raw - 1e-9).all()
    np.testing.assert_array_equal(shown[1].lines[0].get_xydata(), [(10, 0.5)])
    with pytest.raises(ValueError, match="nothing was measured"):
        plotting.training_curves([])


def test_annotate_shows_boxes_windows_and_trails() -> None:
    given = frame(240, 320)
    before = given.copy()
    window = np.array([(40.5, 30.5, 120, 120)])
    trail = [np.array([(200.5, 200.5), (250.5, 200.5)])]
    drawn = annotate(given, np.array([(80, 70, 20, 20)]), [2], window, trail)
    np.testing.assert_array_equal(given, before)
    np.testing.assert_array_equal(drawn[80, 80], colour(2))  # the box
    np.testing.assert_allclose(drawn[30, 45], colour(2), atol=30)  # a corner of the window
    np.testing.assert_array_equal(drawn[30, 100], (90, 90, 90))  # between its corners
    np.testing.assert_allclose(drawn[200, 225], colour(2), atol=30)  # the trail
    np.testing.assert_array_equal(drawn[200, 300], (90, 90, 90))


def test_annotate_takes_any_box_but_not_any_frame() -> None:
    strange = np.array([(-500, -500, 20, 20), (np.nan, 0, 5, 5), (70, 50, 1e9, 40), (3, 3, 0, 0)])
    assert annotate(frame(), strange, [0, 1, 2, 3], strange).shape == (60, 80, 3)
    np.testing.assert_array_equal(annotate(frame(), np.zeros((0, 4)), []), frame())
    with pytest.raises(ValueError, match="float64"):
        annotate(frame().astype(float), strange, [0, 1, 2, 3])
    with pytest.raises(ValueError, match="4 boxes with 2 ids"):
        annotate(frame(), strange, [0, 1])


def test_mask_tints_the_object_and_greys_the_rest() -> None:
    glimpse = np.zeros((3, 8, 8), np.float32)
    glimpse[0] = 0.8
    mask = np.full((8, 8), -30.0)
    mask[:, :4] = 30
    shown = mask_over(glimpse, mask, (10, 200, 30)).astype(float)
    np.testing.assert_allclose(shown[:, 0], np.tile((0.55 * 204 + 4.5, 90, 13.5), (8, 1)), atol=1)
    assert (np.ptp(shown[:, -1], axis=-1) == 0).all()
    assert shown[:, -1].max() < 255 * 0.8 / 3


def test_look_figure_places_boxes_and_windows() -> None:
    looks = [look(1, mask=None), look(4, box=(30, 20, 16, 24), truth=np.array((31, 21, 15, 22)))]
    figure = look_figure(looks, "object 1", name=1)
    places = figure.axes[:2]
    assert [axes.get_title(loc="center") for axes in places] == ["frame 1", "frame 4"]
    for axes, seen in zip(places, looks, strict=True):
        window, *truth, box = axes.patches
        assert box.get_bbox().bounds == pytest.approx(tuple(seen.box))
        assert window.get_bbox().bounds == pytest.approx(tuple(seen.window))
        assert to_rgb(box.get_edgecolor()[:3]) == tuple(np.divide(colour(1), 255))
        assert len(truth) == (seen.truth is not None)
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert left <= 10
        assert right >= 46
        assert top <= 4
        assert bottom >= 44
    with pytest.raises(ValueError, match="at least one"):
        look_figure([])


def test_whole_frames_can_stand_above_the_looks() -> None:
    scenes = [np.full((40, 60, 3), shade, np.uint8) for shade in (10, 20)]
    figure = look_figure([look(1, mask=None), look(2)], "", 0, scenes, ["early", "late"])
    above = figure.axes[:2]
    assert [axes.get_title(loc="center") for axes in above] == ["early", "late"]
    for axes, scene in zip(above, scenes, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), scene)
    assert len(figure.axes) == 2 + 3 * 2


def test_images_side_by_side() -> None:
    images = [frame(), frame(60, 30)]
    left, right = show_images(images, ["a", "b"]).axes
    assert (left.get_title(loc="center"), right.get_title(loc="center")) == ("a", "b")
    np.testing.assert_array_equal(right.images[0].get_array(), images[1])
