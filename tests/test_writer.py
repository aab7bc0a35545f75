"""Images in; videos, GIFs and drawn boxes out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from videos import SIZE, coded, decoded, write_coded

from common.images import ImageFolder, list_images
from common.overlay import colour, draw_boxes
from common.stream import Stream
from common.video import VideoError, VideoFile
from common.writer import VideoWriter, write_video
from datasets import video


def test_images_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), coded(number))
    store = ImageFolder(list_images(tmp_path), frame_rate=7.0)
    assert (len(store), store.size, store.frame_rate) == (3, SIZE, 7.0)
    assert decoded(store.read([2, 0, 1])) == [10, 1, 2]
    with Stream(tmp_path, frame_rate=7.0) as stream:
        assert stream.size == SIZE and stream.frame_rate == 7.0
        assert decoded(torch.stack(list(stream))) == [1, 2, 10]
    recording = video.load(tmp_path)
    assert len(recording) == 3 and decoded(recording.read([1])) == [2]


def test_bad_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no images"):
        list_images(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list_images(tmp_path / "nowhere")
    good, small, cut = (tmp_path / f"{n}.jpg" for n in range(3))
    cv2.imwrite(str(good), coded(1))
    cv2.imwrite(str(small), coded(1)[:16])
    cut.write_bytes(good.read_bytes()[:-200])
    store = ImageFolder(list_images(tmp_path))
    with pytest.raises(VideoError, match=r"1\.jpg: 96 x 16 pixels, expected 96 x 32 as in 0\.jpg"):
        store.read([1])
    with pytest.raises(VideoError, match=r"2\.jpg: not an image"):
        store.read([2])
    with pytest.raises(VideoError, match=r"1\.jpg|a frame of 96 x 16"), Stream(tmp_path) as stream:
        list(stream)


def test_red_stays_red(tmp_path: Path) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 255
    shades = [red - np.array([shade, 0, 0], np.uint8) for shade in range(4)]
    for name in ("red.mp4", "red.avi", "red.gif"):
        assert write_video(tmp_path / name, shades, 12.5) == 4
        with Stream(tmp_path / name) as stream:
            frames = torch.stack(list(stream)).float()
        assert frames.shape == (4, 3, 48, 64)
        assert stream.frame_rate == pytest.approx(12.5)
        assert (frames.mean((0, 2, 3)) - torch.tensor([255.0, 0, 0])).abs().max() < 6
    Image.fromarray(red).save(tmp_path / "red.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "red.png").rename(tmp_path / "images" / "0.png")
    frame = ImageFolder(list_images(tmp_path / "images")).read([0])[0]
    assert frame.flatten(1)[:, 0].tolist() == [255, 0, 0]


def test_odd_sides_are_widened_and_tensors_are_written(tmp_path: Path) -> None:
    frame = torch.from_numpy(coded(9)).permute(2, 0, 1)[:, :31, :95]
    with VideoWriter(tmp_path / "odd.mp4", 25) as writer:
        writer.write(frame)
        writer.write(frame.permute(1, 2, 0).numpy())
        with pytest.raises(ValueError, match="frame 2 is 95 x 30 pixels, expected 95 x 31"):
            writer.write(frame[:, :30])
        with pytest.raises(ValueError, match="got Tensor .* of torch.float32"):
            writer.write(frame.float())
    with Stream(tmp_path / "odd.mp4") as stream:
        frames = torch.stack(list(stream))
    assert frames.shape == (2, 3, 32, 96) and decoded(frames) == [9, 9]


def test_a_writer_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot write \.txt; expected one of \.gif \.avi"):
        VideoWriter(tmp_path / "film.txt", 25)
    for rate in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="frame rate must be positive"):
            VideoWriter(tmp_path / "film.mp4", rate)
    assert write_video(tmp_path / "none.mp4", [], 25) == 0
    assert not (tmp_path / "none.mp4").exists()


def test_h264_is_written_where_pyav_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV (the extra `video`) is not installed")
    path = write_coded(tmp_path / "film.mp4", 30)
    code = int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little")
    assert code == b"h264"
    assert decoded(VideoFile(path).read([29, 0, 17])) == [29, 0, 17]


def test_boxes_are_drawn_inside_their_edges() -> None:
    frame = torch.zeros(3, 40, 60, dtype=torch.uint8)
    image = draw_boxes(frame, torch.tensor([[10.0, 5, 20, 12]]), [7], [""], thickness=2)
    ring = np.zeros((40, 60), bool)
    ring[5:17, 10:30] = True
    ring[7:15, 12:28] = False
    np.testing.assert_array_equal(image.any(-1), ring)
    assert (image[ring] == colour(7)).all()
    assert not frame.any()  # a copy was drawn on


def test_odd_boxes_do_not_spoil_a_drawing() -> None:
    frame = np.zeros((40, 60, 3), np.uint8)
    nothing = [[np.nan, 1, 5, 5], [10, 10, 0, 5], [70, 10, 5, 5], [-9, 10, 5, 5], [1e9, 0, 1e9, 9]]
    assert not draw_boxes(frame, np.array(nothing)).any()
    assert draw_boxes(frame, np.zeros((0, 4))).shape == (40, 60, 3)
    huge = draw_boxes(frame, np.array([[-1e7, -1e7, 3e7, 3e7]]), labels=[""])
    assert not huge.any()  # its edges are all outside
    assert draw_boxes(frame, np.array([[-5.0, -5, 20, 20]]), labels=["name"])[:20, :30].any()
    with pytest.raises(ValueError, match="1 boxes with 2 ids and 2 labels"):
        draw_boxes(frame, np.ones((1, 4)), [1, 2])


def test_colours_of_neighbouring_ids_differ() -> None:
    colours = np.array([colour(number) for number in range(12)]).astype(int)
    apart = np.abs(colours[:, None] - colours[None]).sum(-1) + 999 * np.eye(12, dtype=int)
    assert apart.min() > 60
    assert colour(5) != colour(1_000_005)  # as ids of tracks that come back
