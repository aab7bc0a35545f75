"""What steers training, on a recording whose boxes are known."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

import datasets.source
from common.curriculum import Stage
from experiments.hart_recipe import TrainOptions, make_validate
from experiments.validation import make_validation
from hart.state import Step
from tests.film import Film

STAGE = Stage("test", 4)


class Drift(nn.Module):
    """A tracker's model that moves every box alike."""

    class State(NamedTuple):
        box: Tensor

    def __init__(self, x: float, y: float) -> None:
        super().__init__()
        self.velocity = nn.Parameter(torch.tensor([x, y, 0.0, 0.0]))

    def init(self, frame: Tensor, boxes: Tensor) -> tuple[State, Step]:
        nothing = boxes.new_zeros(*boxes.shape[:2], 0, 0)
        return self.State(boxes), Step(boxes, boxes, nothing, nothing, {})

    def step(self, frame: Tensor, state: State) -> tuple[State, Step]:
        return self.init(frame, state.box + self.velocity)


def static_iou(length: int) -> float:
    """Of a 16 x 24 box that stays while the object walks (3, 1) pixels a frame; frames 1 to end."""
    shared = [max(16 - 3 * t, 0) * (24 - t) for t in range(1, length)]
    return sum(s / (2 * 16 * 24 - s) for s in shared) / len(shared)


def test_the_score_is_the_mean_iou_of_the_model_as_it_is() -> None:
    model = Drift(0, 0)
    validate = make_validation(model, {"film": [Film()]}, length=6, stride=4)
    assert validate(STAGE) == pytest.approx({"mean_iou": static_iou(6), "iou/film": static_iou(6)})
    model.velocity.data[:2] = torch.tensor([3.0, 1.0])
    assert validate(STAGE)["mean_iou"] == pytest.approx(1)


def test_every_source_counts_the_same_and_the_first_metric_is_their_mean() -> None:
    standing, walking = Film(40), Film(12)
    standing.tracks = standing.tracks._replace(box=standing.tracks.box[:1].repeat(40, 0))
    sources = {"standing": [standing], "walking": [walking]}
    scores = make_validation(Drift(3, 1), sources, length=6, stride=3)(STAGE)
    assert next(iter(scores)) == "mean_iou"
    assert scores["iou/walking"] == pytest.approx(1)
    assert scores["iou/standing"] == pytest.approx(static_iou(6))
    assert scores["mean_iou"] == pytest.approx((1 + static_iou(6)) / 2)


def test_a_source_without_a_long_track_is_refused() -> None:
    sources = {"film": [Film()], "short": [Film(5)]}
    with pytest.raises(ValueError, match="--validate short: no track of 6 frames"):
        make_validation(Drift(0, 0), sources, length=6)


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (("mot:data/one/", "sprites"), {"iou/one", "iou/sprites"}),
        (("mot:a/same", "mot:b/same"), {"iou/mot:a/same", "iou/mot:b/same"}),
    ],
)
def test_sources_go_by_short_names_where_these_differ(
    sources: tuple[str, ...], names: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.source, "load", lambda source: [Film(30)])
    scores = make_validate(Drift(0, 0), TrainOptions(validate=sources))(STAGE)
    assert set(scores) == {"mean_iou"} | names
