"""Stages: gates on measured quality, step limits, restarts, ramps."""

from __future__ import annotations

import pytest

from common.curriculum import (
    Decision,
    Progress,
    Ramp,
    Stage,
    decide,
    length_stages,
    reached,
)

TWO = (
    Stage("first", 1, min_steps=100, max_steps=300, gate={"iou": 0.6}, limits={"late": 0.1}),
    Stage("second", 10, max_steps=50),
)


def test_a_stage_lasts_until_its_gate_is_met_after_min_steps() -> None:
    good, poor, late = ({"iou": i, "late": x} for i, x in ((0.6, 0.1), (0.59, 0.0), (0.9, 0.2)))
    assert decide(TWO, Progress(0, 99), good) == (Progress(0, 99), Decision.STAY)
    assert decide(TWO, Progress(0, 100), poor)[1] is Decision.STAY
    assert decide(TWO, Progress(0, 100), late)[1] is Decision.STAY
    assert decide(TWO, Progress(0, 100), None)[1] is Decision.STAY
    assert decide(TWO, Progress(0, 100), good) == (Progress(1, 0, 0), Decision.ADVANCE)


def test_a_stage_ends_at_max_steps_whatever_its_quality() -> None:
    assert decide(TWO, Progress(0, 299), {"iou": 0, "late": 1})[1] is Decision.STAY
    assert decide(TWO, Progress(0, 300), {"iou": 0, "late": 1}) == (Progress(1), Decision.ADVANCE)


def test_an_empty_gate_is_never_met_and_the_last_stage_finishes() -> None:
    assert decide(TWO, Progress(1, 49), {"iou": 1.0})[1] is Decision.STAY
    assert decide(TWO, Progress(1, 50), None) == (Progress(1, 50), Decision.FINISH)
    assert decide((Stage("endless", 1),), Progress(0, 10**6), {})[1] is Decision.STAY


def test_a_bad_stage_restarts_until_its_restarts_are_used_up() -> None:
    stages = (
        Stage("a", 1, max_steps=900, gate={"score": 0.9}, restarts=2, restart_after=200,
              restart_gate={"score": 0.5}),
        Stage("b", 2),
    )  # fmt: skip
    assert decide(stages, Progress(0, 199), {"score": 0.1})[1] is Decision.STAY
    assert decide(stages, Progress(0, 200), {"score": 0.6})[1] is Decision.STAY
    for restarts in (0, 1):
        state, decision = decide(stages, Progress(0, 200, restarts), {"score": 0.1})
        assert (state, decision) == (Progress(0, 0, restarts + 1), Decision.RESTART)
    assert decide(stages, Progress(0, 200, 2), {"score": 0.1})[1] is Decision.STAY
    assert decide(stages, Progress(0, 900, 2), {"score": 0.1})[1] is Decision.ADVANCE


def test_without_its_own_gate_a_restart_is_decided_at_max_steps_by_the_stage_gate() -> None:
    stages = (Stage("a", 1, max_steps=100, gate={"score": 0.9}, restarts=1),)
    assert decide(stages, Progress(0, 50), {"score": 0.1})[1] is Decision.STAY
    assert decide(stages, Progress(0, 100), {"score": 0.1})[1] is Decision.RESTART
    assert decide(stages, Progress(0, 100), {"score": 0.9})[1] is Decision.FINISH


def test_a_value_that_is_not_finite_reaches_nothing_and_a_missing_one_is_named() -> None:
    assert reached({"a": 1.0, "b": 0.0}, {"a": 1.0}, {"b": 0.0})
    assert not reached({"a": float("nan")}, {"a": 0.0}, {})
    assert not reached({"a": float("inf")}, {"a": 0.0}, {})
    with pytest.raises(ValueError, match="gate on iou, but validation measures auc"):
        reached({"auc": 1.0}, {"iou": 0.5}, {})


def test_ramps_in_settings_and_rate_are_resolved_by_the_step_in_the_stage() -> None:
    stage = Stage(
        "a", 1, settings={"weight": Ramp(3, 1, 10), "keep": True}, rate=Ramp(1, 0.01, 10, True)
    )
    assert [stage.at(s).settings["weight"] for s in (0, 5, 10, 99)] == [3, 2, 1, 1]
    assert [stage.at(s).rate for s in (0, 5, 10)] == pytest.approx([1, 0.1, 0.01])
    assert stage.at(5).settings["keep"] is True
    plain = Stage("b", 1)
    assert plain.at(5) is plain


def test_length_stages() -> None:
    stages = length_stages((4, 8), (100, None), {"iou": 0.7})
    assert [(s.length, s.max_steps, s.gate) for s in stages] == [
        (4, 100, {"iou": 0.7}),
        (8, None, {"iou": 0.7}),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "length must be at least 1"),
        ({"length": 1, "min_steps": 10, "max_steps": 5}, "max_steps 5 below min_steps 10"),
        ({"length": 1, "restarts": 1}, "restarts need restart_after or max_steps"),
    ],
)
def test_impossible_stages_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stage("bad", **arguments)


def test_impossible_ramps_and_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1"):
        Ramp(0, 1, 0)
    with pytest.raises(ValueError, match="must be positive"):
        Ramp(0, 1, 5, geometric=True)
    with pytest.raises(ValueError, match="2 lengths but 1 step counts"):
        length_stages((4, 8), (100,))
