"""The default tracker and its ablations, small, and clips to try them on."""

from __future__ import annotations

from dataclasses import replace

import torch

from datasets.clip import Batch
from hart.config import HartConfig

SMALL = HartConfig(glimpse=24, stem=(8, 16, 16), keys=8, features=16, reach=2)
VARIANTS = {
    "hart": SMALL,
    "spatial": replace(SMALL, appearance=False),
    "appearance": replace(SMALL, look="frame"),
    "soft": replace(SMALL, look="soft"),
    "steady": replace(SMALL, steady=True, dropout=0.2),
}


def clips(length: int = 4, batch: int = 2, objects: int = 3) -> Batch:
    """Noise with boxes that walk, the last object absent at the start of the first clip."""
    frames = torch.randint(0, 256, (length, batch, 3, 48, 64), dtype=torch.uint8)
    start = torch.tensor([[10.0, 8, 12, 20], [30, 20, 16, 16], [5, 25, 20, 10]])[:objects]
    drift = torch.arange(length)[:, None, None, None] * torch.tensor([2.0, 1, 0, 0])
    boxes = (start + drift).expand(length, batch, objects, 4).contiguous()
    presence = torch.ones(length, batch, objects, dtype=torch.bool)
    presence[:, 0, -1] = False
    boxes[:, 0, -1] = 0
    ids = torch.arange(objects).expand(batch, objects)
    return Batch(frames, boxes, presence, torch.ones(length, batch, dtype=torch.bool), ids)
