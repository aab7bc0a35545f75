"""A model in use: what it gives agrees with itself, and with the model that it asks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sqair_small import small, video

from common.tracks import Tracks
from sqair import painted, sample
from sqair.inference import Inference
from sqair.state import Slots

FRAMES = video(4, 3)


@pytest.fixture(scope="module")
def sqair() -> Inference:
    return Inference(small())


def rows(tracks: Tracks) -> set[tuple]:
    return {(t, i, *b) for t, i, b in zip(tracks.frame, tracks.id, tracks.box.tolist())}


def expected(slots: Slots, boxes: torch.Tensor) -> set[tuple]:
    """Rows of slots ``(T, K, ...)``: what is there and paints something."""
    return {
        (t, int(slots.id[t, k]), *boxes[t, k].tolist())
        for t, k in slots.presence.nonzero().tolist()
        if boxes[t, k, 2] > 0
    }


def test_the_heaviest_particle_is_given(sqair: Inference) -> None:
    found = sqair.infer(FRAMES, particles=6, seed=4)
    with sample.seeded(4), torch.no_grad():
        run = sqair.model.unroll(FRAMES, 6)
    best = run.log_weight.sum(0).argmax(0)
    assert len(set(best.tolist())) > 1
    for b in range(3):
        for ours, theirs in zip(found.slots, run.slots):
            assert torch.equal(ours[:, b], theirs[:, best[b], b])
    rendered = sqair.model.decode(found.slots)
    for ours, theirs in zip(found.rendered, rendered):
        torch.testing.assert_close(ours, theirs.detach())
    boxes = painted.boxes(found.slots, rendered.glimpses, rendered.canvases)
    assert torch.equal(found.boxes, boxes)
    assert len(found.tracks) == 3
    for b, tracks in enumerate(found.tracks):
        own = Slots(*(part[:, b] for part in found.slots))
        assert rows(tracks) == expected(own, boxes[:, b]) != set()


def test_a_video_without_a_batch_has_tracks_of_its_own(sqair: Inference) -> None:
    batch, single = sqair.infer(FRAMES[:, :1], seed=1), sqair.infer(FRAMES[:, 0], seed=1)
    assert rows(single.tracks) == rows(batch.tracks[0])
    assert single.boxes.shape == (4, 2, 4)
    assert torch.equal(single.slots.where, batch.slots.where[:, 0])
    assert single.rendered.canvas.shape == (4, 1, 12, 12)
    assert single.rendered.glimpses.shape == (4, 2, 1, 4, 4)


def test_any_pixels_will_do(sqair: Inference) -> None:
    plain = sqair.infer(FRAMES[:, 0])
    colour = FRAMES[:, 0].expand(-1, 3, -1, -1)
    for frames in (FRAMES[:, 0] / 255, colour, colour.numpy(), colour.double() / 255):
        np.testing.assert_allclose(sqair.infer(frames).tracks.box, plain.tracks.box, atol=1e-3)


def test_tracks_are_in_pixels_of_the_given_frames(sqair: Inference) -> None:
    """A video four times as large, and wider than high: boxes are where they were, only larger."""
    large = FRAMES[:, 0].repeat_interleave(4, -1).repeat_interleave(4, -2)
    with pytest.raises(ValueError, match="48 x 48 pixels, the model sees 12 x 12"):
        sqair.infer(large)
    found = sqair.infer(large, resize=True)
    for t, name, *box in rows(found.tracks):
        [k] = (found.slots.id[t] == name).nonzero()
        np.testing.assert_allclose(box, 4 * found.boxes[t, k].squeeze(0), rtol=1e-5)
    cut = sqair.infer(large[:, :, 12:36], seed=1, resize=True)
    assert len(cut.tracks.id)
    assert cut.tracks.box[:, 1].min() >= 0
    assert (cut.tracks.box[:, 1] + cut.tracks.box[:, 3]).max() <= 24


def test_samples(sqair: Inference) -> None:
    found = sqair.sample(5, 3, seed=2)
    raw = sample.imagine(sqair.model, 5, 3, seed=2)
    assert found.frames.shape == (5, 3, 1, 12, 12)
    assert torch.equal(found.frames, raw.frames[:, :, 0])
    assert torch.equal(found.slots.where, raw.slots.where[:, :, 0])
    for n, tracks in enumerate(found.tracks):
        own = Slots(*(part[:, n] for part in found.slots))
        assert rows(tracks) == expected(own, found.boxes[:, n])
    assert sum(len(tracks.id) for tracks in found.tracks)


def test_futures(sqair: Inference) -> None:
    found = sqair.predict(FRAMES, 2, 3, seed=2, particles=4)
    raw = sample.futures(sqair.model, FRAMES, 2, 3, seed=2, particles=4)
    assert torch.equal(found.frames, raw.frames)
    assert found.boxes.shape == (6, 3, 3, 2, 4)
    assert [len(one) for one in found.tracks] == [3, 3, 3]
    own = Slots(*(part[:, 1, 2] for part in found.slots))
    assert rows(found.tracks[1][2]) == expected(own, found.boxes[:, 1, 2])
    large = FRAMES[:, 0].repeat_interleave(2, -1).repeat_interleave(2, -2)
    single = sqair.predict(large, 2, 3, resize=True)
    assert single.frames.shape == (6, 3, 1, 12, 12)
    own = Slots(*(part[:, 2] for part in single.slots))
    assert rows(single.tracks[2]) == expected(own, 2 * single.boxes[:, 2])


def test_random_numbers_of_others_are_left_alone(sqair: Inference) -> None:
    before = torch.get_rng_state()
    one, two = sqair.infer(FRAMES, seed=1), sqair.infer(FRAMES, seed=1)
    assert torch.equal(one.slots.where, two.slots.where)
    assert not torch.equal(one.slots.where, sqair.infer(FRAMES, seed=2).slots.where)
    sqair.sample(2, 2)
    sqair.predict(FRAMES, 2, 2)
    assert torch.equal(before, torch.get_rng_state())


def test_results_carry_no_gradients_and_the_model_is_in_evaluation_mode() -> None:
    inference = Inference(small().train())
    assert not inference.model.training
    found = inference.infer(FRAMES)
    assert not found.rendered.canvas.requires_grad
    assert not inference.sample(2, 2).frames.requires_grad


def test_air_is_used_alike() -> None:
    air = Inference(small("air"))
    found = air.infer(FRAMES)
    names = [tracks.id for tracks in found.tracks]
    assert all(len(set(ids)) == len(ids) for ids in names) and sum(map(len, names))
    assert air.predict(FRAMES, 2, 3).frames.shape == (6, 3, 3, 1, 12, 12)
    assert air.sample(3, 2).frames.shape == (3, 2, 1, 12, 12)


def test_wrong_use_is_an_error(sqair: Inference) -> None:
    with pytest.raises(ValueError, match="a Vrnn knows no objects"):
        Inference(small("vrnn"))
    with pytest.raises(ValueError, match="particles 0"):
        sqair.infer(FRAMES, particles=0)
    with pytest.raises(ValueError, match="frames 0: expected 1 or more"):
        sqair.sample(0)
    with pytest.raises(ValueError, match=r"\(T, C, H, W\) or \(T, B, C, H, W\).*got \(12, 12\)"):
        sqair.infer(np.zeros((12, 12)))
