"""The published recurrent cell: an LSTM that starts near the identity, with zoneout."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

IDENTITY_SCALE = 0.95  # diagonal of the candidate's recurrent matrix at the start


class ZoneoutLSTM(nn.Module):
    """LSTM cell without forget bias or peepholes; zoneout as in Krueger et al. 2017.

    In training each unit keeps its old cell or hidden value with the given probability, drawn
    separately; in evaluation the new state is the expected mixture. The output is never zoned out.
    The gates are stacked as input, candidate, forget, output.

    Args:
        inputs: width of the input.
        units: width of the state.
        zoneout_cell: probability of keeping an old cell value.
        zoneout_hidden: probability of keeping an old hidden value.
    """

    def __init__(
        self, inputs: int, units: int, zoneout_cell: float = 0.05, zoneout_hidden: float = 0.05
    ) -> None:
        super().__init__()
        self.zoneout_cell = zoneout_cell
        self.zoneout_hidden = zoneout_hidden
        self.weight_input = nn.Parameter(torch.empty(4 * units, inputs))
        self.weight_hidden = nn.Parameter(torch.empty(4 * units, units))
        self.bias = nn.Parameter(torch.empty(4 * units))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Orthogonal gates, a scaled identity for the candidate, uniform biases (Glorot)."""
        nn.init.orthogonal_(self.weight_input)
        for index, block in enumerate(self.weight_hidden.chunk(4)):
            if index == 1:
                nn.init.eye_(block).data.mul_(IDENTITY_SCALE)
            else:
                nn.init.orthogonal_(block)
        limit = math.sqrt(3 / self.bias.numel())
        nn.init.uniform_(self.bias, -limit, limit)

    def forward(
        self, features: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step.

        Args:
            features: ``(R, inputs)``.
            hidden: ``(R, units)`` the previous state's.
            cell: ``(R, units)``.

        Returns:
            output, hidden and cell, ``(R, units)`` each; the output is the hidden value before
            zoneout.
        """
        gates = functional.linear(features, self.weight_input, self.bias)
        gates = gates + functional.linear(hidden, self.weight_hidden)
        write, candidate, forget, read = gates.chunk(4, -1)
        # Added up in the old cell's precision: half precision would lose slow changes.
        fresh = cell * torch.sigmoid(forget) + torch.sigmoid(write) * torch.tanh(candidate)
        output = torch.tanh(fresh) * torch.sigmoid(read)
        hidden = self._zone_out(hidden, output, self.zoneout_hidden)
        return output, hidden, self._zone_out(cell, fresh, self.zoneout_cell)

    def _zone_out(self, old: Tensor, new: Tensor, probability: float) -> Tensor:
        if not self.training:
            return probability * old + (1 - probability) * new
        return torch.where(torch.rand_like(new) < probability, old, new)
