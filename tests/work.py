"""Counts the work that a function does, so that its growth is tested without a clock."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def work_of(do: Callable[[], object]) -> int:
    """Count the lines of Python that are run, each round of a loop or comprehension anew.

    What is done within a built-in function counts as the one line that calls it.
    """
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        do()
    finally:
        sys.settrace(before)
    return count


def assert_in_proportion(work: Callable[[int], int], size: int) -> None:
    """Assert that work of four times the size takes little more than four times the steps.

    Work that grows with the square would take sixteen times as many.
    """
    small, large = work(size), work(4 * size)
    assert large < 6 * small, f"{small} steps for {size}, {large} for {4 * size}"
