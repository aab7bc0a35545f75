"""Generated clips: exact boxes, repeatability, placement, lent pixels, speed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from common import boxes as box_ops
from datasets import motion, silhouettes, staging
from datasets.clip import collate
from datasets.compositing import Degradation, Look, coverage, draw, layer
from datasets.sprites import (
    SpritesConfig,
    batch,
    film,
    generator,
    make_clip,
    make_sprite_clip,
    sprites,
)

SHORT = SpritesConfig(length=4)
PLAIN = SpritesConfig(
    length=6, camera_motion=0, degraded=0, grey=0, distractors=(0, 0), occluders=(0, 0)
)
SQUARE = np.array([[(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]])


def stage_of(config: SpritesConfig, seed: int, **lent) -> staging.Stage:
    return staging.stage(config, generator(seed), lent.get("backgrounds"), lent.get("patches"))


def solid_rectangle(x: float, y: float, w: float, h: float, colour: int = 255) -> staging.Layer:
    """A one-frame upright rectangle of one colour on a 64 x 64 frame."""
    look = Look(np.full((4, 4, 3), colour, np.uint8), [SQUARE])
    centre = np.array([[x + w / 2, y + h / 2]])
    return layer(look, np.diag((w, h))[None].astype(float), centre, (64, 64), 0.0)


def digest(clip) -> str:
    return hashlib.sha256(clip.frames.numpy().tobytes() + clip.boxes.numpy().tobytes()).hexdigest()


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


def test_labels_follow_boxes_through_a_clip():
    """Where one object alone is wholly inside, its mask and its box agree in place and extent."""
    checked = 0
    for seed in range(8):
        made = make_sprite_clip(
            SpritesConfig(objects=(1, 1), distractors=(0, 0), occluders=(0, 0)), seed
        )
        for frame in range(16):
            x, y, w, h = made.clip.boxes[frame, 0].tolist()
            if x < 0 or y < 0 or x + w > 128 or y + h > 128 or not made.clip.presence[frame, 0]:
                continue
            rows, columns = np.nonzero(made.labels[frame].numpy() == 1)
            drawn = np.array((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
            assert np.abs(drawn - (x, y, x + w, y + h)).max() <= max(2.5, 0.2 * max(w, h))
            assert made.visible[frame, 0] == pytest.approx(1, abs=1e-5)
            checked += 1
    assert checked > 40


def test_same_seed_same_clip_in_another_process():
    code = (
        "import hashlib; from datasets.sprites import *; c = make_clip(SpritesConfig(length=4), 7);"
        "print(hashlib.sha256(c.frames.numpy().tobytes() + c.boxes.numpy().tobytes()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout
    next(iter(sprites(SHORT, 3, 1)))  # what was drawn before does not matter
    assert digest(make_clip(SHORT, 7)) == other.strip()
    assert digest(make_clip(SHORT, 8)) != other.strip()


def test_global_random_states_are_left_alone():
    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    make_clip(SHORT, 1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_batch_equals_collated_clips():
    seeds = [5, 0, 11]
    together, apart = batch(SHORT, seeds), collate([make_clip(SHORT, seed) for seed in seeds])
    for name, value in together._asdict().items():
        assert value.dtype == getattr(apart, name).dtype, name
        assert torch.equal(value, getattr(apart, name)), name


def test_shapes_types_and_names():
    clip = make_clip(SpritesConfig(size=(48, 72), length=3, objects=(2, 2)), 4)
    assert clip.frames.shape == (3, 3, 48, 72) and clip.frames.dtype == torch.uint8
    assert clip.boxes.shape == (3, 2, 4) and clip.boxes.dtype == torch.float32
    assert (
        clip.presence.shape == (3, 2) and clip.ids.tolist() == [0, 1] and clip.name == "sprites-4"
    )
    assert make_clip(SpritesConfig(length=1), 0).frames.shape[0] == 1


def test_objects_start_present_and_mostly_unhidden():
    config, shares, counts = SpritesConfig(length=2, objects=(2, 3)), [], []
    for seed in range(150):
        made = make_sprite_clip(config, seed)
        assert made.clip.presence[0].all()
        shares += made.visible[0].tolist()
        counts.append(len(made.clip.ids))
    assert min(shares) > 0.45 and np.mean(shares) > 0.93
    assert np.mean(counts) > 2.2  # placement seldom fails


def test_presence_is_the_share_of_the_box_inside():
    config = SpritesConfig(length=30, bounce=0, speed=(0.1, 0.3), min_inside=0.4)
    seen = []
    for seed in range(10):
        made, scene = make_sprite_clip(config, seed), stage_of(config, seed)
        raw = np.stack([scene.layers[scene.depths[n]].boxes for n in range(scene.objects)], 1)
        raw = torch.from_numpy(raw)
        inside = box_ops.area(box_ops.clip(raw, 128, 128)) / box_ops.area(raw)
        assert torch.equal(made.clip.presence, inside >= 0.4)
        assert not made.clip.boxes[~made.clip.presence].any()
        torch.testing.assert_close(
            made.clip.boxes[made.clip.presence], raw[made.clip.presence].float(), rtol=0, atol=1e-4
        )
        assert (made.visible <= inside + 1e-5).all()
        seen.append(made.clip.presence)
    seen = torch.cat([presence.flatten() for presence in seen])
    assert 0.2 < seen.float().mean() < 0.99


def test_visible_share_of_a_half_hidden_object():
    still = Degradation(np.ones(1), None, 1, None, 0, False)
    backdrop = staging.Backdrop(np.zeros((1, 64, 64, 3), np.uint8), None, (64, 64))
    layers = [solid_rectangle(10, 10, 20, 20, 80), solid_rectangle(20, 10, 30, 20, 200)]
    made = film(
        SpritesConfig(size=(64, 64), length=1), 0,
        staging.Stage(backdrop, layers, [1, 2], [0], 1, still), np.empty((1, 3, 64, 64), np.uint8),
    )  # fmt: skip
    assert made.visible.item() == pytest.approx(0.5, abs=0.03)
    image = made.clip.frames[0, 0]
    assert image[20, 15] == 80 and image[20, 25] == 200 and image[20, 5] == 0
    assert made.labels[0, 20, 15] == 1 and made.labels[0, 20, 25] == 0


def test_objects_hide_one_another_and_come_back():
    shares = torch.cat(
        [make_sprite_clip(SpritesConfig(), seed).visible.flatten() for seed in range(25)]
    )
    assert 0.03 < (shares < 0.5).float().mean() < 0.5


def test_nothing_but_objects_moves_before_a_fixed_camera():
    for seed in range(3):
        scene = stage_of(PLAIN, seed)
        made = make_sprite_clip(PLAIN, seed)
        free = torch.ones(128, 128, dtype=torch.bool)
        for item in scene.layers:
            for x0, y0, x1, y1 in item.places:
                free[y0:y1, x0:x1] = False
        assert free.any() and (made.clip.frames[1:, :, free] == made.clip.frames[:1, :, free]).all()


def test_background_and_objects_share_the_camera():
    config, point = SpritesConfig(length=9, camera_motion=1), np.array([40.0, 90.0])
    for seed in range(5):
        view = motion.camera(np.random.default_rng(seed), config)
        maps = staging.background_maps(view, (128, 128), [168, 168])
        screen = view(np.broadcast_to(point, (9, 1, 2)))[:, 0]
        assert np.abs(screen - point).max() > 0.01
        canvas = (maps[:, :, :2] @ (screen - 0.5)[..., None])[..., 0] + maps[:, :, 2] + 0.5
        np.testing.assert_allclose(canvas, np.broadcast_to(point + 20, (9, 2)), atol=1e-6)


def test_lent_pixels_are_used():
    lent = {
        "backgrounds": lambda rng: np.full((70, 300, 3), (10, 20, 30), np.uint8),
        "patches": lambda rng: np.full((40, 20, 3), (200, 100, 50), np.uint8),
    }
    config = SpritesConfig(**{**vars(PLAIN), "objects": (1, 1)})
    made = make_sprite_clip(config, 3, **lent)
    pixels, mask = made.clip.frames.permute(0, 2, 3, 1), made.labels == 1
    x, y, w, h = made.clip.boxes[0, 0].tolist()
    assert h > 1.4 * w  # the patch's aspect, some jitter aside
    inner = pixels[0, int(y + h / 2), int(x + w / 2)]
    assert (inner - torch.tensor([200, 100, 50])).abs().max() <= 2
    away = torch.nn.functional.max_pool2d(mask[:, None].float(), 21, 1, 10)[:, 0] == 0
    assert (pixels[away] == torch.tensor([10, 20, 30], dtype=torch.uint8)).all()
    generated = make_clip(config, 3, backgrounds=lambda rng: None, patches=lambda rng: None)
    assert torch.equal(generated.frames, make_clip(config, 3).frames)


def test_a_film_plays_behind_the_objects():
    film_of = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1) * 50 + np.zeros(
        (4, 90, 90, 3), np.uint8
    )
    config = SpritesConfig(**{**vars(PLAIN), "objects": (1, 1), "object_size": (14.0, 20.0)})
    clip = make_clip(config, 2, backgrounds=lambda rng: film_of)
    shown = clip.frames.flatten(1).median(1).values
    assert shown.tolist() == [0, 50, 100, 150, 100, 50]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((9, 9), np.uint8),
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((9, 9, 3)),
        np.zeros((0, 9, 3), np.uint8),
    ],
)
def test_lent_images_of_another_kind_are_refused(wrong):
    with pytest.raises(ValueError, match="patches must return uint8"):
        make_clip(SHORT, 0, patches=lambda rng: wrong)
    with pytest.raises(ValueError, match="backgrounds must return uint8"):
        make_clip(SHORT, 0, backgrounds=lambda rng: wrong)


@pytest.mark.parametrize(
    ("option", "value"),
    [("objects", (0, 2)), ("objects", (3, 2)), ("speed", (0.0, 1.0)), ("bounce", 1.5), ("size", (8, 128)),
     ("length", 0), ("growth", 0.5), ("distractors", (0, 300))],
)  # fmt: skip
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(ValueError, match=option):
        SpritesConfig(**{option: value})


def test_seeds_start_at_zero():
    with pytest.raises(ValueError, match="seeds start at 0"):
        make_clip(SHORT, -1)
    with pytest.raises(ValueError, match="at least one seed"):
        batch(SHORT, [])


def test_a_walker_swings_its_legs():
    changes = []
    for seed in range(20):
        parts = silhouettes.person(np.random.default_rng(seed), 12)
        legs = np.concatenate(
            [part for part in parts if part.shape[1:] == (6, 2) and len(part) == 12], 1
        )
        changes.append(np.ptp(legs[..., 0], 1).max() / np.ptp(legs[..., 0], 1).min())
    assert np.median(changes) > 1.15


def test_thousands_of_frames_a_second():
    config = SpritesConfig()
    batch(config, range(2))
    start = time.process_time()
    batch(config, range(30))
    assert 30 * config.length / (time.process_time() - start) > 1000


def test_draw_reports_what_is_in_the_frame():
    image, labels = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    assert draw(solid_rectangle(-10, 4, 20, 10), image, labels, 0, 1) == pytest.approx(100, abs=10)
    assert draw(solid_rectangle(100, 4, 20, 10), image, labels, 0, 1) == 0
    assert (labels > 0).sum() == pytest.approx(100, abs=10)
