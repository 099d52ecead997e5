"""The public keys that clients sign with: read, checked, kept for a while, and fetched anew.

A key set (https://www.rfc-editor.org/rfc/rfc7517#section-5) lies in a file, or at the address that
the list of clients names; never at one that only a token names. A file is read again when it has
changed. An address is asked again in the background after ``FRESH`` seconds, and at once for a key
that is not known, but at most every ``RETRY`` seconds. While it does not answer, the set that was
there counts on until it is ``STALE`` seconds old.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import stat
import time
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from msgspec import Struct

FRESH = 600
"""Seconds after which a key set is fetched again, so that a withdrawn key stops counting."""
STALE = 3600
"""Seconds after which a key set counts no more, if it could not be fetched again."""
RETRY = 30
"""Seconds between two fetches of one address, however many tokens name keys it does not have."""
FETCH_SECONDS = 3.0
"""What one fetch may take, from beginning to end: a clinician waits for it."""
MOST_BYTES = 256 * 1024
MOST_KEYS = 100

_SMALLEST_RSA = 2048
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "priv"}

_log = structlog.get_logger()

PublicKey = RSAKey | ECKey
Source = Path | str
"""Where a key set is: a file, or the address of one."""
Fetch = Callable[[str], Awaitable[bytes]]
"""Fetches a key set from an address; raises ``KeysInvalid`` with the reason if it cannot."""


class KeysInvalid(ValueError):
    """A key set cannot be had or used; the text says why, and holds nothing of a key."""


class KeySet(Struct, frozen=True):
    """The usable keys of a set by their ``kid``, and for each of the others why it is not used."""

    keys: dict[str, PublicKey]
    unused: tuple[str, ...] = ()


class _Read(Struct):
    keys: list[dict[str, Any]]


def read_key_set(content: bytes) -> KeySet:
    """Read a JWK Set.

    Keys for encryption, of kinds that no accepted algorithm uses, too small, without a name or
    broken are left out with the reason, as RFC 7517 asks. Raises ``KeysInvalid`` where none is
    left, and for a set that should not be trusted at all: with a private or symmetric key, which
    is no secret any more, or with two keys of one name.
    """
    if len(content) > MOST_BYTES:
        raise KeysInvalid(f"it is larger than {MOST_BYTES} bytes")
    try:
        listed = msgspec.json.decode(content, type=_Read).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise KeysInvalid('it is not a JWK Set: a JSON object {"keys": [...]}') from None
    if len(listed) > MOST_KEYS:
        raise KeysInvalid(f"it has more than {MOST_KEYS} keys")
    keys: dict[str, PublicKey] = {}
    unused = []
    for number, member in enumerate(listed, 1):
        if member.get("kty") == "oct" or "k" in member:
            raise KeysInvalid(
                f"key {number} is a symmetric key, which would be shared by both sides: it must be "
                "replaced by an RSA or EC key"
            )
        if _PRIVATE & member.keys():
            raise KeysInvalid(
                f"key {number} holds its private part: replace the key by a new one, and publish "
                "only the public part"
            )
        try:
            kid, key = _read_key(member)
        except KeysInvalid as fault:
            unused.append(f"key {number}: {fault}")
            continue
        if kid in keys:
            raise KeysInvalid(f"key {number} has the same `kid` as another")
        keys[kid] = key
    if not keys:
        reasons = "".join(f"; {reason}" for reason in unused)
        raise KeysInvalid(f"it has no key that can be used{reasons}")
    return KeySet(keys, tuple(unused))


def read_key_file(file: Path) -> bytes:
    """What a file of keys holds; raises ``OSError``, or ``KeysInvalid`` where anyone may change it.

    Whoever can, lets in whom they like.
    """
    with file.open("rb") as reading:
        if is_open_to_all(os.fstat(reading.fileno())):
            raise KeysInvalid(f"everyone may change it: chmod o-w {file}")
        return reading.read()


def is_open_to_all(status: os.stat_result) -> bool:
    """Whether everyone on this machine may change a file."""
    return bool(status.st_mode & stat.S_IWOTH)


def _read_key(member: dict[str, Any]) -> tuple[str, PublicKey]:
    kinds: dict[object, type[PublicKey]] = {"RSA": RSAKey, "EC": ECKey}
    kind, kid = kinds.get(str(member.get("kty"))), member.get("kid")
    if kind is None:
        raise KeysInvalid("it is neither an RSA nor an EC key")
    operations = member.get("key_ops", ["verify"])
    verifies = isinstance(operations, list) and "verify" in operations
    if member.get("use", "sig") != "sig" or not verifies:
        raise KeysInvalid("it is not for signatures")
    if not isinstance(kid, str) or not kid:
        raise KeysInvalid("it has no `kid` that a token could name")
    try:
        key = kind.import_key(member)
        size = key.public_key.key_size
    except (JoseError, ValueError, TypeError, KeyError):  # KeyError: an unknown curve
        raise KeysInvalid("its numbers are missing or wrong") from None
    if kind is RSAKey and size < _SMALLEST_RSA:
        raise KeysInvalid(f"it has {size} bits, and fewer than {_SMALLEST_RSA} are not safe")
    return kid, key


async def fetch_key_set(address: str) -> bytes:
    """Fetch what stands at an address, within bounds of time and size.

    No redirect is followed, and no proxy of the environment is used. Raises ``KeysInvalid``.
    """
    try:
        async with (
            asyncio.timeout(FETCH_SECONDS),
            httpx2.AsyncClient(verify=_tls(), trust_env=False, follow_redirects=False) as client,
            client.stream(
                "GET",
                address,
                # Not compressed: a small answer could unpack to any size.
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            ) as response,
        ):
            if response.status_code != httpx2.codes.OK:
                raise KeysInvalid(f"it was answered with status {response.status_code}, not 200")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise KeysInvalid("it was sent compressed, which was not asked for")
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > MOST_BYTES:
                    raise KeysInvalid(f"it is larger than {MOST_BYTES} bytes")
            return bytes(content)
    except TimeoutError:
        raise KeysInvalid(f"it was not there within {FETCH_SECONDS:g} seconds") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as fault:
        raise KeysInvalid(f"it could not be fetched ({type(fault).__name__})") from None


@cache
def _tls() -> ssl.SSLContext:
    """What certificates are checked with; made once, because that takes milliseconds.

    The authorities of the machine, or of ``SSL_CERT_FILE``, as for FHIR servers.
    """
    return httpx2.create_ssl_context()


class _Held:
    """What is known of one source."""

    def __init__(self) -> None:
        self.keys: dict[str, PublicKey] = {}
        self.at = -float("inf")
        self.tried = -float("inf")
        self.stamp: tuple[int, ...] | None = None
        self.fetching: asyncio.Task[None] | None = None


class KeySets:
    """The key sets of all clients, shared by all requests of this process.

    ``clock`` gives seconds that never run back.
    """

    def __init__(
        self, fetch: Fetch = fetch_key_set, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._held: dict[Source, _Held] = {}

    async def find(self, source: Source, kid: str) -> PublicKey | None:
        """The key of that name, or None where the set does not have it.

        Raises ``KeysInvalid`` where there is no set that still counts.
        """
        held = self._held.setdefault(source, _Held())
        if isinstance(source, Path):
            self._read(source, held)
        else:
            await self._keep(source, held, kid)
        if self._clock() - held.at > STALE:
            raise KeysInvalid("the key set is not to be had")
        return held.keys.get(kid)

    def _read(self, file: Path, held: _Held) -> None:
        """Read a file if it is another than the one that was read."""
        now, stamp = self._clock(), _stamp(file)
        if stamp is not None and stamp == held.stamp:
            held.at = now  # what has not changed does not age
        elif now - held.tried >= 1:  # what is broken is not read, and logged, for each token
            held.tried = now
            try:
                self._take(held, read_key_file(file))
                held.stamp = stamp
            except (OSError, KeysInvalid) as fault:
                _log.error("key_set_refused", file=str(file), told=_told(fault))

    async def _keep(self, address: str, held: _Held, kid: str) -> None:
        """Fetch a set if that is due, and wait for it only where there is no other way."""
        now = self._clock()
        due = held.fetching is not None or now - held.tried >= RETRY
        needed = kid not in held.keys or now - held.at > STALE
        if due and (needed or now - held.at > FRESH):
            if held.fetching is None:
                held.tried = now
                held.fetching = asyncio.create_task(self._refresh(address, held))
            if needed:
                # Shielded: other requests may wait for the same.
                await asyncio.shield(held.fetching)

    async def _refresh(self, address: str, held: _Held) -> None:
        try:
            self._take(held, await self._fetch(address))
        except KeysInvalid as fault:
            _log.error("key_set_refused", address=address, told=_told(fault))
        finally:
            held.fetching = None

    def _take(self, held: _Held, content: bytes) -> None:
        key_set = read_key_set(content)
        held.keys, held.at = key_set.keys, self._clock()
        for reason in key_set.unused:
            _log.info("key_unused", told=reason)


def _stamp(file: Path) -> tuple[int, ...] | None:
    """What differs when a file has changed; None where there is no file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _told(fault: OSError | KeysInvalid) -> str:
    return f"it cannot be read: {fault.strerror}" if isinstance(fault, OSError) else str(fault)
