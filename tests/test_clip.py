"""Clips: cut from recordings, padded into batches, mirrored, reversed, loaded in shards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from common.tracks import build
from datasets.clip import Clip, collate, mirror, reverse
from datasets.loader import ClipDataset
from datasets.recording import REAPPEARED, Recording, from_clip, separate_runs

# An object with id 4 in frames 0 to 5, one with id 9 in frames 2, 3 and 5.
FRAME = [0, 1, 2, 3, 4, 5, 2, 3, 5]
IDS = [4, 4, 4, 4, 4, 4, 9, 9, 9]


def boxes_of(frames: list[int], ids: list[int]) -> np.ndarray:
    """A box that tells its frame and id."""
    return np.array([[frame, name, 3 + frame, 5] for frame, name in zip(frames, ids)], float)


def clip_of(length: int = 6, size: tuple[int, int] = (8, 12), first_frame: int = 0) -> Clip:
    """A clip of random pixels with the two objects above."""
    pixels = torch.randint(256, (length, 3, *size), dtype=torch.uint8)
    boxes, presence = torch.zeros(length, 2, 4), torch.zeros(length, 2, dtype=torch.bool)
    for frame, name, box in zip(FRAME, IDS, boxes_of(FRAME, IDS)):
        if frame < length:
            boxes[frame, int(name == 9)] = torch.from_numpy(box).float()
            presence[frame, int(name == 9)] = True
    ids = torch.tensor([4, 9])
    return Clip(pixels, boxes, presence, ids, 10.0, name="film", first_frame=first_frame)


def with_regions(clip: Clip) -> Clip:
    """The clip with ignore regions in its first two frames."""
    some = (torch.tensor([[1.0, 2, 3, 4], [0, 0, 2, 2]]), torch.tensor([[5.0, 1, 4, 4]]))
    return clip._replace(ignore=some + (torch.zeros(0, 4),) * (len(clip.frames) - 2))


def assert_same(a: Clip, b: Clip) -> None:
    for name, x, y in zip(Clip._fields, a, b):
        if isinstance(x, Tensor):
            assert torch.equal(x, y) and x.dtype == y.dtype, name
        elif name == "ignore" and x is not None:
            assert len(x) == len(y) and all(torch.equal(p, q) for p, q in zip(x, y))
        else:
            assert x == y, name


def test_a_clip_survives_becoming_a_recording() -> None:
    clip = with_regions(clip_of(first_frame=30))
    recording = from_clip(clip)
    assert (len(recording), recording.size, recording.frame_rate) == (6, (8, 12), 10.0)
    assert_same(recording.clip(0, 6), clip)


def test_a_window_holds_the_objects_seen_in_it() -> None:
    whole = with_regions(clip_of(first_frame=30))
    part = from_clip(whole).clip(0, 2)
    assert part.ids.tolist() == [4] and part.boxes.shape == (2, 1, 4)
    part = from_clip(whole).clip(1, 5)
    assert part.ids.tolist() == [4, 9] and part.first_frame == 31
    assert part.presence[:, 1].tolist() == [False, True, True, False]
    assert part.boxes[2, 1].tolist() == [3, 9, 6, 5] and not part.boxes[3, 1].any()
    assert torch.equal(part.frames, whole.frames[1:5])
    assert [len(boxes) for boxes in part.ignore] == [1, 0, 0, 0]


def test_a_part_counts_its_frames_from_zero() -> None:
    recording = from_clip(with_regions(clip_of(first_frame=30)))
    part = recording.part(1, 5).part(1, 4)  # frames 2, 3, 4
    assert (len(part), part.source_first) == (3, 32)
    assert part.tracks.frame.tolist() == [0, 0, 1, 1, 2]
    assert_same(part.clip(0, 3), recording.clip(2, 5)._replace(ignore=None))
    for start, stop in ((2, 2), (-1, 2), (0, 4)):
        with pytest.raises(IndexError, match="film"):
            part.clip(start, stop)
        with pytest.raises(IndexError, match="film"):
            part.part(start, stop)
    with pytest.raises(IndexError, match=r"frame 3 asked for, it has 0\.\.2"):
        part.read([0, 3])


def test_a_recording_must_hold_its_boxes_and_a_frame() -> None:
    store = from_clip(clip_of()).store
    with pytest.raises(ValueError, match="an empty sequence"):
        Recording("film", store, 0, 10.0)
    with pytest.raises(ValueError, match="a box outside its 3 frames"):
        Recording("film", store, 3, 10.0, tracks=build([3], [1], [[0, 0, 1, 1]]))


def test_collate_pads_and_masks() -> None:
    small = clip_of(3, (8, 12))._replace(name="small")
    small = small._replace(ids=small.ids[:1], boxes=small.boxes[:, :1])
    small = small._replace(presence=small.presence[:, :1])
    large = clip_of(6, (6, 20))
    batch = collate([small, large])
    assert batch.frames.shape == (6, 2, 3, 8, 20) and batch.frames.dtype == torch.uint8
    assert torch.equal(batch.frames[:3, 0, :, :, :12], small.frames)
    assert torch.equal(batch.frames[:, 1, :, :6], large.frames)
    assert not batch.frames[3:, 0].any() and not batch.frames[:, 0, :, :, 12:].any()
    assert not batch.frames[:, 1, :, 6:].any()
    assert batch.mask.tolist() == [[True, True]] * 3 + [[False, True]] * 3
    assert batch.ids.tolist() == [[4, -1], [4, 9]]
    assert torch.equal(batch.boxes[:3, 0, :1], small.boxes)
    assert torch.equal(batch.boxes[:, 1], large.boxes)
    assert torch.equal(batch.presence[:, 1], large.presence)
    assert batch.presence[:, 0].sum() == 3 and not batch.boxes[:, 0, 1].any()


def test_collate_takes_clips_without_objects_and_refuses_none() -> None:
    clip = clip_of()
    bare = clip._replace(ids=clip.ids[:0], boxes=clip.boxes[:, :0], presence=clip.presence[:, :0])
    assert collate([bare]).boxes.shape == (6, 1, 0, 4)
    assert collate([bare, clip]).ids.tolist() == [[-1, -1], [4, 9]]
    with pytest.raises(ValueError, match="no clips"):
        collate([])
    with pytest.raises(ValueError, match=r"numbers of channels, \[1, 3\]"):
        collate([clip, clip._replace(frames=clip.frames[:, :1])])


def test_mirror_moves_boxes_with_their_pixels() -> None:
    clip = with_regions(clip_of())
    frames = torch.zeros_like(clip.frames)
    frames[2, :, :, 2:7] = 200  # the columns of id 9's box (2, 9, 5, 5) there
    seen = mirror(clip._replace(frames=frames))
    columns = seen.frames[2].any(0).any(0).nonzero().flatten()
    x, _, w, _ = seen.boxes[2, 1].tolist()
    assert (x, x + w) == (5, 10)
    assert (columns[0].item(), columns[-1].item() + 1, len(columns)) == (5, 10, 5)
    assert not seen.boxes[~seen.presence].any()  # absent objects stay at zero
    assert seen.ignore[0][0].tolist() == [12 - 1 - 3, 2, 3, 4]
    assert_same(mirror(mirror(clip)), clip)


def test_reverse_turns_time() -> None:
    clip = with_regions(clip_of(first_frame=30))
    back = reverse(clip)
    for time in range(6):
        assert torch.equal(back.frames[time], clip.frames[5 - time])
        assert torch.equal(back.boxes[time], clip.boxes[5 - time])
        assert torch.equal(back.presence[time], clip.presence[5 - time])
        assert torch.equal(back.ignore[time], clip.ignore[5 - time])
    assert torch.equal(back.ids, clip.ids)
    assert_same(reverse(back), clip)


def test_a_track_that_comes_back_is_another_object() -> None:
    frames, ids = [0, 1, 4, 5, 8, 0, 1, 2], [7, 7, 7, 7, 7, 2, 2, 2]
    tracks = build(frames, ids, boxes_of(frames, ids))
    order = np.random.default_rng(0).permutation(8)
    cut = separate_runs(build(tracks.frame[order], tracks.id[order], tracks.box[order]))
    found = {int(i): cut.frame[cut.id == i].tolist() for i in np.unique(cut.id)}
    assert found == {
        2: [0, 1, 2],
        7: [0, 1],
        7 + REAPPEARED: [4, 5],
        7 + 2 * REAPPEARED: [8],
    }
    assert (cut.box[:, 1] == cut.id % REAPPEARED).all()
    with pytest.raises(ValueError, match="id 1000000, expected less than"):
        separate_runs(build([0], [REAPPEARED], [[0, 0, 1, 1]]))


def test_windows_cover_recordings_and_a_short_one_is_one() -> None:
    dataset = ClipDataset([from_clip(clip_of()), from_clip(clip_of(2))], length=3, stride=2)
    spans = [(clip.first_frame, len(clip.frames)) for clip in dataset]
    assert spans == [(0, 3), (2, 3), (0, 2)]
    with pytest.raises(IndexError):
        dataset[3]
    with pytest.raises(ValueError, match="windows of 0 frames"):
        ClipDataset([from_clip(clip_of())], 0, 1)
    with pytest.raises(ValueError, match="no recordings"):
        ClipDataset([], 3, 1)


def test_augmentation_gives_each_window_four_times() -> None:
    plain = ClipDataset([from_clip(clip_of())], 3, 2)
    four = ClipDataset(plain.recordings, 3, 2, augment=True)
    assert len(four) == 4 * len(plain)
    for number, clip in enumerate(plain):
        versions = (clip, reverse(clip), mirror(clip), mirror(reverse(clip)))
        for variant, expected in enumerate(versions):
            assert_same(four[4 * number + variant], expected)


def test_shards_are_disjoint_complete_and_seeded() -> None:
    dataset = ClipDataset([from_clip(clip_of())] * 5, 3, 1)
    for epoch in range(3):
        shards = [dataset.order(epoch, seed=1, rank=rank, world=3) for rank in range(3)]
        assert sorted(sum(shards, [])) == list(range(20))
        assert max(map(len, shards)) - min(map(len, shards)) <= 1
        assert shards == [dataset.order(epoch, seed=1, rank=rank, world=3) for rank in range(3)]
    orders = {tuple(dataset.order(epoch, seed)) for epoch in range(3) for seed in range(3)}
    assert len(orders) == 9
    with pytest.raises(ValueError, match="process 3 of 3"):
        dataset.order(0, 0, 3, 3)


def test_a_data_loader_gives_the_same_batches_with_and_without_workers() -> None:
    dataset = ClipDataset([from_clip(clip_of()), from_clip(clip_of(2))], 3, 1, augment=True)
    batches = [
        list(
            DataLoader(
                dataset,
                batch_size=3,
                sampler=dataset.order(0, 0),
                collate_fn=collate,
                num_workers=workers,
            )
        )
        for workers in (0, 1)
    ]
    assert len(batches[0]) == 7
    for alone, worked in zip(*batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(alone, worked, strict=True))
