"""Moving MNIST: the specification's figures, ground truth that agrees with the pixels, speed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from common.metrics import mot
from datasets import digits
from datasets.digits import Digits
from datasets.moving_mnist import MnistBatch, MovingMnist, MovingMnistConfig, truth


@pytest.fixture(scope="module")
def drawn() -> Digits:
    """Digits that need no data."""
    return digits.load(None, "test", limit=300)


@pytest.fixture(scope="module")
def plates() -> Digits:
    """Solid rectangles; the label tells size and grey value: what is where needs no pixels."""
    sizes = torch.tensor([(4 + k % 5 * 4, 5 + k // 5 * 3) for k in range(20)])
    images = torch.zeros(20, 28, 28, dtype=torch.uint8)
    for k, (height, width) in enumerate(sizes.tolist()):
        images[k, :height, :width] = 60 + 9 * k
    return Digits(images, sizes, torch.arange(20))


@pytest.mark.parametrize("config", [MovingMnistConfig(), MovingMnistConfig(72, (3, 6))])
def test_everything_agrees(plates: Digits, config: MovingMnistConfig) -> None:
    """Frames are what boxes and labels say, and so is the visible share."""
    T, B, N = 12, 40, max(config.counts)
    batch = MovingMnist(config, plates).batch(5, B, T)
    assert batch.frames.shape == (T, B, 1, config.size, config.size)
    assert batch.boxes.shape == (T, B, N, 4) and batch.presence.shape == (T, B, N)
    assert batch.visible.shape == (T, B, N) and batch.ids.shape == batch.labels.shape == (B, N)
    hidden = 0
    for b in range(B):
        labels = [label for label in batch.labels[b].tolist() if label >= 0]
        count = len(labels)
        assert count in config.counts and len(set(labels)) == count
        assert batch.ids[b].tolist() == [*range(count)] + [-1] * (N - count)
        assert batch.labels[b, count:].tolist() == [-1] * (N - count)
        assert batch.presence[:, b].tolist() == [[True] * count + [False] * (N - count)] * T
        for t in range(T):
            canvas = np.zeros((config.size, config.size), np.uint8)
            for n, label in enumerate(labels):
                x, y, w, h = batch.boxes[t, b, n].int().tolist()
                patch = canvas[y : y + h, x : x + w]
                np.maximum(patch, 60 + 9 * label, out=patch)
                share = w * h / int(plates.sizes[label].prod())
                assert abs(float(batch.visible[t, b, n]) - share) < 1e-6
                hidden += share == 0
            np.testing.assert_array_equal(batch.frames[t, b, 0], canvas)
        assert not batch.boxes[:, b, count:].any() and not batch.visible[:, b, count:].any()
    assert hidden > 0


def test_nothing_is_hidden_or_overlaps_at_first(plates: Digits) -> None:
    for counts, size in (((2,), 50), ((6,), 72)):
        batch = MovingMnist(MovingMnistConfig(size, counts), plates).batch(0, 100, 1)
        assert (batch.visible == 1).all()
        seen = (batch.frames[0] > 0).sum((1, 2, 3))
        assert torch.equal(seen, plates.sizes[batch.labels].prod(-1).sum(1))


def test_counts_are_equally_likely(drawn: Digits) -> None:
    for counts in ((0, 1, 2), (1, 4), (0, 1, 2, 3, 4, 5, 6)):
        config = MovingMnistConfig(90, counts)
        found = MovingMnist(config, drawn).batch(0, 3000, 1).presence[0].sum(1)
        each, expected = torch.bincount(found, minlength=7), 3000 / len(counts)
        assert {k for k in range(7) if each[k]} == set(counts)
        assert all(abs(int(each[k]) - expected) < 4 * expected**0.5 for k in counts)


def test_digits_kept_inside(drawn: Digits) -> None:
    config = MovingMnistConfig(inside=True, counts=(1, 2))
    batch = MovingMnist(config, drawn).batch(2, 50, 100)
    assert batch.frames.shape[0] == 100
    assert (batch.visible == batch.presence.float()).all()
    ends = (batch.boxes[..., :2] + batch.boxes[..., 2:])[batch.presence]
    assert ends.max() == 50 and batch.boxes[batch.presence][:, :2].min() == 0
    moved = batch.boxes.diff(dim=0)[..., :2].abs().amax((0, 3))[batch.presence[0]]
    assert (moved > 2).all()


def test_noise_and_background_leave_the_rest_alone(drawn: Digits) -> None:
    plain = MovingMnist(MovingMnistConfig(), drawn).batch(4, 16, 6)
    behind = MovingMnist(MovingMnistConfig(background=True), drawn).batch(4, 16, 6)
    noisy = MovingMnist(MovingMnistConfig(noise=0.1), drawn).batch(4, 16, 6)
    for other in (behind, noisy):
        assert all(torch.equal(a, b) for a, b in zip(plain[1:], other[1:]))
    assert torch.equal(behind.frames.maximum(plain.frames), behind.frames)
    bright = plain.frames > 102
    assert bright.any() and torch.equal(behind.frames[bright], plain.frames[bright])
    dark = plain.frames == 0
    assert 20 < behind.frames[dark].float().mean() < 80 and (behind.frames <= 102)[dark].all()
    middle = (plain.frames > 90) & (plain.frames < 160)
    difference = noisy.frames[middle].float() - plain.frames[middle].float()
    assert abs(difference.std() - 25.5) < 2.5 and abs(difference.mean()) < 3
    assert abs((noisy.frames[dark] == 0).float().mean() - 0.508) < 0.01


def test_a_batch_is_a_function_of_its_seed(drawn: Digits) -> None:
    source = MovingMnist(MovingMnistConfig(background=True, noise=0.05), drawn)
    before = torch.get_rng_state()
    one, other = source.batch(7, 8, 5), source.batch(8, 8, 5)
    again = MovingMnist(source.config, drawn).batch(7, 8, 5)
    assert all(torch.equal(a, b) for a, b in zip(one, again))
    assert not torch.equal(one.frames, other.frames)
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_settings(drawn: Digits) -> None:
    for wrong, message in (
        ({"counts": ()}, r"counts \(\), expected numbers from 0 to 6"),
        ({"counts": (1, 7)}, r"counts \(1, 7\), expected"),
        ({"noise": 1.5}, "noise 1.5, expected 0 to 1"),
        ({"size": 0}, "size 0, expected 1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            MovingMnistConfig(**wrong)
    with pytest.raises(ValueError, match="size 15, expected at least 2., the side of the largest"):
        MovingMnist(MovingMnistConfig(size=15), drawn)
    few = Digits(*(part[:1] for part in drawn))
    with pytest.raises(ValueError, match="1 digits to choose from, expected at least 2"):
        MovingMnist(MovingMnistConfig(), few)
    with pytest.raises(ValueError, match="0 clips of 3 frames, expected 1 or more"):
        MovingMnist(MovingMnistConfig(), drawn).batch(0, 0, 3)
    large = Digits(*(part[drawn.sizes.prod(1) > 250] for part in drawn))
    with pytest.raises(ValueError, match="no room for 6 digits"):
        MovingMnist(MovingMnistConfig(36, (6,)), large).batch(0, 4, 2)
    none = MovingMnist(MovingMnistConfig(counts=(0,)), drawn).batch(0, 4, 2)
    assert not none.frames.any() and none.ids.tolist() == [[-1]] * 4


def test_truth_for_trackers() -> None:
    boxes = torch.tensor([[0, 0, 4, 4], [9, 9, 2, 3]]).float().repeat(3, 2, 1, 1)
    visible = torch.tensor([[1.0, 0.25], [1.0, 0.24], [0.9, 0.0]])[:, None].repeat(1, 2, 1)
    visible[:, 1] = 0
    batch = MnistBatch(
        torch.zeros(3, 2, 1, 12, 12, dtype=torch.uint8),
        *(boxes * (visible > 0)[..., None], torch.ones(3, 2, 2, dtype=torch.bool)),
        *(torch.tensor([[0, 1]] * 2), visible, torch.tensor([[3, 4]] * 2)),
        torch.tensor([[0, 0, 4, 4], [9, 9, 2, 8]]).float().repeat(3, 2, 1, 1),
    )
    objects, regions = truth(batch, 0, "ink")
    assert objects.frame.tolist() == [0, 0, 1, 2] and objects.id.tolist() == [0, 1, 0, 0]
    assert objects.box[1].tolist() == [9, 9, 2, 3]
    assert regions.frame.tolist() == [1] and regions.id.tolist() == [1]
    assert regions.box.tolist() == [[9, 9, 2, 3]]
    assert [len(part.id) for part in truth(batch, 1, "ink")] == [0, 0]
    _, regions = truth(batch, 0)  # out of sight, too; moved inside
    assert regions.frame.tolist() == [1, 2] and regions.box.tolist() == [[9, 4, 2, 8]] * 2
    assert len(truth(batch, 1)[1].id) == 6


def test_places_are_the_digits_boxes_wherever_they_are(drawn: Digits) -> None:
    batch = MovingMnist(MovingMnistConfig(), drawn).batch(3, 50, 10)
    there, whole = batch.presence, batch.visible == 1
    assert torch.equal(batch.places[there & whole], batch.boxes[there & whole])
    assert not batch.places[~there].any() and (batch.places[there][:, 2:] > 0).all()
    sight = there & (batch.visible > 0)
    assert (batch.boxes[sight][:, :2] >= batch.places[sight][:, :2]).all()
    end, whole_end = (b[sight][:, :2] + b[sight][:, 2:] for b in (batch.boxes, batch.places))
    assert (end <= whole_end).all()


def test_finding_a_region_is_neither_right_nor_wrong(drawn: Digits) -> None:
    batch = MovingMnist(MovingMnistConfig(counts=(1,)), drawn).batch(0, 60, 10)
    cases = [pair for pair in (truth(batch, b, "ink") for b in range(60)) if len(pair[1].id)]
    assert len(cases) > 5
    for objects, regions in cases:
        found = type(objects)(*(np.concatenate(pair) for pair in zip(objects[:4], regions[:4])))
        perfect = mot.evaluate(objects, objects, regions)
        assert mot.evaluate(objects, found, regions) == perfect and perfect["MOTA"] == 100
        assert mot.evaluate(objects, found)["MOTA"] < 100


def test_figures_of_the_specification(data_dir: Path) -> None:
    """Section 2, for MNIST's digits; shares are of 2,000 clips, margins four standard errors."""
    found = digits.load(data_dir / "mnist", "train")
    batch = MovingMnist(MovingMnistConfig(), found).batch(0, 2000, 10)
    exists, visible = batch.presence, batch.visible
    assert (visible[0][exists[0]] == 1).all()
    late = visible[5:][exists[5:]]
    assert 0.025 < (late == 0).float().mean() < 0.055
    assert 0.31 < (late < 0.5).float().mean() < 0.41
    right = ((visible > 0).sum(2) == exists.sum(2)).float().mean()
    assert 0.970 < right < 0.984
    frames = batch.frames.double() / 255
    assert 0.05 < frames.mean((0, 1)).max() < 0.064
    per_digit = frames.square().sum() / exists.sum()
    assert 63 < per_digit < 69


def test_speed(drawn: Digits) -> None:
    """Twenty thousand frames a second are asked for; an idle core makes ten times that."""
    source = MovingMnist(MovingMnistConfig(), drawn)
    took = []
    for seed in range(7):
        started = time.perf_counter()
        source.batch(seed, 32, 10)
        took.append(time.perf_counter() - started)
    assert 320 / min(took) > 20_000


@pytest.mark.gpu
def test_on_a_gpu(plates: Digits, gpu: torch.device) -> None:
    config = MovingMnistConfig(background=True, noise=0.05)
    noisy = MovingMnist(config, plates, gpu).batch(3, 64, 10)
    assert all(part.device.type == "cuda" for part in noisy)
    batch = MovingMnist(MovingMnistConfig(), plates, gpu).batch(3, 64, 10)
    again = MovingMnist(MovingMnistConfig(), plates, gpu).batch(3, 64, 10)
    assert all(torch.equal(a, b) for a, b in zip(batch, again))
    place = torch.arange(50, device=gpu)
    x, y, w, h = (part[..., None] for part in batch.boxes.unbind(-1))
    inside = ((place >= y) & (place < y + h))[..., :, None] & ((place >= x) & (place < x + w))[
        ..., None, :
    ]
    grey = (60 + 9 * batch.labels)[..., None, None]
    assert torch.equal((inside * grey).amax(2), batch.frames[:, :, 0].long())
