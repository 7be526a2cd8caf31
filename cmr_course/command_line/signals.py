"""What a process does when it is told to stop."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cmr_course.workers import handled

AGAIN_S = 0.02
"""Seconds after which a lost interrupt is tried again."""


@contextmanager
def interruptible() -> Iterator[None]:
    """In the block, SIGTERM raises KeyboardInterrupt as Ctrl-C does, and neither is lost.

    Python prints and forgets an exception that a signal raises inside a destructor or a weak reference's callback, of
    which h5py runs many: the program would go on as if nobody had asked it to stop.
    """
    before, attempts = sys.unraisablehook, list[threading.Timer]()

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, KeyboardInterrupt):
            before(lost)
            return
        again = threading.Timer(AGAIN_S, _send, [signal.SIGTERM])
        again.daemon = True
        attempts.append(again)
        again.start()

    sys.unraisablehook = hook
    with handled(signal.SIGTERM, signal.default_int_handler):
        try:
            yield
        finally:
            sys.unraisablehook = before
            for attempt in attempts:
                attempt.cancel()


def _send(number: signal.Signals) -> None:
    """Signal `number` to the main thread, which it wakes from a wait where the system knows how (not on Windows)."""
    if hasattr(signal, "pthread_kill") and (main := threading.main_thread().ident) is not None:
        signal.pthread_kill(main, number)
    else:
        _thread.interrupt_main(number)
