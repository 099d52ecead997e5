"""Logs as JSON lines on stderr, without the texts of exceptions: these may hold patient data."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def describe(fault: BaseException) -> dict[str, object]:
    """What a log may say of an exception: its type, and the lines it came through."""
    frames = traceback.extract_tb(fault.__traceback__)
    return {
        "fault": type(fault).__name__,
        "at": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }


def log_json(rules_version: Callable[[], str] | None = None) -> None:
    """Send this process's logs to stderr, one JSON object a line, those of libraries included.

    Each line names the process and the version of the rules: the one that a request is answered by,
    where ``bind_contextvars`` has noted that, and else what ``rules_version`` says is in service.
    """

    def with_origin(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if rules_version is not None and "rules_version" not in event:
            event["rules_version"] = rules_version()
        event["process"] = os.getpid()
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        with_origin,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
        _without_texts,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Own lines do not go through the standard library, which would make each five times as slow:
    # every call writes one.
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(_encode)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=_NamedLogger,
        cache_logger_on_first_use=True,
    )


class _NamedLogger(structlog.BytesLogger):
    """Writes lines to stderr for the module that asked for the logger."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(sys.stderr.buffer)
        self.name = name or _asking_module()


def _asking_module() -> str:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name != __name__ and name.partition(".")[0] != "structlog":
            return name
        frame = frame.f_back
    return __name__


def _encode(event: EventDict, **_: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=repr)


def _without_texts(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    fault = info[1] if isinstance(info, tuple) else info
    if isinstance(fault, BaseException):
        event.update(describe(fault))
    return event
