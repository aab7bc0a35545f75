"""common/metrics/ignore.py on hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
from mot_reference import BOX, single

from common import tracks as tk
from common.metrics import mot
from common.metrics.ignore import drop_ignored, select_category
from common.metrics.overlap import nearness


def test_boxes_in_an_ignored_region_are_neither_right_nor_wrong():
    truth = single([(0, 1, *BOX), (1, 1, *BOX)])
    inside, outside = (100.0, 100.0, 10.0, 10.0), (300.0, 100.0, 10.0, 10.0)
    mostly, half = (94.0, 90.0, 10.0, 25.0), (95.0, 100.0, 10.0, 10.0)
    rows = [(0, 1, *BOX), (0, 2, *inside), (0, 3, *outside), (0, 4, *mostly), (0, 5, *half)]
    tracks = single([*rows, (1, 2, *inside)])
    region = tk.build([0, 0], [-1, -1], [(100, 80, 50, 60), (0, 0, 45, 45)], label=["DontCare"] * 2)
    kept = drop_ignored(truth, tracks, region)
    # Kept: what matches an object (though in a region), lies outside, or is only half inside one;
    # and the box at the region's place in a frame without regions. "mostly" is 40 % inside.
    assert list(zip(kept.frame, kept.id)) == [(0, 1), (0, 3), (0, 4), (0, 5), (1, 2)]
    wider = region._replace(box=region.box + [[-2, 0, 2, 0], [0, 0, 0, 0]])
    kept = drop_ignored(truth, tracks, wider)
    assert list(zip(kept.frame, kept.id)) == [(0, 1), (0, 3), (1, 2)]
    scores = mot.evaluate(truth, tracks, wider)
    assert (scores["FP"], scores["FN"]) == (2, 1)
    assert mot.evaluate(truth, tracks)["FP"] == 5
    assert mot.evaluate(truth, tracks, tk.empty()) == mot.evaluate(truth, tracks)


def test_only_one_of_two_boxes_on_an_object_is_matched():
    x, y, w, h = BOX
    tracks = single([(0, 1, x + 2, y, w, h), (0, 2, *BOX)])
    region = single([(0, 1, 0, 0, 90, 90)])
    truth = single([(0, 1, *BOX)])
    assert drop_ignored(truth, tracks, region).id.tolist() == [2]
    far = single([(0, 1, x + 8, y, w, h)])  # IoU 3 / 7 is no match
    assert drop_ignored(truth, far, region).id.tolist() == []
    assert drop_ignored(truth, far, region, threshold=0.4).id.tolist() == [1]


def test_neighbouring_categories_are_ignored():
    kitti = tk.build(
        np.zeros(5), np.arange(5), [BOX] * 5, label=["Car", "Van", "Person", "Pedestrian", "Truck"]
    )
    cars, vans = select_category(kitti, "car")
    assert cars.id.tolist() == [0] and vans.id.tolist() == [1]
    people, sitting = select_category(kitti, "Pedestrian")
    assert people.id.tolist() == [3] and sitting.id.tolist() == [2]
    trucks, none = select_category(kitti, "Truck")
    assert trucks.id.tolist() == [4] and none.id.tolist() == []
    with pytest.raises(ValueError, match="no labels"):
        select_category(single([(0, 1, *BOX)]), "Car")


def test_finding_a_van_is_no_mistake_when_cars_are_scored():
    van = (100.0, 10.0, 30.0, 20.0)
    labels = tk.build([0, 0], [1, 2], [BOX, van], label=["Car", "Van"])
    cars, ignored = select_category(labels, "Car")
    found = single([(0, 8, *BOX), (0, 9, 101, 10, 30, 20)])
    scores = mot.evaluate(cars, found, ignored)
    assert (scores["FP"], scores["FN"]) == (0, 0) and scores["HOTA"] == pytest.approx(100)
    assert mot.evaluate(cars, found)["FP"] == 1
    assert mot.evaluate(cars, single([(0, 8, *BOX)]), ignored)["FN"] == 0  # nor is missing it


def test_what_matches_an_ignored_object_is_excused_though_most_of_it_is_outside():
    truth, region = single([]), single([(0, 7, 10, 10, 4, 12)])
    wide = (10.0, 10.0, 8.0, 12.0)  # IoU exactly 1/2, and half of it inside: a match, but no more
    wider = (10.0, 10.0, 8.1, 12.0)
    small = (11.0, 11.0, 1.0, 1.0)  # inside
    for box, kept in ((wide, 0), (wider, 1), (small, 0)):
        assert len(drop_ignored(truth, single([(0, 3, *box)]), region).id) == kept
        assert mot.evaluate(truth, single([(0, 3, *box)]), region)["FP"] == kept
    # An object to judge at the same place is matched all the same.
    found = single([(0, 3, *wide)])
    assert mot.evaluate(single([(0, 1, *wide)]), found, region)["IDF1"] == pytest.approx(100)


def test_regions_excuse_by_the_similarity_that_objects_are_matched_by():
    region, far = single([(0, 7, 10, 10, 4, 4)]), single([(0, 1, 200, 10, 4, 4)])
    beside = single([(0, 3, 19, 10, 4, 4)])  # 9 pixels away, without overlap
    assert len(drop_ignored(far, beside, region).id) == 1
    assert len(drop_ignored(far, beside, region, similarity=nearness(10)).id) == 0
    assert len(drop_ignored(far, beside, region, similarity=nearness(8.9)).id) == 1
    judged = single([(0, 1, 22, 10, 4, 4)])
    assert len(drop_ignored(judged, beside, region, similarity=nearness(10)).id) == 1
