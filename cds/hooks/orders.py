"""Reads the draft orders of a request: https://cds-hooks.org/hooks/order-select/ and order-sign.

All drafts are read, also for order-select, where only some were selected just now: whether a drug
goes with another is seen only with both. ``selections`` then say which cards are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from cds.chart.treatments import UNREAD_DRAFT
from cds.fhir.bundles import (
    Delivery,
    Unreadable,
    decode,
    known_as,
    name_of,
    not_about,
    reference_id,
)
from cds.fhir.bundles import read_resource as read_into
from cds.fhir.resources import Reference
from cds.hooks.outcomes import Refused
from cds.hooks.requests import OrderSelectContext, OrderSignContext, PatientViewContext

PLACE = "$.context.draftOrders"


class _Draft(Struct, frozen=True):
    """What every draft tells, whatever its type: orders name the patient in one of two fields."""

    resourceType: str
    id: str | None = None
    subject: Reference | None = None
    patient: Reference | None = None


class _Entry(Struct, frozen=True):
    resource: _Draft
    fullUrl: str | None = None


class _DraftOrders(Struct, frozen=True):
    resourceType: Literal["Bundle"]
    entry: tuple[_Entry, ...] = ()


_DECODER = msgspec.json.Decoder(_DraftOrders)


class Orders(Struct, frozen=True):
    """The draft orders of a request.

    ``drafts`` holds those that are read, and lists those that are not; ``selected`` names those
    that were selected just now, where the hook says so.
    """

    drafts: Delivery
    selected: frozenset[str] | None
    entries: tuple[_Entry, ...]


def read_orders(context: PatientViewContext) -> Orders | None:
    """Read the draft orders of a context; None where its hook has none.

    A draft that is no MedicationRequest is listed as not read. Raises ``Refused`` with status 400,
    saying where, for what is no Bundle of resources, and for a selection that is not in it.
    """
    if not isinstance(context, OrderSignContext):
        return None
    entries = _read_entries(context.draftOrders)
    drafts = Delivery()
    try:
        read_into(decode(context.draftOrders, PLACE), drafts, PLACE)
    except Unreadable as fault:
        at = f" ({fault.place})" if fault.place.startswith("$") else ""
        raise _malformed(f"`{PLACE}` {fault.problem}{at}.") from None
    selected = None
    if isinstance(context, OrderSelectContext):
        selected = frozenset(_select(context.selections, entries, drafts))
    return Orders(drafts, selected, entries)


def check_about(orders: Orders, delivery: Delivery, patient: str) -> None:
    """Raise ``Refused`` with status 400 where a draft is not about the patient of the call.

    ``delivery`` is what was sent about this patient. A draft that names nobody is about them.
    """
    known = known_as(delivery, patient)
    about_others = [
        f"`{PLACE}.entry[{i}].resource` {problem}: nothing in this request was used."
        for i, entry in enumerate(orders.entries)
        for subject in (entry.resource.subject, entry.resource.patient)
        if (problem := not_about(subject, known))
    ]
    if about_others:
        raise Refused(400, "invalid", about_others)


def _read_entries(raw: Raw) -> tuple[_Entry, ...]:
    try:
        return _DECODER.decode(raw).entry
    except msgspec.ValidationError as fault:
        # Its text names types and places, never values, but for the type of the resource.
        if "Invalid enum value" in str(fault):
            raise _malformed(f"`{PLACE}` should be a Bundle.") from None
        said = str(fault).replace("`$", f"`{PLACE}")
        where = "" if f"`{PLACE}" in said else f" - at `{PLACE}`"
        raise _malformed(f"{said}{where}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _malformed(f"`{PLACE}` cannot be read as JSON.") from None


def _select(
    selections: tuple[str, ...], entries: tuple[_Entry, ...], drafts: Delivery
) -> Iterator[str]:
    """The drafts that were selected, as evidence names them.

    A draft that bears no id cannot be named by a selection, and so is never left aside.
    """
    if len(selections) > len(entries):
        raise _malformed(f"`$.context.selections` names more than the entries of `{PLACE}`.")
    yield UNREAD_DRAFT
    yield from (name_of(draft) for draft in drafts.uses if draft.id is None)
    named = _by_name(entries)
    chosen = set()
    for i, selection in enumerate(selections):
        found = {selection, _meant(selection)} & named.keys()
        if not found:
            raise _malformed(f"`$.context.selections[{i}]` names no entry of `{PLACE}`.")
        chosen |= found
    for name in chosen:
        yield from named[name]


_Name = str | tuple[str | None, str]
"""How a selection may name an entry: by its address, by type and id, or by the id of any type."""


def _by_name(entries: tuple[_Entry, ...]) -> dict[_Name, set[str]]:
    """The entries, as evidence names them, by all that a selection may call them."""
    named: dict[_Name, set[str]] = {}
    for entry in entries:
        type_, id_ = entry.resource.resourceType, entry.resource.id
        names: list[_Name] = [] if id_ is None else [(type_, id_), (None, id_)]
        if entry.fullUrl is not None:
            names.append(entry.fullUrl)
        for name in names:
            said = f"{type_}/{id_ or reference_id(entry.fullUrl or '')}"
            named.setdefault(name, set()).add(said)
    return named


def _meant(selection: str) -> _Name:
    """The type and id that a selection is, or the id alone."""
    steps = selection.split("/_history/")[0].split("/")
    return steps[-2] if len(steps) > 1 else None, reference_id(selection)


def _malformed(problem: str) -> Refused:
    return Refused(400, "invalid", [f"This is not a request that can be answered: {problem}"])
