"""Takes changed rules into service without a restart, and refuses those that are not in order.

The folders are looked at every few seconds: mounts and swapped links give no events that could be
waited for. A change counts once two looks in a row have seen the same, so a half-written file is
not taken. It is then read, checked, tested, compiled and tried beside the rules in service, and
replaces them only if nothing is wrong with it.

To test all rules takes some seconds of a processor, for which the calls of a process would wait.
So a process that answers no calls tries what has changed, and those that do follow it.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from cds.advice import load_rules
from cds.hooks.logs import describe
from cds.hooks.service import Attempt, InService, Served, make_served
from cds.located import FilesInvalid, Place, Problem
from cds.rules.contents import Stamps, content_version, read_stamps
from cds.rules.engine import EngineFault
from cds.rules.ruleset import EnginesDisagree, RuleSet
from cds.ruletests import run
from cds.store.archive import pack, rebuild

_log = structlog.get_logger()


def poll(folder: Path, site: Path | None = None) -> str | Problem:
    """The version of what the folders hold now, or why that cannot be told."""
    return polling(folder, site)()


def polling(folder: Path, site: Path | None = None) -> Callable[[], str | Problem]:
    """What tells the version of what the folders hold, or why that cannot be told.

    The files are read again only where one may have changed since: to read them all takes some
    milliseconds, for which every call of the process would wait at each look.
    """
    known: tuple[Stamps, str] | None = None

    def look() -> str | Problem:
        nonlocal known
        began = time.time_ns()
        try:
            stamps = read_stamps(folder, site)
            if known is not None and known[0] == stamps:
                return known[1]
            version = content_version(folder, site)
        except OSError as fault:
            known = None
            place = Place(str(fault.filename or folder))
            return Problem(place, "unreadable", f"cannot be read: {fault.strerror}")
        # What was changed a moment ago may be changed again without another stamp.
        settled = all(changed < began - _SETTLED_NS for *_, changed in stamps)
        known = (stamps, version) if settled else None
        return version

    return look


_SETTLED_NS = 2_000_000_000
"""Two changes of a file that are further apart have stamps that differ, on any file system."""


Prepare = Callable[[], Served]
"""Makes of what the folders hold now what can be served; raises where something is wrong."""

Tell = Callable[[Attempt], None]
"""What is told of each attempt to take changed rules into service."""


def prepare(
    folder: Path, site: Path | None, examples: Path, warm_up: Callable[[RuleSet], None]
) -> Served:
    """Read, check, test and compile the rules of a folder, as a site's folder changes them.

    ``examples`` holds the Bundles that tests name; ``warm_up`` tries the rules. Raises
    ``FilesInvalid`` with every error of every file, or with every test that fails, and what
    ``warm_up`` raises. Then the engine's memory has been given back.
    """

    def test(ruleset: RuleSet) -> None:
        report = run(ruleset, folder, examples)
        if not report.passed:
            failed = (result for result in report.results if not result.passed)
            raise FilesInvalid(
                [
                    *report.problems,
                    *(
                        Problem(
                            result.place,
                            "test-failed",
                            f"{result.rule}: {result.name}: "
                            + " ".join("; ".join(result.differences).split()),
                        )
                        for result in failed
                    ),
                ]
            )
        warm_up(ruleset)

    return _tried(load_rules(folder, site), test)


def prepare_published(version: str, files: bytes, warm_up: Callable[[RuleSet], None]) -> Served:
    """Make what another process has tested of the files that it published."""
    return _tried(rebuild(version, files), warm_up)


def _tried(ruleset: RuleSet, try_out: Callable[[RuleSet], None]) -> Served:
    """What can be served; where that is not so, the engine's memory is given back."""
    try:
        try_out(ruleset)
        return make_served(ruleset)
    except BaseException:
        ruleset.close()
        raise


def settle_memory() -> None:
    """Let full collections skip what exists by now: it lives until the rules are replaced.

    What was skipped so far is looked at once more, so that replaced rules are not kept for ever.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


class Reloader:
    """Keeps the rules in service as the folders have them, as long as these are in order.

    ``poll`` tells the version of what the folders hold, or why that cannot be told; ``prepare``
    makes of it what can be served, raising as the function of this module does. ``tell`` is told of
    each attempt when it is over. ``check`` is for one thread only.
    """

    def __init__(
        self,
        in_service: InService,
        poll: Callable[[], str | Problem],
        prepare: Prepare,
        tell: Tell = lambda _: None,
    ) -> None:
        self._in_service = in_service
        self._poll = poll
        self._prepare = prepare
        self._tell = tell
        self._seen: str | Problem | None = None
        self._tried: str | Problem = in_service.served.version

    def check(self) -> None:
        """Look once; try what has changed since the last try and is the same as at the last look.

        What is wrong with it is logged and noted in ``InService.last_attempt``, never raised.
        """
        self._in_service.close_unused()
        before, self._seen = self._seen, self._poll()
        if self._seen == before and self._seen != self._tried:
            self._try(self._seen)

    def _try(self, seen: str | Problem) -> None:
        served: Served | None = None
        problems: tuple[str, ...] = ()
        trouble: dict[str, object] = {}
        if isinstance(seen, Problem):
            problems = (str(seen),)
        elif seen == self._in_service.served.version:  # changed back
            served = self._in_service.served
        else:
            try:
                served = self._prepare()
            except FilesInvalid as fault:
                problems = tuple(map(str, fault.problems))
            except (EngineFault, EnginesDisagree) as fault:
                problems = (str(Problem(Place("rules"), "engine-fault", str(fault))),)
            except Exception as fault:
                # A fault of this program. The watch must outlive it, or it would end in silence.
                trouble = describe(fault)
                problems = (str(Problem(Place("rules"), "fault", _FAULT.format(trouble["fault"]))),)
            # Unless it was the same throughout, nobody knows what was read.
            self._seen = self._poll()
            if self._seen != seen or (served is not None and served.version != seen):
                if served is not None:
                    served.ruleset.close()
                return
        self._tried = seen
        version = seen if isinstance(seen, str) else None
        attempt = Attempt(
            at=datetime.now(UTC), version=version, accepted=served is not None, problems=problems
        )
        if served is None:
            self._in_service.last_attempt = attempt
            _log.error("rules_refused", refused=version, problems=problems, **trouble)
        elif served is self._in_service.served:
            self._in_service.last_attempt = attempt
            _log.info("rules_changed_back", rules=served.rules)
        else:
            _take(self._in_service, served, attempt)
        self._tell(attempt)


class Published(Struct, frozen=True):
    """An attempt, and where it was accepted the files of the rules (``cds.store.archive``)."""

    attempt: Attempt
    files: bytes | None = None


class Follower:
    """Keeps the rules in service as another process has tried them.

    ``last`` gives what that one published last; ``prepare`` makes of a version and its files what
    can be served, without testing it again. The folders are not looked at: they may have changed
    since. ``tell`` is told of each attempt that is followed. ``check`` is for one thread.
    """

    def __init__(
        self,
        in_service: InService,
        last: Callable[[], Published | None],
        prepare: Callable[[str, bytes], Served],
        tell: Tell = lambda _: None,
    ) -> None:
        self._in_service = in_service
        self._last = last
        self._prepare = prepare
        self._tell = tell
        # Of a process that is begun later, what was told already to those before it.
        self._followed = in_service.last_attempt

    def check(self) -> None:
        """Look once; what cannot be followed is logged, and tried again at the next look."""
        self._in_service.close_unused()
        try:
            last = self._last()
            if last is None or last.attempt == self._followed:
                return
            attempt = last.attempt
            version = attempt.version
            if last.files is None or version in (None, self._in_service.served.version):
                self._in_service.last_attempt = attempt
            else:
                _take(self._in_service, self._prepare(version, last.files), attempt)
        except Exception as fault:
            # The watch must outlive it, or it would end in silence.
            _log.error("rules_not_followed", **describe(fault))
            return
        self._followed = attempt
        self._tell(attempt)


def _take(in_service: InService, served: Served, attempt: Attempt) -> None:
    """Take other rules into service, and let go of those that were."""
    replaced = in_service.replace(served, attempt).version
    _log.info("rules_accepted", replaced=replaced, rules=served.rules)
    in_service.close_unused()
    settle_memory()


def watch(check: Callable[[], None], seconds: float, stop: threading.Event) -> None:
    """Check every so many seconds until told to stop."""
    while not stop.wait(seconds):
        check()


def publish(attempt: Attempt, file: Path, in_service: InService) -> None:
    """Let other processes know of an attempt by a file, which they find whole or not at all.

    ``in_service`` has the rules that were accepted.
    """
    files = pack(in_service.served.ruleset.contents) if attempt.accepted else None
    written = file.with_suffix(".new")
    written.write_bytes(_ENCODER.encode(Published(attempt, files)))
    os.replace(written, file)


def published(file: Path) -> Published | None:
    """What was published in a file last; None where nothing was yet."""
    try:
        return _DECODER.decode(file.read_bytes())
    except FileNotFoundError:
        return None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Published)


_FAULT = (
    "could not be tried because of a fault in this program ({}), and not necessarily in the rules: "
    "run `cds rules check` and `cds rules test`, and see the log"
)
