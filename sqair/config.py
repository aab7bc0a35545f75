"""Settings of SQAIR; sections of the paper (Kosiorek et al. 2018, arXiv 1806.01794) in brackets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SqairConfig:
    """The model: what is generated, how it is inferred, where both start.

    The defaults are those of the preset ``sqair``; ``PAPER`` has the published model's.
    """

    size: int = 50  # side of the square canvas, pixels
    slots: int = 3  # K, most objects at a time
    what: int = 50  # numbers in an appearance
    glimpse: int = 20  # side of a glimpse, pixels
    hidden: int = 256  # units of the recurrent states and of most layers
    encoder: Literal["mlp", "conv"] = "mlp"  # of images and glimpses; the decoder is its mirror
    activation: Literal["silu", "elu"] = "silu"
    output_std: float = 0.3  # of a pixel
    output_scale: float = 0.25  # contrast of a painted glimpse, at first
    mean_image: bool = False  # a learned image that shows where objects are
    antialias: bool = False  # average where a glimpse shrinks; the published one interpolates
    least_scale: float = 0.02  # smallest window, as a share of the canvas

    scale_prior: float = -2.0  # logit of the expected size of a new object
    where_bias: float = -3.0  # of the posterior's standard deviation, before its softplus
    discovery_bias: float = 1.0  # logit of finding another object, at first
    propagation_bias: float = 5.0  # logit of keeping an object, at first
    survival_bias: float = 10.0  # the same in the prior, which stays
    propagation_prior: Literal["guided", "rnn"] = (
        "guided"  # means relative to the last frame's, or not
    )
    bounded_count_logits: bool = False  # logits of the count's prior go through an ELU
    capacity: bool = True  # no more are discovered than slots are free
    free_cholesky: bool = False  # ten free numbers, or six below a unit diagonal
    gated_std: float = 0.01  # floor of the propagated appearance's standard deviation
    motion_init: float = 0.1  # of the last layer that moves a window, relative to other layers
    glorot_gru: bool = False  # initial values of recurrent cells as Sonnet drew them

    def __post_init__(self) -> None:
        for name in ("size", "slots", "what", "glimpse", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.glimpse < 2 or self.size < 2:
            raise ValueError("a canvas and a glimpse need a side of at least 2 pixels")
        if self.output_std <= 0:
            raise ValueError(f"output_std must be above 0, got {self.output_std}")


PAPER = SqairConfig(
    activation="elu",
    mean_image=True,
    least_scale=1e-4,
    propagation_prior="rnn",
    bounded_count_logits=True,
    capacity=False,
    free_cholesky=True,
    gated_std=0.0,
    motion_init=1.0,
    glorot_gru=True,
)
