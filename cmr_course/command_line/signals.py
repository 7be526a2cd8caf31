"""What a process does when it is told to stop."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | signal.Handlers
AGAIN_S = 0.02
"""Seconds after which a lost interrupt is tried again."""


@contextmanager
def handled(number: signal.Signals, handler: Handler) -> Iterator[None]:
    """In the block, signal `number` goes to `handler`. Other threads than the main one cannot set it, and go on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def interruptible() -> Iterator[None]:
    """In the block, SIGTERM raises KeyboardInterrupt as Ctrl-C does, and neither is lost.

    Python prints and forgets an exception that a signal raises inside a destructor or a weak reference's callback, of
    which h5py runs many: the program would go on as if nobody had asked it to stop.
    """
    before = sys.unraisablehook

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, KeyboardInterrupt):
            before(lost)
            return
        again = threading.Timer(AGAIN_S, _thread.interrupt_main, [signal.SIGTERM])
        again.daemon = True
        again.start()

    sys.unraisablehook = hook
    try:
        with handled(signal.SIGTERM, signal.default_int_handler):
            yield
    finally:
        sys.unraisablehook = before
