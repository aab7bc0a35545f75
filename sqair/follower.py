"""Find and follow the objects of a video of any length, some frames at a time, as they come.

Every part of the video is explained in two ways. One goes on from the part before: the last frames
of that are run through again, the guide being given what it drew there, so that the same objects
are in the same slots and their recurrent states are warm when the new frames come. The other looks
at the new frames as at the start of a video, as a model trained on clips whose objects are all
there at first hardly finds any that appear later. It is taken only where it explains the frames
clearly better; what lies where an object was said to be keeps that object's id.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.boxes import pairwise_iou
from sqair import painted, sample
from sqair.air import Air
from sqair.canvas import Fitted, fit, to_frame
from sqair.geometry import windows
from sqair.inference import Inference
from sqair.state import Slots
from sqair.terms import gather, traces

OVERLAP = 5  # frames seen again; a recurrent state needs about as many
CLEARLY = 100.0  # nats a frame; an object that nothing paints costs several hundred
SAME = 0.3  # mean IoU, of two accounts of the same frames, from which on it is one object
SITES = [f"propagated_{n}" for n in ("presence", "where", "what")]
SITES += [f"discovered_{n}" for n in ("count", "where", "what")]


class Found(NamedTuple):
    """The objects of n consecutive frames, on the CPU; slots without one have id -1, else zeros."""

    ids: Tensor  # (n, K) int64, in order of discovery
    boxes: Tensor  # (n, K, 4) xywh pixels of the video, around what a slot paints
    windows: Tensor  # (n, K, 4) xywh pixels of the video, which a slot sees and paints through
    visible: Tensor  # (n, K) share of what it paints that lies on the canvas


class _Account(NamedTuple):
    """The best particle's explanation of T frames, of which the first ``again`` are not new."""

    pixels: Tensor  # (T, 1, 1, S, S)
    again: int
    slots: Slots  # (T, K, ...), ids counting from the first of these frames
    drawn: dict[str, Tensor]  # the guide's values by site (1, 1, ...)
    score: float  # nats a new frame


class _Past(NamedTuple):
    """The last frames that were seen, o of them, and what was found there."""

    pixels: Tensor  # (o, 1, 1, S, S)
    values: dict[str, Tensor]  # the guide's, by site (1, 1, ...)
    ids: Tensor  # (K,) in the last frame, those of the video


class Follower:
    """What a trained SQAIR or AIR finds in one video; AIR gives new ids in every frame.

    Args:
        inference: the model, ready for use.
        particles: explanations to draw of each part of the video, of either kind; the one of the
            highest weight is given, and gone on from.
        seed: of the drawing, which neither reads nor changes global random numbers.

    Raises:
        ValueError: no particles.
    """

    def __init__(self, inference: Inference, particles: int = 5, seed: int = 0) -> None:
        if particles < 1:
            raise ValueError(f"particles {particles}: expected 1 or more")
        self.model, self.device = inference.model, inference.device
        self.particles, self.seed = particles, seed
        self._past: _Past | None = None
        self._known, self._parts = 0, 0  # ids given, parts of the video seen

    @torch.no_grad()
    def update(self, frames: Tensor | np.ndarray) -> Found:
        """Follow all objects through the next frames, and find new ones.

        As many at a time as models are trained on, or more, are explained better than few.

        Args:
            frames: ``(n, C, H, W)``, uint8 or float in [0, 1]. Frames of another size than the
                model's are brought onto its canvas, see ``sqair.canvas.fit``.

        Raises:
            ValueError: frames that do not fit.
        """
        fitted = fit(torch.as_tensor(frames).unsqueeze(1), self.model.config.size, resize=True)
        with sample.seeded(self.seed + self._parts, self.device):
            account, kept = self._account(fitted.pixels.to(self.device))
        self._parts += 1
        new = Slots(*(part[account.again :] for part in account.slots))
        new = new._replace(id=self._names(new.id, kept))
        if not isinstance(self.model, Air):
            self._past = _past(account, new.id[-1])
        return self._show(new, fitted)

    def _account(self, pixels: Tensor) -> tuple[_Account, dict[int, int]]:
        """The account of new frames, and which of its ids are which of the video's."""
        if self._past is None:
            return self._explain(pixels), {}
        seen, values, ids = self._past
        going_on = self._explain(torch.cat((seen, pixels)), len(seen), values)
        kept = dict(zip(going_on.slots.id[len(seen) - 1].tolist(), ids.tolist(), strict=True))
        anew = self._explain(pixels)
        if anew.score <= going_on.score + CLEARLY:
            return going_on, kept
        same = self._match(anew.slots, Slots(*(part[len(seen) :] for part in going_on.slots)))
        return anew, {new: kept[old] for new, old in same.items() if old in kept}

    def _explain(
        self, pixels: Tensor, again: int = 0, values: dict[str, Tensor] | None = None
    ) -> _Account:
        """The best of some explanations of ``pixels (T, 1, 1, S, S)``, by the new frames' weight.

        Args:
            again: how many of the frames are not new.
            values: what was drawn in these, of one particle.
        """
        values = {n: v.expand(self.particles, *v.shape[1:]) for n, v in (values or {}).items()}
        prior, posterior = traces(
            self.model.model, self.model.guide, pixels, self.particles, values=values
        )
        terms = gather(prior, posterior, prefixes=False)
        weight = terms.log_weight()[again:, :, 0].mean(0)
        best = int(weight.argmax())
        sites = (f"{name}_{t}" for t in range(len(pixels)) for name in SITES)
        drawn = {n: posterior.nodes[n]["value"][best, None] for n in sites if n in posterior.nodes}
        slots = Slots(*(part[:, best, 0] for part in terms.slots))
        return _Account(pixels, again, slots, drawn, float(weight[best]))

    def _names(self, ids: Tensor, kept: dict[int, int]) -> Tensor:
        """The video's ids instead of ``ids (n, K)``; those that are not ``kept`` are new."""
        names = torch.full_like(ids, -1)
        for number in ids.unique().tolist():
            if number >= 0:
                name = kept.get(number, self._known)
                self._known = max(self._known, name + 1)
                names[ids == number] = name
        return names

    def _match(self, slots: Slots, others: Slots) -> dict[int, int]:
        """Which ids of slots ``(n, K, ...)`` are which of the others', by what they paint."""
        shared: Counter[tuple[int, int]] = Counter()
        overlaps = pairwise_iou(self._boxes(slots), self._boxes(others)) / len(slots.id)
        for t, new, old in (overlaps > 0).nonzero().tolist():
            shared[int(slots.id[t, new]), int(others.id[t, old])] += float(overlaps[t, new, old])
        same: dict[int, int] = {}
        for (new, old), share in shared.most_common():
            if share >= SAME and new not in same and old not in same.values():
                same[new] = old
        return same

    def _boxes(self, slots: Slots) -> Tensor:
        """``(T, K, 4)`` xywh pixels of the canvas, around what slots paint."""
        rendered = self.model.decode(slots)
        return painted.boxes(slots, rendered.glimpses, rendered.canvases)

    def _show(self, slots: Slots, fitted: Fitted) -> Found:
        """Slots ``(n, K, ...)`` in pixels of the video."""
        config, rendered = self.model.config, self.model.decode(slots)
        boxes = to_frame(painted.boxes(slots, rendered.glimpses, rendered.canvases), fitted)
        looks = windows(slots.where, config.size, config.glimpse, config.least_scale)
        visible = _inside(rendered.glimpses, looks, config.size)
        there = slots.presence[..., None]
        found = boxes, _in_video(looks, fitted), visible[..., None]
        boxes, looks, visible = ((part * there).float().cpu() for part in found)
        return Found(slots.id.cpu(), boxes, looks, visible.squeeze(-1))


def _past(account: _Account, ids: Tensor) -> _Past:
    """What the next part of the video begins with: the objects of a frame as if found there.

    Args:
        account: of the last part.
        ids: ``(K,)`` in its last frame, those of the video.
    """
    pixels, _, slots, drawn, _ = account
    first = max(0, len(pixels) - OVERLAP)
    values = {
        "discovered_count_0": slots.presence[first].sum().long().view(1, 1),
        "discovered_where_0": slots.where[first, None, None],
        "discovered_what_0": slots.what[first, None, None],
    }
    for t in range(first + 1, len(pixels)):
        values |= {f"{name}_{t - first}": drawn[f"{name}_{t}"] for name in SITES}
    return _Past(pixels[first:], values, ids)


def _inside(glimpses: Tensor, boxes: Tensor, size: int) -> Tensor:
    """The share ``(...)`` of the ink of ``glimpses (..., C, G, G)`` that lies on a canvas.

    Args:
        boxes: ``(..., 4)`` xywh pixels, where they are painted.
        size: side of the canvas, pixels.
    """
    ink, side = glimpses.clamp_min(0).sum(-3), glimpses.shape[-1]
    steps = (torch.arange(side, device=boxes.device) + 0.5) / side
    across, down = (boxes[..., n, None] + boxes[..., n + 2, None] * steps for n in (0, 1))
    across, down = ((part > 0) & (part < size) for part in (across, down))
    shown = ink * (down[..., :, None] & across[..., None, :])
    return shown.sum((-2, -1)) / ink.sum((-2, -1)).clamp_min(1e-6)


def _in_video(boxes: Tensor, fitted: Fitted) -> Tensor:
    """Boxes on the canvas in pixels of the video, wherever they are."""
    x, y, side = fitted.view
    shift = torch.tensor((x, y, 0.0, 0.0), device=boxes.device)
    return boxes * (side / fitted.pixels.shape[-1]) + shift
