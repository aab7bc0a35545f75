"""Figures of what models make of videos."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from sqair_small import small, video

from common.overlay import colour
from experiments import pictures
from sqair import sample
from sqair.inference import Inference

FRAMES = video(5, 3)


def shown(figure: object) -> list[np.ndarray]:
    """Pictures as grey values, in order."""
    return [np.asarray(image.get_array())[..., 0] for image in figure.axes[0].images]


def labels(figure: object) -> list[str]:
    texts = (text.get_text() for text in figure.axes[0].texts)
    return [text for text in texts if text and not text.isdigit()]


@pytest.mark.parametrize("name", ["sqair", "air"])
def test_reconstructions(name: str) -> None:
    model = small(name)
    figure = pictures.reconstructions(model, FRAMES, shown=2, seed=3, title="step 100")
    with sample.seeded(3), torch.no_grad():
        slots = model.unroll(FRAMES[:, :2], 1).slots
    found = model.decode(slots)
    assert labels(figure) == ["input", "reconstruction", "objects"] * 2
    assert [text.get_text() for text in figure.texts] == ["step 100"]
    images = shown(figure)
    canvas = (found.canvas[:, 0].detach().clamp(0, 1) * 255).round()
    start = 0
    for b in range(2):
        for t in range(5):
            np.testing.assert_array_equal(images[start + t], FRAMES[t, b, 0])
            np.testing.assert_allclose(images[start + 5 + t], canvas[t, b, 0], atol=1)
        start += 10 + int(slots.presence[:, 0, b].sum())
    assert len(images) == start
    ids = set(slots.id[slots.presence > 0].tolist())
    edges = {to_rgb(patch.get_edgecolor()) for patch in figure.axes[0].patches if not patch.fill}
    assert edges == {to_rgb(np.divide(colour(name), 255)) for name in ids} != set()


def test_a_model_without_objects_has_its_reconstructions_drawn() -> None:
    figure = pictures.reconstructions(small("vrnn"), FRAMES)
    assert labels(figure) == ["input", "reconstruction"] * 3
    assert len(shown(figure)) == 30
    assert len({image.tobytes() for image in shown(figure)}) > 15


@pytest.mark.parametrize("name", ["sqair", "vrnn"])
def test_drawing_changes_nothing(name: str) -> None:
    model = small(name).train()
    before = torch.get_rng_state()
    first = pictures.reconstructions(model, FRAMES)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    torch.manual_seed(5)
    again = pictures.reconstructions(model, FRAMES)
    for one, other in zip(shown(first), shown(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_long_videos_are_drawn_in_part() -> None:
    figure = pictures.reconstructions(small(), video(45, 1))
    numbers = [int(t.get_text()) for t in figure.axes[0].texts if t.get_text().isdigit()]
    assert len(numbers) == pictures.FRAMES
    assert (numbers[0], numbers[-1]) == (1, 45)
    assert len(set(np.diff(numbers))) <= 2


def test_futures_stand_below_what_came() -> None:
    videos = Inference(small()).predict(FRAMES[:3, 0], 4, 2)
    came = FRAMES[:, 0] / 255
    figure = pictures.videos_figure(videos, came, 3)
    assert labels(figure) == ["what came", "future 1", "future 2", "observed", "imagined"]
    images = shown(figure)
    assert len(images) == 3 * 7
    for t in range(5):
        np.testing.assert_array_equal(images[t], FRAMES[t, 0, 0])
    assert (images[5] == round(255 * pictures.EMPTY)).all()  # there is no more of it
    for n in range(2):
        for t in range(3):
            np.testing.assert_array_equal(images[7 * (n + 1) + t], FRAMES[t, 0, 0])
    few = pictures.videos_figure(videos, came, 3, columns=3)  # frames 1, 4 and 7
    assert len(shown(few)) == 9
    np.testing.assert_array_equal(shown(few)[1], FRAMES[3, 0, 0])
    assert labels(pictures.videos_figure(videos)) == ["sample 1", "sample 2"]


def test_videos_side_by_side() -> None:
    videos = Inference(small()).predict(FRAMES[:3, 0], 2, 2, seed=7)
    images = list(pictures.side_by_side(videos, FRAMES[:, 0] / 255, 3))
    assert len(images) == 5
    assert len({image.shape for image in images}) == 1
    grounds = [tuple(image[0, 0]) for image in images]
    assert grounds == [pictures.WATCHED] * 3 + [pictures.IMAGINED] * 2
    scale = -(-pictures.TILE // 12)
    side, gap = 12 * scale, 6
    head = images[0].shape[0] - 2 * (side + gap) - gap
    rows = slice(head + gap, head + gap + side)
    came, future = images[1][rows, gap:][:, :side], images[1][rows, 2 * gap + side :][:, :side]
    np.testing.assert_array_equal(came[::scale, ::scale, 0], FRAMES[1, 0, 0])  # without boxes
    [k] = (videos.boxes[1, 0, :, 2] > 0).nonzero().flatten().tolist()
    x, y, w, h = (videos.boxes[1, 0, k] * scale).int().tolist()
    assert tuple(future[y + h - 1, x + w - 1]) == colour(int(videos.slots.id[1, 0, k]))
    beside = np.ones((side, side), bool)
    beside[max(y - 20, 0) : y + h, x : max(x + w, x + 20)] = False  # the box, and its number
    np.testing.assert_array_equal(future[beside], came[beside])
