"""Each way in which a token can be wrong, of the checks themselves and over HTTP.

Keys are real ones, made for each run; the clock stands still.
"""

import asyncio
import base64
import hmac
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi import Request, Response
from fastapi.testclient import TestClient
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry
from sqlalchemy.exc import OperationalError
from starlette.types import Receive, Scope, Send
from structlog.testing import LogCapture

from cds.hooks.authentication import (
    ALGORITHMS,
    MOST_LINES,
    Authenticator,
    FirstUse,
    Reason,
    RequiresToken,
    Unauthenticated,
)
from cds.hooks.clients import Caller, Client
from cds.hooks.keys import KeySets, KeysInvalid
from cds.hooks.service import create_app
from cds.rules.ruleset import RuleSet

CHECKOUT = Path(__file__).resolve().parents[2]
NOW = 1_800_000_000
BASE = "https://cds.hospital.example"
DISCOVERY = "/cds-services"
CALL = "/cds-services/myositis-patient-view"
ISSUER = "https://ehr.hospital.example/fhir"
JKU = "https://ehr.hospital.example/jwks.json"
KID = "d3bmo5HzW61TUgikHZH+A8Tx4UOXz2iOs4KvVU4eLY0="
TENANT = "2ddd6c3a-8e9a-44c6-a305-52111ad302a2"

RSA = RSAKey.generate_key(2048, {"kid": KID})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": KID})
CURVES = {
    "ES256": ECKey.generate_key("P-256", {"kid": "ES256"}),
    "ES384": ECKey.generate_key("P-384", {"kid": "ES384"}),
    "ES512": ECKey.generate_key("P-521", {"kid": "ES512"}),
}
NOTHING_REFUSED = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)


def claims(**changed: Any) -> dict[str, Any]:
    """The claims of a good token, as an EHR makes them; those that are None are left out."""
    good = {
        "iss": ISSUER,
        "aud": BASE + DISCOVERY,
        "iat": NOW,
        "nbf": NOW - 300,
        "exp": NOW + 900,
        "jti": "a42df6b7-2074-479a-b216-50eee1b09fb6",
        "sub": "12345678-ce08-4ac7-ac0c-12345678",
        "tenant": TENANT,
    }
    return {name: value for name, value in (good | changed).items() if value is not None}


def sign(said: dict[str, Any] | None = None, key: RSAKey | ECKey = RSA, **header: Any) -> str:
    """A token with these claims and headers; headers that are None are left out."""
    said = claims() if said is None else said
    full = {"alg": "RS384", "kid": KID, "typ": "JWT", "jku": JKU} | header
    full = {name: value for name, value in full.items() if value is not None}
    return jwt.encode(full, said, key, registry=NOTHING_REFUSED, default_type=None)


def encoded(part: object) -> str:
    """A part of a token, made by hand."""
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def by_hand(header: object, payload: object) -> str:
    """A token of parts that no library would sign."""
    return f"{encoded(header)}.{encoded(payload)}.{encoded(b'x' * 256)}"


def signed_with_public_key() -> str:
    """The client's public key taken as a shared secret, as a well-known attack does."""
    signed = f"{encoded(GOOD_HEADER | {'alg': 'HS256'})}.{encoded(claims())}"
    mac = hmac.digest(RSA.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{encoded(mac)}"


def tampered(token: str) -> str:
    """The same token with the claims of another."""
    header, _, signature = token.split(".")
    return f"{header}.{encoded(claims(tenant='another'))}.{signature}"


GOOD_HEADER = {"alg": "RS384", "kid": KID, "typ": "JWT"}

WRONG: dict[str, tuple[Reason, Callable[[], str]]] = {
    # --- the token as a whole
    "oversized": ("oversized", lambda: sign(claims(more="x" * 9000))),
    "empty": ("malformed", lambda: ""),
    "two parts": ("malformed", lambda: ".".join(sign().split(".")[:2])),
    "five parts, encrypted": ("malformed", lambda: sign() + ".x.y"),
    "no Base64": ("malformed", lambda: "!" + sign()),
    "header no JSON": ("malformed", lambda: by_hand(b"{", claims())),
    "header a number": ("malformed", lambda: by_hand(5, claims())),
    "header a list": ("malformed", lambda: by_hand(["alg"], claims())),
    "header nested without end": ("malformed", lambda: by_hand(b"[" * 5000, claims())),
    "claims no JSON": ("malformed", lambda: by_hand(GOOD_HEADER, b"{")),
    "claims a list": ("malformed", lambda: by_hand(GOOD_HEADER, ["iss"])),
    "claims nested without end": ("malformed", lambda: by_hand(GOOD_HEADER, b'{"a":' * 1100)),
    "claims not finite": ("malformed", lambda: by_hand(GOOD_HEADER, b'{"exp":NaN}')),
    # --- the header
    "algorithm none": ("algorithm", lambda: by_hand(GOOD_HEADER | {"alg": "none"}, claims())),
    "algorithm none without signature": (
        "algorithm",
        lambda: f"{encoded(GOOD_HEADER | {'alg': 'none'})}.{encoded(claims())}.",
    ),
    "algorithm nOnE": ("algorithm", lambda: by_hand(GOOD_HEADER | {"alg": "nOnE"}, claims())),
    "HS256 with the public key": ("algorithm", signed_with_public_key),
    "algorithm a list": ("algorithm", lambda: by_hand(GOOD_HEADER | {"alg": ["RS384"]}, claims())),
    "no algorithm": ("malformed", lambda: by_hand({"kid": KID, "typ": "JWT"}, claims())),
    "type missing": ("type", lambda: sign(typ=None)),
    "type another": ("type", lambda: sign(typ="at+jwt")),
    "kid missing": ("key-name", lambda: sign(kid=None)),
    "kid empty": ("key-name", lambda: sign(kid="")),
    "kid a number": ("key-name", lambda: by_hand(GOOD_HEADER | {"kid": 1}, claims())),
    "kid too long": ("key-name", lambda: sign(kid="k" * 256)),
    "kid unknown": ("unknown-key", lambda: sign(kid="another")),
    "critical header": ("critical-header", lambda: sign(crit=["jku"])),
    "payload not encoded": ("critical-header", lambda: by_hand(GOOD_HEADER | {"b64": True}, {})),
    "jku elsewhere": ("other-jku", lambda: sign(jku="https://evil.example/jwks.json")),
    "jku beginning like the right one": ("other-jku", lambda: sign(jku=JKU + ".evil.example")),
    "jku not text": ("other-jku", lambda: by_hand(GOOD_HEADER | {"jku": [JKU]}, claims())),
    # --- the signature
    "signed by another key": ("signature", lambda: sign(key=OTHER_RSA)),
    "claims changed": ("signature", lambda: tampered(sign())),
    "signature missing": ("signature", lambda: sign().rpartition(".")[0] + "."),
    "key in the header": (
        "signature",
        lambda: sign(key=OTHER_RSA, jwk=OTHER_RSA.as_dict(private=False)),
    ),
    "algorithm of another kind of key": (
        "unfit-key",
        lambda: sign(key=CURVES["ES384"], alg="ES384"),
    ),
    "RSA key named for a curve": ("unfit-key", lambda: sign(kid="ES384")),
    "curve of another algorithm": (
        "unfit-key",
        lambda: sign(key=CURVES["ES256"], alg="ES256", kid="ES384"),
    ),
    # --- the claims
    "issuer missing": ("unknown-issuer", lambda: sign(claims(iss=None))),
    "issuer unknown": ("unknown-issuer", lambda: sign(claims(iss="https://evil.example"))),
    "issuer with a slash more": ("unknown-issuer", lambda: sign(claims(iss=ISSUER + "/"))),
    "issuer a list": ("unknown-issuer", lambda: sign(claims(iss=[ISSUER]))),
    "audience missing": ("missing-claim", lambda: sign(claims(aud=None))),
    "audience empty": ("wrong-claim", lambda: sign(claims(aud=[]))),
    "audience a number": ("wrong-claim", lambda: sign(claims(aud=5))),
    "audience a list of numbers": ("wrong-claim", lambda: sign(claims(aud=[5]))),
    "audience another endpoint": ("audience", lambda: sign(claims(aud=BASE + CALL))),
    "audience only the base": ("audience", lambda: sign(claims(aud=BASE))),
    "audience another service": (
        "audience",
        lambda: sign(claims(aud="https://other.example" + DISCOVERY)),
    ),
    "audience with a query": ("audience", lambda: sign(claims(aud=f"{BASE}{DISCOVERY}?a=b"))),
    "exp missing": ("missing-claim", lambda: sign(claims(exp=None))),
    "exp text": ("wrong-claim", lambda: sign(claims(exp=str(NOW + 900)))),
    "exp true": ("wrong-claim", lambda: sign(claims(exp=True))),
    "expired": ("expired", lambda: sign(claims(iat=NOW - 900, exp=NOW - 60))),
    "iat missing": ("missing-claim", lambda: sign(claims(iat=None))),
    "iat text": ("wrong-claim", lambda: sign(claims(iat="today"))),
    "iat in the future": ("wrong-claim", lambda: sign(claims(iat=NOW + 61))),
    "nbf in the future": ("wrong-claim", lambda: sign(claims(nbf=NOW + 61))),
    "nbf text": ("wrong-claim", lambda: sign(claims(nbf="now"))),
    "lives too long": ("lifetime", lambda: sign(claims(exp=NOW + 3601))),
    "lives for ever": ("lifetime", lambda: sign(claims(exp=10**400, iat=1.5))),
    "expires before it was issued": (
        "lifetime",
        lambda: sign(claims(iat=NOW + 50, exp=NOW + 40)),
    ),
    "jti missing": ("missing-claim", lambda: sign(claims(jti=None))),
    "jti empty": ("wrong-claim", lambda: sign(claims(jti=""))),
    "jti a number": ("wrong-claim", lambda: sign(claims(jti=5))),
    "jti too long": ("wrong-claim", lambda: sign(claims(jti="j" * 256))),
    "tenant missing": ("tenant", lambda: sign(claims(tenant=None))),
    "tenant another": ("tenant", lambda: sign(claims(tenant="another"))),
    "tenant a list": ("tenant", lambda: sign(claims(tenant=[TENANT]))),
}

every_wrong = pytest.mark.parametrize("wrong", WRONG)


class Published:
    """What stands at the clients' addresses, and which of these were asked for."""

    def __init__(self) -> None:
        self.content = key_set(RSA, *CURVES.values())
        self.asked: list[str] = []

    async def fetch(self, address: str) -> bytes:
        """Fetch as if over the network."""
        self.asked.append(address)
        return self.content


def key_set(*keys: RSAKey | ECKey) -> bytes:
    """A JWK Set with the public parts of some keys."""
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


def client(**changed: Any) -> Client:
    """The client that the good token is of."""
    known: dict[str, Any] = {
        "name": "Example University Hospital",
        "issuer": ISSUER,
        "audience": (BASE, "https://internal.example/myositis"),
        "jku": JKU,
        "tenants": (TENANT,),
    }
    return Client(**(known | changed))


def remembering() -> FirstUse:
    """What remembers the tokens of one test, as the database does those of a service."""
    used: set[tuple[str, str]] = set()

    async def first_use(issuer: str, jti: str, until: datetime) -> bool:
        first = (issuer, jti) not in used
        used.add((issuer, jti))
        return first

    return first_use


def authenticator(published: Published | None = None, **changed: Any) -> Authenticator:
    """What knows this client, at a time that stands still."""
    keys = KeySets((published or Published()).fetch)
    return Authenticator([client(**changed)], keys, remembering(), lambda: NOW)


def authenticate(
    token: str, path: str = DISCOVERY, known: Authenticator | None = None
) -> Client | Reason:
    """The client whose a token is, or why it is not accepted."""
    caller = call_of(token, path, known)
    return caller.client if isinstance(caller, Caller) else caller


def call_of(
    token: str, path: str = DISCOVERY, known: Authenticator | None = None
) -> Caller | Reason:
    """Who calls with a token, tenant included, or why it is not accepted."""
    try:
        return asyncio.run((known or authenticator()).authenticate(f"Bearer {token}", path))
    except Unauthenticated as refusal:
        return refusal.reason


# --- what is accepted ----------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_point_18_every_asymmetric_algorithm_is_accepted(algorithm: str) -> None:
    """ES384 and RS384, which CDS Hooks recommends, and the others that are as safe."""
    key = CURVES.get(algorithm, RSA)
    assert authenticate(sign(key=key, alg=algorithm, kid=key.kid)) == client()


def test_point_18_no_other_algorithm_is_accepted() -> None:
    """None without signature, and none with a secret that both sides share."""
    assert not {name for name in ALGORITHMS if name == "none" or name.startswith("HS")}


@pytest.mark.parametrize(
    ("aud", "path"),
    [
        (BASE + DISCOVERY, DISCOVERY),
        ([BASE + DISCOVERY], DISCOVERY),
        (["https://other.example", BASE + CALL], CALL),
        (BASE + CALL + "/feedback", CALL + "/feedback"),
        (BASE + DISCOVERY + "/", DISCOVERY),
        (BASE + DISCOVERY, DISCOVERY + "/"),
        ("https://internal.example/myositis" + CALL, CALL),
    ],
)
def test_point_17_the_audience_is_the_endpoint_under_one_of_the_bases(aud: Any, path: str) -> None:
    """As text or among a list; a slash at the end makes no difference; feedback has its own."""
    assert authenticate(sign(claims(aud=aud)), path) == client()


@pytest.mark.parametrize(
    "changed",
    [
        {"iat": NOW + 1},
        {"iat": NOW + 60},
        {"iat": NOW - 900, "exp": NOW - 59},
        {"nbf": NOW + 60},
        {"nbf": None},
        {"exp": NOW + 3600},
        {"iat": NOW + 0.5, "exp": NOW + 900.5},
        {"jti": "j" * 255},
    ],
    ids=str,
)
def test_point_19_clocks_may_differ_by_a_minute(changed: dict[str, Any]) -> None:
    """What real clients send is accepted up to the limits, and these themselves."""
    assert authenticate(sign(claims(**changed))) == client()


def test_point_19_the_name_of_a_key_may_be_any_base64() -> None:
    """Some clients name a key by its hash, with `+`, `/` and `=` in it."""
    for name in ("a+b/c==", KID):
        key = RSAKey.generate_key(2048, {"kid": name})
        published = Published()
        published.content = key_set(key)
        assert authenticate(sign(key=key, kid=name), known=authenticator(published)) == client()


def test_point_19_the_audience_of_feedback_is_its_own_address() -> None:
    """That of the service alone does not let feedback in."""
    feedback = CALL + "/feedback"
    assert authenticate(sign(claims(aud=BASE + feedback)), feedback) == client()
    assert authenticate(sign(claims(aud=BASE + CALL)), feedback) == "audience"


def test_point_19_a_token_may_be_valid_from_before_it_was_made() -> None:
    """Some clients set `nbf` five minutes before `iat`."""
    assert authenticate(sign(claims(nbf=NOW - 300, iat=NOW))) == client()


def test_point_17_headers_that_are_not_known_are_ignored() -> None:
    """Such as certificates, which many identity providers send along."""
    token = sign(x5t="YWJj", x5c=["MIIC" * 300], vendor={"a": 1})
    assert authenticate(token) == client()


def test_point_17_the_jku_header_may_be_left_out() -> None:
    """The list of clients says where the keys are."""
    assert authenticate(sign(jku=None)) == client()


def test_point_17_any_tenant_is_accepted_where_none_is_listed() -> None:
    """Also none at all."""
    for tenant in (None, "another"):
        assert authenticate(sign(claims(tenant=tenant)), known=authenticator(tenants=())) == client(
            tenants=()
        )


def test_with_a_file_of_keys_the_jku_of_a_token_means_nothing(tmp_path: Path) -> None:
    """A client that was given as a file may send a `jku` that cannot be reached from here."""
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(RSA))
    published = Published()
    known = authenticator(published, jku=None, jwks_file=file)
    assert authenticate(sign(), known=known) == client(jku=None, jwks_file=file)
    assert published.asked == []


# --- tenants -------------------------------------------------------------------------------------

NORTH = "https://north.example"
SOUTH = "https://south.example"


@pytest.mark.parametrize(
    ("tenant", "name"),
    [
        (TENANT, f"Example University Hospital/{TENANT}"),
        ("a/b", "Example University Hospital/a/b"),
        ("", "Example University Hospital"),
        (None, "Example University Hospital"),
    ],
)
def test_who_calls_is_the_client_and_its_tenant(tenant: str | None, name: str) -> None:
    """What is kept of one hospital is not another's because both are served by one EHR."""
    caller = call_of(sign(claims(tenant=tenant)), known=authenticator(tenants=()))

    assert isinstance(caller, Caller)
    assert caller.name == name


@pytest.mark.parametrize("tenant", [["a"], {}, 5, True, "x" * 100, "a\nb", "a\0b"])
def test_a_tenant_that_cannot_be_kept_is_refused(tenant: object) -> None:
    """Also where any is accepted."""
    assert authenticate(sign(claims(tenant=tenant)), known=authenticator(tenants=())) == "tenant"


def several() -> Authenticator:
    """What knows two clients of one issuer."""
    clients = [
        client(name="North", tenants=("n1", "n2"), audience=(NORTH,)),
        client(name="South", tenants=("s",), audience=(SOUTH,)),
    ]
    return Authenticator(clients, KeySets(Published().fetch), remembering(), lambda: NOW)


@pytest.mark.parametrize(
    ("tenant", "base", "name"),
    [("n1", NORTH, "North/n1"), ("n2", NORTH, "North/n2"), ("s", SOUTH, "South/s")],
)
def test_clients_of_one_issuer_are_told_apart_by_their_tenants(
    tenant: str, base: str, name: str
) -> None:
    """Each is called under its own address."""
    caller = call_of(sign(claims(tenant=tenant, aud=base + DISCOVERY)), known=several())

    assert isinstance(caller, Caller)
    assert caller.name == name


@pytest.mark.parametrize(
    ("changed", "reason", "whose"),
    [
        ({"tenant": "n1", "aud": SOUTH + DISCOVERY}, "audience", "North/n1"),
        ({"tenant": "s", "aud": NORTH + DISCOVERY}, "audience", "South/s"),
        ({"tenant": "other", "aud": NORTH + DISCOVERY}, "tenant", "North or South"),
        ({"tenant": None, "aud": NORTH + DISCOVERY}, "tenant", "North or South"),
        ({"tenant": "", "aud": NORTH + DISCOVERY}, "tenant", "North or South"),
        ({"tenant": "n1", "exp": NOW - 61, "iat": NOW - 100}, "expired", "North or South"),
    ],
)
def test_a_tenant_of_nobody_or_under_the_address_of_another_is_refused(
    changed: dict[str, Any], reason: Reason, whose: str
) -> None:
    """The log names who it may be."""
    with pytest.raises(Unauthenticated) as refusal:
        asyncio.run(several().authenticate(f"Bearer {sign(claims(**changed))}", DISCOVERY))

    assert (refusal.value.reason, refusal.value.client) == (reason, whose)


def test_a_tenant_is_not_believed_before_the_signature() -> None:
    """Which tenants there are is not told to who has no key."""
    for tenant in ("n1", "s", "other"):
        forged = sign(claims(tenant=tenant, aud=NORTH + DISCOVERY), key=OTHER_RSA)
        assert authenticate(forged, known=several()) == "signature"


# --- what is not ---------------------------------------------------------------------------------


@every_wrong
def test_points_17_and_18_a_wrong_token_is_not_accepted(wrong: str) -> None:
    """Each way of being wrong is told from the others."""
    reason, token = WRONG[wrong]
    assert authenticate(token()) == reason


def test_points_17_and_18_every_reason_is_shown_here() -> None:
    """No reason is given that no test has seen."""
    elsewhere = {"no-token", "several-tokens", "not-bearer", "no-keys", "replayed"}
    assert {reason for reason, _ in WRONG.values()} | elsewhere == set(get_args(Reason))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "no-token"),
        ("Basic dXNlcjpwYXNz", "not-bearer"),
        ("Bearer", "malformed"),
        ("Bearer " + "é" * 20, "malformed"),
        ("", "not-bearer"),
        ("Bearer " + "a" * 9000, "oversized"),
    ],
)
def test_point_17_only_a_bearer_token_is_looked_at(header: str | None, reason: Reason) -> None:
    """No header, another scheme, nothing behind the scheme."""
    with pytest.raises(Unauthenticated) as refused:
        asyncio.run(authenticator().authenticate(header, DISCOVERY))
    assert refused.value.reason == reason


def test_point_18_a_token_is_accepted_once() -> None:
    """The same id again is refused, in another token too; another client may have the same id."""

    async def use() -> list[Client | Reason]:
        results: list[Client | Reason] = []
        for said in (claims(), claims(), claims(exp=NOW + 1000), claims(jti="another")):
            try:
                caller = await known.authenticate(f"Bearer {sign(said)}", DISCOVERY)
                results.append(caller.client)
            except Unauthenticated as refusal:
                results.append(refusal.reason)
        return results

    known = authenticator()
    assert asyncio.run(use()) == [client(), "replayed", "replayed", client()]


def test_point_18_of_two_uses_at_once_one_is_accepted() -> None:
    """However requests run beside each other, one of them is the first."""

    async def race() -> list[Caller | BaseException]:
        header = f"Bearer {sign()}"
        return await asyncio.gather(
            *(known.authenticate(header, DISCOVERY) for _ in range(8)), return_exceptions=True
        )

    known = authenticator()
    accepted = [result for result in asyncio.run(race()) if isinstance(result, Caller)]
    assert accepted == [Caller(client(), TENANT)]


def test_point_18_a_wrong_token_does_not_use_up_its_id() -> None:
    """Nobody can spoil a token by sending its id before its client does."""
    known = authenticator()
    for reason, token in WRONG.values():
        assert authenticate(token(), known=known) == reason
    assert authenticate(sign(), known=known) == client()


def test_a_token_is_remembered_for_longer_than_it_counts() -> None:
    """Until it is refused as expired, with the leeway."""
    until: list[datetime] = []

    async def first_use(issuer: str, jti: str, remember: datetime) -> bool:
        until.append(remember)
        return True

    keys = KeySets(Published().fetch)
    asyncio.run(
        Authenticator([client()], keys, first_use, lambda: NOW).authenticate(
            f"Bearer {sign()}", DISCOVERY
        )
    )
    assert until == [datetime.fromtimestamp(NOW + 900 + 61, UTC)]


def test_point_18_key_rotation_takes_effect_with_the_first_new_token() -> None:
    """A new key is fetched when a token names it; the old one, once it is gone, is refused."""
    seconds = [0.0]
    published = Published()
    keys = KeySets(published.fetch, lambda: seconds[0])
    known = Authenticator([client()], keys, remembering(), lambda: NOW)

    async def use(jti: str, key: RSAKey, kid: str) -> Client | Reason:
        try:
            token = sign(claims(jti=jti), key=key, kid=kid)
            return (await known.authenticate(f"Bearer {token}", DISCOVERY)).client
        except Unauthenticated as refusal:
            return refusal.reason

    async def rotate() -> list[Client | Reason]:
        new = RSAKey.generate_key(2048, {"kid": "new"})
        results = [await use("1", RSA, KID)]
        published.content = key_set(new)
        results.append(await use("2", RSA, KID))
        seconds[0] = 31
        results.append(await use("3", new, "new"))
        results.append(await use("4", RSA, KID))
        return results

    assert asyncio.run(rotate()) == [client(), client(), client(), "unknown-key"]


def test_point_18_nothing_is_fetched_for_who_is_not_known() -> None:
    """Neither the address in a header nor that of any client is asked for a strange token."""
    published = Published()
    known = authenticator(published)
    for wrong in ("issuer unknown", "jku elsewhere", "HS256 with the public key", "jku not text"):
        authenticate(WRONG[wrong][1](), known=known)
    assert published.asked == []


def test_without_keys_nobody_is_accepted(log: LogCapture) -> None:
    """A key set that cannot be had is no reason to trust."""

    async def fetch(address: str) -> bytes:
        raise KeysInvalid("it was answered with status 503, not 200")

    known = Authenticator([client()], KeySets(fetch), remembering(), lambda: NOW)
    assert authenticate(sign(), known=known) == "no-keys"


@pytest.mark.parametrize(
    "wrong",
    ["issuer unknown", "kid unknown", "jku elsewhere", "RSA key named for a curve"],
)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_point_18_who_is_not_known_costs_as_much_work(
    wrong: str, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signature is checked in any case, so the time taken does not tell who is a client."""
    checked = []
    validate = jws.validate_compact

    def watched(*arguments: Any, **named: Any) -> bool:
        done = validate(*arguments, **named)
        checked.append(done)
        return done

    key = CURVES.get(algorithm, OTHER_RSA)
    headers: dict[str, dict[str, Any]] = {
        "issuer unknown": {"kid": key.kid},
        "kid unknown": {"kid": "another"},
        "jku elsewhere": {"kid": key.kid, "jku": "https://evil.example"},
        "RSA key named for a curve": {"kid": KID if algorithm.startswith("ES") else "ES256"},
    }
    issuer = "https://evil.example" if wrong == "issuer unknown" else ISSUER
    token = sign(claims(iss=issuer), key=key, alg=algorithm, **headers[wrong])
    monkeypatch.setattr(jws, "validate_compact", watched)

    assert isinstance(authenticate(token), str)
    assert checked == [False]


@pytest.mark.parametrize("issuer", [ISSUER, "https://evil.example"])
def test_point_18_a_signature_of_another_length_is_checked_as_long(
    issuer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key would refuse it without any work, and so be told from none; one of nobody has it."""
    checked: list[Any] = []
    validate = jws.validate_compact

    def watched(signed: Any, key: Any, **named: Any) -> bool:
        checked.append((len(signed.segments["signature"]), key.public_key.key_size))
        return validate(signed, key, **named)

    longer = RSAKey.generate_key(4096, {"kid": KID})
    token = sign(claims(iss=issuer), key=longer, alg="RS384")
    monkeypatch.setattr(jws, "validate_compact", watched)

    assert authenticate(token) in ("signature", "unknown-issuer")
    assert checked == [(683, 4096)]


# --- over HTTP -----------------------------------------------------------------------------------


@pytest.fixture
def served(ruleset: RuleSet, log: LogCapture) -> Iterator[TestClient]:
    """The service for this client alone; it says whose request it was at /whose."""
    app = create_app(ruleset, lambda: datetime.fromtimestamp(NOW, UTC).date(), authenticator())

    @app.get("/whose")
    async def whose(request: Request) -> str:
        return str(request.state.caller.name)

    with TestClient(app, follow_redirects=False) as http:
        yield http


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def test_point_17_discovery_and_calls_are_answered_with_a_token(served: TestClient) -> None:
    """Each with a token of its own."""
    request = (CHECKOUT / "fhir_examples/rp-ild-mda5.request.json").read_bytes()
    found = served.get(DISCOVERY, headers=bearer(sign()))
    said = claims(aud=BASE + CALL, jti="2")
    called = served.post(CALL, content=request, headers=bearer(sign(said)))
    rules = served.get("/rules", headers=bearer(sign(claims(aud=BASE + "/rules", jti="3"))))
    assert (found.status_code, called.status_code, rules.status_code) == (200, 200, 200)
    assert called.json()["cards"][0]["indicator"] == "critical"


def test_the_interface_says_that_a_token_is_needed(served: TestClient) -> None:
    """Its description needs one too, as everything does that tells of the services."""
    said = claims(aud=BASE + "/openapi.json")
    described = served.get("/openapi.json", headers=bearer(sign(said))).json()

    assert served.get("/openapi.json").status_code == 401
    assert described["security"] == [{"clientJwt": []}]


def test_the_client_of_a_request_is_known_to_what_answers_it(served: TestClient) -> None:
    """By its whole entry in the list of clients, and the tenant that its token names."""
    answer = served.get("/whose", headers=bearer(sign(claims(aud=BASE + "/whose"))))
    assert answer.json() == f"Example University Hospital/{TENANT}"


@every_wrong
def test_point_18_a_wrong_token_is_answered_with_a_bare_401(
    served: TestClient, log: LogCapture, wrong: str
) -> None:
    """Nothing but the status and the scheme; the log has the reason, and nothing of the token."""
    reason, make = WRONG[wrong]
    token = make()

    answer = served.get(DISCOVERY, headers=bearer(token))

    assert (answer.status_code, answer.content) == (401, b"")
    assert dict(answer.headers) == {
        "www-authenticate": "Bearer",
        "content-length": "0",
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    (entry,) = [entry for entry in log.entries if entry["event"] == "unauthenticated"]
    assert entry["reason"] == reason
    for part in token.split("."):
        assert len(part) < 10 or part not in str(log.entries)
    if entry["client"] is None:  # nothing of it was known to be true
        assert "evil" not in str(log.entries)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", DISCOVERY),
        ("HEAD", DISCOVERY),
        ("GET", DISCOVERY + "/"),
        ("POST", CALL),
        ("POST", CALL + "/"),
        ("POST", CALL + "/feedback"),
        ("GET", "/rules"),
        ("HEAD", "/rules"),
        ("GET", "//"),
        ("GET", "/healthy"),
        ("GET", "/anything/else"),
        ("DELETE", CALL),
    ],
)
def test_point_17_without_a_token_nothing_is_answered(
    served: TestClient, method: str, path: str
) -> None:
    """Not even whether there is something at an address."""
    answer = served.request(method, f"http://testserver{path}")
    assert (answer.status_code, answer.content) == (401, b"")


def test_of_who_is_not_known_no_body_is_read(served: TestClient) -> None:
    """What may be held of bodies is for those who are known: the entrance is only looked at."""

    async def receive() -> Any:
        raise AssertionError("was read")

    async def ask(method: str, path: str) -> Any:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "query_string": b""}
        await served.app(scope | {"headers": [(b"host", b"testserver")]}, receive, send)
        return sent[0]["status"]

    for path in ("/", "/cds-services", "/nowhere"):
        for method in ("POST", "PUT", "DELETE"):
            assert asyncio.run(ask(method, path)) == 401
    assert asyncio.run(ask("POST", "/health/live")) == 405


def test_the_entrance_is_open(served: TestClient) -> None:
    """It says nothing but where discovery is."""
    assert served.get("/").json()["discovery"] == DISCOVERY


@pytest.mark.parametrize("path", [CALL, DISCOVERY, "/rules", "/nothing"])
def test_where_no_page_may_call_a_preflight_tells_nothing(served: TestClient, path: str) -> None:
    """Not even which addresses there are: it needs a token as anything else."""
    asked = {"Origin": "https://ehr.hospital.example", "Access-Control-Request-Method": "POST"}
    answer = served.options(path, headers=asked)
    assert (answer.status_code, answer.content) == (401, b"")
    assert "Allow" not in answer.headers


def test_point_18_a_replay_is_answered_with_a_bare_401(served: TestClient, log: LogCapture) -> None:
    """The log names the client, because its signature was right."""
    token = sign()
    answers = [served.get(DISCOVERY, headers=bearer(token)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 401]
    assert answers[1].content == b""
    (entry,) = log.entries
    name = f"Example University Hospital/{TENANT}"
    assert (entry["reason"], entry["client"]) == ("replayed", name)


def test_two_authorization_headers_are_not_accepted(served: TestClient, log: LogCapture) -> None:
    """A proxy and this service might each look at another one."""
    header = ("Authorization", f"Bearer {sign()}")
    answer = served.get(DISCOVERY, headers=[header, header])
    assert answer.status_code == 401
    assert log.entries[0]["reason"] == "several-tokens"


def test_the_log_says_what_audience_a_genuine_token_has(
    served: TestClient, log: LogCapture
) -> None:
    """What is wrong most often at the first set-up can be read there, of clients that are known."""
    served.get("/rules", headers=bearer(sign()))
    (entry,) = log.entries
    assert entry["detail"] == f"`aud` is {BASE}{DISCOVERY}"


def test_a_fault_while_authenticating_lets_nobody_in(ruleset: RuleSet, log: LogCapture) -> None:
    """Where it cannot be told whether a token was used, the call fails, and says so."""

    async def first_use(issuer: str, jti: str, until: datetime) -> bool:
        raise OSError("the database at db.hospital.example is gone")

    known = Authenticator([client()], KeySets(Published().fetch), first_use, lambda: NOW)
    app = create_app(ruleset, lambda: datetime.fromtimestamp(NOW, UTC).date(), known)
    with TestClient(app) as http:
        answer = http.get(DISCOVERY, headers=bearer(sign()))
    assert answer.status_code == 500
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert "database" not in answer.text + str(log.entries)
    assert app.state.faults == {"OSError": 1}


def test_while_the_database_is_away_a_client_is_told_when_to_call_again(
    ruleset: RuleSet, log: LogCapture
) -> None:
    """503 with Retry-After, for what is over soon; nobody is let in meanwhile."""

    async def first_use(issuer: str, jti: str, until: datetime) -> bool:
        raise OperationalError("INSERT", {}, Exception("disk full at /var/lib"))

    known = Authenticator([client()], KeySets(Published().fetch), first_use, lambda: NOW)
    app = create_app(ruleset, lambda: datetime.fromtimestamp(NOW, UTC).date(), known)
    with TestClient(app) as http:
        answer = http.get(DISCOVERY, headers=bearer(sign()))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["issue"][0]["code"] == "transient"
    assert "disk full" not in answer.text + str(log.entries)


def test_when_authentication_is_off_there_is_no_client(ruleset: RuleSet) -> None:
    """Everyone is answered, and nobody is taken for a client, whatever token is sent."""
    app = create_app(ruleset, lambda: datetime.fromtimestamp(NOW, UTC).date())

    @app.get("/whose")
    async def whose(request: Request) -> bool:
        return request.state.caller is None

    answer = TestClient(app).get("/whose", headers=bearer(sign()))
    assert answer.json() is True


def test_the_guide_says_what_to_do_about_every_reason() -> None:
    """The table in docs/authentication.md has a row for each, and no other."""
    guide = (CHECKOUT / "docs/authentication.md").read_text(encoding="utf-8")
    table = guide.partition("| `reason` |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == list(get_args(Reason))


def test_who_is_not_known_cannot_flood_the_log(log: LogCapture) -> None:
    """Of a second so many lines are written, and the next says how many were left out; all count.

    Refusals of a client whose signature was right are written each.
    """
    now = 0.0
    counted: Counter[str] = Counter()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response()(scope, receive, send)

    requires = RequiresToken(
        app,
        authenticator(),
        is_open=lambda _: False,
        fail=lambda _: Response(status_code=500),
        refused=lambda reason: counted.update([reason]),
        clock=lambda: now,
    )
    http = TestClient(requires)
    statuses = {http.get("/").status_code for _ in range(MOST_LINES + 5)}
    told = http.get("/rules", headers=bearer(sign()))
    now = 1.5
    http.get("/")

    assert statuses == {401}
    assert told.status_code == 401
    reasons = [entry["reason"] for entry in log.entries]
    assert reasons == ["no-token"] * MOST_LINES + ["audience", "no-token"]
    assert log.entries[-1]["left_out"] == 5
    assert all("left_out" not in entry for entry in log.entries[:-1])
    assert counted == {"no-token": MOST_LINES + 6, "audience": 1}
