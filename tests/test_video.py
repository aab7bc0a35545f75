"""Video in: the frames that decode, by number and in order, in bounded memory."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from videos import SIZE, coded, decoded, write_coded

from common.container import missing_bytes
from common.frames import FrameCache
from common.stream import Stream
from common.video import VideoError, VideoFile, build_index, claims, count_packets, rate_from_stamps
from common.writer import write_video
from datasets import video

FRAMES = 120
FRAME_BYTES = 3 * SIZE[0] * SIZE[1]
REAL_COUNTS = {
    "mot15/PETS09-S2L1/PETS09-S2L1.avi": (500, 10.0, (360, 480)),
    "mot15/TUD-Stadtmitte/TUD-Stadtmitte.mp4": (179, 25.0, (480, 640)),
    "cctv/concourse.avi": (341, 25.0, (720, 1280)),
    "cctv/highway.mp4": (917, 30.0, (360, 640)),
    "cctv/bag.avi": (196, 25.0, (360, 480)),
}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coded(tmp_path_factory.mktemp("film") / "film.mp4", FRAMES)


@pytest.mark.parametrize("capacity", [0, 10 * FRAME_BYTES, 2**29])
def test_random_reads_give_the_frames_asked_for(film: Path, capacity: int) -> None:
    store = VideoFile(film, capacity)
    assert (len(store), store.size, store.frame_rate, store.name) == (FRAMES, SIZE, 25.0, "film")
    rng = np.random.default_rng(0)
    for _ in range(25):
        wanted = rng.integers(FRAMES, size=6).tolist()
        assert decoded(store.read(wanted)) == wanted  # any order, repeats too
        assert store.cache.bytes <= capacity
    start = int(rng.integers(FRAMES - 20))
    assert decoded(store.read(range(start, start + 20, 3))) == list(range(start, start + 20, 3))
    assert store.read([]).shape == (0, 3, *SIZE)


def test_a_frame_outside_the_video_is_an_error(film: Path) -> None:
    store = VideoFile(film)
    for index in (-1, FRAMES):
        with pytest.raises(IndexError, match=rf"film: frame {index} asked for, it has 0\.\.119"):
            store.read([0, index])


def test_neighbours_are_decoded_in_one_pass(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = VideoFile(film)
    seeks, grabs = [], []
    seek, grab = VideoFile._seek, VideoFile._grab
    monkeypatch.setattr(VideoFile, "_seek", lambda s, k, t: seeks.append(k) or seek(s, k, t))
    monkeypatch.setattr(VideoFile, "_grab", lambda s: grabs.append(s._next) or grab(s))
    store.read([100, 102, 104, 106])
    assert len(seeks) == 1 and grabs[-1] == 106 and len(grabs) < 60
    grabs.clear()
    store.read([101, 103, 105, 100])  # passed on the way and kept: the whole film fits
    assert grabs == []


def test_a_cache_keeps_the_latest_used_and_no_more_than_its_bytes() -> None:
    cache = FrameCache(3 * 100)
    one, two = cache.register(), cache.register()
    frames = [np.full(100, number, np.uint8) for number in range(4)]
    for number in range(3):
        cache.put((one, number), frames[number])
    assert cache.get((one, 0)) is frames[0]
    cache.put((two, 1), frames[3])  # drops (one, 1), the least recently used
    assert cache.get((one, 1)) is None and cache.get((two, 1)) is frames[3]
    assert (len(cache), cache.bytes) == (3, 300)
    cache.put((two, 2), np.zeros(301, np.uint8))  # larger than the cache
    assert (len(cache), cache.bytes) == (3, 300)
    copy = pickle.loads(pickle.dumps(cache))
    assert (copy.capacity, len(copy), copy.bytes, copy.register()) == (300, 0, 0, 3)
    with pytest.raises(ValueError, match="-1 bytes"):
        FrameCache(-1)


def test_two_stores_share_a_cache_without_mixing_frames(film: Path, tmp_path: Path) -> None:
    other = write_video(tmp_path / "b.mp4", (coded(500 + n) for n in range(20)), 25)
    cache = FrameCache(15 * FRAME_BYTES)
    stores = [VideoFile(film, cache), VideoFile(tmp_path / "b.mp4", cache)]
    for start in range(0, other - 5, 3):
        span = range(start, start + 5)
        assert decoded(stores[0].read(span)) == list(span)
        assert decoded(stores[1].read(span)) == [500 + n for n in span]
    assert cache.bytes <= cache.capacity


def test_a_long_video_is_read_through_in_bounded_memory(tmp_path: Path) -> None:
    height, width, count = 240, 320, 600  # 138 MB of frames
    rng = np.random.default_rng(0)
    tile = rng.integers(255, size=(height, width, 3), dtype=np.uint8)
    path = tmp_path / "long.mp4"
    write_video(path, (np.roll(tile, n, 1) for n in range(count)), 25)
    store = VideoFile(path, 8 * 2**20)
    before, peak, total = resident_bytes(), 0, 0.0
    for start in range(0, count, 8):
        total += store.read(range(start, start + 8))[:, 0, 0, 0].sum().item()
        peak = max(peak, resident_bytes())
        assert store.cache.bytes <= 8 * 2**20
    with Stream(path) as stream:
        seen = [frame[0, 0, 0].item() for frame in stream]
        peak = max(peak, resident_bytes())
    assert sum(seen) == total and len(seen) == count
    assert peak - before < 60 * 2**20


def resident_bytes() -> int:
    """Memory that this process holds now."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Windows(torch.utils.data.Dataset):
    """Frame triples of a store, for a loader."""

    def __init__(self, store: VideoFile) -> None:
        self.store = store

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.store.read([9 * index, 9 * index + 2, 9 * index + 4])


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_store_works_in_forked_workers_after_use_in_the_parent(film: Path) -> None:
    store = VideoFile(film, 4 * FRAME_BYTES)
    store.read([70, 71])  # the parent's capture is open when the workers begin
    loader = DataLoader(
        Windows(store), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60
    )
    for index, frames in enumerate(loader):
        assert decoded(frames) == [9 * index, 9 * index + 2, 9 * index + 4]
    assert decoded(store.read([72, 3])) == [72, 3]


def test_a_pickled_store_reads_without_the_index_being_made_again(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = VideoFile(film)
    store.read([5])
    data = pickle.dumps(store)
    assert len(data) < 20 * FRAMES + 2000  # an index, no frames
    monkeypatch.setattr("common.video.build_index", None)
    assert decoded(pickle.loads(data).read([88, 7])) == [88, 7]


@pytest.mark.parametrize("name", REAL_COUNTS)
def test_real_videos_hold_what_decodes(data_dir: Path, name: str) -> None:
    count, rate, size = REAL_COUNTS[name]
    capture = cv2.VideoCapture(str(data_dir / name))
    reference = []
    while capture.grab():
        reference.append(None)
        if (len(reference) - 1) % 37 == 0 or len(reference) > count - 2:
            reference[-1] = capture.retrieve()[1][..., ::-1].transpose(2, 0, 1)
    store = VideoFile(data_dir / name, cache=0)
    assert (len(store), store.frame_rate, store.size) == (count, rate, size)
    assert len(reference) == count
    kept = [number for number, frame in enumerate(reference) if frame is not None]
    order = np.random.default_rng(0).permutation(kept)[:4].tolist() + [count - 1, 0]
    for number in order:
        np.testing.assert_array_equal(store.read([number])[0].numpy(), reference[number])


@pytest.mark.parametrize("name", REAL_COUNTS)
def test_whole_real_videos_lack_nothing(data_dir: Path, name: str, tmp_path: Path) -> None:
    path = data_dir / name
    assert missing_bytes(path) == 0
    cut = tmp_path / path.name
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(VideoError, match=rf"{path.name}: truncated, \d+ bytes"):
        build_index(cut)


def test_claims_of_the_container_are_not_believed(film: Path, tmp_path: Path) -> None:
    path = write_coded(tmp_path / "claims.avi", 30)
    data = bytearray(path.read_bytes())
    total, length = data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32
    for place in (total, length):
        assert struct.unpack_from("<I", data, place)[0] == 30
        struct.pack_into("<I", data, place, 77)
    path.write_bytes(data)
    assert claims(path) == (77, 25.0)
    store = VideoFile(path)
    assert len(store) == count_packets(path) == 30
    assert decoded(store.read([29, 4])) == [29, 4]
    with Stream(path) as stream:
        assert decoded(torch.stack(list(stream))) == list(range(30))


def test_damage_in_the_middle_is_counted(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "film.avi", 60)
    data = bytearray(path.read_bytes())
    starts = [at for at in range(len(data)) if data[at : at + 4] == b"00dc"][20:25]
    for at in starts:  # five pictures lose their coded content
        size = struct.unpack_from("<I", data, at + 4)[0]
        data[at + 8 : at + 8 + size] = bytes(size)
    path.write_bytes(data)
    recording = video.load(path)
    assert len(recording) + recording.skipped["packets without a frame"] == 60
    assert len(recording) < 60


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_video_that_is_cut_short_is_refused(film: Path, tmp_path: Path, suffix: str) -> None:
    path = write_coded(tmp_path / f"film{suffix}", 40)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size - 700])
    for reader in (VideoFile, Stream, video.load):
        with pytest.raises(VideoError, match=rf"film\{suffix}: truncated, \d+ bytes are missing"):
            reader(path)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    text, noise, empty = tmp_path / "gt.txt", tmp_path / "noise.mp4", tmp_path / "empty.avi"
    text.write_text("1,1,10,10,20,20,1,-1,-1,-1\n" * 50)
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    empty.write_bytes(b"")
    cv2.imwrite(str(tmp_path / "image.png"), coded(3))
    for path in (text, noise, empty):
        with pytest.raises(VideoError, match=f"{path.name}: not a video"):
            VideoFile(path)
    with pytest.raises(VideoError, match=r"image\.png: an image, expected a video"):
        VideoFile(tmp_path / "image.png")
    with pytest.raises(FileNotFoundError, match=r"no video file .*nothing\.mp4"):
        Stream(tmp_path / "nothing.mp4")


def test_frame_rate_is_the_median_step_of_the_time_stamps() -> None:
    assert rate_from_stamps(np.array([200.0, 300, 400, 500, 900, 1000, 0, 0])) == 10.0
    assert rate_from_stamps(np.array([0.0, 0.0])) is None and rate_from_stamps(np.zeros(1)) is None
