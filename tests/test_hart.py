"""The default tracker's model and its ablations: shapes, gradients, what an output depends on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import hart.matching
import hart.model
from hart.config import HartConfig
from hart.matching import SCALE_STEP, SCALES
from hart.model import ERROR_SHARE, FIRST_ERROR, OUTLIER, Hart
from hart.objective import HartObjective
from hart.pretrained import build
from tests.hart_variants import SMALL, VARIANTS, clips


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    objective = HartObjective(build(VARIANTS[name]))
    loss, metrics = objective(clips())
    loss.backward()
    assert loss.isfinite() and 0 <= metrics["iou"] <= 1
    for parameter_name, parameter in objective.model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", VARIANTS)
def test_forward_gives_one_step_a_frame_and_keeps_the_first_box(name: str) -> None:
    batch = clips()
    given = batch.boxes[0].clone()
    given[0, -1] = torch.tensor([0.0, 0, 8, 8])
    step = build(VARIANTS[name]).eval()(batch.frames, given)
    assert step.boxes.shape == (4, 2, 3, 4) == step.windows.shape
    assert torch.equal(step.boxes[0], given)
    assert (step.boxes[..., 2:] > 0).all()


def test_objects_do_not_disturb_one_another() -> None:
    batch, model = clips(), Hart(SMALL).double().eval()
    given = batch.boxes[0, 1:].double()
    together = model(batch.frames[:, 1:], given)
    for n in range(3):
        alone = model(batch.frames[:, 1:], given[:, n : n + 1])
        torch.testing.assert_close(together.boxes[:, :, n], alone.boxes[:, :, 0])


def test_moving_the_scene_moves_the_boxes() -> None:
    """A scene shifted by whole pixels gives the same track, shifted: only what is near counts."""
    torch.manual_seed(1)
    model = Hart(SMALL).eval()
    torch.nn.init.zeros_(model.recur.weight_ih[:, -1])  # the place in the frame, told to the LSTM
    scene = torch.randint(0, 256, (3, 1, 3, 40, 50), dtype=torch.uint8)
    frames = torch.zeros(2, 3, 1, 3, 100, 120, dtype=torch.uint8)
    frames[0, ..., 20:60, 30:80], frames[1, ..., 43:83, 41:91] = scene, scene
    box = torch.tensor([[[45.0, 30.0, 16.0, 20.0]]])
    moved = torch.tensor([11.0, 23.0, 0, 0])
    model.head[0].weight.data[:, -1] = 0
    here, there = model(frames[0], box), model(frames[1], box + moved)
    torch.testing.assert_close(there.boxes, here.boxes + moved, atol=0.02, rtol=0)


def test_gradients_stop_at_the_horizon() -> None:
    """Row ``t - 1``: which frames the box of frame ``t`` has a gradient in."""
    torch.manual_seed(1)
    model = Hart(replace(SMALL, horizon=3))
    frames = clips(length=6).frames[:, 1:].float().requires_grad_()
    boxes = model(frames, clips().boxes[0, 1:, :1]).boxes
    reach = [
        torch.autograd.grad(box.sum(), frames, retain_graph=True)[0].abs().sum((1, 2, 3, 4)) > 0
        for box in boxes[1:]
    ]
    assert [r.tolist() for r in reach] == [
        [True, True, False, False, False, False],
        [True, True, True, False, False, False],
        [True, False, False, True, False, False],  # the template is never cut off
        [True, False, False, True, True, False],
        [True, False, False, True, True, True],
    ]


class HostReads(TorchDispatchMode):
    """Notes operations for which a GPU would be waited for: values read back, or brought there."""

    WAITING = ("lift_fresh", "_local_scalar_dense", "nonzero", "index.Tensor", "masked_select")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if str(func).startswith(tuple(f"aten.{name}" for name in self.WAITING)):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


def test_waits_are_noticed() -> None:
    values = torch.arange(4.0)
    for wait in (
        lambda: values.new_tensor((1, 2)),
        lambda: values[values > 1],
        lambda: values[[0, 1]],
        lambda: values.sum().item(),
    ):
        with HostReads() as reads:
            wait()
        assert reads.found


def look_nowhere(frames: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Stands for ``common.glimpse.extract``, which reads the boxes on a CPU but not on a GPU."""
    pixels = frames.float().mean((-2, -1))[..., None, :, None, None]  # (..., 1, C, 1, 1)
    return (pixels + boxes.mean(-1)[..., None, None, None]).expand(*[-1] * boxes.dim(), size, size)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_training_step_never_waits_for_the_device(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (hart.model, hart.matching):
        monkeypatch.setattr(module, "extract", look_nowhere)
    objective, batch = HartObjective(build(VARIANTS[name])), clips()
    with HostReads() as reads:
        objective(batch)[0].backward()
    assert reads.found == []


@pytest.mark.parametrize("changes", [{"glimpse": 30}, {"stem": (6, 8, 8)}, {"horizon": 0}])
def test_sizes_that_do_not_fit_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(changes))} must be"):
        HartConfig(**changes)


def test_how_well_motion_foretells_is_remembered_and_a_stranger_counts_little() -> None:
    """An error decays by its share a frame; a far one counts as the outlier's limit."""
    model = Hart(VARIANTS["steady"])
    window, box = torch.tensor([[0.0, 0, 60, 60]]), torch.tensor([[20.0, 20, 20, 20]])
    first = torch.full((1, 1), FIRST_ERROR)
    state = SimpleNamespace(
        window=window,
        box=box,
        anchor=torch.full((1, 2), 0.5),
        expected=torch.full((1, 2), 30.0),
        error=first,
    )
    response = torch.full((1, len(SCALES), 5, 5), -100.0)
    response[:, 1, 2, 2] = 100.0  # where motion expected it
    torch.testing.assert_close(model._renewed_error(response, state), first * (1 - ERROR_SHARE))
    far = response.roll(2, -1)  # two cells of ten pixels to the right: a box's side
    raised = first * (1 - ERROR_SHARE + ERROR_SHARE * OUTLIER)
    torch.testing.assert_close(model._renewed_error(far, state), raised)
    near = response.roll(1, -1)  # half a side, on one axis of two
    wanted = first * (1 - ERROR_SHARE) + ERROR_SHARE * 0.25 / 2
    torch.testing.assert_close(model._renewed_error(near, state), wanted)


def test_a_description_is_dropped_in_training_only() -> None:
    model, batch = build(VARIANTS["steady"]), clips()
    for training in (True, False):
        model.train(training)
        one, two = (model(batch.frames, batch.boxes[0]).boxes for _ in range(2))
        assert ((one - two).nan_to_num().abs().max() > 0) == training


def test_a_fixed_window_measures_the_size_against_the_first_box() -> None:
    """Seen 15 % larger than at first for many frames, an object stays 15 % larger."""
    torch.manual_seed(1)
    model = Hart(VARIANTS["appearance"]).eval()
    response = torch.full((1, 3, 5, 5), -50.0)
    response[0, 2, 2, 2] = 50.0  # surely one scale step up, nowhere else
    model.matcher.compare = lambda features, template: (
        torch.zeros(1, 6, model.side, model.side),
        response,
    )
    torch.nn.init.zeros_(model.move.weight)
    box = torch.tensor([[[20.0, 10.0, 16.0, 20.0]]])
    with torch.no_grad():
        boxes = model(clips(length=30).frames[:, 1:], box).boxes[:, 0, 0]
    growth = (boxes[-1, 2:] / box[0, 0, 2:]).log()
    torch.testing.assert_close(growth, torch.full((2,), SCALE_STEP), atol=1e-3, rtol=0)
