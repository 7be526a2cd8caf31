"""Jobs on several processes: each with one thread, so that results do not depend on how many there are."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any, TypeVar

Tell = Callable[[], None]
"""Called by a job whenever it is a step further."""
Handler = Callable[[int, FrameType | None], Any] | signal.Handlers
J = TypeVar("J")
R = TypeVar("R")
Work = Callable[[J, Tell], R]
"""Does one job. A function of a module, since it is sent to other processes by its name."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def done(work: Work[J, R], jobs: Sequence[J], workers: int, tell: Tell) -> Generator[tuple[J, R], None, None]:
    """Each job with its result, in the order in which they finish; `tell` is called for every step of any of them.

    One worker works in this process, more are processes of their own. The first error of a job is raised here. Close
    the iterator (`contextlib.closing`): however it ends, no worker is left running. A worker that is stopped in the
    middle of a job can no longer clean up after itself; that is left to the caller.
    """
    workers = min(workers, len(jobs))
    if workers > 1:
        yield from _spread(work, jobs, workers, tell)
        return
    with _one_thread():
        for job in jobs:
            yield job, work(job, tell)


def _spread(work: Work[J, R], jobs: Sequence[J], workers: int, tell: Tell) -> Generator[tuple[J, R], None, None]:
    waiting, team = iter(jobs), list[_Worker]()
    try:
        for _ in range(workers):
            team.append(_Worker(work))
        busy = {worker.pipe: worker for worker in team if worker.take(next(waiting, None))}
        while busy:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                finished, result = worker.heard()
                if not finished:
                    tell()
                    continue
                yield worker.job, result
                if not worker.take(next(waiting, None)):
                    del busy[worker.pipe]
    finally:
        for worker in team:
            worker.stop()


class _Worker:
    """A process, and this end of the pipe to it."""

    def __init__(self, work: Work[Any, Any]) -> None:
        context = get_context("spawn")  # a fork would copy torch's threads and locks
        self.job: Any = None
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=_serve, args=(work, end), daemon=True)
        with handled(signal.SIGINT, signal.SIG_IGN):  # it ignores Ctrl-C from its first moment on
            self.process.start()
        end.close()  # so that the pipe breaks when the worker dies

    def take(self, job: Any) -> bool:
        """Begin `job`; False where there is none."""
        self.job = job
        if job is not None:
            self.pipe.send(job)
        return job is not None

    def heard(self) -> tuple[bool, Any]:
        """Whether the job is finished, and its result; its error is raised."""
        try:
            finished, result = self.pipe.recv()
        except (EOFError, ConnectionError) as error:
            said = "was killed, or ran out of memory; want fewer --workers"
            raise RuntimeError(f"a worker process ended in the middle of its work: it {said}") from error
        if isinstance(result, BaseException):
            raise result
        return finished, result

    def stop(self) -> None:
        """End the process, at once."""
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def _serve(work: Work[Any, Any], pipe: Connection) -> None:
    """What a worker does: one job after another, until the pipe breaks because the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent sees to it
    with suppress(EOFError, OSError), _one_thread():
        while True:
            job = pipe.recv()
            try:
                result = work(job, lambda: pipe.send((False, None)))
            except Exception as error:
                error.add_note(traceback.format_exc())
                result = error
            pipe.send((True, result))


@contextmanager
def _one_thread() -> Iterator[None]:
    """The block runs on one thread: sums over several can differ in their last bit."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    warm_up()
    try:
        yield
    finally:
        torch.set_num_threads(before)


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


def warm_up() -> None:
    """One small single-threaded sqrt first.

    The first multi-threaded torch.sqrt of a process is sometimes wrong by 3e-4 (torch 2.13.0, CPU, two threads).
    """
    import torch

    torch.ones(8).sqrt()
