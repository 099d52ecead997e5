"""Reads the request of a hook; https://cds-hooks.hl7.org/2.0/#calling-a-cds-service.

Fields that are not known here are ignored, as the specification asks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

import msgspec
import structlog
from msgspec import Meta, Raw, Struct
from starlette.datastructures import Headers

from cds.hooks.outcomes import Refused
from cds.rules.language import Hook

Text = Annotated[str, Meta(min_length=1)]

_log = structlog.get_logger()

MOST_KEYS = 200
"""Of prefetch; discovery asks for some thirty."""
MOST_BESIDE = 2**20
"""Bytes of a request beside its prefetch and draft orders. Their names are gone through one by one,
which takes longer than to read resources."""


class PatientViewContext(Struct, frozen=True):
    """Who opened whose chart; ``patientId`` may be written as ``Patient/id``."""

    userId: Text
    patientId: Text
    encounterId: str | None = None


class OrderSignContext(PatientViewContext, frozen=True, kw_only=True):
    """Who is about to sign which orders; ``draftOrders`` is left as JSON."""

    draftOrders: Raw


class OrderSelectContext(OrderSignContext, frozen=True, kw_only=True):
    """Who selected which orders just now; ``draftOrders`` holds them and all others not signed."""

    selections: tuple[Text, ...]


class Authorization(Struct, frozen=True):
    """What opens the FHIR server of a call; a scope is the server's to interpret.

    The specification requires all but ``patient``. What only tells of the token may be missing.
    """

    access_token: str
    token_type: str
    expires_in: int | None = None
    scope: str | None = None
    subject: str | None = None
    patient: str | None = None

    def __repr__(self) -> str:
        """Nothing of it."""
        return "Authorization(...)"


class Request(Struct, frozen=True):
    """A call of a service. Each value of ``prefetch`` is left as JSON."""

    hook: Text
    hookInstance: UUID
    context: PatientViewContext
    prefetch: Annotated[dict[str, Raw], Meta(max_length=MOST_KEYS)] | None = None
    fhirServer: str | None = None
    fhirAuthorization: Authorization | None = None

    @property
    def patient(self) -> str:
        """The id of the patient, without the resource type."""
        return self.context.patientId.removeprefix(_PATIENT)


_PATIENT = "Patient/"
# The characters of a FHIR id, and the underscore, which some servers use. An id of any other form
# would be nobody's in the data sent along, and the answer a reassuring list without cards.
_ID = re.compile(r"[A-Za-z0-9._-]+")


class _OrderSignRequest(Request, frozen=True, kw_only=True):
    context: OrderSignContext


class _OrderSelectRequest(Request, frozen=True, kw_only=True):
    context: OrderSelectContext


class _Called(Struct, frozen=True):
    hook: object = None


_DECODERS: dict[Hook, msgspec.json.Decoder[Request]] = {
    "patient-view": msgspec.json.Decoder(Request),
    "order-select": msgspec.json.Decoder(_OrderSelectRequest),
    "order-sign": msgspec.json.Decoder(_OrderSignRequest),
}
_CALLED = msgspec.json.Decoder(_Called)


class _Repeated(ValueError):
    """An object has two members of one name."""


def _once(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) < len(members):
        raise _Repeated
    return found


# Numbers may have any number of digits; only the names of members count.
_NAMES = json.JSONDecoder(object_pairs_hook=_once, parse_int=str, parse_float=str, strict=False)
_BLANK = re.compile(r"[ \t\n\r]*")

Known = Mapping[str, "str | Known"]
"""Members of an object that are not to be gone through: the JSON of each, or those in it."""


def ambiguity(body: bytes, known: Known | None = None) -> str | None:
    """Say that an object of a body, which is JSON, has two members of one name, if one has.

    Which of them counts is for each reader to choose: a call would be about one patient for this
    service, and about another for whoever else reads it. Objects and arrays that stand where
    ``known`` has them are skipped.
    """
    # What is no UTF-8 stands in a text that nobody reads, or is told where that is read.
    text = body.decode(errors="replace")
    try:
        begin = _after_blank(text, 0)
        if known and text.startswith("{", begin):
            _walk(text, begin, known)
        else:
            _NAMES.decode(text)
    except _Repeated:
        return "an object in it has two members of one name, and nothing says which counts."
    except RecursionError:
        return _TOO_DEEP
    except (ValueError, IndexError):
        return "it is not JSON as every reader takes it."
    return None


_TOO_DEEP = "the body is nested too deeply to be read."


def _after_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None  # which may be empty
    return found.end()


def _walk(text: str, at: int, known: Known) -> int:
    """The end of the object that begins here; raises ``_Repeated``.

    What begins where a value does, with the whole of an object or array, is that and nothing else.
    """
    names: set[str] = set()
    at = _after_blank(text, at + 1)
    if text[at] == "}":
        return at + 1
    while True:
        name, at = _NAMES.raw_decode(text, at)
        at = _after_blank(text, _after_blank(text, at) + 1)  # the colon is between
        if name in names:
            raise _Repeated
        names.add(name)
        what = known.get(name, "")
        if isinstance(what, str):
            if what[:1] in ("{", "[") and text.startswith(what, at):
                at += len(what)
            else:
                at = _NAMES.raw_decode(text, at)[1]
        elif text[at] == "{":
            at = _walk(text, at, what)
        else:
            at = _NAMES.raw_decode(text, at)[1]
        at = _after_blank(text, at)
        if text[at] != ",":
            return at + 1
        at = _after_blank(text, at + 1)


_JSON = ("application/json", "application/fhir+json")
"""Media types of what is read. The second is that of FHIR's own interface, whose clients are used
to call this one as well."""
_CHARSETS = ("utf-8", "utf8", "us-ascii")


def check_type(headers: Headers) -> None:
    """Check that the headers of a request say that its body is JSON.

    Every client can say so. A page of another origin cannot, unless a browser was told that it may
    call: what such a page can send unasked is a form, a plain text, or a body of no type at all.

    Raises ``Refused`` with status 415.
    """
    sent = headers.getlist("content-type")
    kind, *parameters = (part.strip().lower() for part in (sent or [""])[0].split(";"))
    charsets = {
        value.strip().strip('"')
        for name, _, value in (parameter.partition("=") for parameter in parameters)
        if name.strip() == "charset"
    }
    if len(sent) != 1 or kind not in _JSON or not charsets <= set(_CHARSETS):
        raise Refused(415, "not-supported", [_SEND_JSON])
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused(415, "not-supported", [_SEND_PLAIN])


_SEND_JSON = (
    "The body should be JSON in UTF-8, with one header `Content-Type: application/json` "
    "(or `application/fhir+json`), which this request does not have."
)
_SEND_PLAIN = "The body should be sent as it is, without the header `Content-Encoding`."


def hook_of(body: bytes) -> Hook | None:
    """The hook that a request names, if there is a service for it; None too for what is none."""
    try:
        called = _CALLED.decode(body).hook
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return next((hook for hook in _DECODERS if hook == called), None)


def read_request(body: bytes, hook: Hook) -> Request:
    """Read the request of a service for ``hook``.

    Raises ``Refused`` with status 400, saying where in the JSON the problem is, or 413.
    """
    try:
        request = _DECODERS[hook].decode(body)
    except msgspec.ValidationError as fault:
        if hook_of(body) not in (None, hook):  # of which what is missing here is no fault
            raise _malformed(_OTHER_HOOK.format(hook)) from None
        # Its text names types and places, never values.
        raise _malformed(f"{fault}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise _malformed(_not_json(body, fault)) from None
    if len(body) - _bytes_of_resources(request) > MOST_BESIDE:
        raise Refused(413, "too-costly", [_TOO_MUCH_BESIDE])
    if problem := ambiguity(body, _known(request)):
        raise _malformed(problem)
    if request.hook != hook:
        raise _malformed(_OTHER_HOOK.format(hook))
    if not _ID.fullmatch(request.patient):
        raise _malformed(
            "`$.context.patientId` should be the id of a Patient: letters, digits, `-`, `.` and "
            "`_`, with or without `Patient/` before it."
        )
    if request.fhirAuthorization is not None:
        _check_authorization(request.fhirAuthorization, request)
    if request.context.patientId.startswith(_PATIENT):
        _log.info("patient_id_with_type", reason="context.patientId is written as Patient/id")
    return request


def _known(request: Request) -> Known:
    """What of a request is read as resources, and is long."""
    known: dict[str, str | Known] = {
        "prefetch": {key: _text(raw) for key, raw in (request.prefetch or {}).items()}
    }
    if isinstance(request.context, OrderSignContext):
        known["context"] = {"draftOrders": _text(request.context.draftOrders)}
    return known


def _bytes_of_resources(request: Request) -> int:
    resources = [*(request.prefetch or {}).values()]
    if isinstance(request.context, OrderSignContext):
        resources.append(request.context.draftOrders)
    return sum(memoryview(raw).nbytes for raw in resources)


_TOO_MUCH_BESIDE = (
    f"The request has more than {MOST_BESIDE} bytes beside `prefetch` and `context.draftOrders`. "
    "Send only what the specification has."
)


def _text(raw: Raw) -> str:
    return bytes(raw).decode(errors="replace")


# What may stand behind `Bearer` in a header: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def _check_authorization(authorization: Authorization, request: Request) -> None:
    """Check a token, whether or not something will be fetched with it; tells nothing of it."""
    if not request.fhirServer:
        raise _malformed("`$.fhirServer` is missing, which `$.fhirAuthorization` requires.")
    if authorization.token_type.casefold() != "bearer":
        raise _malformed("`$.fhirAuthorization.token_type` should be `Bearer`.")
    if not _TOKEN.fullmatch(authorization.access_token):
        raise _malformed("`$.fhirAuthorization.access_token` is not written as a token is.")
    patient = authorization.patient
    if patient is not None and patient.removeprefix(_PATIENT) != request.patient:
        raise _malformed(
            "`$.fhirAuthorization.patient` is another patient than `$.context.patientId`."
        )


_OTHER_HOOK = "this service is for the hook {}, and `$.hook` names another."


def _malformed(problem: str) -> Refused:
    return Refused(400, "invalid", [f"This is not a request that can be answered: {problem}"])


def _not_json(body: bytes, fault: Exception) -> str:
    if not body.strip():
        return "the body is empty."
    if isinstance(fault, RecursionError):
        return _TOO_DEEP
    if isinstance(fault, UnicodeDecodeError):
        return "the body holds text that is not UTF-8."
    return f"the body is not JSON: {fault}."
