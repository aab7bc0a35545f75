"""What a camera may do to a track: view it from elsewhere, lose sight of it, see other colours.

NumPy throughout: frames ``(T, 3, H, W)`` uint8, boxes ``(T, 4)`` float64 xywh pixels. All that is
random comes from the generator given.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from datasets.windows_config import WindowsConfig

MAX_ENLARGEMENT = 3.0  # more of it shows nothing new
MAX_SHRUNK = 160.0  # pixels; a larger object is shrunk no more than one of this size


def cut(
    frames: np.ndarray, boxes: np.ndarray, config: WindowsConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See an object through a square view with its own zoom, place and movement.

    Args:
        frames: ``(T, 3, H, W)`` uint8.
        boxes: ``(T, 4)`` xywh pixels of the object.
        config: its ``side``, ``object_size``, ``stretch``, ``shake`` and ``visible`` count.
        rng: what all choices are drawn from.

    Returns:
        ``(T, 3, S, S)`` uint8, ``(T, 4)`` boxes in the view's pixels, ``(T,)`` presence.
    """
    side, length = config.side, len(frames)
    low, high = np.log(config.object_size)
    wanted = np.exp(rng.uniform(low, high))
    scale = wanted / np.sqrt(max(boxes[0, 2] * boxes[0, 3], 1.0))
    scale = np.clip(scale, wanted / MAX_SHRUNK, MAX_ENLARGEMENT)
    scales = scale * np.exp(rng.uniform(-config.stretch, config.stretch, 2))
    extent = np.maximum(np.round(side / scales), 8).astype(int)  # of the view, source pixels (x, y)
    scales = side / extent
    corner = _camera(boxes, extent, rng, rng.random() < config.shake)
    corner = np.round(corner).astype(int)  # (T, 2)
    views = np.zeros((length, 3, side, side), np.uint8)
    for view, frame, (x, y) in zip(views, frames, corner, strict=True):
        resize_part(frame, (x, y), extent, view)
    seen = np.concatenate(((boxes[:, :2] - corner) * scales, boxes[:, 2:] * scales), 1)
    inside = np.clip(seen[:, :2] + seen[:, 2:], 0, side) - np.clip(seen[:, :2], 0, side)
    presence = inside.prod(1) >= config.visible * np.maximum(seen[:, 2:].prod(1), 1e-6)
    return views, seen, presence


def _camera(
    boxes: np.ndarray, extent: np.ndarray, rng: np.random.Generator, shaken: bool
) -> np.ndarray:
    """``(T, 2)`` top-left corners of the view, source pixels.

    The camera stands still, follows the object, or something in between; it may shake and drift.

    Args:
        boxes: ``(T, 4)`` xywh pixels of the object.
        extent: ``(2,)`` width and height of the view, source pixels.
    """
    centre = boxes[:, :2] + boxes[:, 2:] / 2
    follow = rng.choice((0.0, 0.0, rng.uniform(), 1.0))
    room = np.maximum(extent - boxes[0, 2:], 0) / 2 * 0.7
    place = rng.uniform(-1, 1, 2) * room  # of the object in the first view, from its middle
    path = follow * centre + (1 - follow) * centre[0]
    if shaken:
        shake = rng.normal(size=(len(boxes), 2)) * extent * rng.uniform(0, 0.01)
        drift = np.cumsum(rng.normal(size=(len(boxes), 2)) * 0.3 + rng.normal(size=2), 0)
        path = path + shake + (drift - drift[0]) * extent * rng.uniform(0, 0.02)
    return path + place - extent / 2


def resize_part(
    frame: np.ndarray, corner: tuple[int, int], extent: Sequence[int], view: np.ndarray
) -> None:
    """Show a part of a frame at another size, zero outside the frame.

    Args:
        frame: ``(3, H, W)`` uint8.
        corner: (x, y) of the part's top-left pixel; may lie outside.
        extent: (width, height) of the part, pixels.
        view: ``(3, S, S)`` uint8 zeros, drawn upon.
    """
    (x, y), (width, height) = corner, (int(side) for side in extent)
    full_height, full_width = frame.shape[1:]
    left, top = max(-x, 0), max(-y, 0)
    right, bottom = max(x + width - full_width, 0), max(y + height - full_height, 0)
    if left + right >= width or top + bottom >= height:
        return
    how = cv2.INTER_AREA if min(width, height) > view.shape[-1] else cv2.INTER_LINEAR
    for plane, out in zip(frame, view, strict=True):
        part = plane[y + top : y + height - bottom, x + left : x + width - right]
        if left or right or top or bottom:
            part = cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
        cv2.resize(part, out.shape[::-1], dst=out, interpolation=how)


def pass_in_front(
    frames: np.ndarray,
    boxes: np.ndarray,
    picture: np.ndarray,
    rng: np.random.Generator,
    early: float = 0.0,
) -> None:
    """Draw something that crosses the object's way at some time and hides it for a while.

    Args:
        frames: ``(T, 3, S, S)`` uint8, drawn upon.
        boxes: ``(T, 4)`` xywh pixels of the object.
        picture: ``(h, w, 3)`` uint8; drawn about as large as the object, with a soft outline.
        rng: what all choices are drawn from.
        early: share of the clips in which it is in front from the first frame on, where it may hide
            the whole object: what the given box shows is then not what it means.
    """
    length, side = len(frames), frames.shape[-1]
    early = early > 0 and rng.random() < early
    span = (0, max(length // 3, 1)) if early else (length // 3, length)
    when = int(rng.integers(*span)) if length > 1 else 0
    size = boxes[when, 2:] * np.exp(rng.normal(size=2) * 0.25)
    if early:
        size = size * np.exp(rng.uniform(0, 0.4))
    width, height = np.clip(np.round(size), 4, side).astype(int)
    picture = cv2.resize(picture, (int(width), int(height)), interpolation=cv2.INTER_AREA)
    across, down = (np.abs(np.linspace(-1, 1, extent)) for extent in (width, height))
    power = rng.choice((2.0, 4.0, 8.0))  # from an ellipse to nearly a box
    alpha = np.clip((1 - across[None] ** power - down[:, None] ** power) * 6, 0, 1)[None]
    picture = picture.transpose(2, 0, 1).astype(np.float32)
    path = _way_in_front(boxes, when, rng.uniform(0.02, 0.5) if early else 0.7, rng)
    for frame, corner in zip(frames, np.round(path - size / 2).astype(int), strict=True):
        left, top = np.maximum(corner, 0)
        right, bottom = np.minimum(corner + (width, height), side)
        if left >= right or top >= bottom:
            continue
        x, y = corner
        hidden = frame[:, top:bottom, left:right]
        inside = (slice(None), slice(top - y, bottom - y), slice(left - x, right - x))
        hidden[:] = hidden + alpha[inside] * (picture[inside] - hidden)


def _way_in_front(
    boxes: np.ndarray, when: int, apart: float, rng: np.random.Generator
) -> np.ndarray:
    """``(T, 2)`` centres of something that meets an object at the frame ``when``.

    Args:
        boxes: ``(T, 4)`` xywh pixels of the object.
        when: the frame.
        apart: about the least distance of the two in the first frame, in the object's widths.
        rng: what all choices are drawn from.
    """
    width, time = boxes[when, 2], np.arange(len(boxes))[:, None]
    slowest = min(apart / when, 0.3) if when else 0.04
    speed = rng.choice((-1, 1)) * np.exp(rng.uniform(np.log(slowest), np.log(0.4)))
    step = np.array([speed, speed * rng.normal() * 0.2]) * width
    centre = boxes[:, :2] + boxes[:, 2:] / 2
    shift = rng.normal(size=2) * boxes[when, 2:] * 0.1
    if rng.random() < 0.6:  # as the object moves, faster or slower, so that they part slowly
        moved = centre
    else:
        moved = centre[when : when + 1]
    if when == 0:  # it was there before: not in the middle
        shift[0] = np.sign(speed) * apart * width  # and going away
    return moved + shift + step * (time - when)


def recolour(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another camera: gain, offset and gamma per channel, channels swapped, or grey.

    Args:
        frames: ``(T, 3, H, W)`` uint8.
        rng: what all choices are drawn from.

    Returns:
        New frames of the same shape, all changed alike.
    """
    ramp = np.arange(256) / 255
    joint = rng.normal(size=1) * 0.25
    curves = []
    for _ in range(3):
        gamma = np.exp(joint + rng.normal() * 0.08)
        gain, offset = np.exp(rng.normal() * 0.12), rng.normal() * 0.04
        curves.append(np.clip((ramp**gamma * gain + offset) * 255, 0, 255).astype(np.uint8))
    order = rng.permutation(3) if rng.random() < 0.25 else np.arange(3)
    changed = np.stack([curve[frames[:, c]] for curve, c in zip(curves, order, strict=True)], 1)
    if rng.random() < 0.15:
        changed[:] = changed.mean(1, keepdims=True, dtype=np.float32).astype(np.uint8)
    return changed


def worsen(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another lens, sensor and recorder: focus, drifting light, noise, compression.

    Args:
        frames: ``(T, 3, H, W)`` uint8.
        rng: what all choices are drawn from.

    Returns:
        New frames of the same shape.
    """
    draw = rng.random(4)
    focus = rng.uniform(-1.0, 1.2) if draw[0] < 0.5 else 0.0  # below 0: sharpened
    drift = (
        np.cumsum(rng.normal(size=len(frames))) * 0.01 if draw[1] < 0.5 else np.zeros(len(frames))
    )
    strength = rng.uniform(1, 8) if draw[2] < 0.5 else 0.0
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(15, 70))] if draw[3] < 0.3 else None
    noise = rng.normal(size=(2 * frames.shape[2], 2 * frames.shape[3], 3)).astype(np.float32)
    changed = np.empty_like(frames)
    for out, frame, light in zip(changed, frames, np.exp(drift), strict=True):
        image = cv2.merge(list(frame))
        if focus:
            soft = cv2.GaussianBlur(image, (0, 0), abs(focus) + 0.3)
            image = soft if focus > 0 else cv2.addWeighted(image, 1 - focus, soft, focus, 0)
        y, x = (int(rng.integers(side + 1)) for side in image.shape[:2])
        grain = noise[y : y + image.shape[0], x : x + image.shape[1]]
        image = np.clip(image * np.float32(light) + strength * grain, 0, 255).astype(np.uint8)
        if quality is not None:
            image = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
        cv2.split(image, list(out))
    return changed
