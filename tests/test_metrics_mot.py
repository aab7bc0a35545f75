"""common/metrics/mot.py against TrackEval's numbers, motmetrics and the definitions as loops."""

from __future__ import annotations

import importlib.resources
import json
import math

import numpy as np
import pytest
from mot_reference import BOX, box_iou, brute_hota, brute_identity, by_frame, random_pair, single

from common import tracks as tk
from common.metrics import clear, hota, identity, mot, overlap
from common.metrics.overlap import iou, nearness, overlaps


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_hota_is_its_definition(rng):
    for case in range(40):
        truth, tracks = random_pair(rng, objects=1 + case % 4)
        found = hota.scores(hota.count(overlaps(truth, tracks)))
        assert found == pytest.approx(brute_hota(truth, tracks), abs=1e-9)


def test_identity_is_the_best_matching_of_ids(rng):
    for case in range(30):
        truth, tracks = random_pair(rng, objects=1 + case % 3)
        found = identity.count(overlaps(truth, tracks))
        assert found == brute_identity(truth, tracks)


def test_both_libraries_are_matched_where_they_agree(rng):
    """ID metrics and motmetrics' CLEAR against motmetrics fed by its own front door."""
    import motmetrics

    scale = {"idf1": 100, "idp": 100, "idr": 100, "mota": 100, "num_switches": 1}
    scale = {**scale, "num_fragmentations": 1, "mostly_tracked": 1, "motp": 1}
    for _ in range(5):
        truth, tracks = random_pair(rng, frames=20, objects=4)
        g, p = by_frame(truth), by_frame(tracks)
        accumulator = motmetrics.MOTAccumulator()
        for t in sorted(g.keys() | p.keys()):
            a, b = g.get(t, []), p.get(t, [])
            near = [[box_iou(x, y) for _, y in b] for _, x in a]
            distance = np.array([[1 - v if v >= 0.5 else np.nan for v in row] for row in near])
            accumulator.update([i for i, _ in a], [i for i, _ in b], distance, frameid=t)
        expected = motmetrics.metrics.create().compute(
            accumulator, list(scale), return_dataframe=False
        )
        found = mot.evaluate(truth, tracks, clear="motmetrics")
        assert found["MOTP"] == pytest.approx(100 * (1 - expected["motp"]))
        keys = ["IDF1", "IDP", "IDR", "MOTA", "IDSW", "Frag", "MT"]
        for key, (name, unit) in zip(keys, scale.items()):
            assert found[key] == pytest.approx(unit * expected[name]), key


@pytest.fixture(scope="module")
def reference(data_dir):
    """Files of each comparison, and what TrackEval says of it."""
    folder = data_dir / "mot_results"
    shipped = importlib.resources.files("motmetrics") / "data"
    expected = json.loads((folder / "trackeval_reference.json").read_text())
    cases = []
    for kind, sequences in expected.items():
        for name, scores in sequences.items():
            own = folder / kind / f"{name}.txt"
            path = own if own.is_file() else shipped / name / "test.txt"
            truth = tk.read_mot_ground_truth(str(shipped / name / "gt.txt"))
            cases.append((f"{kind}/{name}", truth, tk.read_mot(str(path)), scores))
    return cases


def test_trackeval_says_the_same(reference):
    assert len(reference) == 4
    for name, truth, tracks, expected in reference:
        counts = mot.count(truth, tracks)
        found = {**mot.scores(counts), "TP": counts.clear.tp}
        for key, value in expected.items():
            assert found[key.removeprefix("CLR_")] == pytest.approx(value, abs=1e-3), (name, key)


def test_the_two_clear_rules_differ_as_published(reference):
    _, truth, tracks, _ = next(case for case in reference if case[0] == "noisy/TUD-Stadtmitte")
    assert mot.evaluate(truth, tracks)["MOTA"] == pytest.approx(75.346, abs=1e-3)
    other = mot.evaluate(truth, tracks, clear="motmetrics")
    assert other["MOTA"] == pytest.approx(75.692, abs=1e-3)


def test_a_match_survives_a_gap_only_by_motmetrics_rule():
    # Object 1 follows track 1, is missed once, and comes back with track 2 nearer than track 1.
    # Object 9 is there so that no frame is without boxes, which TrackEval would pass over.
    x, y, w, h = BOX
    near, far = (x + 1, y, w, h), (x + 4, y, w, h)
    other = (200.0, y, w, h)
    truth = [(t, 1, *BOX) for t in range(3)] + [(t, 9, *other) for t in range(3)]
    found = [(0, 1, *far), (2, 1, *far), (2, 2, *near)] + [(t, 9, *other) for t in range(3)]
    both = overlaps(single(truth), single(found))
    assert clear.count(both)[:5] == (5, 1, 1, 1, 1)  # tp fn fp switches fragmentations
    assert clear.count_motmetrics(both)[:5] == (5, 1, 1, 0, 1)
    # In consecutive frames both keep the match.
    found = [(0, 1, *far), (1, 1, *far), (1, 2, *near), (2, 1, *far)]
    both = overlaps(single(truth[:3]), single(found))
    assert clear.count(both)[:4] == clear.count_motmetrics(both)[:4] == (3, 0, 1, 0)


def test_clear_by_hand():
    x, y, w, h = BOX
    truth = single([(t, 1, *BOX) for t in range(10)])
    half = (x, y, w, h / 2)  # IoU exactly 0.5: a match
    less = (x, y, w, h / 2 - 0.01)
    rows = [(t, 5, *BOX) for t in range(6)] + [(6, 6, *half), (7, 6, *half), (8, 6, *less)]
    scores = mot.evaluate(truth, single(rows))
    assert scores["FN"] == 2 and scores["FP"] == 1 and scores["IDSW"] == 1
    assert scores["MOTA"] == pytest.approx(100 * (1 - 4 / 10))
    assert scores["MOTP"] == pytest.approx(100 * 7 / 8)  # mean IoU of the eight matches
    # 8 of 10 frames is not yet mostly tracked for TrackEval (over 0.8), but is for motmetrics
    assert (scores["MT"], scores["PT"], scores["ML"]) == (0, 1, 0)
    assert mot.evaluate(truth, single(rows), clear="motmetrics")["MT"] == 1
    assert mot.evaluate(truth, single(rows[:2]))["PT"] == 1  # 2 of 10
    assert mot.evaluate(truth, single(rows[:1]))["ML"] == 1
    strict = mot.evaluate(truth, single(rows), threshold=0.6)
    assert strict["FN"] == 4 and strict["FP"] == 3


@pytest.mark.parametrize(("height", "over"), [(12.0, 12), (11.999, 11)])
def test_a_threshold_is_reached_by_equality(height, over):
    """IoU 0.6 counts at 0.05 ... 0.6, whatever the floats nearest to these say."""
    counts = hota.count(overlaps(single([(0, 1, *BOX)]), single([(0, 1, 10, 10, 20, height)])))
    assert counts.tp.tolist() == [1] * over + [0] * (19 - over)


def test_a_perfect_tracker_scores_100(rng):
    truth, _ = random_pair(rng, frames=12)
    renamed = truth._replace(id=1000 - truth.id)
    scores = mot.evaluate(truth, renamed)
    assert list(scores) == list(mot.METRICS)
    for name in mot.METRICS[:9]:
        assert scores[name] == pytest.approx(100)
    assert scores["FP"] == scores["FN"] == scores["IDSW"] == scores["ML"] == 0
    assert all(isinstance(scores[name], int) for name in mot.METRICS[9:])
    assert all(isinstance(scores[name], float) for name in mot.METRICS[:9])


@pytest.mark.parametrize("rule", ["trackeval", "motmetrics"])
def test_empty_sides(rule):
    some = single([(0, 1, *BOX), (1, 1, *BOX)])
    missed = mot.evaluate(some, tk.empty(), clear=rule)
    assert (missed["FN"], missed["FP"], missed["ML"]) == (2, 0, 1)
    assert missed["HOTA"] == missed["MOTA"] == missed["IDF1"] == 0 and missed["LocA"] == 100
    invented = mot.evaluate(tk.empty(), some, clear=rule)
    assert (invented["FN"], invented["FP"], invented["MOTA"]) == (0, 2, 0)
    nothing = mot.evaluate(tk.empty(), tk.empty(), clear=rule)
    assert nothing["FP"] == nothing["FN"] == nothing["HOTA"] == 0


def test_combining_is_counting_both_as_one(rng):
    """Two sequences one after the other, with other ids, are one sequence to every count."""
    first, second = random_pair(rng, frames=9), random_pair(rng, frames=4)
    joint = [
        tk.concatenate((a, b._replace(frame=b.frame + 50, id=b.id + 500)))
        for a, b in zip(first, second)
    ]
    combined = mot.combine([mot.count(*first), mot.count(*second)])
    expected = mot.count(*joint)
    for a, b in zip(combined, expected):
        for x, y in zip(a, b):
            np.testing.assert_allclose(x, y)
    averaged = (mot.evaluate(*first)["HOTA"] + mot.evaluate(*second)["HOTA"]) / 2
    assert abs(mot.scores(combined)["HOTA"] - averaged) > 0.05


def test_centres_within_the_gate_match_whatever_the_sizes():
    truth = single([(t, 1, 10, 10, 20, 20) for t in range(4)])  # centre (20, 20)
    near, over = (25, 27, 2, 2), (25, 27.01, 2, 2)  # centres (26, 28), 10 pixels away, and more
    found = single([(0, 5, *near), (1, 5, *near), (2, 6, *near), (3, 6, *over)])
    assert mot.evaluate(truth, found)["IDF1"] == 0  # by IoU nothing matches
    scores = mot.evaluate(truth, found, similarity=nearness(10))
    assert (scores["FN"], scores["FP"], scores["IDSW"]) == (1, 1, 1)
    assert scores["MOTA"] == pytest.approx(100 * (1 - 3 / 4))
    assert scores["IDF1"] == pytest.approx(100 * 2 * 2 / 8)  # two boxes of the longer of both ids
    for gate in (0, -1, math.nan):
        with pytest.raises(ValueError, match="gate is"):
            nearness(gate)


def test_centre_scores_are_those_of_boxes_of_one_size_by_distance(rng):
    """motmetrics, fed distances, says the same."""
    import motmetrics

    for _ in range(5):
        truth, tracks = random_pair(rng, frames=15, objects=3)
        g, p = by_frame(truth), by_frame(tracks)
        accumulator = motmetrics.MOTAccumulator()
        for t in sorted(g.keys() | p.keys()):
            a, b = g.get(t, []), p.get(t, [])
            apart = [[math.dist(x[:2] + x[2:] / 2, y[:2] + y[2:] / 2) for _, y in b] for _, x in a]
            distance = np.array([[d if d <= 4 else np.nan for d in row] for row in apart])
            accumulator.update([i for i, _ in a], [i for i, _ in b], distance, frameid=t)
        names = ["idf1", "mota", "num_switches"]
        host = motmetrics.metrics.create()
        expected = host.compute(accumulator, names, return_dataframe=False)
        found = mot.evaluate(truth, tracks, clear="motmetrics", similarity=nearness(4))
        assert found["IDF1"] == pytest.approx(100 * expected["idf1"])
        assert found["MOTA"] == pytest.approx(100 * expected["mota"])
        assert found["IDSW"] == expected["num_switches"]


def test_who_keeps_the_id_of_the_first_frame():
    near, length = nearness(10), 5
    truth = [(t, 1, 10, 10, 8, 8) for t in range(4)]  # kept, kept, another id, not matched
    truth += [(t, 2, 50, 10, 8, 8) for t in (0, 2, 3)]  # unmatched at first: nothing to keep
    truth += [(t, 3, 90, 10, 8, 8) for t in (1, 2, 3, 4)]  # enters later
    found = [(0, 4, 12, 10, 8, 8), (1, 4, 10, 10, 2, 2), (2, 5, 10, 10, 8, 8)]
    found += [(2, 6, 50, 10, 8, 8), (3, 6, 50, 10, 8, 8), (1, 7, 90, 10, 8, 8)]
    counts = identity.count_kept(overlaps(single(truth), single(found), near), length)
    assert counts.same.tolist() == [1, 1, 0, 0, 0]
    assert counts.total.tolist() == [2, 1, 2, 2, 0]
    assert identity.share_kept(counts) == pytest.approx(1 / 5)
    both = identity.combine_kept([counts, counts])
    assert both.total.tolist() == [4, 2, 4, 4, 0]
    assert identity.share_kept(both) == pytest.approx(1 / 5)


@pytest.mark.parametrize("rows", [[], [(2, 1, 10, 10, 8, 8)], [(0, 1, 10, 10, 8, 8)]])
def test_without_an_object_in_the_first_frame_nobody_keeps_anything(rows):
    counts = identity.count_kept(overlaps(single(rows), single([(2, 1, 10, 10, 8, 8)])), 3)
    assert math.isnan(identity.share_kept(counts))
    assert counts.same.tolist() == [0, 0, 0]
    assert identity.count_kept(overlaps(single(rows), tk.empty()), 3).same.sum() == 0


def test_order_of_frames_and_names_do_not_matter(rng):
    truth, tracks = random_pair(rng, frames=15)
    expected = mot.evaluate(truth, tracks)
    order = np.argsort(-tracks.frame, kind="stable")
    assert mot.evaluate(truth, tk.take(tracks, order)) == pytest.approx(expected)
    moved = [t._replace(frame=t.frame * 3 + 7, id=10**9 - t.id) for t in (truth, tracks)]
    assert mot.evaluate(*moved) == pytest.approx(expected)


def test_many_pairs_are_found_in_pieces(rng, monkeypatch):
    truth, tracks = random_pair(rng, frames=30, objects=4)
    whole = overlaps(truth, tracks)
    sizes = []
    monkeypatch.setattr(overlap, "PAIRS_AT_ONCE", 20)
    monkeypatch.setattr(overlap, "iou", lambda a, b: sizes.append(len(a)) or iou(a, b))
    for a, b in zip(whole, overlaps(truth, tracks)):
        np.testing.assert_array_equal(a, b)
    assert len(sizes) > 5 and max(sizes) < 20 + 4 * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 0.0}, "threshold is 0.0, expected above 0"),
        ({"threshold": math.nan}, "threshold is nan"),
        ({"clear": "other"}, "expected one of trackeval, motmetrics"),
        ({"tracks": single([(0, 1, *BOX)])._replace(box=np.zeros((1, 4)))}, "tracks, row 0"),
        ({"truth": single([(0, 1, *BOX)])._replace(frame=np.array([-1]))}, "ground truth, row 0"),
    ],
)
def test_what_cannot_be_scored_is_refused(change, message):
    settings = {"truth": single([(0, 1, *BOX)]), "tracks": single([(0, 1, *BOX)]), **change}
    with pytest.raises(ValueError, match=message):
        mot.count(**settings)
    with pytest.raises(ValueError, match="no sequences"):
        mot.combine([])
