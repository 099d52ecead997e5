"""Keeps several processes at work on the same sockets, and replaces one that dies or hangs.

Workers are forked from this process, which watches the rules as they do. So a new worker begins at
once, in shared memory, and with the last rules that were in order, whatever lies in the folder. A
connection that was not yet accepted when a worker dies waits at the socket, which is everyone's,
for another one. This process itself runs no thread, since those would not survive a fork.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from socket import socket
from types import FrameType
from typing import Protocol

import structlog
from msgspec import Struct

from cds.hooks.logs import describe

_log = structlog.get_logger()

_STOP = (signal.SIGTERM, signal.SIGINT)
_WHERE = signal.SIGUSR1
"""Asks a process to write down where all of its threads are."""
_FORK = get_context("fork")
_SECONDS_BETWEEN_STARTS = 1.0
"""Of one job: what dies at once is not started in a busy loop."""
HUNG_SECONDS = 30.0
"""Far longer than any call may take."""
_LOOK_SECONDS = 5.0
"""How often the signs of life are looked at."""
_SECONDS_TO_KILL = 5.0
"""Left to a worker to end after those that calls may take."""


class Signs(Protocol):
    """Where a process gives signs of life."""

    def begin(self) -> None:
        """Note that it has just been begun."""

    def last_sign(self) -> float:
        """When it last gave one (``time.monotonic``)."""


class Job(Struct, frozen=True):
    """Something that a process of its own does until it gets SIGTERM.

    One that gives ``signs`` of life, and then none for ``HUNG_SECONDS``, is killed and replaced. It
    first writes to stderr where it hangs: files, lines and functions, and no values.
    """

    name: str
    work: Callable[[], None]
    signs: Signs | None = None


class Supervisor:
    """Runs each job in a process of its own, for as long as nobody stops this process.

    Every ``seconds`` it does ``tend`` (0 for never). Of a process that died, and will be replaced,
    ``died`` gets the id. Each process does ``ending`` last. Stopped by SIGTERM or SIGINT, it closes
    ``sockets``, at which the jobs listen, and lets each process end by itself within
    ``shutdown_seconds``.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        sockets: Sequence[socket],
        *,
        tend: Callable[[], None],
        seconds: float,
        shutdown_seconds: float,
        died: Callable[[int], None] | None = None,
        ending: Callable[[], object] = lambda: None,
    ) -> None:
        self._jobs = jobs
        self._sockets = sockets
        self._tend = tend
        self._seconds = seconds
        self._shutdown_seconds = shutdown_seconds
        self._died = died
        self._ending = ending
        self._running: dict[int, BaseProcess] = {}
        self._started: dict[int, float] = {}
        self._stopping = False
        self._suspect: set[int] = set()

    def run(self) -> None:
        """Keep the jobs running until stopped."""
        # A worker that reads the end of the first pipe knows that this process is no more. The
        # second wakes this process up for a signal.
        self._alive, self._life = os.pipe()
        woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        stop_by(self._stop)
        tended = looked = time.monotonic()
        try:
            while not self._stopping:
                self._start_missing()
                waited_for = [process.sentinel for process in self._running.values()]
                connection.wait([*waited_for, woken], self._longest_wait(tended, looked))
                self._reap()
                if time.monotonic() - looked >= _LOOK_SECONDS:
                    self._kill_hung()
                    looked = time.monotonic()
                if self._seconds and time.monotonic() - tended >= self._seconds:
                    self._tend()
                    tended = time.monotonic()
        finally:
            self._end_all()

    def _start_missing(self) -> None:
        for index, job in enumerate(self._jobs):
            if index in self._running or self._stopping or time.monotonic() < self._due(index):
                continue
            if job.signs is not None:
                job.signs.begin()
            with signals_held_back():  # until the child has handlers of its own
                process = _FORK.Process(target=self._begin, args=(job,), name=job.name)
                process.start()
            self._running[index] = process
            self._started[index] = time.monotonic()

    def _begin(self, job: Job) -> None:
        """Do a job, in the new process."""
        faulthandler.register(_WHERE)
        os.close(self._life)
        stop_by(_leave)
        # Begun while signals are held back: one that another thread gets does not wake this one.
        threading.Thread(target=_leave_with, args=(self._alive,), daemon=True).start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
        try:
            job.work()
        except Exception as fault:
            # multiprocessing would print it, with its text.
            _log.error("uncaught", job=job.name, **describe(fault))
            raise SystemExit(1) from None
        finally:
            self._ending()

    def _kill_hung(self) -> None:
        """Kill what has given no sign of life, at two looks: this machine itself may have slept."""
        late = time.monotonic() - HUNG_SECONDS
        hung = {
            index
            for index in self._running
            if (signs := self._jobs[index].signs) is not None and signs.last_sign() < late
        }
        for index in hung & self._suspect:
            process = self._running[index]
            _log.error("worker_hangs", job=process.name, worker=process.pid)
            process.kill()
        for index in hung - self._suspect:
            pid = self._running[index].pid
            assert pid is not None
            os.kill(pid, _WHERE)
        self._suspect = hung

    def _due(self, index: int) -> float:
        """When a job may begin, also one that has not begun yet: a signal may come before it."""
        return self._started.get(index, float("-inf")) + _SECONDS_BETWEEN_STARTS

    def _longest_wait(self, tended: float, looked: float) -> float | None:
        now = time.monotonic()
        waits = [
            self._due(index) - now for index in range(len(self._jobs)) if index not in self._running
        ]
        if any(job.signs is not None for job in self._jobs):
            waits.append(looked + _LOOK_SECONDS - now)
        if self._seconds:
            waits.append(tended + self._seconds - now)
        return max(min(waits), 0) if waits else None

    def _reap(self) -> None:
        for index, process in list(self._running.items()):
            if process.is_alive():
                continue
            process.join()
            del self._running[index]
            assert process.pid is not None
            if not self._stopping:
                _log.error(
                    "worker_died", job=process.name, worker=process.pid, status=process.exitcode
                )
            if self._died is not None:
                self._died(process.pid)

    def _stop(self, *_: object) -> None:
        self._stopping = True
        # At once, since this process may be busy with new rules for seconds.
        for process in list(self._running.values()):
            process.terminate()
        for listening in self._sockets:  # or who calls now would wait to be accepted by nobody
            listening.close()
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b"!")

    def _end_all(self) -> None:
        self._stopping = True
        for process in self._running.values():
            process.terminate()
        deadline = time.monotonic() + self._shutdown_seconds + _SECONDS_TO_KILL
        for process in self._running.values():
            process.join(max(deadline - time.monotonic(), 0))
            if process.is_alive():
                _log.error("worker_killed", job=process.name, worker=process.pid)
                process.kill()
                process.join()


def stop_by(handler: Callable[[int, FrameType | None], object]) -> None:
    """Let SIGTERM and SIGINT be handled so from here on, and one that was remembered."""
    for number in _STOP:
        signal.signal(number, handler)
    while _remembered:
        handler(_remembered.pop(), None)


_remembered: list[int] = []


def remember_signals() -> None:
    """Let SIGTERM and SIGINT do nothing until ``stop_by`` says what they do.

    The exception of a handler could get lost in code that swallows any, and the process would stay.
    """
    stop_by(lambda number, _: _remembered.append(number))


def _leave(*_: object) -> None:
    """End this process in order, with status 0, however often it is told to."""
    stop_by(lambda *_: None)
    sys.exit(0)


def _leave_with(alive: int) -> None:
    """Wait for the end of the process that holds the other end, and stop with it."""
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def wait_to_be_stopped() -> None:
    """Wait for SIGTERM or SIGINT, where ``signals_held_back`` keeps them from all threads."""
    signal.sigwait(_STOP)


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Keep SIGTERM and SIGINT from this thread, and from those that it begins, meanwhile."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
