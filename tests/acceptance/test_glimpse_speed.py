"""The glimpse core costs no more than what PyTorch offers for it, whatever the frame's size."""

from __future__ import annotations

import pytest
import torch

from experiments.benchmark_glimpse import GlimpseConfig, measure


@pytest.mark.slow
@pytest.mark.parametrize("shrink", [2.0, 3.0])
def test_ratios_on_one_thread(shrink: float) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = list(measure(GlimpseConfig(shrink=shrink)))
    finally:
        torch.set_num_threads(threads)
    bounded = [row for row in rows if row.limit is not None]
    assert len(bounded) == 13
    assert not [row for row in bounded if row.ratio > row.limit]


@pytest.mark.slow
@pytest.mark.gpu
def test_ratios_on_a_gpu() -> None:
    rows = [row for row in measure(GlimpseConfig(device="cuda")) if row.limit is not None]
    assert not [row for row in rows if row.ratio > row.limit]
