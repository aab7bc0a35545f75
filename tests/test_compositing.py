"""Drawing generated objects: boxes against pixels, occlusion, camera and background together."""

from __future__ import annotations

import numpy as np
import pytest

from datasets import motion, silhouettes, staging
from datasets.compositing import Degradation, Look, coverage, draw, layer
from datasets.sprites import SpritesConfig, film

SQUARE = np.array([[(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]])


def solid_rectangle(x: float, y: float, w: float, h: float, colour: int = 255) -> staging.Layer:
    """A one-frame upright rectangle of one colour on a 64 x 64 frame."""
    look = Look(np.full((4, 4, 3), colour, np.uint8), [SQUARE])
    centre = np.array([[x + w / 2, y + h / 2]])
    return layer(look, np.diag((w, h))[None].astype(float), centre, (64, 64), 0.0)


def test_a_rectangle_covers_its_box_to_a_fraction_of_a_pixel():
    for x, y, w, h in ((10, 20, 12, 8), (10.5, 20.25, 12.5, 8.25), (3.3, 7.7, 20.4, 30.6)):
        item = solid_rectangle(x, y, w, h)
        np.testing.assert_allclose(item.boxes, [[x - 1 / 8, y - 1 / 8, w + 1 / 4, h + 1 / 4]])
        alpha = np.zeros((64, 64))
        x0, y0, x1, y1 = item.places[0]
        alpha[y0:y1, x0:x1] = coverage(item, 0) / 255
        w, h = item.boxes[0, 2:]
        assert abs(alpha.sum(1).max() - w) < 0.26 and abs(alpha.sum(0).max() - h) < 0.26
        pixel = np.arange(64) + 0.5  # centres
        centroid = (alpha.sum(0) @ pixel, alpha.sum(1) @ pixel) / alpha.sum()
        np.testing.assert_allclose(centroid, item.boxes[0, :2] + (w / 2, h / 2), atol=0.13)


@pytest.mark.parametrize("kind", list(staging.OUTLINES))
def test_boxes_bound_what_is_drawn(kind):
    """Every edge of the box lies in the outermost pixel that the silhouette touches."""
    worst = 0.0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        outline = staging.OUTLINES[kind](rng, 5)
        starts = motion.Starts(
            np.array([[64.0, 64.0]]), rng.uniform(16, 50, (1, 2)), np.array([seed % 2 == 0])
        )
        config = SpritesConfig(length=5)
        poses, _ = motion.follow(rng, config, starts, motion.camera(rng, config))
        look = Look(np.full((8, 8, 3), 255, np.uint8), outline)
        shift = 2048 - poses.centre[:, 0].round()
        item = layer(look, poses.linear[:, 0], poses.centre[:, 0] + shift, (4096, 4096), 0.0)
        for frame in range(5):
            touched = coverage(item, frame) > 0
            x0, y0 = item.places[frame][:2]
            columns, rows = np.flatnonzero(touched.any(0)), np.flatnonzero(touched.any(1))
            x, y, w, h = item.boxes[frame] - (x0, y0, 0, 0)
            drawn = np.array((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
            outside = np.array((1, 1, -1, -1)) * ((x, y, x + w, y + h) - drawn)  # 0..1 when exact
            worst = max(worst, np.abs(outside - 0.5).max())
    assert worst <= 0.5 + 0.3  # half a mask pixel, at the coarser sampling, and rounding


def test_what_is_outside_the_frame_is_not_drawn():
    image = np.zeros((64, 64, 3), np.uint8)
    assert draw(solid_rectangle(-10, 4, 20, 10), image, 0) is not None
    assert (image[..., 0] > 127).sum() == pytest.approx(100, abs=10) and not image[:, 11:].any()
    before = image.copy()
    assert draw(solid_rectangle(100, 4, 20, 10), image, 0) is None
    assert (image == before).all()


def test_a_walker_swings_its_legs():
    changes = []
    for seed in range(20):
        parts = silhouettes.person(np.random.default_rng(seed), 12)
        legs = np.concatenate(
            [part for part in parts if part.shape[1:] == (6, 2) and len(part) == 12], 1
        )
        changes.append(np.ptp(legs[..., 0], 1).max() / np.ptp(legs[..., 0], 1).min())
    assert np.median(changes) > 1.15


def test_visible_share_of_a_half_hidden_object():
    still = Degradation(np.ones(1), None, 1, None, 0, False)
    backdrop = staging.Backdrop(np.zeros((1, 64, 64, 3), np.uint8), None, (64, 64))
    layers = [solid_rectangle(10, 10, 20, 20, 80), solid_rectangle(20, 10, 30, 20, 200)]
    frames, labels = np.empty((1, 3, 64, 64), np.uint8), np.zeros((1, 64, 64), np.uint8)
    scene = staging.Stage(backdrop, layers, [1, 2], [0, 1], 2, still)
    drawn, seen = film(scene, frames, labels)
    np.testing.assert_allclose(drawn, [[400, 600]], rtol=0.06)
    np.testing.assert_allclose(seen, [[200, 600]], rtol=0.06)
    assert frames[0, 0, 20, 15] == 80 and frames[0, 0, 20, 25] == 200 and frames[0, 0, 20, 5] == 0
    assert labels[0, 20, 15] == 1 and labels[0, 20, 25] == 2 and labels[0, 20, 5] == 0


def test_background_and_objects_share_the_camera():
    config, point = SpritesConfig(length=9, camera_motion=1), np.array([40.0, 90.0])
    for seed in range(5):
        view = motion.camera(np.random.default_rng(seed), config)
        maps = staging.background_maps(view, (128, 128), [168, 168])
        screen = view(np.broadcast_to(point, (9, 1, 2)))[:, 0]
        assert np.abs(screen - point).max() > 0.01
        canvas = (maps[:, :, :2] @ (screen - 0.5)[..., None])[..., 0] + maps[:, :, 2] + 0.5
        np.testing.assert_allclose(canvas, np.broadcast_to(point + 20, (9, 2)), atol=1e-6)
