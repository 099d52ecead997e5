"""Logs as JSON lines on stderr, without the texts of exceptions: these may hold patient data."""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from cds.hooks.lines import Lines
from cds.terminal import printable_json, printable_line

FLUSH_SECONDS = 2.0
"""What is still to be logged at the end may take so long, however slow its reader is."""
LONGEST_TEXT = 2000
"""Characters of a text in a line; what is longer is cut off."""
MOST_ITEMS = 200
"""Of a list in a line."""

_STDERR = 2


def describe(fault: BaseException) -> dict[str, object]:
    """What a log may say of an exception: its type, and the lines it came through."""
    frames = traceback.extract_tb(fault.__traceback__)
    return {
        "fault": type(fault).__name__,
        "at": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }


class Sparing:
    """Bounds how many lines a second are logged because of somebody who is not known."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def take(self) -> dict[str, int] | None:
        """What the line says of those left out since the last; None where this is left out too."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines == self._most:
            self._left_out += 1
            return None
        self._lines += 1
        left_out, self._left_out = self._left_out, 0
        return {"left_out": left_out} if left_out else {}


def log_json(rules_version: Callable[[], str] | None = None) -> Lines:
    """Send this process's logs to stderr, one JSON object a line, those of libraries included.

    Each line names the process and the version of the rules: the one that a request is answered by,
    where ``bind_contextvars`` has noted that, and else what ``rules_version`` says is in service.
    Logging never waits for whoever reads, and never fails. What still waits at the end of the
    process is written then, for at most ``FLUSH_SECONDS``; not at the end of a fork of it.
    """

    def with_origin(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if rules_version is not None and "rules_version" not in event:
            event["rules_version"] = rules_version()
        event["process"] = os.getpid()
        return event

    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        with_origin,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
        _without_texts,
    ]

    def notice(lost: int) -> bytes:
        event: Any = {"event": "log_lines_lost", "lines": lost}
        for process in processors:
            event = process(_NamedLogger(lines, __name__), "error", event)
        return _encode(event)

    lines = Lines(_STDERR, notice)
    atexit.register(lines.flush, FLUSH_SECONDS)
    logging.basicConfig(level=logging.INFO, handlers=[_OfLibraries(lines, processors)], force=True)
    logging.captureWarnings(True)
    # Own lines do not go through the standard library, which would make each five times as slow:
    # every call writes one.
    structlog.configure(
        processors=[*processors, structlog.processors.JSONRenderer(_encode)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=partial(_NamedLogger, lines),
        cache_logger_on_first_use=True,
    )
    # What nobody caught would else be printed, with its text.
    sys.excepthook = lambda kind, fault, trace: _uncaught(fault)
    threading.excepthook = lambda told: _uncaught(told.exc_value)
    sys.unraisablehook = lambda told: _uncaught(told.exc_value)
    return lines


def log_plainly() -> None:
    """Send warnings to stderr in words, for the commands that people use."""
    structlog.configure(
        processors=[_without_texts, _in_words],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


def _in_words(logger: WrappedLogger, method: str, event: EventDict) -> str:
    said = str(event.pop("event", ""))
    told = ", ".join(f"{name}: {value}" for name, value in event.items() if value is not None)
    return printable_line(f"{method}: {said}{' (' if told else ''}{told}{')' if told else ''}")


def _uncaught(fault: BaseException | None) -> None:
    if fault is not None and not isinstance(fault, KeyboardInterrupt):
        structlog.get_logger(__name__).error("uncaught", **describe(fault))


class _NamedLogger:
    """Hands lines over for the module that asked for the logger."""

    def __init__(self, lines: Lines, name: str | None = None) -> None:
        self.name = name or _asking_module()
        self.debug = self.info = self.warning = self.error = self.critical = lines.put


class _OfLibraries(logging.Handler):
    """Hands over what libraries log.

    Of a text only the first line counts: asyncio appends what it holds, exceptions with their
    texts included.
    """

    def __init__(self, lines: Lines, processors: Sequence[Processor]) -> None:
        super().__init__()
        self._lines = lines
        self._processors = processors

    def emit(self, record: logging.LogRecord) -> None:
        """Hand over one record; where it cannot be written out, that alone."""
        try:
            text = record.getMessage()
        except Exception as fault:
            text = f"a line that cannot be written out ({type(fault).__name__})"
        event: Any = {"event": (text.splitlines() or [""])[0], "exc_info": record.exc_info}
        logger = _NamedLogger(self._lines, record.name)
        for process in self._processors:
            event = process(logger, record.levelname.lower(), event)
        self._lines.put(_encode(event))


def _asking_module() -> str:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name != __name__ and name.partition(".")[0] != "structlog":
            return name
        frame = frame.f_back
    return __name__


def _encode(event: EventDict, **_: object) -> bytes:
    """An event as JSON, whatever it holds: that it cannot be told fully is no fault of a call."""
    bounded = {name: _bounded(value) for name, value in event.items()}
    try:
        return printable_json(msgspec.json.encode(bounded, enc_hook=_type_name))
    except Exception:
        return json.dumps({name: ascii(value) for name, value in bounded.items()}).encode()


def _type_name(value: object) -> str:
    return f"({type(value).__name__})"


def _bounded(value: object) -> object:
    """A value that what somebody sent cannot make as long as they like."""
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return f"{value[:LONGEST_TEXT]}… ({len(value)} characters)"
    if isinstance(value, list | tuple):
        shown = [_bounded(each) for each in value[:MOST_ITEMS]]
        more = len(value) - MOST_ITEMS
        return [*shown, f"… ({more} more)"] if more > 0 else shown
    if isinstance(value, dict):
        return {name: _bounded(each) for name, each in value.items()}
    return value


def _without_texts(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    fault = info[1] if isinstance(info, tuple) else info
    if isinstance(fault, BaseException):
        event.update(describe(fault))
    return event
