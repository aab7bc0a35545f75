"""What was seen of objects in a video: their tracks, and frames with them drawn."""

from __future__ import annotations

from array import array
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from common.tracks import Tracks
    from experiments.following import Seen

TRAIL = 20  # frames that an object's way is drawn for
SMALL = 200  # pixels; the overlay of a video with a smaller side is enlarged, so that ids fit in


class Record:
    """What has been seen so far: rows for the tracks, the last of each object's way, losses."""

    def __init__(self) -> None:
        self.frames = 0
        self.ids: set[int] = set()
        self.lost: dict[int, int] = {}  # id: frame, from 0
        self.last = -1  # frame, from 0
        self._rows = array("d")  # frame, id, x, y, w, h of each box, one after the other
        self._trails: dict[int, deque] = {}

    def add(self, seen: Seen) -> None:
        """Take in a frame."""
        self.frames += 1
        self.last = seen.number
        self.ids.update(seen.ids)
        self.lost.update(dict.fromkeys(seen.lost, seen.number))
        for name in self.lost.keys() & seen.ids:  # found again
            del self.lost[name]
        for name, box in zip(seen.ids, seen.boxes.tolist()):
            self._rows.extend((seen.number, name, *box))
        trails = {name: self._trails.get(name, deque(maxlen=TRAIL)) for name in seen.ids}
        for name, box in zip(seen.ids, seen.boxes):
            trails[name].append(box[:2] + box[2:] / 2)
        self._trails = trails

    def draw(self, seen: Seen) -> np.ndarray:
        """The frame with boxes, ways and (when they are there) windows, ``(H, W, 3)``.

        A small frame is enlarged by a whole number.
        """
        import numpy as np

        from common.drawing import annotate
        from common.writer import as_image

        image = as_image(seen.frame)
        scale = -(-SMALL // min(image.shape[:2]))
        image = image.repeat(scale, 0).repeat(scale, 1)
        windows = None if seen.windows is None else seen.windows * scale
        trails = [np.array(self._trails[name]) * scale for name in seen.ids]
        return annotate(image, seen.boxes * scale, seen.ids, windows, trails)

    def tracks(self) -> Tracks:
        """The boxes of all frames so far."""
        import numpy as np

        from common.tracks import build

        rows = np.frombuffer(self._rows).reshape(-1, 6)
        return build(rows[:, 0], rows[:, 1], rows[:, 2:])
