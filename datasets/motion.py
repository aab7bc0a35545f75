"""How generated objects and the camera move: velocity, heading, size and pose over a clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from datasets.sprites import SpritesConfig

KNOT = 7  # frames between the independent values of a smooth drift


class Camera(NamedTuple):
    """Similarity from the world (frame 0's screen) to the screen: ``linear @ point + offset``."""

    linear: np.ndarray  # (T, 2, 2)
    offset: np.ndarray  # (T, 2) pixels
    moves: bool

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """World points ``(T, M, 2)`` on the screen."""
        return points @ self.linear.swapaxes(-1, -2) + self.offset[:, None]


class Poses(NamedTuple):
    """Where M objects are on the screen: unit square ``v`` to pixels ``linear @ v + centre``."""

    linear: np.ndarray  # (T, M, 2, 2) pixels
    centre: np.ndarray  # (T, M, 2) pixels


class Starts(NamedTuple):
    """Objects in frame 0."""

    centre: np.ndarray  # (M, 2) pixels
    size: np.ndarray  # (M, 2) nominal width and height, pixels
    upright: np.ndarray  # (M,) bool: never turns over


def log_uniform(
    rng: np.random.Generator, bounds: tuple[float, float], shape: tuple[int, ...] = ()
) -> np.ndarray:
    """Numbers whose logarithm is uniform between those of ``bounds``."""
    return np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]), shape))


def walk(rng: np.random.Generator, length: int, shape: tuple[int, ...] = ()) -> np.ndarray:
    """``(T, *shape)`` smooth drift that starts at 0 and wanders about one unit within ``KNOT``s."""
    at = np.arange(length) / KNOT
    low = at.astype(int)
    values = rng.standard_normal((low[-1] + 2, *shape))
    values[0] = 0
    part = at - low
    part = (part * part * (3 - 2 * part)).reshape(-1, *(1,) * len(shape))
    return values[low] * (1 - part) + values[low + 1] * part


def camera(rng: np.random.Generator, config: SpritesConfig) -> Camera:
    """A camera that stands still, pans, zooms, rolls or shakes; frame 0 is always the identity."""
    length, (height, width) = config.length, config.size
    if rng.random() >= config.camera_motion:
        return Camera(np.eye(2)[None].repeat(length, 0), np.zeros((length, 2)), False)
    time, draw, side = np.arange(length), rng.random(5), np.sqrt(height * width)
    heading = rng.normal(0, 0.3) if draw[0] < 0.7 else rng.uniform(-np.pi, np.pi)
    heading = heading + np.pi * (draw[1] < 0.5) + 0.4 * walk(rng, length)
    rate = log_uniform(rng, (0.0005, 0.03)) * side * np.exp(0.5 * walk(rng, length))
    pan = np.cumsum(rate * np.stack((np.cos(heading), np.sin(heading))), -1).T
    zoom = np.zeros(length)
    if draw[2] < 0.4:
        zoom = np.clip(log_uniform(rng, (0.001, 0.03)) * time * np.sign(draw[3] - 0.5), -0.5, 0.7)
    roll = 0.03 * walk(rng, length) if draw[3] < 0.3 else np.zeros(length)
    if draw[4] < 0.35:
        pan = pan + log_uniform(rng, (0.002, 0.02)) * side * rng.standard_normal((length, 2))
    cosine, sine = np.exp(zoom) * np.cos(roll), np.exp(zoom) * np.sin(roll)
    linear = np.stack((cosine, -sine, sine, cosine), -1).reshape(length, 2, 2)
    middle = np.array((width / 2, height / 2))
    return Camera(linear, middle - linear @ middle + pan - pan[0], True)


def velocities(rng: np.random.Generator, config: SpritesConfig, starts: Starts) -> np.ndarray:
    """``(T, M, 2)`` pixels per frame: turns, accelerations, stops; some meet or pair up."""
    length, count = config.length, len(starts.centre)
    side = np.sqrt(starts.size.prod(-1))
    draw = rng.random((6, count))
    speed = log_uniform(rng, config.speed, (count,)) * side
    heading = np.where(draw[0] < 0.6, rng.normal(0, 0.2, count), rng.uniform(-np.pi, np.pi, count))
    heading = heading + np.pi * (draw[1] < 0.5)
    other = (np.arange(count) + 1 + (draw[5] * max(1, count - 1)).astype(int)) % count
    towards = starts.centre[other] - starts.centre
    distance = np.sqrt((towards**2).sum(-1))
    needed = distance / ((0.3 + 0.7 * draw[3]) * max(1, length - 1))
    meets = (draw[2] < 0.3) & (needed < config.speed[1] * side) & (distance > 0)
    heading = np.where(meets, np.arctan2(towards[:, 1], towards[:, 0]), heading)
    speed = np.where(meets, needed, speed)
    joins = draw[2] > 0.9
    speed, heading = np.where(joins, speed[other], speed), np.where(joins, heading[other], heading)
    speed = np.where(draw[4] < 0.1, 0, speed)
    turning = np.where(meets, 0.01, log_uniform(rng, (0.002, 0.15), (count,)))
    bends = rng.standard_normal((length, count)) * turning
    sudden = (rng.random((length, count)) < 0.05) & (draw[5] < 0.25)
    heading = heading + np.cumsum(bends + sudden * 12 * bends, 0)
    pace = speed * np.exp(0.4 * walk(rng, length, (count,)))
    halts = np.clip(3 * np.sin(0.25 * np.arange(length)[:, None] + 7 * draw[1]) + 1.5, 0, 1)
    pace = np.where((draw[4] > 0.8) & ~meets, pace * halts, pace)
    return np.stack((pace * np.cos(heading), pace * np.sin(heading)), -1)


def scales(rng: np.random.Generator, config: SpritesConfig, starts: Starts) -> np.ndarray:
    """``(T, M)`` size relative to frame 0: growth or shrinkage up to ``growth`` times, some wobble.

    Objects never get smaller than 6 pixels nor larger than the frame.
    """
    length, count = config.length, len(starts.centre)
    most = min(np.log(config.growth), 0.2 * (length - 1))
    time = np.arange(length)[:, None] / max(1, length - 1)
    total = most * rng.random(count) ** 4 * np.where(rng.random(count) < 0.65, 1, -1)
    path = total * time ** rng.uniform(0.7, 2.0, count)
    path = path + 0.03 * walk(rng, length, (count,))
    side = np.sqrt(starts.size.prod(-1))
    room = (np.array(config.size[::-1]) / starts.size).min(-1)
    return np.exp(np.clip(path, np.minimum(0, np.log(6 / side)), np.maximum(0, np.log(room))))


def fold(position: np.ndarray, start: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Reflect ``(T, M, 2)`` positions between walls ``(M, 2)``, moved to admit the start."""
    low, high = np.minimum(low, start), np.maximum(high, start)
    room = np.maximum(high - low, 1e-6)
    way = np.mod(position - low, 2 * room)
    return low + np.where(way > room, 2 * room - way, way)


def follow(
    rng: np.random.Generator, config: SpritesConfig, starts: Starts, view: Camera
) -> tuple[Poses, Camera]:
    """Positions, sizes and small deformations of all objects over the clip, as seen by the camera.

    The camera is returned too: at times it follows the first object.
    """
    length, count = config.length, len(starts.centre)
    steps = velocities(rng, config, starts)
    moved = np.cumsum(steps, 0) - steps[0]
    if view.moves and rng.random() < 0.3:
        view = view._replace(offset=view.offset - moved[:, 0])
    centre = view(starts.centre + moved)
    margin, frame = 0.3 * starts.size, np.array(config.size[::-1], float)
    bounces = (rng.random(count) < config.bounce)[:, None]
    centre = np.where(bounces, fold(centre, starts.centre, margin, frame - margin), centre)
    zoom = np.sqrt(np.linalg.det(view.linear))[:, None]
    roll = np.arctan2(view.linear[:, 1, 0], view.linear[:, 0, 0])[:, None]
    tilt, swing, spin, skew, wobble = rng.normal(0, 1, (5, count))
    loose = ~starts.upright & (rng.random(count) < 0.3)
    angle = roll + np.where(loose, 0.6, 0.04) * tilt + 0.03 * swing * walk(rng, length, (count,))
    angle = angle + np.where(loose, 0.04 * spin, 0) * np.arange(length)[:, None]
    stretch = np.exp(0.05 * wobble * walk(rng, length, (count,)))
    shear = 0.025 * skew * (1 + walk(rng, length, (count,)))
    scale = scales(rng, config, starts) * zoom
    width, height = starts.size[:, 0] * scale * stretch, starts.size[:, 1] * scale / stretch
    return Poses(upright_to_screen(angle, width, height, shear), centre), view


def upright_to_screen(
    angle: np.ndarray, width: np.ndarray, height: np.ndarray, shear: np.ndarray
) -> np.ndarray:
    """``(..., 2, 2)`` maps: scale the unit square, shear it by a share of its height, turn it."""
    cosine, sine = np.cos(angle), np.sin(angle)
    across, down = shear * height * cosine - height * sine, shear * height * sine + height * cosine
    return np.stack((width * cosine, across, width * sine, down), -1).reshape(*angle.shape, 2, 2)
