"""Logs as JSON lines on stderr, without the texts of exceptions: these may hold patient data."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

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
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _without_texts(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    fault = info[1] if isinstance(info, tuple) else info
    if isinstance(fault, BaseException):
        event.update(describe(fault))
    return event
