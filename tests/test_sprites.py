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
from datasets import silhouettes, staging
from datasets.clip import collate
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


def stage_of(config: SpritesConfig, seed: int, **lent) -> staging.Stage:
    return staging.stage(config, generator(seed), lent.get("backgrounds"), lent.get("patches"))


def digest(clip) -> str:
    return hashlib.sha256(clip.frames.numpy().tobytes() + clip.boxes.numpy().tobytes()).hexdigest()


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
    for seed in range(80):
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


def test_visible_share_counts_the_pixels_that_others_take():
    """Each object drawn alone, against where its label is left when all are drawn."""
    config, hidden = SpritesConfig(length=8, objects=(2, 3)), 0
    for seed in range(6):
        made, scene = make_sprite_clip(config, seed), stage_of(config, seed)
        whole = torch.stack([torch.from_numpy(scene.layers[d].boxes) for d in scene.depths], 1)
        inside = box_ops.area(box_ops.clip(whole, 128, 128)) / box_ops.area(whole)
        for number in range(scene.objects):
            depth = scene.depths[number]
            alone = scene._replace(layers=[scene.layers[depth]], labels=[1], depths=[0], objects=1)
            labels = np.zeros((8, 128, 128), np.uint8)
            film(alone, np.empty((8, 3, 128, 128), np.uint8), labels)
            left = (made.labels == number + 1) & torch.from_numpy(labels == 1)
            share = left.flatten(1).sum(1) / torch.from_numpy(labels).flatten(1).sum(1).clamp_min(1)
            torch.testing.assert_close(
                made.visible[:, number], (share * inside[:, number]).float(), rtol=0, atol=1e-4
            )
            hidden += (share < 0.7).sum().item()
    assert hidden > 3


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


def test_a_patch_with_alpha_keeps_its_outline():
    """A diamond: its area is half its box's; boxes and pixels keep to it."""
    rows, columns = np.mgrid[:41, :41] - 20
    patch = np.full((41, 41, 4), 240, np.uint8)
    patch[..., 3] = 255 * (abs(rows) + abs(columns) <= 20)
    (part,) = silhouettes.traced(patch[..., 3])
    assert ((np.ptp(part, 1) > 0.96) & (np.ptp(part, 1) <= 1)).all()
    config = SpritesConfig(**{**vars(PLAIN), "objects": (1, 1), "object_size": (40.0, 40.0)})
    black = {"backgrounds": lambda rng: np.zeros((128, 128, 3), np.uint8)}
    made = make_sprite_clip(config, 1, patches=lambda rng: patch, **black)
    _, _, w, h = made.clip.boxes[0, 0].tolist()
    assert (made.labels[0] == 1).sum() == pytest.approx(w * h / 2, rel=0.12)
    with pytest.raises(ValueError, match="opaque somewhere"):
        make_clip(config, 1, patches=lambda rng: np.zeros((9, 9, 4), np.uint8))


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
        np.zeros((9, 9, 5), np.uint8),
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
    [
        ("objects", (0, 2)),
        ("objects", (3, 2)),
        ("speed", (0.0, 1.0)),
        ("bounce", 1.5),
        ("size", (8, 128)),
        ("length", 0),
        ("growth", 0.5),
        ("distractors", (0, 300)),
    ],
)
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(ValueError, match=option):
        SpritesConfig(**{option: value})


def test_seeds_start_at_zero():
    with pytest.raises(ValueError, match="seeds start at 0"):
        make_clip(SHORT, -1)
    with pytest.raises(ValueError, match="at least one seed"):
        batch(SHORT, [])


def test_thousands_of_frames_a_second():
    config = SpritesConfig()
    batch(config, range(2))
    start = time.process_time()
    batch(config, range(30))
    assert 30 * config.length / (time.process_time() - start) > 1000
