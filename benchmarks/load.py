"""A bounded load from a second process: throughput, latency under it, errors and memory.

The service runs as it is deployed (``cds serve``, with its settings), on a free port of the
loopback interface. This process keeps a number of connections busy: each sends a call as soon as
its last one is answered, until so many calls are made. Every answer must be the expected one: 200
with the same cards as the first call got.

    python benchmarks/load.py [--calls 3000] [--connections 1 8 32] [--workers 1]
    python benchmarks/load.py --calls 100000 --connections 8 --workers 2 --reload --kill-worker
    python benchmarks/load.py --auth [--floor]

``--reload`` changes a rule of a copy of the rules every minute meanwhile; how many rule sets
gave answers is counted in the database afterwards.
``--kill-worker`` kills one of the workers, or what took its place, (SIGKILL) every 15 seconds; a
call that was under way in its connections may then end without an answer. Those are counted apart,
and are sent once more; the memory of the other processes is watched.
``--auth`` requires authentication: each call carries a token of its own, signed with ES384 before
the load begins. Decisions are recorded in any case, in a state folder that is made for this and
deleted afterwards; ``CDS_DATABASE_URL`` may name another database.
``--floor`` measures at 8 connections also a service that does nothing but spend as much processor
time a call as one took alone, with as many workers, and says how many times that its 99th
percentile is. Where client and workers share the processors, no service can be expected to do
better than this.

Exits with 1 for an answer that is not the expected one, for more calls lost than were under way
where workers were killed, if the 99th percentile at 8 connections is over 5 times the median at
one, if a process that lived through has grown by more than 16 MB over 20,000 calls or more, or if
rules were changed three times or more and none of the changes came into service. Where rules are
changed, growth counts from the third change on: the first two make room for two rule sets side by
side, which then serves for all later ones.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httptools
import uvloop
from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import create_engine, func, select

from cds.store.tables import decisions

CHECKOUT = Path(__file__).resolve().parents[1]
CALL = "/cds-services/myositis-patient-view"
EXAMPLE = "not-improved"
BOUND = 5.0
MANY = 20_000
"""Calls after which memory that still grows tells of a leak."""
MOST_GROWN = 16.0
SECONDS_BETWEEN_CHANGES = 60.0
"""Rules are tested in some seconds of a processor, of which a quarter is left to them where all are
busy, and come into service only if they have not changed again by then."""
SECONDS_BETWEEN_KILLS = 15.0
UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ISSUER = "https://ehr.example"
AUDIENCE = "https://cds.example"

Headers = Callable[[], dict[str, str]]
"""Headers of one more request, such as a token that no other request has."""


def signing(folder: Path) -> tuple[Headers, dict[str, str]]:
    """What signs each call as a client, and the settings by which the service knows it."""
    key = ECKey.generate_key("P-384", {"kid": "load"})
    (folder / "keys.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    clients = folder / "clients.yaml"
    clients.write_text(
        f"clients: [{{name: load, issuer: {ISSUER}, jwks_file: keys.json, audience: [{AUDIENCE}]}}]"
    )

    def headers() -> dict[str, str]:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE + CALL,
            "iat": now,
            "exp": now + 3600,
            "jti": str(uuid.uuid4()),
        }
        header = {"alg": "ES384", "kid": "load", "typ": "JWT"}
        token = jwt.encode(header, claims, key, algorithms=["ES384"])
        return {"Authorization": f"Bearer {token}"}

    return headers, {"CDS_AUTH": "required", "CDS_CLIENTS": str(clients)}


class Expected:
    """What an answer must say: what the first one did, but for the uuids, which are new each time.

    They are of one length, so the rest stands at the same places; comparing it so costs the client,
    which shares the processors with the service, next to nothing.
    """

    def __init__(self, first: bytes) -> None:
        self.length = len(first)
        ends = [0, *(place for found in UUID.finditer(first) for place in found.span()), len(first)]
        self.parts = [(a, b, first[a:b]) for a, b in zip(ends[::2], ends[1::2], strict=True)]

    def is_met_by(self, body: bytes) -> bool:
        """Whether an answer says the same."""
        return len(body) == self.length and all(body[a:b] == part for a, b, part in self.parts)


class Answer:
    """The answer that a connection is reading."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.body = b""
        self.complete = False
        self.keep = False

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self.body += body

    def on_message_complete(self) -> None:
        """Note the end, and whether the connection stays: afterwards the parser has forgotten."""
        self.complete = True
        self.keep = self.parser.should_keep_alive()


class Load:
    """So many calls over so many connections, and what became of them."""

    def __init__(self, port: int, body: bytes, calls: int, headers: Headers) -> None:
        self.port = port
        self.body = body
        self.left = calls
        self.headers = headers
        self.ready = [headers() for _ in range(calls)]
        self.milliseconds: list[float] = []
        self.wrong: Counter[str] = Counter()
        self.lost = 0
        self.expected: Expected | None = None

    async def run(self, connections: int) -> float:
        """Make the calls; the seconds that they took together."""
        started = time.perf_counter()
        await asyncio.gather(*(self._keep_busy() for _ in range(connections)))
        return time.perf_counter() - started

    async def _keep_busy(self) -> None:
        reader = writer = None
        while self.left > 0:
            self.left -= 1
            own = self.ready.pop()
            started = time.perf_counter()
            while True:
                try:
                    if writer is None or reader is None:
                        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    status, body, keep = await self._call(reader, writer, own)
                    break
                except (OSError, EOFError):
                    self.lost += 1
                    own = self.headers()  # what was sent may count as used
                    if writer is not None:
                        writer.close()
                    writer = None
            self.milliseconds.append((time.perf_counter() - started) * 1000)
            self._judge(status, body)
            if not keep:
                writer.close()
                writer = None
        if writer is not None:
            writer.close()

    async def _call(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, own: dict[str, str]
    ) -> tuple[int, bytes, bool]:
        lines = "".join(f"{name}: {value}\r\n" for name, value in own.items())
        head = (
            f"POST {CALL} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{lines}"
            f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n\r\n"
        )
        writer.write(head.encode() + self.body)
        answer = Answer()
        while not answer.complete:
            received = await reader.read(262144)
            if not received:
                raise EOFError
            answer.parser.feed_data(received)
        return answer.parser.get_status_code(), answer.body, answer.keep

    def _judge(self, status: int, body: bytes) -> None:
        if status != 200:
            self.wrong[f"status {status}: {body[:200]!r}"] += 1
            return
        if self.expected is None:
            self.expected = Expected(body)
        if not self.expected.is_met_by(body):
            self.wrong["other cards than at the first call"] += 1


class Server:
    """The service in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("Stop with"):
                break
        found = re.search(r"serves on http://\S+:(\d+)\n", said)
        if found is None:
            raise SystemExit(f"The service did not start: {said}")
        self.port = int(found[1])

    def processes(self) -> list[int]:
        """Those that it has begun and that live, in that order: first those that answer."""
        main = self.process.pid
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        return [int(child) for child in children]

    def megabytes(self) -> dict[int, float]:
        """Memory of each process."""
        sizes = {}
        for process in self.processes():
            with contextlib.suppress(OSError):  # it may have died meanwhile
                status = Path(f"/proc/{process}/status").read_text()
                if found := re.search(r"VmRSS:\s+(\d+) kB", status):
                    sizes[process] = int(found[1]) / 1024
        return sizes


@contextlib.contextmanager
def serving(workers: int, rules: Path, environ: dict[str, str]) -> Iterator[Server]:
    """Serve on a free port; settings of this process's environment go before these."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cds", "serve", "--workers", str(workers)],
        cwd=CHECKOUT,
        env={
            "CDS_AUTH": "off",
            "CDS_RULES": str(rules),
            **os.environ,
            "CDS_PORT": "0",
            **environ,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Server(process)
    finally:
        process.terminate()
        process.wait(60)


@contextlib.contextmanager
def spinning(workers: int, milliseconds: float) -> Iterator[int]:
    """The port of a service whose calls do nothing but spend so much processor time."""
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("spinning.py"), str(workers), str(milliseconds)],
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


CHANGES_TO_SETTLE = 2
"""Until a process has room for two rule sets side by side, in memory that it uses again."""


async def reload(rules: Path, made: Counter[str], server: Server, before: dict[int, float]) -> None:
    """Change the version of a rule and back, again and again.

    ``before`` is what each process had when memory began to count.
    """
    file = rules / "guidance" / "scope" / "inclusion-body-myositis.yaml"
    text = file.read_text()
    try:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_CHANGES)
            if made["rules changed"] == CHANGES_TO_SETTLE:
                before.update(server.megabytes())
            version = f"version: 1.0.{1000 + made['rules changed']}"
            file.write_text(re.sub(r"^version: .*", version, text, flags=re.MULTILINE))
            made["rules changed"] += 1
    finally:
        file.write_text(text)


async def kill_workers(server: Server, made: Counter[str]) -> None:
    """Kill a worker, and each that takes its place; the others live, and show whether they grow."""
    known = server.processes()
    victim = known[0]
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_KILLS)
        os.kill(victim, signal.SIGKILL)
        made["workers killed"] += 1
        while not (begun := [each for each in server.processes() if each not in known]):
            await asyncio.sleep(0.1)
        known += begun
        victim = begun[0]


def answered(url: str) -> int:
    """How many rule sets the decisions in a database were made with."""
    engine = create_engine(url)
    with engine.connect() as connection:
        return connection.scalar(select(func.count(decisions.c.rules_version.distinct()))) or 0


@contextlib.asynccontextmanager
async def beside(*troubles: asyncio.Task[None]) -> AsyncIterator[None]:
    """Let tasks run meanwhile; a fault of theirs is raised."""
    try:
        yield
    finally:
        for trouble in troubles:
            trouble.cancel()
        for ended in await asyncio.gather(*troubles, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


def percentile(ordered: list[float], share: float) -> float:
    """The smallest value that so many of the ordered values do not pass."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


async def measure(options: argparse.Namespace) -> int:
    """Measure at each number of connections and print a table; 1 where a bound is passed."""
    body = (CHECKOUT / "fhir_examples" / f"{EXAMPLE}.request.json").read_bytes()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(shutil.copytree(CHECKOUT / "rules", Path(folder) / "rules"))
        headers, environ = signing(Path(folder)) if options.auth else (dict, {})
        if options.reload:
            environ["CDS_RELOAD_SECONDS"] = "0.5"
        environ["CDS_STATE"] = str(Path(folder) / "state")
        made: Counter[str] = Counter()
        with serving(options.workers, rules, environ) as server:
            warm = Load(server.port, body, 200, headers)
            await warm.run(4)
            print(f"{options.calls} calls of {EXAMPLE} each, {options.workers} worker(s)")
            columns = (
                "connections",
                "calls/s",
                "p50 ms",
                "p95 ms",
                "p99 ms",
                "wrong",
                "lost",
                "MB",
                "grown by",
            )
            print(" ".join(f"{column:>11}" for column in columns))
            alone = None
            for connections in options.connections:
                load = Load(server.port, body, options.calls, headers)
                before = server.megabytes()
                troubles = []
                if options.reload:
                    troubles.append(asyncio.create_task(reload(rules, made, server, before)))
                if options.kill_worker:
                    troubles.append(asyncio.create_task(kill_workers(server, made)))
                async with beside(*troubles):
                    seconds = await load.run(connections)
                after = server.megabytes()
                # Of those that lived through it.
                grown = max([mb - before[pid] for pid, mb in after.items() if pid in before] or [0])
                ordered = sorted(load.milliseconds)
                p50, p95, p99 = (percentile(ordered, share) for share in (0.50, 0.95, 0.99))
                wrong = load.wrong.total()
                print(
                    f"{connections:>11} {len(ordered) / seconds:>11.0f} {p50:>11.2f} {p95:>11.2f} "
                    f"{p99:>11.2f} {wrong:>11} {load.lost:>11} {max(after.values()):>11.0f} "
                    f"{grown:>11.1f}",
                    flush=True,
                )
                for what, count in load.wrong.most_common(5):
                    print(f"  {count} times {what}")
                # Each connection has one call under way when its worker is killed.
                failed |= wrong > 0 or load.lost > made["workers killed"] * connections
                if len(ordered) >= MANY and grown > MOST_GROWN:
                    print(f"  memory grew by more than {MOST_GROWN:g} MB")
                    failed = True
                if connections == 1:
                    alone = statistics.median(ordered)
                if connections == 8 and alone is not None and p99 > BOUND * alone:
                    times = p99 / alone
                    print(f"  p99 is {times:.1f} times the median at one, over {BOUND:g} times")
                    failed = True
        if options.floor and alone is not None:
            with spinning(options.workers, alone) as port:
                await Load(port, body, 200, dict).run(4)
                load = Load(port, body, options.calls, dict)
                await load.run(8)
            p99 = percentile(sorted(load.milliseconds), 0.99)
            print(
                f"{alone:.2f} ms of a processor, and nothing else: p99 at 8 {p99:.2f} ms, "
                f"{p99 / alone:.1f} times that"
            )
        if options.reload:
            url = environ.get("CDS_DATABASE_URL") or os.environ.get("CDS_DATABASE_URL")
            made["rule sets that answered"] = answered(
                url or f"sqlite:///{environ['CDS_STATE']}/cds.sqlite"
            )
            if made["rules changed"] >= 3 and made["rule sets that answered"] < 2:
                print("  no change of the rules came into service")
                failed = True
        if made:
            print(", ".join(f"{count} {what}" for what, count in made.items()))
    return int(failed)


def main() -> int:
    """Run the benchmark; 1 where a bound is passed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--auth", action="store_true")
    parser.add_argument("--reload", action="store_true")
    parser.add_argument("--kill-worker", action="store_true")
    parser.add_argument("--floor", action="store_true")
    options = parser.parse_args()
    if options.kill_worker and options.workers < 2:
        parser.error("--kill-worker needs --workers 2 or more")
    if options.floor and 1 not in options.connections:
        parser.error("--floor needs what a call takes at one connection")
    return uvloop.run(measure(options))


if __name__ == "__main__":
    sys.exit(main())
