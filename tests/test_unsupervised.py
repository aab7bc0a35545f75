"""experiments/unsupervised.py and findings.py, with a model of which all is known."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from lanes import FINE, Lanes, Reader

from common import tracks as tk
from datasets.moving_mnist import truth
from experiments import findings, unsupervised

SEQUENCES, LENGTH, PARTICLES = 9, 12, 3


def score(model, sequences=SEQUENCES, particles=PARTICLES, ids=True, length=LENGTH, seed=0):
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for batch in unsupervised.blocks(Lanes(), sequences, length, seed):
        parts += unsupervised.score(model, batch, particles, generator, ids=ids)
    return unsupervised.join(parts)


def values(model, **settings) -> dict:
    return findings.summarise(score(model, **settings), None, PARTICLES, 0)


def judged(sequences=SEQUENCES, length=LENGTH) -> list[tk.Tracks]:
    """Ground truth of every sequence."""
    (batch,) = unsupervised.blocks(Lanes(), sequences, length, 0)
    return [truth(batch, column)[0] for column in range(sequences)]


def test_who_sees_everything_is_right_in_everything() -> None:
    found = values(Reader())
    for name in ("counting", "mota", "idf1", "hota", "mota_10px", "idf1_10px", "same_id"):
        assert found[name] == pytest.approx(1), name
    assert (found["id_switches"], found["late_discoveries"], found["reasons"]) == (0, 0, {})
    # Two of three particles weigh the same, the third nothing.
    total = LENGTH * FINE
    assert found["iwae_k3"] == pytest.approx(total + math.log(2 / 3))
    assert found["elbo"] == pytest.approx((2 * total + LENGTH * -1000) / 3)
    assert found["reconstruction"] == pytest.approx(total + 3 * LENGTH)
    assert found["kl"] == pytest.approx(3 * LENGTH)
    assert found["ess"] == pytest.approx(2)
    assert found["per_count"]["2"]["sequences"] == 3
    assert found["counting_by_time"] == pytest.approx([1] * LENGTH)


def test_the_data_hold_what_is_to_be_ignored() -> None:
    """Rectangles leave to the right: for a frame or so, less than a quarter of them is in sight."""
    (batch,) = unsupervised.blocks(Lanes(), SEQUENCES, LENGTH, 0)
    regions = sum(len(truth(batch, column)[1].id) for column in range(SEQUENCES))
    assert regions > 0
    found = score(Reader()).ids.overlap.clear
    assert found.fp == 0
    assert found.tp == sum(len(objects.id) for objects in judged())


def test_a_swap_is_two_switches_and_half_of_the_ids() -> None:
    found = values(Reader(swap=4))
    pairs = [objects for objects in judged() if len(np.unique(objects.id)) == 2]
    later = [objects.frame[objects.frame >= 4] for objects in pairs]
    switches = sum(len({*objects.id[objects.frame >= 4]}) for objects in pairs)
    assert switches > 2
    assert found["id_switches"] == found["id_switches_10px"] == switches
    boxes = sum(len(objects.id) for objects in judged())
    assert found["mota"] == pytest.approx(1 - switches / boxes)
    after_first = sum((objects.frame > 0).sum() for objects in judged())
    assert found["same_id"] == pytest.approx(1 - sum(map(len, later)) / after_first)
    shares = found["same_id_by_time"]
    assert shares[3] == 1 > shares[4]
    assert found["counting"] == 1
    assert found["late_discoveries"] == 0  # no new id


def test_new_ids_are_late_discoveries() -> None:
    found = values(Reader(late=5))
    assert found["late_discoveries"] == pytest.approx((3 * 1 + 3 * 2) / 9 / (LENGTH - 1))
    assert found["per_count"]["2"]["late_discoveries"] == pytest.approx(2 / (LENGTH - 1))
    assert found["same_id_by_time"][4:6] == [1, 0]
    assert found["idf1"] < 0.9


def test_who_overlooks_the_second_object() -> None:
    found = values(Reader(blind=1))
    assert found["counting"] == pytest.approx(2 / 3)
    assert [found["per_count"][n]["counting"] for n in "012"] == [1, 1, 0]
    boxes = [len(objects.id) for objects in judged()]
    second = sum(int((objects.id == 1).sum()) for objects in judged())
    assert found["mota"] == pytest.approx(1 - second / sum(boxes))


def test_painting_beside_the_object_is_right_by_centre_only() -> None:
    """5 pixels to the right and below: IoU 15 / 145."""
    found = values(Reader(shift=5), length=5)
    assert found["idf1"] == 0 > found["mota"]
    assert found["idf1_10px"] == found["same_id"] == 1
    far = values(Reader(shift=9), length=5)  # 12.7 pixels
    assert far["idf1_10px"] == far["same_id"] == 0


def test_memory_is_bounded_and_nothing_depends_on_the_pieces(monkeypatch) -> None:
    whole, model = score(Reader()), Reader()
    monkeypatch.setattr(unsupervised, "PIXELS", 2 * LENGTH * PARTICLES * 2500 + 1)
    parts = score(model)
    assert model.rows == [2 * LENGTH * PARTICLES] * 4 + [LENGTH * PARTICLES]
    for name in ("iwae", "elbo", "correct", "late", "count", "features", "labels"):
        assert torch.equal(getattr(whole, name), getattr(parts, name)), name
    assert parts.correct.shape == (LENGTH, SEQUENCES)
    assert whole.ids.overlap.clear == parts.ids.overlap.clear


def test_a_long_sequence_has_its_particles_in_turns(monkeypatch) -> None:
    model, frames = Reader(), Lanes().batch(0, 3, LENGTH).frames
    monkeypatch.setattr(unsupervised, "PIXELS", 4 * LENGTH * 2500)
    parts = list(unsupervised.bound(model, frames, 10))
    assert model.rows == [4 * LENGTH, 4 * LENGTH, 2 * LENGTH] * 3
    # Each turn's last particle weighs nothing: three of ten.
    expected = [LENGTH * FINE + math.log(7 / 10)] * 3
    assert torch.cat(parts).tolist() == pytest.approx(expected)


def test_blocks_hold_the_asked_number_and_are_the_same_for_all() -> None:
    sizes = [b.frames.shape[:2] for b in unsupervised.blocks(Lanes(), 150, 3, 1)]
    assert sizes == [(3, 64), (3, 64), (3, 22)]
    first, second, _ = unsupervised.blocks(Lanes(), 150, 3, 1)
    assert not torch.equal(first.frames, second.frames)
    (few,) = unsupervised.blocks(Lanes(), 64, 3, 1)
    assert torch.equal(few.frames, first.frames)


@pytest.mark.parametrize(
    ("model", "reason", "counted"),
    [
        (Reader(objects=False), findings.NO_OBJECTS, False),
        (Reader(), findings.NO_IDS, True),
    ],
)
def test_what_a_model_cannot_do_is_not_scored(model, reason, counted) -> None:
    found = values(model, ids=False)
    for name in (*findings.FOLLOWED, "late_discoveries"):
        assert found[name] is None
        assert found["reasons"][name] == reason
    assert found["counting"] == (1 if counted else None)
    assert found["iwae_k3"] < 0
    text = findings.table(found)
    assert f"not scored, {reason}" in text
    assert "tracks" not in text.splitlines()


def test_without_an_object_in_sight_there_is_nothing_to_follow() -> None:
    found = values(Reader(), sequences=1)  # the first one is empty
    assert found["mota"] is None
    assert found["reasons"]["idf1"] == findings.NO_TRUTH
    assert found["counting"] == 1
    assert findings.NO_TRUTH in findings.table(found)


def test_tables_show_what_was_found() -> None:
    scored = score(Reader(swap=4))
    found = findings.summarise(scored, scored.iwae + 1, 3, 50)
    lines = {line[:18].strip(): line.split() for line in findings.table(found).splitlines()}
    assert lines["sequences"][1:] == ["9", "3", "3", "3"]
    assert lines["IWAE, K = 50"][4] == f"{found['iwae_k50']:,.1f}"
    assert lines["counting accuracy"][2:] == ["1.000"] * 4
    tracks = next(line.split() for line in findings.table(found).splitlines() if "IoU .5 " in line)
    assert tracks[2] == f"{found['mota']:.3f}"[1:]
    figure = findings.figure(scored)
    curve = figure.axes[1].lines[0].get_ydata()
    assert list(curve) == pytest.approx(found["same_id_by_time"])
    with pytest.raises(ValueError, match="no objects"):
        findings.figure(scored._replace(correct=None))


def test_scoring_is_quick() -> None:
    """Noisy tracks of 64 sequences of 10 frames; 512 may take 20 s, a quarter is expected."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(64):
        rows = [(t, n, *rng.uniform(0, 35, 2), 15, 18) for t in range(10) for n in range(2)]
        frame, name, *box = np.array(rows).T
        found = tk.build(frame, name, np.stack(box, 1) + rng.normal(0, 1, (len(rows), 4)))
        objects = tk.build(frame, name, np.stack(box, 1))
        chosen = rng.random(len(rows)) < 0.9
        hidden = tk.take(objects, ~chosen)
        sequences.append((tk.take(objects, chosen), (hidden, hidden), found))
    unsupervised.compare(*sequences[0], 10)  # imports
    start = time.process_time()
    unsupervised.combine([unsupervised.compare(*sequence, 10) for sequence in sequences])
    assert time.process_time() - start < 20 / 8
