"""SQAIR as a Pyro model and guide: objects discovered when they appear, propagated while they stay.

Kosiorek et al. 2018, "Sequential Attend, Infer, Repeat" (arXiv 1806.01794). Every site has batch
shape ``(P, B)``: particles, sequences; slots are event dimensions. Sites of frame ``t``:
``propagated_presence_t``, ``propagated_where_t``, ``propagated_what_t`` (not in the first frame),
``discovered_count_t``, ``discovered_where_t``, ``discovered_what_t``; and one of all ``frames``.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from sqair.config import SqairConfig
from sqair.discover import Discovered, DiscoveryPosterior, DiscoveryPrior
from sqair.distributions import bernoulli_log_density, standard_log_density
from sqair.expect import PropagationPrior
from sqair.fused import normal_log_density
from sqair.networks import Context, Decoder, GlimpseEncoder
from sqair.packing import Packing, pack
from sqair.propagate import Propagated, PropagationPosterior
from sqair.scene import FrameDistribution, Layers, Rendered, compose, paint, render
from sqair.sites import check, drawn_discovery, drawn_propagation, given, plates, slotwise
from sqair.state import Slots, State, Unrolled, first_state, merge
from sqair.trajectory import Frame, Trajectory, stack, trajectory

DEFAULT = SqairConfig()


class Sqair(nn.Module):
    """The generative model ``model`` and its inference network ``guide``."""

    def __init__(self, config: SqairConfig = DEFAULT) -> None:
        super().__init__()
        self.config = config
        self.encoder = GlimpseEncoder(config)
        self.discovery = DiscoveryPosterior(config)
        self.discovery_prior = DiscoveryPrior(config)
        self.propagation = PropagationPosterior(config)
        self.propagation_prior = PropagationPrior(config)
        self.context = Context(config)
        self.first_memory = nn.Parameter(torch.zeros(config.hidden))
        self.decoder = Decoder(config)
        canvas = torch.zeros(1, config.size, config.size)
        self.mean_image = nn.Parameter(canvas) if config.mean_image else None

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
        """Infer the objects of video, frame by frame.

        Args:
            frames: ``(T, B, 1, H, W)`` uint8, or float in [0, 1].
            particles: P.
            late: most discoveries in a frame after the first; K by default.
            static: compute absent slots too, so that no shape depends on a value; by default on a
                GPU only.
            values: values by site name that are scored instead of drawn; of propagation's sites one
                number may stand for all.
            prefixes: search for as many objects as there may be, so that every count can be scored;
                without, and where shapes may depend on values, no further than is counted.

        Raises:
            ValueError: frames of another shape, or values of sites that there are none of.
        """
        frames, batch = self._pixels(frames), frames.shape[1]
        check(values, len(frames))
        static = frames.is_cuda if static is None else static
        images = self.discovery.image(frames.flatten(2))
        state = self._first(particles, batch)
        run: list[Frame] = []
        with plates(particles, batch):
            for t, frame in enumerate(frames):
                old, kept = state, None
                packing = pack(old.slots.presence, static)
                if t:
                    forced = given(values, "propagated", t)
                    kept = self.propagation(frame, self.encoder, old, packing, forced)
                    drawn_propagation(t, kept, old.slots.presence)
                    state = _propagate(old, kept)
                places, slots = self._places(t, late), state.slots
                found = self.discovery(
                    frame,
                    self.encoder,
                    images[t],
                    self.context(slots.what, slots.where, slots.presence, packing),
                    self._free(slots.presence, places),
                    places,
                    given(values, "discovered", t),
                    stop=not (prefixes or static),
                )
                drawn_discovery(t, found)
                state = merge(state, found.what, found.where, found.count, self.first_memory)
                run.append(Frame(old.slots, kept, slots, found, state.slots))
        return trajectory(run, self.config.slots)

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
        """Generate video: objects come, move and go.

        Args:
            frames: observed ones, as for the guide; or T and B only, then they are drawn.
            particles: P.
            late, static: as for the guide.
            values: the guide's.
            prefixes: paint possible discoveries apart from the rest, so that ``count_log_probs`` of
                the frames' distribution can score every count.

        Returns:
            What happened; ``frames`` in it is the frames' distribution.
        """
        del values
        observed = self._pixels(frames) if isinstance(frames, Tensor) else None
        length, batch = frames if observed is None else frames.shape[:2]
        static = self.first_memory.is_cuda if static is None else static
        state = self._first(particles, batch)
        run: list[Frame] = []
        with plates(particles, batch):
            for t in range(length):
                old, kept = state, None
                packing = pack(old.slots.presence, static)
                survival = old.slots.presence.new_full((particles, batch), -0.5)
                if t:
                    kept, survival = self._expect(t, old, packing)
                    state = _propagate(old, kept)
                slots = state.slots
                context = self.context(slots.what, slots.where, slots.presence, packing)
                found = self._appear(t, slots.presence, context, survival, self._places(t, late))
                start = self.propagation_prior.first
                state = merge(state, found.what, found.where, found.count, start)
                run.append(Frame(old.slots, kept, slots, found, state.slots))
            scene = FrameDistribution(
                self._layers(run, prefixes, static), self.config.output_std, self.mean_image
            )
            pyro.sample("frames", scene, obs=None if observed is None else observed.transpose(0, 1))
        return trajectory(run, self.config.slots)._replace(frames=scene)

    def unroll(self, frames: Tensor, particles: int = 1) -> Unrolled:
        """The free-running account of whole sequences, one for each of P particles.

        Args:
            frames: ``(T, B, 1, H, W)`` uint8, or float in [0, 1].
        """
        from sqair.terms import terms

        found = terms(self, frames, particles)
        slots = found.slots
        seen = torch.cat((slots.what, slots.where, torch.ones_like(slots.where[..., :1])), -1)
        features = (seen * slots.presence[..., None]).flatten(-2)
        return Unrolled(found.log_weight(), found.log_likelihood_at_count(), slots, features)

    def decode(self, slots: Slots) -> Rendered:
        """Slots ``(..., K, ...)`` as pictures."""
        return render(self.decoder, slots, self.config, self.mean_image)

    def _expect(self, t: int, old: State, packing: Packing) -> tuple[Propagated, Tensor]:
        """Sites of propagation, and the mean survival less 1/2 ``(P, B)``."""
        prior, alive = self.propagation_prior(old, packing), old.slots.presence
        kept = dist.Bernoulli(logits=prior.logits).mask(alive > 0).to_event(1)
        presence = pyro.sample(f"propagated_presence_{t}", kept) * alive
        there = presence > 0
        where = pyro.sample(f"propagated_where_{t}", slotwise(*prior.where, there))
        what = pyro.sample(f"propagated_what_{t}", slotwise(*prior.what, there))
        survival = (torch.sigmoid(prior.logits) - 0.5).mean(-1)
        densities = (
            normal_log_density(what, *prior.what),
            normal_log_density(where, *prior.where),
            bernoulli_log_density(presence, prior.logits),
        )
        return Propagated(what, where, presence, prior.memory, *densities), survival

    def _appear(
        self, t: int, presence: Tensor, context: Tensor, survival: Tensor, places: int
    ) -> Discovered:
        """Sites of discovery."""
        free = self._free(presence, places)
        counts = self.discovery_prior.log_counts(survival, free, places, first=not t)
        count = pyro.sample(f"discovered_count_{t}", dist.Categorical(logits=counts))
        chain = self.discovery_prior.where(survival, context, count, places)
        where = pyro.sample(f"discovered_where_{t}", chain)
        there = torch.arange(places, device=count.device) < count[..., None]
        zero = context.new_zeros(*count.shape, places, self.config.what)
        what = pyro.sample(f"discovered_what_{t}", slotwise(zero, torch.ones_like(zero), there))
        densities = standard_log_density(what)
        return Discovered(what, where, count, densities, chain.slot_log_densities(where), counts)

    def _layers(self, run: list[Frame], prefixes: bool, static: bool) -> Layers:
        """What is painted: everything that is there, or possible discoveries apart."""
        config = self.config
        if not prefixes:
            slots = stack([frame.slots for frame in run])
            return Layers(compose(self.decoder, slots, config, static), (), None, None)
        base = compose(self.decoder, stack([f.slots_kept for f in run]), config, static)
        added = []
        for part in (run[:1], run[1:]):  # the first frame may have more discoveries than the others
            if part:
                what = torch.stack([frame.found.what for frame in part])
                where = torch.stack([frame.found.where for frame in part])
                lead = where.shape[:-1]
                objects = what.flatten(0, -2), where.flatten(0, -2)
                added.append(paint(self.decoder, *objects, config)[1].unflatten(0, lead))
        room = torch.stack([config.slots - f.slots_kept.presence.sum(-1).long() for f in run])
        count = torch.stack([frame.found.count for frame in run])
        return Layers(base, tuple(added), torch.minimum(count, room), room)

    def _first(self, particles: int, batch: int) -> State:
        size = (particles, batch, self.config.slots)
        return first_state(self.first_memory, size, self.config.what)

    def _places(self, t: int, late: int | None) -> int:
        """Steps of discovery in frame ``t``."""
        if late is not None and late < 1:
            raise ValueError(f"late must be at least 1, or None for all slots, got {late}")
        return self.config.slots if t == 0 or late is None else min(late, self.config.slots)

    def _free(self, presence: Tensor, places: int) -> Tensor:
        """Most discoveries ``(P, B)``: free slots, or, as published, whatever the chain finds."""
        if not self.config.capacity:
            return torch.full(presence.shape[:-1], places, device=presence.device)
        return (self.config.slots - presence.sum(-1).long()).clamp_max(places)

    def _pixels(self, frames: Tensor) -> Tensor:
        """Frames as float in [0, 1]; raises ValueError for other shapes than the model's."""
        side = self.config.size
        if frames.dim() != 5 or tuple(frames.shape[2:]) != (1, side, side) or not len(frames):
            raise ValueError(f"frames must be (T, B, 1, {side}, {side}), got {tuple(frames.shape)}")
        return frames if frames.is_floating_point() else frames.to(self.first_memory.dtype) / 255


def _propagate(old: State, kept: Propagated) -> State:
    """The state with the propagated objects in their old slots, before any is filled up."""
    slots = Slots(kept.what, kept.where, kept.presence, old.slots.id)
    return State(slots, kept.memory, old.last_id)
