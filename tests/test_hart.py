"""The default tracker's model: shapes, gradients, scale, ablations, and that it learns."""

from __future__ import annotations

import pytest
import torch

from datasets.clip import Batch
from hart.config import HartConfig
from hart.model import Hart
from hart.motion import advance_box, surround
from hart.objective import HartObjective
from hart.pretrained import build

SMALL = HartConfig(glimpse=24, stem=(8, 16, 16), keys=8, features=16, reach=2)
PARTS = {
    "hart": SMALL,
    "spatial": HartConfig(**{**SMALL.__dict__, "appearance": False}),
    "appearance": HartConfig(**{**SMALL.__dict__, "look": "frame"}),
    "soft": HartConfig(**{**SMALL.__dict__, "look": "soft"}),
}


def clips(length: int = 4, batch: int = 2, objects: int = 3) -> Batch:
    """Noise with boxes that walk, the last object absent at the start of the first clip."""
    frames = torch.randint(0, 256, (length, batch, 3, 48, 64), dtype=torch.uint8)
    start = torch.tensor([[10.0, 8, 12, 20], [30, 20, 16, 16], [5, 25, 20, 10]])[:objects]
    drift = torch.arange(length)[:, None, None, None] * torch.tensor([2.0, 1, 0, 0])
    boxes = (start + drift).expand(length, batch, objects, 4).contiguous()
    presence = torch.ones(length, batch, objects, dtype=torch.bool)
    presence[:, 0, -1] = False
    boxes[:, 0, -1] = 0
    ids = torch.arange(objects).expand(batch, objects)
    return Batch(frames, boxes, presence, torch.ones(length, batch, dtype=torch.bool), ids)


@pytest.mark.parametrize("name", PARTS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    objective = HartObjective(build(PARTS[name]))
    loss, metrics = objective(clips())
    loss.backward()
    assert loss.isfinite() and 0 <= metrics["iou"] <= 1
    unused = {"log_scale"}  # a term that a variant does not have keeps its weight
    for parameter_name, parameter in objective.named_parameters():
        if parameter_name not in unused:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", PARTS)
def test_forward_gives_one_step_a_frame_and_keeps_the_first_box(name: str) -> None:
    batch = clips()
    given = batch.boxes[0].clone()
    given[0, -1] = torch.tensor([0.0, 0, 8, 8])
    step = build(PARTS[name]).eval()(batch.frames, given)
    assert step.boxes.shape == (4, 2, 3, 4) == step.windows.shape
    assert torch.equal(step.boxes[0], given)
    assert (step.boxes[..., 2:] > 0).all()


def test_objects_do_not_disturb_one_another() -> None:
    torch.manual_seed(1)
    batch, model = clips(), Hart(SMALL).eval()
    given = batch.boxes[0, 1:]
    together = model(batch.frames[:, 1:], given)
    for n in range(3):
        alone = model(batch.frames[:, 1:], given[:, n : n + 1])
        torch.testing.assert_close(
            together.boxes[:, :, n], alone.boxes[:, :, 0], atol=1e-3, rtol=1e-4
        )


def test_moving_the_scene_moves_the_boxes() -> None:
    """A whole scene shifted by whole pixels gives the same track, shifted: only what is near counts."""
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


def test_absent_objects_do_not_change_the_loss() -> None:
    objective = HartObjective(Hart(SMALL), jitter=0).eval()
    batch = clips()
    loss = objective(batch)[0]
    kept = Batch(
        batch.frames, batch.boxes[:, :, :2], batch.presence[:, :, :2], batch.mask, batch.ids
    )
    two = Batch(*(x[:, :1] for x in kept[:4]), kept.ids[:1])  # first clip: two objects are there
    three = Batch(*(x[:, 1:] for x in batch[:4]), batch.ids[1:])  # second clip: all three
    scales = objective.log_scale.detach()
    parts = [objective(b)[0] - scales.sum() for b in (two, three)]
    joint = (2 * parts[0] + 3 * parts[1]) / 5 + scales.sum()
    torch.testing.assert_close(loss, joint, atol=5e-3, rtol=1e-3)


def test_the_box_is_where_it_was_found_as_far_as_that_is_believed() -> None:
    class Last:
        box = torch.tensor([[10.0, 10.0, 20.0, 20.0]])
        expected = torch.tensor([[24.0, 20.0]])
        velocity = torch.tensor([[0.2, 0.0]])

    moves = torch.zeros(1, 10)
    moves[0, 5:7] = torch.tensor((40.0, -40.0))  # all momentum, no gain: the velocity stays
    frame, place = torch.zeros(1, 3, 100, 100), torch.tensor([[28.0, 20.0]])
    box, expected, velocity = advance_box(Last, place, torch.zeros(1, 1), moves, frame)
    torch.testing.assert_close(box, torch.tensor([[16.0, 10.0, 20.0, 20.0]]))  # half of the way
    torch.testing.assert_close(velocity, Last.velocity)
    torch.testing.assert_close(expected, torch.tensor([[30.0, 20.0]]))  # 0.2 of 20 px ahead


def test_gradients_stop_at_the_horizon() -> None:
    """The second frame moves the later boxes, but only those within the horizon pull on it."""
    torch.manual_seed(1)
    model = Hart(HartConfig(**{**SMALL.__dict__, "horizon": 3}))
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


def test_surround_keeps_the_centre() -> None:
    window = surround(torch.tensor([0.0, 0.0, 10.0, 30.0]), 0.5)
    torch.testing.assert_close(window, torch.tensor([-5.0, -5.0, 20.0, 40.0]))
