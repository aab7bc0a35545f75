"""AIR (Eslami et al. 2016, arXiv 1603.08575): SQAIR's discovery alone, every frame on its own.

The baseline that knows objects but not time: it has SQAIR's sites of discovery and nothing that
propagates. What it finds has a new id in every frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from sqair.config import SqairConfig
from sqair.discover import Discovered, DiscoveryPosterior, DiscoveryPrior
from sqair.model import Sqair
from sqair.networks import Decoder, GlimpseEncoder
from sqair.scene import FrameDistribution
from sqair.sites import drawn_discovery, plates
from sqair.state import State, first_state, merge
from sqair.training import SqairObjective
from sqair.trajectory import Frame, Trajectory, trajectory


@dataclass(frozen=True)
class AirConfig(SqairConfig):
    """Settings of AIR; those of propagation turn nothing."""


class EveryFrameFirst(DiscoveryPrior):
    """SQAIR's prior of what appears in the first frame, for all of them."""

    def __init__(self, config: SqairConfig) -> None:
        super().__init__(config)
        del self.later

    def log_counts(self, survival: Tensor, free: Tensor, steps: int, first: bool) -> Tensor:
        """As in the first frame."""
        del first
        return super().log_counts(survival, free, steps, first=True)


class Air(Sqair):
    """The generative model ``model`` and its inference network ``guide``; arguments as SQAIR's.

    ``late`` changes nothing, as every frame is a first one; nor does the guide's ``static``.
    """

    def __init__(self, config: AirConfig = AirConfig()) -> None:
        nn.Module.__init__(self)  # not SQAIR's, which would build the propagation
        self.config = config
        self.encoder = GlimpseEncoder(config)
        self.discovery = DiscoveryPosterior(config)
        self.discovery_prior = EveryFrameFirst(config)
        self.decoder = Decoder(config)
        canvas = torch.zeros(1, config.size, config.size)
        self.mean_image = nn.Parameter(canvas) if config.mean_image else None
        self.register_buffer("first_memory", torch.zeros(1), persistent=False)  # stays unread

    def guide(
        self,
        frames: Tensor,
        particles: int = 1,
        *,
        late: int | None = None,
        static: bool | None = None,
        values: Mapping[str, Tensor] | None = None,
        prefixes: bool = False,
    ) -> Trajectory:
        """Infer the objects of ``frames (T, B, 1, H, W)``: one pass over all of them.

        Args:
            values: values by site name that are scored instead of drawn, of one kind in every frame
                or in none.

        Raises:
            ValueError: frames of another shape, or values for some of the frames only.
        """
        del late, static, prefixes
        frames = self._pixels(frames)
        length, batch = frames.shape[:2]
        rows, slots = frames.flatten(0, 1), self.config.slots
        context = rows.new_zeros(particles, len(rows), self.config.hidden)
        found = self.discovery(
            rows,
            self.encoder,
            self.discovery.image(rows.flatten(1)),
            context,
            torch.full(context.shape[:2], slots, device=rows.device),
            slots,
            _folded(values or {}, (length, particles, batch)),
        )
        unfolded = [part.unflatten(1, (length, batch)).unbind(1) for part in found]
        founds = [Discovered(*parts) for parts in zip(*unfolded, strict=True)]
        with plates(particles, batch):
            for t, one in enumerate(founds):
                drawn_discovery(t, one)
        return trajectory(self._run(founds), slots)

    def model(
        self,
        frames: Tensor | tuple[int, int],
        particles: int = 1,
        *,
        late: int | None = None,
        static: bool | None = None,
        values: Mapping[str, Tensor] | None = None,
        prefixes: bool = False,
    ) -> Trajectory:
        """Generate ``frames``, or T of each of B sequences: objects that are there for a frame."""
        del late, values
        observed = self._pixels(frames) if isinstance(frames, Tensor) else None
        length, batch = frames if observed is None else frames.shape[:2]
        static = self.first_memory.is_cuda if static is None else static
        nothing = self.first_memory.new_zeros(particles, batch, self.config.slots)
        context = nothing.new_zeros(particles, batch, self.config.hidden)
        survival = torch.full_like(nothing[..., 0], -0.5)
        with plates(particles, batch):
            founds = [
                self._appear(t, nothing, context, survival, self.config.slots)
                for t in range(length)
            ]
            run = self._run(founds)
            scene = FrameDistribution(
                self._layers(run, prefixes, static), self.config.output_std, self.mean_image
            )
            pyro.sample("frames", scene, obs=None if observed is None else observed.transpose(0, 1))
        return trajectory(run, self.config.slots)._replace(frames=scene)

    def _run(self, founds: Sequence[Discovered]) -> list[Frame]:
        """Frames that hold what was found in them, each with ids beyond the last frame's."""
        size = (*founds[0].count.shape, self.config.slots)
        nothing: State = first_state(self.first_memory, size, self.config.what)
        run, state = [], nothing
        for found in founds:
            empty = nothing._replace(last_id=state.last_id)
            state = merge(empty, found.what, found.where, found.count, self.first_memory)
            run.append(Frame(nothing.slots, None, nothing.slots, found, state.slots))
        return run


class AirObjective(SqairObjective):
    """The stage's objective of every frame as a sequence by itself.

    Whole sequences would do, but decisions would be credited with what happens in later frames,
    which do not depend on them: noise in the gradient.
    """

    def forward(self, batch: Any, stage: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """As SQAIR's, of ``T B`` sequences of one frame."""
        return super().forward(SimpleNamespace(frames=batch.frames.flatten(0, 1)[None]), stage)


def _folded(values: Mapping[str, Tensor], size: tuple[int, int, int]) -> dict[str, Tensor]:
    """Forced values ``(P, T B, ...)`` by short name, from those of each frame ``(P, B, ...)``."""
    length, particles, batch = size
    folded, known = {}, set()
    for name in ("count", "where", "what"):
        sites = [f"discovered_{name}_{t}" for t in range(length)]
        given = [values[site] for site in sites if site in values]
        known |= set(sites)
        if len(given) not in (0, length):
            raise ValueError(f"values of {name} for {len(given)} of {length} frames: all or none")
        if given:
            parts = [value.expand(particles, batch, *value.shape[2:]) for value in given]
            folded[name] = torch.stack(parts, 1).flatten(1, 2)
    if set(values) - known:
        raise ValueError(f"values of sites that there are not: {sorted(set(values) - known)}")
    return folded
