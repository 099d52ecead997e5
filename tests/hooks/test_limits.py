import asyncio
import contextlib
import json
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import date
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request, Response

from cds.fhir.bundles import entries_worth
from cds.hooks.limits import Beyond, KeepsLimits, Limits
from cds.hooks.service import create_app
from cds.rules.ruleset import RuleSet
from tests.hooks.conformance import check_answer, faults

ROOT = Path(__file__).parents[2]
CALL = "/cds-services/myositis-patient-view"


class Limited:
    """An application behind limits: what it was asked, and what was refused."""

    def __init__(self, **limits: Any) -> None:
        self.bodies: list[bytes] = []
        self.refused: Counter[str] = Counter()
        self.go_on = asyncio.Event()
        self.busy = asyncio.Event()
        app = FastAPI()

        @app.post("/read")
        async def read(request: Request) -> Response:
            self.bodies.append(await request.body())
            return Response(b"read")

        @app.post("/fetch")
        async def fetch(request: Request) -> Response:
            try:
                request.state.share.take(int(request.headers["Fetch"]))
            except Beyond as beyond:
                return Response(" ".join(beyond.problems), beyond.status)
            return Response(b"fetched")

        @app.post("/hold")
        async def hold(request: Request) -> Response:
            body = (await request.receive())["body"]
            self.busy.set()
            await self.go_on.wait()
            return Response(b"%d" % len(body))

        @app.post("/wait")
        @app.post("/health/wait")
        async def wait() -> Response:
            self.busy.set()
            await self.go_on.wait()
            return Response(b"waited")

        limited = KeepsLimits(app, Limits(**limits), lambda reason: self.refused.update([reason]))
        self.client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=limited), base_url="http://service"
        )


def issue(answer: httpx2.Response) -> tuple[str, str]:
    """Return code and sentence of the only issue of an OperationOutcome."""
    outcome = answer.json()
    assert faults("operation-outcome", outcome) == []
    (only,) = outcome["issue"]
    return only["code"], only["diagnostics"]


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """Give a body in parts, without a length declared beforehand."""
    for part in parts:
        yield part


def test_a_body_is_read_up_to_the_limit_and_refused_above_it() -> None:
    """The very size that is allowed arrives whole; one byte more is 413, declared or streamed."""

    async def run() -> None:
        limited = Limited(body_bytes=10)
        assert (await limited.client.post("/read", content=b"0123456789")).status_code == 200
        assert (await limited.client.post("/read", content=chunks(b"01", b"23"))).status_code == 200
        for content in (b"0123456789x", chunks(b"01234", b"56789", b"x")):
            answer = await limited.client.post("/read", content=content)
            assert answer.status_code == 413
            code, said = issue(answer)
            assert code == "too-long"
            assert "has 11 bytes; this service reads at most 10 (CDS_MAX_BODY_BYTES)" in said
        assert limited.bodies == [b"0123456789", b"0123"]
        assert limited.refused == {"body": 2}

    asyncio.run(run())


BUNDLE = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient"}}] * 3}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"prefetch": {"a": BUNDLE}}, 200),
        ({"prefetch": {"a": BUNDLE, "b": {"entry": [{}]}}}, 413),
        ({"prefetch": {"a": {"entry": [{"resource": BUNDLE}]}}}, 413),
        ({"context": {"draftOrders": {"entry": [{}] * 4}}}, 413),
        ({"objects": [{}] * 59}, 200),
        ({"objects": [{}] * 60}, 413),
        ({"text": "{" * 60}, 413),
        ({"lists": [[]] * 59}, 200),
        ({"lists": [[]] * 60}, 413),
        ({"context": {"draftOrders": {"entry": [None] * 4}}}, 413),
        ({"texts": ["a"] * 200}, 200),
        ({"texts": ["a"] * 201}, 413),
    ],
)
def test_entries_are_counted_wherever_bundles_are(body: Any, status: int) -> None:
    """Those of all Bundles together; what has far more of anything else is not even read."""

    async def run() -> None:
        limited = Limited(entries=3)
        answer = await limited.client.post("/read", content=json.dumps(body).encode())
        assert answer.status_code == status
        if status == 413:
            assert issue(answer)[0] == "too-costly"
            assert limited.refused == {"entries": 1}

    asyncio.run(run())


@pytest.mark.parametrize("passed_over", [b"1e999", b'"\xff"', b"1" + b"0" * 5000])
def test_nobody_switches_the_count_of_entries_off(passed_over: bytes) -> None:
    """What is wrong in a field that nobody reads hides no entries from the limit."""
    body = json.dumps({"prefetch": {"a": BUNDLE, "b": {"entry": [{}]}}}).encode()

    async def run() -> None:
        limited = Limited(entries=3)
        content = body[:-1] + b', "y": ' + passed_over + b"}"
        assert (await limited.client.post("/read", content=content)).status_code == 413
        assert limited.refused == {"entries": 1}

    asyncio.run(run())


def test_the_longest_chart_as_dense_as_any_example_is_read() -> None:
    """With room to spare, in objects, arrays and what stands beside others."""
    densest = 0.0
    for file in (ROOT / "fhir_examples").glob("*.json"):
        document = json.dumps(json.loads(file.read_bytes()), separators=(",", ":")).encode()
        if len(document) > 3000:  # shorter ones are little beside what is said once of each call
            copies = 1_000_000 // len(document)
            worth = entries_worth(document * copies)
            densest = max(densest, worth / (copies * len(document)))

    assert 0 < densest * Limits().body_bytes < 0.75 * Limits().entries


def test_what_is_not_json_is_left_to_its_reader() -> None:
    """Many braces that are no JSON pass: whoever reads the body says what is wrong with it."""

    async def run() -> None:
        limited = Limited(entries=3)
        assert (await limited.client.post("/read", content=b"{{{{")).status_code == 200

    asyncio.run(run())


def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    """A client that stops sending gets 408, and its connection is closed."""

    async def run() -> None:
        limited = Limited(receive_seconds=0.05)

        async def stalling() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

        answers = await ask(limited, stalling)
        assert answers[0]["status"] == 408
        assert (b"connection", b"close") in answers[0]["headers"]
        assert "within 0.05 seconds (CDS_RECEIVE_SECONDS)" in answers[1]["body"].decode()
        assert limited.refused == {"receive": 1}

    asyncio.run(run())


async def ask(
    limited: Limited, body: Callable[[], AsyncIterator[bytes]], length: int | None = None
) -> list[Any]:
    """Send a body that arrives bit by bit; httpx2 would read it whole before it calls."""
    sent: list[Any] = []
    parts = body()

    async def receive() -> Any:
        async for part in parts:
            return {"type": "http.request", "body": part, "more_body": True}
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    transport = limited.client._transport
    assert isinstance(transport, httpx2.ASGITransport)
    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    scope = {"type": "http", "method": "POST", "path": "/read", "query_string": b""}
    scope["headers"] = headers
    await transport.app(scope, receive, send)
    if sent:
        check_answer("POST", "/read", sent[0]["status"], sent[1]["body"])
    return sent


def test_a_client_that_leaves_is_not_answered() -> None:
    """A connection that ends before the body does reaches no application."""

    async def run() -> None:
        limited = Limited()

        async def leaving() -> AsyncIterator[bytes]:
            yield b"{"

        assert await ask(limited, leaving) == []
        assert limited.bodies == []
        assert limited.refused == {}

    asyncio.run(run())


def test_more_requests_than_allowed_at_a_time_are_refused_until_one_ends() -> None:
    """The one too many gets 503 with Retry-After; health is answered; then there is room again."""

    async def run() -> None:
        limited = Limited(calls=1)
        first = asyncio.create_task(limited.client.post("/wait"))
        await limited.busy.wait()
        busy = await limited.client.post("/read")
        assert (busy.status_code, busy.headers["Retry-After"]) == (503, "1")
        assert issue(busy)[0] == "throttled"
        health = asyncio.create_task(limited.client.post("/health/wait"))
        limited.go_on.set()
        assert (await first).text == (await health).text == "waited"
        assert (await limited.client.post("/read")).status_code == 200
        assert limited.refused == {"busy": 1}

    asyncio.run(run())


def test_bodies_have_only_so_many_bytes_together() -> None:
    """One for which there is no room gets 503 with Retry-After; when another ends there is room."""

    async def run() -> None:
        limited = Limited(body_bytes=10, held_bytes=15)
        first = asyncio.create_task(limited.client.post("/wait", content=b"0123456789"))
        await limited.busy.wait()
        for content in (b"012345", chunks(b"012", b"345")):
            full = await limited.client.post("/read", content=content)
            assert (full.status_code, full.headers["Retry-After"]) == (503, "1")
            code, said = issue(full)
            assert code == "throttled"
            assert "(CDS_MAX_HELD_BYTES)" in said
        for content in (b"01234", chunks(b"01", b"234"), b""):
            assert (await limited.client.post("/read", content=content)).status_code == 200
        too_long = await limited.client.post("/read", content=b"0123456789x")
        assert too_long.status_code == 413
        limited.go_on.set()
        assert (await first).text == "waited"
        whole = await limited.client.post("/read", content=chunks(b"01234", b"56789"))
        assert whole.status_code == 200
        assert limited.refused == {"held": 2, "body": 1}

    asyncio.run(run())


async def never() -> AsyncIterator[bytes]:
    """Announce a body, and send none of it."""
    await asyncio.Event().wait()
    yield b""


def test_a_body_that_will_take_more_memory_than_its_bytes_is_held_as_what_it_is_worth() -> None:
    """Short things in large numbers leave less room for others, until they are answered."""
    dense = json.dumps({"y": [{}] * 190}).encode()

    async def run() -> None:
        limited = Limited(held_bytes=15_000)
        first = asyncio.create_task(limited.client.post("/wait", content=dense))
        await limited.busy.wait()
        full = await limited.client.post("/read", content=dense)
        assert full.status_code == 503
        assert "CDS_MAX_HELD_BYTES" in issue(full)[1]
        assert (await limited.client.post("/read", content=bytes(4000))).status_code == 200
        limited.go_on.set()
        assert (await first).text == "waited"
        assert (await limited.client.post("/read", content=dense)).status_code == 200
        assert limited.refused == {"held": 1}

    asyncio.run(run())


def test_who_announces_a_body_and_sends_none_keeps_nobody_out() -> None:
    """Neither the bytes nor the number of requests are used up by what does not arrive."""

    async def run() -> None:
        limited = Limited(held_bytes=10, calls=1, receive_seconds=0.2)
        silent = [asyncio.create_task(ask(limited, never, length=10)) for _ in range(20)]
        await asyncio.sleep(0.05)
        for content in (b"0123456789", chunks(b"01234", b"56789")):
            assert (await limited.client.post("/read", content=content)).status_code == 200
        assert [(await each)[0]["status"] for each in silent] == [408] * 20
        assert limited.refused == {"receive": 20}

    asyncio.run(run())


class Sending:
    """A client that sends the pieces of its body when it is told to."""

    def __init__(self, limited: Limited, length: int | None) -> None:
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.answer = asyncio.create_task(ask(limited, self._body, length))

    async def _body(self) -> AsyncIterator[bytes]:
        while True:
            yield await self._pieces.get()

    async def send(self, piece: bytes) -> None:
        """Send a piece, and let the service read it."""
        self._pieces.put_nowait(piece)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(("sent", "left"), [(1, 8), (4, 2), (5, 0), (9, 0)])
def test_room_is_held_for_as_much_again_as_has_arrived(sent: int, left: int) -> None:
    """Whoever has sent half is not refused at the last byte; what is given up makes room."""

    async def run() -> None:
        limited = Limited(held_bytes=10, receive_seconds=0.2)
        slow = Sending(limited, length=10)
        await slow.send(b"0" * sent)
        full = await limited.client.post("/read", content=b"0" * (left + 1))
        assert full.status_code == 503
        assert (await limited.client.post("/read", content=b"0" * left)).status_code == 200
        assert (await slow.answer)[0]["status"] == 408
        assert (await limited.client.post("/read", content=b"0123456789")).status_code == 200
        assert limited.refused == {"held": 1, "receive": 1}

    asyncio.run(run())


def test_what_arrives_while_there_is_little_room_goes_on_as_long_as_it_fits() -> None:
    """It is refused only when the very bytes that arrived find no room."""

    async def run() -> None:
        limited = Limited(held_bytes=10)
        other = asyncio.create_task(limited.client.post("/wait", content=b"0123"))
        await limited.busy.wait()
        first, second = Sending(limited, length=6), Sending(limited, length=6)
        await first.send(b"01")
        await second.send(b"01")
        await first.send(b"2345")
        assert not first.answer.done()
        await second.send(b"2")
        assert (await second.answer)[0]["status"] == 503
        limited.go_on.set()
        assert (await other).text == "waited"
        assert limited.refused == {"held": 1}
        first.answer.cancel()

    asyncio.run(run())


def test_a_body_for_which_there_is_no_room_is_not_begun_with() -> None:
    """It is refused when it is announced, before any of it is read."""

    async def run() -> None:
        limited = Limited(held_bytes=10)
        first = asyncio.create_task(limited.client.post("/wait", content=b"01"))
        await limited.busy.wait()
        assert (await ask(limited, never, length=9))[0]["status"] == 503
        limited.go_on.set()
        await first
        assert limited.refused == {"held": 1}

    asyncio.run(run())


def test_what_is_fetched_for_a_request_is_held_with_its_body() -> None:
    """Both make room when it is answered."""

    async def run() -> None:
        limited = Limited(held_bytes=10)
        got = [
            await limited.client.post("/fetch", content=b"01234", headers={"Fetch": str(size)})
            for size in (5, 6, 5)
        ]
        assert [answer.status_code for answer in got] == [200, 503, 200]
        assert "(CDS_MAX_HELD_BYTES)" in got[1].text

    asyncio.run(run())


def test_a_body_is_in_memory_once() -> None:
    """From when it has arrived until it is answered: what is counted is what is held."""
    piece = bytes(64 * 1024)

    async def run() -> None:
        limited = Limited()
        await limited.client.post("/wait/not", content=b"{}")  # what is loaded with the first call
        tracemalloc.start()
        try:
            for path in ("/wait", "/hold"):
                limited.busy.clear()
                limited.go_on.clear()
                before, _ = tracemalloc.get_traced_memory()
                content = chunks(*[piece] * 64)
                call = asyncio.create_task(limited.client.post(path, content=content))
                await limited.busy.wait()
                held = tracemalloc.get_traced_memory()[0] - before
                limited.go_on.set()
                assert (await call).status_code == 200
                assert 1.0 <= held / (64 * len(piece)) < 1.1
        finally:
            tracemalloc.stop()

    asyncio.run(run())


def test_a_body_that_arrives_in_small_pieces_takes_no_more() -> None:
    """What is held while it arrives is its bytes too, and not an object for each piece."""
    size = 200_000

    async def run() -> float:
        arrived = asyncio.Event()

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(size // 2):
                yield (at % 65536).to_bytes(2, "big")
            arrived.set()
            await asyncio.Event().wait()

        limited = Limited()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            call = asyncio.create_task(ask(limited, pieces))
            await arrived.wait()
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        call.cancel()
        return held / size

    assert 1.0 <= asyncio.run(run()) < 1.5


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    """The client gets 503 and the reason, and the place is free again."""

    async def run() -> None:
        limited = Limited(answer_seconds=0.05, calls=1)
        late = await limited.client.post("/wait")
        assert (late.status_code, late.headers["Retry-After"]) == (503, "1")
        code, said = issue(late)
        assert code == "timeout"
        assert "within 0.05 seconds (CDS_ANSWER_SECONDS)" in said
        assert (await limited.client.post("/read")).status_code == 200
        assert limited.refused == {"answer": 1}

    asyncio.run(run())


def test_a_timeout_of_the_application_itself_stays_a_fault() -> None:
    """Only the time of the whole answer is this limit's; other timeouts are the caller's."""

    async def timed_out(*_: object) -> None:
        raise TimeoutError

    async def run() -> None:
        with contextlib.suppress(TimeoutError):
            limited = KeepsLimits(timed_out, Limits())
            transport = httpx2.ASGITransport(app=limited)
            async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
                await client.post("/")
            raise AssertionError("was answered")

    asyncio.run(run())


@pytest.mark.parametrize(
    "body",
    [
        '{"prefetch": {"x": DEEP}}',
        '{"unknown": DEEP}',
        '{"hook": "patient-view", "hookInstance": "6bb7daf0-0000-4000-8000-000000000001",'
        ' "context": {"userId": "Practitioner/1", "patientId": "p1", "x": DEEP}}',
        '{"hook": "patient-view", "hookInstance": "6bb7daf0-0000-4000-8000-000000000001",'
        ' "context": {"userId": "Practitioner/1", "patientId": "p1"},'
        ' "prefetch": {"conditions": {"resourceType": "Bundle", "entry": [{"resource":'
        ' {"resourceType": "Condition", "extension": DEEP}}]}}}',
    ],
)
@pytest.mark.parametrize(
    ("levels", "status", "told"),
    [(10_000, 400, "nested too deeply"), (1_000_000, 413, "far more JSON objects")],
)
def test_deep_nesting_is_refused_wherever_it_is(
    ruleset: RuleSet, body: str, levels: int, status: int, told: str
) -> None:
    """Garbage of any depth gets a status and a sentence, in what is read and in what is skipped."""
    app = create_app(ruleset, lambda: date(2026, 11, 16))

    async def run() -> None:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
            content = body.replace("DEEP", '[{"a":' * (levels // 2) + "1" + "}]" * (levels // 2))
            said = {"Content-Type": "application/json"}
            answer = await client.post(CALL, content=content.encode(), headers=said)
        assert answer.status_code == status
        assert told in issue(answer)[1]

    asyncio.run(run())
