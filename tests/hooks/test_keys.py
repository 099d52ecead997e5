"""Key sets are read from files, and from a server on this machine that follows a script."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from structlog.testing import LogCapture

from cds.hooks import keys as module
from cds.hooks.keys import (
    FRESH,
    MOST_BYTES,
    RETRY,
    STALE,
    KeySets,
    KeysInvalid,
    fetch_key_set,
    read_key_set,
)
from tests.fhir.test_client import certificate

OLD = ECKey.generate_key("P-384", {"kid": "old"})
NEW = RSAKey.generate_key(2048, {"kid": "new"})
ADDRESS = "https://ehr.hospital.example/jwks.json"

Jwk = dict[str, Any]


def public(key: ECKey | RSAKey | OKPKey, **changed: Any) -> Jwk:
    """The public part of a key; members that are None are left out."""
    members = key.as_dict(private=False) | changed
    return {name: value for name, value in members.items() if value is not None}


def key_set(*keys: object) -> bytes:
    """A JWK Set."""
    return json.dumps({"keys": keys}).encode()


# --- reading -------------------------------------------------------------------------------------


def test_keys_are_read_by_their_names() -> None:
    """Of whatever characters: real names contain + and =."""
    kid = "d3bmo5HzW61TUgikHZH+A8Tx4UOXz2iOs4KvVU4eLY0="
    read = read_key_set(key_set(public(OLD), public(NEW, kid=kid, use="sig", alg="RS384")))
    assert {name: key.key_type for name, key in read.keys.items()} == {"old": "EC", kid: "RSA"}
    assert read.unused == ()


@pytest.mark.parametrize(
    ("unused", "reason"),
    [
        (public(OKPKey.generate_key("Ed25519", {"kid": "a"})), "it is neither an RSA nor an EC"),
        ({"kty": "AKP", "kid": "a", "alg": "ML-DSA-65", "pub": "eA"}, "it is neither an RSA nor"),
        ({"kid": "a"}, "it is neither an RSA nor an EC"),
        ({"kty": ["RSA"], "kid": "a"}, "it is neither an RSA nor an EC"),
        (public(NEW, use="enc"), "it is not for signatures"),
        (public(NEW, key_ops=["encrypt"]), "it is not for signatures"),
        (public(NEW, key_ops=[]), "it is not for signatures"),
        (public(NEW, key_ops="verify"), "it is not for signatures"),
        (public(NEW, kid=None), "it has no `kid`"),
        (public(NEW, kid=""), "it has no `kid`"),
        (public(NEW, kid=5), "it has no `kid`"),
        (public(NEW, n=None), "its numbers are missing or wrong"),
        (public(NEW, n="!"), "its numbers are missing or wrong"),
        (public(NEW, n=""), "its numbers are missing or wrong"),
        (public(NEW, e="AQ"), "its numbers are missing or wrong"),
        (public(OLD, crv="P-1"), "its numbers are missing or wrong"),
        (public(OLD, x=public(OLD)["y"]), "its numbers are missing or wrong"),
        (public(OLD, x=5), "its numbers are missing or wrong"),
    ],
)
def test_a_key_that_cannot_be_used_is_left_out_with_the_reason(unused: Jwk, reason: str) -> None:
    """The other keys of the set count: a kind that is new, say, must not stop the rest."""
    read = read_key_set(key_set(unused, public(OLD)))
    assert list(read.keys) == ["old"]
    assert read.unused[0].startswith(f"key 1: {reason}")
    assert len(read.unused) == 1


@pytest.mark.filterwarnings("ignore:Key size")
def test_a_small_key_is_left_out() -> None:
    """Fewer than 2048 bits can be broken."""
    small = public(RSAKey.generate_key(1024, {"kid": "small"}))
    with pytest.raises(KeysInvalid, match="it has 1024 bits, and fewer than 2048 are not safe"):
        read_key_set(key_set(small))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a JWK Set"),
        (b"[]", "not a JWK Set"),
        (b"\xff", "not a JWK Set"),
        (b'{"keys": {}}', "not a JWK Set"),
        (b'{"keys": ["a"]}', "not a JWK Set"),
        (b'{"keys": [' + b"[" * 100_000, "not a JWK Set"),
        (json.dumps(public(OLD)).encode(), "not a JWK Set"),
        (b"<html>Sign in</html>", "not a JWK Set"),
        (key_set(), "no key that can be used"),
        (key_set(public(OLD, use="enc")), "no key that can be used; key 1: it is not for signa"),
        (key_set(public(OLD), public(OLD)), "key 2 has the same `kid` as another"),
        (key_set(public(OLD), OLD.as_dict(private=True)), "key 2 holds its private part"),
        (key_set(NEW.as_dict(private=True)), "key 1 holds its private part"),
        (
            key_set(public(OLD), OctKey.generate_key(256, {"kid": "s"}).as_dict(private=True)),
            "key 2 is a symmetric key",
        ),
        (key_set(*([public(OLD)] * 101)), "more than 100 keys"),
        (b" " * (MOST_BYTES + 1), "larger than"),
    ],
)
def test_point_18_a_set_that_cannot_be_trusted_is_refused(content: bytes, reason: str) -> None:
    """With the reason, and without anything of a secret."""
    with pytest.raises(KeysInvalid, match=reason) as refused:
        read_key_set(content)
    assert str(OLD.as_dict(private=True)["d"]) not in str(refused.value)


# --- keeping -------------------------------------------------------------------------------------


class Script:
    """An address, a clock, and the key sets that look there."""

    def __init__(self) -> None:
        self.content: bytes | None = key_set(public(OLD))
        self.asked = 0
        self.seconds = 0.0
        self.answering = asyncio.Event()
        self.answering.set()
        self.key_sets = KeySets(self.fetch, lambda: self.seconds)

    async def fetch(self, address: str) -> bytes:
        """Answer as the script says."""
        assert address == ADDRESS
        self.asked += 1
        await self.answering.wait()
        if self.content is None:
            raise KeysInvalid("it could not be fetched (ConnectError)")
        return self.content

    async def knows(self, kid: str) -> bool:
        """Whether a key is known now."""
        return await self.key_sets.find(ADDRESS, kid) is not None


def play(story: Callable[[Script], Any]) -> None:
    """Run a story with a script of its own."""

    async def run() -> None:
        await story(Script())

    asyncio.run(run())


async def settle() -> None:
    """Let what goes on in the background come to its end."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        await task


def test_point_18_a_key_set_is_cached() -> None:
    """One fetch serves all calls until the set is no longer fresh."""

    async def story(script: Script) -> None:
        for script.seconds in (0, 1, FRESH):
            assert await script.knows("old")
        assert script.asked == 1

    play(story)


def test_point_18_an_unknown_kid_fetches_at_a_bounded_rate() -> None:
    """Tokens that name keys of their own invention cause one fetch in half a minute."""

    async def story(script: Script) -> None:
        for script.seconds in (0, 1, RETRY - 1, RETRY, RETRY + 1):
            for kid in ("a", "b", "c"):
                assert not await script.knows(kid)
        assert script.asked == 2

    play(story)


def test_point_18_a_new_key_is_found_at_once() -> None:
    """Once it is published, the call that is signed with it is the one that fetches it."""

    async def story(script: Script) -> None:
        assert await script.knows("old")
        script.content = key_set(public(OLD), public(NEW))
        script.seconds = RETRY
        assert await script.knows("new")
        assert await script.knows("old")
        assert script.asked == 2

    play(story)


def test_a_withdrawn_key_stops_counting_without_being_asked_for() -> None:
    """A set that is no longer fresh is fetched anew in the background, and nobody waits for it."""

    async def story(script: Script) -> None:
        assert await script.knows("old")
        script.content = key_set(public(NEW))
        script.seconds = FRESH + 1
        assert await script.knows("old")
        await settle()
        assert not await script.knows("old")
        assert script.asked == 2

    play(story)


def test_a_set_counts_for_a_while_when_it_cannot_be_fetched(log: LogCapture) -> None:
    """For an hour; after that nobody is trusted, until the address answers again."""

    async def story(script: Script) -> None:
        assert await script.knows("old")
        script.content = None
        script.seconds = STALE
        assert await script.knows("old")
        await settle()
        script.seconds = STALE + 1 + RETRY
        with pytest.raises(KeysInvalid):
            await script.knows("old")
        script.content = key_set(public(OLD))
        script.seconds += RETRY
        assert await script.knows("old")
        assert script.asked == 4

    play(story)
    assert {entry["told"] for entry in log.entries} == {"it could not be fetched (ConnectError)"}


def test_a_broken_set_does_not_replace_a_good_one(log: LogCapture) -> None:
    """Nor one with a private key in it."""

    async def story(script: Script) -> None:
        assert await script.knows("old")
        for number, broken in enumerate((b"<html>", key_set(NEW.as_dict(private=True))), 1):
            script.content = broken
            script.seconds = RETRY * number
            assert not await script.knows("new")
            assert await script.knows("old")

    play(story)
    assert len(log.entries) == 2


def test_requests_at_once_share_one_fetch() -> None:
    """And one that gives up does not take it from the others."""

    async def story(script: Script) -> None:
        script.answering.clear()
        waiting = [asyncio.create_task(script.knows("old")) for _ in range(5)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        script.answering.set()
        assert await asyncio.gather(*waiting[1:]) == [True] * 4
        assert waiting[0].cancelled()
        assert script.asked == 1

    play(story)


# --- files ---------------------------------------------------------------------------------------


def test_point_18_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    """Keys are rotated by writing the file anew; what is gone from it counts no more."""
    file, seconds = tmp_path / "keys.json", [0.0]
    key_sets = KeySets(clock=lambda: seconds[0])

    def known() -> list[str]:
        seconds[0] += 2
        found = [(kid, asyncio.run(key_sets.find(file, kid))) for kid in ("old", "new")]
        return [kid for kid, key in found if key is not None]

    file.write_bytes(key_set(public(OLD)))
    assert known() == ["old"]
    file.write_bytes(key_set(public(OLD), public(NEW)))
    assert known() == ["old", "new"]
    file.write_bytes(key_set(public(NEW)))
    assert known() == ["new"]


def test_a_file_that_is_broken_or_gone_counts_as_it_was_for_an_hour(
    tmp_path: Path, log: LogCapture
) -> None:
    """What is wrong is in the log, once a second at most."""
    file, seconds = tmp_path / "keys.json", [0.0]
    key_sets = KeySets(clock=lambda: seconds[0])
    file.write_bytes(key_set(public(OLD)))
    assert asyncio.run(key_sets.find(file, "old")) is not None
    seconds[0] = 100 * STALE  # an unchanged file does not age
    assert asyncio.run(key_sets.find(file, "old")) is not None

    file.write_bytes(b"{")
    for later in (1, 1.1, 1.9):
        seconds[0] = 100 * STALE + later
        assert asyncio.run(key_sets.find(file, "old")) is not None
    file.unlink()
    seconds[0] = 100 * STALE + 10
    assert asyncio.run(key_sets.find(file, "old")) is not None
    seconds[0] = 101 * STALE + 1
    with pytest.raises(KeysInvalid):
        asyncio.run(key_sets.find(file, "old"))

    assert [entry["told"].split(":")[0] for entry in log.entries] == [
        "it is not a JWK Set",
        "it cannot be read",
        "it cannot be read",
    ]


# --- fetching ------------------------------------------------------------------------------------


class Server:
    """Answers on this machine as it is told, and notes what it is asked."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.content = key_set(public(OLD))
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.release = threading.Event()
        self.release.set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append((self.path, dict(self.headers)))
                self.send_response(server.status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                server.release.wait(30)
                with contextlib.suppress(OSError):  # some tests leave before the end
                    self.wfile.write(server.content)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}/jwks.json"


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of key sets."""
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.release.set()
    server.http.shutdown()
    server.http.server_close()
    thread.join()


def test_a_key_set_is_fetched(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directly, whatever the environment says of proxies, and without anything of ours in it."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert asyncio.run(fetch_key_set(server.address)) == server.content
    (path, headers) = server.asked[0]
    assert path == "/jwks.json"
    assert (headers["Accept"], headers["Accept-Encoding"]) == ("application/json", "identity")
    assert not {"Authorization", "Cookie"} & headers.keys()


@pytest.mark.parametrize("named", [True, False])
def test_certificates_are_of_the_authorities_that_the_environment_names(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """With SSL_CERT_FILE a hospital's own authority is believed, and without it no such one."""
    serves, _ = certificate(tmp_path, "localhost")
    server.http.socket = serves.wrap_socket(server.http.socket, server_side=True)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    if named:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    refused = (
        contextlib.nullcontext() if named else pytest.raises(KeysInvalid, match="ConnectError")
    )
    module._tls.cache_clear()
    try:
        with refused:
            address = f"https://localhost:{server.http.server_port}/jwks.json"
            assert asyncio.run(fetch_key_set(address)) == server.content
    finally:
        module._tls.cache_clear()
    assert len(server.asked) == named


@pytest.mark.parametrize("status", [204, 301, 302, 307, 401, 404, 500])
def test_point_18_no_other_answer_is_taken(server: Server, status: int) -> None:
    """A redirect is not followed, wherever it leads."""
    server.status = status
    server.headers = {"Location": server.address + "/elsewhere"}
    with pytest.raises(KeysInvalid, match=f"answered with status {status}, not 200"):
        asyncio.run(fetch_key_set(server.address))
    assert len(server.asked) == 1


def test_an_endless_answer_is_cut_off(server: Server) -> None:
    """So is one that unpacks to more than it was."""
    server.content = b" " * (MOST_BYTES + 1)
    with pytest.raises(KeysInvalid, match="larger than"):
        asyncio.run(fetch_key_set(server.address))
    server.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(KeysInvalid, match="compressed"):
        asyncio.run(fetch_key_set(server.address))


def test_a_server_that_does_not_come_to_an_end_is_not_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that begins to answer and stops is left after the time that a fetch may take."""
    monkeypatch.setattr(module, "FETCH_SECONDS", 0.2)
    server.release.clear()
    began = time.monotonic()
    with pytest.raises(KeysInvalid, match=r"not there within 0\.2 seconds"):
        asyncio.run(fetch_key_set(server.address))
    assert time.monotonic() - began < 20  # the server alone would take 30


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/", "https://127.0.0.1:9/"])
def test_an_address_that_does_not_answer_is_told(address: str) -> None:
    """By the kind of fault; its text may hold anything."""
    with pytest.raises(KeysInvalid, match=r"it could not be fetched \(ConnectError\)"):
        asyncio.run(fetch_key_set(address))
