"""Writes lines to a stream that may be slow, stuck or gone, without keeping anybody waiting.

A pipe that nobody reads, a terminal that was stopped, a full disk: none of these is a reason to
keep a clinician waiting, or to answer nothing. So lines wait in a queue with a bound, and one
thread writes them. What the queue has no room for, and what cannot be written, is lost, counted,
and told as soon as lines flow again.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable

MOST_WAITING = 8 * 2**20
"""Bytes of lines that may wait: some ten thousand."""

_LOOK_SECONDS = 0.1
"""How often a stream that takes nothing is looked at again."""
_GATHER_SECONDS = 0.02
"""How long a line waits for others: to wake the thread for each would slow the answering down."""


class Lines:
    """Lines on their way to a stream, of which ``handle`` is the file descriptor; for any thread.

    ``notice`` makes the line that tells how many were lost. ``lost`` is told of each at once, and
    may be replaced. A fork has a queue of its own, which begins empty.
    """

    def __init__(
        self,
        handle: int,
        notice: Callable[[int], bytes] | None = None,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self.lost: Callable[[int], None] = lambda _: None
        self._handle = handle
        self._notice = notice
        self._most = most_waiting
        self._begin()
        # A thread does not survive a fork, nor does a lock that it holds at that moment.
        os.register_at_fork(
            before=self._pause, after_in_parent=self._resume, after_in_child=self._begin
        )

    def _begin(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._untold = 0
        self._cut = False
        self._thread: threading.Thread | None = None
        self._stopping = False

    def put(self, line: bytes) -> None:
        """Let a line, without its end, be written; never waits and never fails."""
        with self._changed:
            fits = self._bytes + len(line) <= self._most
            if fits:
                self._waiting.append(line)
                self._bytes += len(line)
                self._start()
                if len(self._waiting) == 1:
                    self._changed.notify_all()
            else:
                self._untold += 1
        if not fits:
            self._count()

    def flush(self, seconds: float) -> bool:
        """Wait until all is written, no longer than that; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, seconds)

    def _start(self) -> None:
        if self._thread is None and not self._stopping:
            thread = threading.Thread(target=self._run, name="lines", daemon=True)
            with contextlib.suppress(RuntimeError):  # no thread can be had: the next line tries
                thread.start()
                self._thread = thread

    def _pause(self) -> None:
        """End the thread, which takes a moment; one that hangs in the system is left behind."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(1)

    def _resume(self) -> None:
        with self._changed:
            self._stopping, self._thread = False, None
            if self._waiting:
                self._start()

    def _run(self) -> None:
        # The main thread alone handles them, and one that this thread got would not wake it.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return
                if len(self._waiting) == 1:
                    self._changed.wait_for(lambda: self._stopping, _GATHER_SECONDS)
                line = self._waiting[0]
            try:
                written = self._write(line)
                untold = self._untold
                told = written and untold and self._notice and self._write(self._notice(untold))
            except _Paused:
                return
            with self._changed:
                self._bytes -= len(self._waiting.popleft())
                self._untold += (not written) - (untold if told else 0)
                self._changed.notify_all()
            if not written:
                self._count()

    def _write(self, line: bytes) -> bool:
        """Write a line, however long that takes; whether it could be. Raises ``_Paused``."""
        rest = memoryview(b"%s%s\n" % (b"\n" if self._cut else b"", line))
        whole = len(rest)
        ready = select.poll()
        ready.register(self._handle, select.POLLOUT)
        try:
            while rest:
                if self._stopping:
                    raise _Paused
                if not ready.poll(_LOOK_SECONDS * 1000):
                    continue
                try:
                    # No more than what is ready at all is sure to take at once.
                    rest = rest[os.write(self._handle, rest[: select.PIPE_BUF]) :]
                except BlockingIOError:  # somebody made the stream one that does not wait
                    time.sleep(_LOOK_SECONDS)
        except OSError:
            return False
        finally:
            # What follows a line that was cut off begins on a line of its own.
            self._cut = bool(rest) and (self._cut or len(rest) < whole)
        return True

    def _count(self) -> None:
        with contextlib.suppress(Exception):  # to count what was lost may itself need the disk
            self.lost(1)


class _Paused(Exception):
    """The thread is to end, in the midst of a line."""
