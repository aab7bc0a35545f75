"""The glimpse core: right values and gradients, no aliasing."""

from __future__ import annotations

import torch

from common.glimpse import extract, paste


def test_paste_undoes_extract_on_a_pixel_aligned_box() -> None:
    frame = torch.rand(3, 20, 30)
    box = torch.tensor([[4.0, 5.0, 8.0, 8.0]])
    glimpse = extract(frame, box, 8)
    torch.testing.assert_close(glimpse[0], frame[:, 5:13, 4:12])
    torch.testing.assert_close(paste(glimpse, box, (20, 30))[0, :, 5:13, 4:12], glimpse[0])
