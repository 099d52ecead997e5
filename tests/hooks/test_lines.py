import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cds.hooks.lines import Lines

PIPE = 65536
"""Bytes that a pipe takes in before somebody reads them."""


class Pipe:
    """A pipe with lines at its one end, and what is read at the other."""

    def __init__(self, most_waiting: int = 1000) -> None:
        self.out, self.into = os.pipe()
        self.lost = 0
        self.lines = Lines(self.into, lambda lost: b"lost %d" % lost, most_waiting)
        self.lines.lost = self.count

    def count(self, lost: int) -> None:
        """Add up what is told to be lost."""
        self.lost += lost

    def fill(self) -> None:
        """Fill the pipe itself, so that it takes nothing more."""
        os.set_blocking(self.into, False)
        try:
            while True:
                os.write(self.into, b"." * 1023 + b"\n")
        except BlockingIOError:
            os.set_blocking(self.into, True)

    def read(self, end: bytes) -> list[bytes]:
        """Read until a line is there; all lines but those that filled the pipe."""
        got = b""
        while not got.endswith(b"\n" + end + b"\n") and got != end + b"\n":
            got += os.read(self.out, PIPE)
        return [line for line in got.splitlines() if line.strip(b".")]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Open a pipe whose lines may take 1000 bytes while nobody reads."""
    opened = Pipe()
    yield opened
    os.close(opened.out)
    opened.lines.flush(5)
    os.close(opened.into)


def test_lines_arrive_in_order(pipe: Pipe) -> None:
    """Each with its end, and flush waits for all of them."""
    for number in range(50):
        pipe.lines.put(b"line %d" % number)

    assert pipe.lines.flush(5)
    assert pipe.read(b"line 49") == [b"line %d" % number for number in range(50)]
    assert pipe.lost == 0


def test_a_stream_that_takes_nothing_keeps_nobody_waiting(pipe: Pipe) -> None:
    """What the queue has no room for is counted at once, and told when lines flow again."""
    pipe.fill()
    for number in range(200):
        pipe.lines.put(b"line %05d" % number)

    assert not pipe.lines.flush(0)
    assert pipe.lost == 100
    told = pipe.read(b"line 00099")
    assert told[:2] == [b"line 00000", b"lost 100"]
    assert told[2:] == [b"line %05d" % number for number in range(1, 100)]


def test_the_queue_is_bounded_by_its_bytes(pipe: Pipe) -> None:
    """A single line that is longer than all that may wait is lost, and nothing else is."""
    pipe.lines.put(b"x" * 1001)
    pipe.lines.put(b"short")

    assert pipe.read(b"lost 1") == [b"short", b"lost 1"]
    assert pipe.lost == 1


def test_a_long_line_is_written_whole() -> None:
    """Also where it is longer than the pipe, whose reader takes it bit by bit."""
    pipe = Pipe(most_waiting=2**20)
    pipe.lines.put(b"x" * 200_000)
    pipe.lines.put(b"end")

    assert [len(line) for line in pipe.read(b"end")] == [200_000, 3]


def test_a_reader_that_is_gone_costs_its_lines_only(pipe: Pipe) -> None:
    """A broken pipe raises nothing, and each line that it did not take is counted."""
    os.close(pipe.out)
    for _ in range(3):
        pipe.lines.put(b"line")

    assert pipe.lines.flush(5)
    assert pipe.lost == 3
    pipe.out = os.open(os.devnull, os.O_RDONLY)


def test_a_full_disk_costs_lines_only() -> None:
    """Writing to a device without room raises nothing, and each line is counted."""
    full = os.open("/dev/full", os.O_WRONLY)
    lines = Lines(full)
    lost: list[int] = []
    lines.lost = lost.append
    lines.put(b"one")
    lines.put(b"two")

    assert lines.flush(5)
    os.close(full)
    assert lost == [1, 1]


def test_a_closed_stream_costs_lines_only(tmp_path: Path) -> None:
    """Writing to a number that is no open file raises nothing."""
    closed = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    os.close(closed)
    lines = Lines(closed)
    lost: list[int] = []
    lines.lost = lost.append
    lines.put(b"one")

    assert lines.flush(5)
    assert lost == [1]


def test_a_count_that_fails_is_no_reason_to_fail(pipe: Pipe) -> None:
    """Whoever is told of lost lines may itself be in trouble."""

    def fail(lost: int) -> None:
        raise OSError("no room")

    pipe.lines.lost = fail
    pipe.lines.put(b"x" * 2000)
    pipe.lines.put(b"next")

    assert pipe.read(b"lost 1") == [b"next", b"lost 1"]


def test_a_fork_writes_its_own_lines_and_no_others(pipe: Pipe) -> None:
    """What waits in the parent at that moment is written once, and the child begins anew."""
    pipe.fill()
    pipe.lines.put(b"of the parent")
    child = os.fork()
    if child == 0:
        pipe.lines.put(b"of the child")
        os._exit(0 if pipe.lines.flush(10) else 1)

    lines: list[bytes] = []
    while {b"of the parent", b"of the child"} - set(lines):
        lines += [line for line in os.read(pipe.out, PIPE).splitlines() if line.strip(b".")]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sorted(lines) == [b"of the child", b"of the parent"]


def test_no_thread_is_left_at_a_fork(pipe: Pipe) -> None:
    """A thread of the parent would not exist in the child, but what it had locked would be."""
    pipe.fill()
    pipe.lines.put(b"line")
    child = os.fork()
    if child == 0:
        names = [thread.name for thread in threading.enumerate()]
        os._exit("lines" in names)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert b"line" in pipe.read(b"line")
