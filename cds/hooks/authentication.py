"""Who calls: each request carries a signed token of a known client, used once.

https://cds-hooks.hl7.org/2.0/#trusting-cds-clients. A token that is not accepted is answered with a
bare 401: why is in the log, and nowhere else. Nothing of a token is logged before its signature is
known to be its client's, and the token itself never.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from joserfc import jws
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError, MissingClaimError
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import CompactSignature, JWSRegistry
from joserfc.jwt import JWTClaimsRegistry
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from cds.hooks.clients import Caller, Client, is_tenant
from cds.hooks.keys import KeySets, KeysInvalid, PublicKey
from cds.hooks.logs import Sparing

ALGORITHMS = (
    *("ES384", "RS384", "ES256", "RS256", "PS256", "PS384"),
    *("ES512", "RS512", "PS512"),
)
"""What a token may be signed with: asymmetric, all of them, and none of them ``none``.

CDS Hooks recommends the first two; the others are as safe, and are in use.
"""
LEEWAY = 60
"""Seconds by which the client's clock may differ from ours."""
LIFETIME = 3600
"""Seconds from `iat` to `exp`, at most: so long each token must be remembered."""
MOST_BYTES = 8192
"""Of a token. Those of real clients have about 1,000."""
MOST_OF_NAME = 255
"""Characters of a `jti` or `kid`, at most."""

Reason = Literal[
    "no-token",
    "several-tokens",
    "not-bearer",
    "oversized",
    "malformed",
    "algorithm",
    "type",
    "key-name",
    "critical-header",
    "unknown-issuer",
    "other-jku",
    "no-keys",
    "unknown-key",
    "unfit-key",
    "signature",
    "missing-claim",
    "wrong-claim",
    "expired",
    "audience",
    "lifetime",
    "tenant",
    "replayed",
]
"""Why a token is not accepted; docs/authentication.md says what to do about each."""

FirstUse = Callable[[str, str, datetime], Awaitable[bool]]
"""Whether a token is used for the first time, by its issuer and its id (`jti`).

If so, it is remembered until the time that is given, at least. Of several calls for the same token,
from however many processes that share what is remembered, exactly one is answered True. Where that
cannot be told or remembered, an exception is raised, never True given.
"""

MOST_LINES = 20
"""A second, in each process."""

_log = structlog.get_logger()


class Unauthenticated(Exception):
    """A request without a token that is accepted.

    ``detail`` is for the log, and holds values of the token only if its signature was right; only
    then is ``client`` the name of the client.
    """

    def __init__(self, reason: Reason, detail: str = "", client: str | None = None) -> None:
        self.reason: Reason = reason
        self.detail = detail
        self.client = client
        super().__init__(reason)


class _Registry(JWSRegistry):
    """The algorithms and sizes that are accepted; headers that are not known are ignored."""

    # A header may bring certificates along (x5c), which are not looked at.
    max_header_length = MOST_BYTES

    def __init__(self) -> None:
        super().__init__(algorithms=ALGORITHMS, strict_check_header=False)


_REGISTRY = _Registry()


class Authenticator:
    """Tells the client of a request from its token.

    ``clock`` gives the seconds since 1970.
    """

    def __init__(
        self,
        clients: Iterable[Client],
        keys: KeySets,
        first_use: FirstUse,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clients: dict[str, tuple[Client, ...]] = {}
        for client in clients:
            known = self._clients.get(client.issuer, ())
            self._clients[client.issuer] = (*known, client)
        self._keys = keys
        self._first_use = first_use
        self._clock = clock

    async def authenticate(self, authorization: str | None, path: str) -> Caller:
        """Who sends a request with this header, to this path of the service.

        Raises ``Unauthenticated``, and whatever ``first_use`` raises.
        """
        signed = _extract(_token(authorization))
        header = _check_header(signed.headers())
        claims = _claims(signed.payload)
        issuer = claims.get("iss")
        # Those of one issuer have the same keys; the tenant is not believed before the signature.
        clients = self._clients.get(issuer, ()) if isinstance(issuer, str) else ()
        key, doubt = await self._key(clients[0] if clients else None, header)
        # Verified with a key of nobody too, so that the time taken does not tell who is known.
        if key is None or not _may_have_made(key, signed):
            key = _decoy(header["alg"], len(signed.segments["signature"]))
        genuine = _verify(signed, key)
        if not clients:
            raise Unauthenticated("unknown-issuer")
        if doubt is not None:
            raise doubt
        if not genuine:
            raise Unauthenticated("signature")
        caller, until = self._check_claims(claims, clients, path)
        if not await self._first_use(caller.client.issuer, claims["jti"], until):
            raise Unauthenticated("replayed", client=caller.name)
        return caller

    async def _key(
        self, client: Client | None, header: dict[str, Any]
    ) -> tuple[PublicKey | None, Unauthenticated | None]:
        """The key that a token names, or why there is none."""
        if client is None:
            return None, None
        # Compared only, and never followed: whoever forges a token writes it.
        if "jku" in header and header["jku"] != client.jku and client.jku is not None:
            return None, Unauthenticated("other-jku")
        try:
            key = await self._keys.find(client.keys, header["kid"])
        except KeysInvalid as fault:
            return None, Unauthenticated("no-keys", str(fault))
        if key is None:
            return None, Unauthenticated("unknown-key")
        try:
            JWSRegistry.algorithms[header["alg"]].check_key(key)
        except JoseError:
            return None, Unauthenticated("unfit-key")
        return key, None

    def _check_claims(
        self, claims: dict[str, Any], clients: tuple[Client, ...], path: str
    ) -> tuple[Caller, datetime]:
        """Check the claims of a genuine token; whose it is, and until when to remember it."""
        name = " or ".join(client.name for client in clients)

        def refuse(reason: Reason, detail: str) -> Unauthenticated:
            return Unauthenticated(reason, detail[:500], name)

        registry = JWTClaimsRegistry(
            now=int(self._clock()),
            leeway=LEEWAY,
            iss={"essential": True},
            aud={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            jti={"essential": True},
        )
        try:
            registry.validate(claims)
        except ExpiredTokenError:
            raise refuse("expired", f"`exp` is {claims['exp']}") from None
        except MissingClaimError as fault:
            raise refuse("missing-claim", fault.description) from None
        except ClaimError as fault:
            raise refuse("wrong-claim", fault.description) from None
        if len(claims["jti"]) > MOST_OF_NAME:
            raise refuse("wrong-claim", f"`jti` has more than {MOST_OF_NAME} characters")
        # Not subtracted: the numbers may be of any size still.
        if not claims["iat"] < claims["exp"] <= claims["iat"] + LIFETIME:
            raise refuse("lifetime", f"`exp` is not within {LIFETIME} seconds after `iat`")
        caller = _caller(claims.get("tenant"), clients)
        if caller is None:
            raise refuse("tenant", f"`tenant` is {claims.get('tenant')}")
        name = caller.name
        sent = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        # A slash at the end of the path makes no difference, here as in the routes.
        expected = {base + path.rstrip("/") for base in caller.client.audience}
        if expected.isdisjoint(url.rstrip("/") for url in sent):
            raise refuse("audience", f"`aud` is {', '.join(sent)}")
        return caller, datetime.fromtimestamp(claims["exp"] + LEEWAY + 1, UTC)


def _caller(tenant: object, clients: tuple[Client, ...]) -> Caller | None:
    """Who of the clients of an issuer a token with this `tenant` is of, if anyone."""
    # Some clients send an empty text where there is no tenant.
    if tenant is not None and tenant != "" and not is_tenant(tenant):
        return None
    named = tenant if isinstance(tenant, str) else ""
    for client in clients:
        if not client.tenants or named in client.tenants:
            return Caller(client, named)
    return None


def _token(authorization: str | None) -> bytes:
    if authorization is None:
        raise Unauthenticated("no-token")
    if len(authorization) > MOST_BYTES:
        raise Unauthenticated("oversized", f"it has more than {MOST_BYTES} characters")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("not-bearer")
    try:
        return token.strip(" ").encode("ascii")
    except UnicodeEncodeError:
        raise Unauthenticated("malformed", "it is not ASCII") from None


def _extract(token: bytes) -> CompactSignature:
    try:
        return jws.extract_compact(token, registry=_REGISTRY)
    # RecursionError: brackets in brackets without end
    except (JoseError, ValueError, RecursionError):
        raise Unauthenticated("malformed", "it is not a signed JWT") from None


def _check_header(header: object) -> dict[str, Any]:
    if not isinstance(header, dict):
        raise Unauthenticated("malformed", "its header is not an object")
    if header.get("alg") not in ALGORITHMS:
        raise Unauthenticated("algorithm")
    if header.get("typ") != "JWT":
        raise Unauthenticated("type")
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MOST_OF_NAME:
        raise Unauthenticated("key-name")
    # No extension is understood, so none may be critical (RFC 7515, section 4.1.11).
    if "crit" in header or "b64" in header:
        raise Unauthenticated("critical-header")
    return header


def _claims(payload: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (ValueError, RecursionError):
        raise Unauthenticated("malformed", "its claims are not an object") from None


def _verify(signed: CompactSignature, key: PublicKey) -> bool:
    try:
        return jws.validate_compact(signed, key, registry=_REGISTRY)
    except (JoseError, ValueError):
        return False


def _may_have_made(key: PublicKey, signed: CompactSignature) -> bool:
    """Whether a signature is as long as those of an RSA key, or is none of RSA.

    One of another length is refused without any work.
    """
    if not isinstance(key, RSAKey):
        return True
    return len(signed.segments["signature"]) == _signature_length(key.public_key.key_size)


def _signature_length(bits: int) -> int:
    """Characters of Base64 in a signature of an RSA key: 4 for 3 bytes."""
    octets = (bits + 7) // 8
    return (octets * 4 + 2) // 3


def _decoy(algorithm: str, signature_length: int) -> PublicKey:
    """A key of nobody, with which checking takes as long as with one that made the signature."""
    if algorithm.startswith("ES"):
        return _curve_decoy(algorithm)
    in_use = (2048, 3072, 4096)
    bits = next((b for b in in_use if signature_length <= _signature_length(b)), in_use[-1])
    return _rsa_decoy(bits)


@cache
def _curve_decoy(algorithm: str) -> ECKey:
    return ECKey.generate_key({"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm])


@cache
def _rsa_decoy(bits: int) -> RSAKey:
    # Any odd number does: nothing is ever signed with it.
    modulus = secrets.randbits(bits) | 1 << (bits - 1) | 1
    return RSAKey.import_key(RSAPublicNumbers(65537, modulus).public_key())


class RequiresToken:
    """Lets requests through that carry an accepted token, and says whose it is.

    ``request.state.caller`` is the ``Caller`` then, and None without an authenticator. Open to
    everyone are only the requests of ``is_open``; the preflights of pages that may call do not come
    here. ``fail`` makes the answer to a fault of our own; ``refused`` is told why a request was not
    let through. Of senders that are not known at most ``MOST_LINES`` lines a second are logged: who
    floods the service must not flood the log, and push out of it the rest.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator | None,
        is_open: Callable[[Scope], bool],
        fail: Callable[[Exception], Response],
        refused: Callable[[Reason], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self.refused = refused
        self._sparing = Sparing(MOST_LINES, clock)
        self.authenticator = authenticator
        self.is_open = is_open
        self.fail = fail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["caller"] = None
        if self.authenticator is not None and not self.is_open(scope):
            try:
                sent = Headers(scope=scope).getlist("authorization")
                caller = await self.authenticator.authenticate(_only(sent), scope["path"])
            except Unauthenticated as refusal:
                self.refused(refusal.reason)
                spared = {} if refusal.client is not None else self._sparing.take()
                if spared is not None:
                    _log.warning(
                        "unauthenticated",
                        reason=refusal.reason,
                        detail=refusal.detail,
                        client=refusal.client,
                        **spared,
                    )
                bare = Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
                await bare(scope, receive, send)
                return
            except Exception as fault:
                await self.fail(fault)(scope, receive, send)
                return
            state["caller"] = caller
            bind_contextvars(client=caller.name)
        await self.app(scope, receive, send)


def _only(sent: Sequence[str]) -> str | None:
    """The header that was sent; which of several is meant would be a guess."""
    if len(sent) > 1:
        raise Unauthenticated("several-tokens")
    return sent[0] if sent else None
