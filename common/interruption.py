"""Ctrl-C and SIGTERM as a question that a loop asks when it can stop cleanly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within this context, the yielded function says whether SIGINT or SIGTERM has asked to stop.

    A second signal of the same kind does what it did before (Ctrl-C twice stops at once). Outside
    the main thread, where Python allows no handlers, it always says no.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = threading.Event()

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.set()
        signal.signal(number, previous[number])

    kinds = (signal.SIGINT, signal.SIGTERM)
    previous = {kind: signal.getsignal(kind) or signal.SIG_DFL for kind in kinds}
    for kind in kinds:
        signal.signal(kind, ask)
    try:
        yield asked.is_set
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)
