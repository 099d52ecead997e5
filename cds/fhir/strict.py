"""Full validation against FHIR R4, with ``fhir.resources``.

What is read is otherwise read leniently (``cds.fhir.resources``); what the service ships or sends
is always validated here. ``fhir.resources.R4B`` is used because the default of that package is R5.
It is lenient in three ways, which are made up for: it takes one JSON type for another, drops what
is empty, and knows code lists but does not enforce them. Lists that it knows only the beginning of,
such as that of ``Observation.status``, and what a profile asks for stay unchecked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from fhir_core.fhirabstractmodel import FHIRAbstractModel
    from pydantic import BaseModel, ValidationError


class Fault(Struct, frozen=True, order=True):
    """What is not valid: where (``Bundle.entry[3].resource.status``), and in which way.

    The message says nothing of the values that are there.
    """

    path: str
    message: str

    def __str__(self) -> str:
        """``path: message``."""
        return f"{self.path}: {self.message}"


class NotValid(ValueError):
    """A resource is not valid FHIR R4; ``faults`` holds every fault that was found."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, faults)))


_JSON = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_TOO_DEEP = "is nested too deeply to be validated"


def validate(raw: bytes, place: str = "") -> list[Fault]:
    """Validate JSON text as a FHIR R4 resource; an empty list means that it is valid.

    Every resource in it (entries of a Bundle, contained resources) is validated by itself, so that
    the faults of all are found. ``place`` is where the resource stands in its document (for example
    ``prefetch.conditions``); its type if not given. A fault in an element can hide that another,
    required element is missing from the same resource.
    """
    try:
        resource = _JSON.decode(raw)
        return list(_faults(resource, place))
    except UnicodeDecodeError:
        return [Fault(place or "$", "holds text that is not UTF-8")]
    except msgspec.DecodeError as fault:
        return [Fault(place or "$", f"is not JSON: {fault}")]
    except RecursionError:
        return [Fault(place or "$", _TOO_DEEP)]


def validated(resource: Mapping[str, object]) -> dict[str, object]:
    """Validate a resource that the service made, and return it as a plain JSON object.

    Raises ``NotValid``. Numbers may be given as ``Decimal``.
    """
    raw = _ENCODER.encode(resource)
    faults = validate(raw)
    if faults:
        raise NotValid(faults)
    plain: dict[str, object] = msgspec.json.decode(raw)
    return plain


def built(resource: dict[str, Any]) -> dict[str, Any]:
    """Build a resource that is about to be sent as fhir.resources' model, and return it unchanged.

    This is the part of ``validated`` that is quick enough for every call; the rest of it is done
    once, when the template that the resource was filled from is read. Raises ``NotValid``.
    """
    from pydantic import ValidationError

    name = resource.get("resourceType")
    model = _model(name)
    if model is None:
        raise NotValid([Fault("$", "is of a type that FHIR R4 does not have")])
    try:
        model.model_validate(resource)
    except ValidationError as fault:
        raise NotValid(list(_told(fault, str(name)))) from None
    return resource


def _told(fault: ValidationError, path: str) -> Iterator[Fault]:
    """The faults that pydantic found, without the values it found them in."""
    for error in fault.errors(include_input=False, include_url=False, include_context=False):
        message = error["msg"].removeprefix("Value error, ")
        yield Fault(path + _in_path(error["loc"]), message[:1].lower() + message[1:])


def _faults(resource: object, place: str) -> Iterator[Fault]:
    """Find the faults of a resource and of those in it."""
    if not isinstance(resource, dict):
        yield Fault(place or "$", "should be a resource: a JSON object with a resourceType")
        return
    name = resource.get("resourceType")
    model = _model(name)
    if model is None:
        said = "has no resourceType" if name is None else "is of a type that FHIR R4 does not have"
        yield Fault(place or "$", said)
        return
    path = place or str(name)
    outer, inner = _separate(resource, path)
    yield from _own_faults(model, outer, path)
    for inner_path, inner_resource in inner:
        yield from _faults(inner_resource, inner_path)


def _model(name: object) -> type[FHIRAbstractModel] | None:
    """The class for a resource type; ``None`` where R4 has no such resource."""
    # Imported where it is needed: it takes a fifth of a second, and most calls never validate.
    from fhir.resources.R4B import get_fhir_model_class
    from fhir.resources.R4B.resource import Resource

    try:
        model = get_fhir_model_class(name) if isinstance(name, str) else None
    except ValueError:
        return None
    if model is None or not issubclass(model, Resource) or name in ("Resource", "DomainResource"):
        return None
    return model


_STAND_IN = {"resourceType": "Patient"}
"""A valid resource, put where one was taken out."""


def _separate(
    resource: dict[str, Any], path: str
) -> tuple[dict[str, Any], list[tuple[str, object]]]:
    """Take out of a resource those that are in it, as (path, resource)."""
    outer, inner = dict(resource), []
    contained, entries = resource.get("contained"), resource.get("entry")
    if isinstance(contained, list):
        outer["contained"] = [_STAND_IN] * len(contained)
        inner = [(f"{path}.contained[{i}]", one) for i, one in enumerate(contained)]
    if resource["resourceType"] == "Bundle" and isinstance(entries, list):
        outer["entry"] = entries = list(entries)
        for i, entry in enumerate(entries):
            if isinstance(entry, dict) and "resource" in entry:
                entries[i] = {**entry, "resource": _STAND_IN}
                inner.append((f"{path}.entry[{i}].resource", entry["resource"]))
    return outer, inner


def _own_faults(
    model: type[FHIRAbstractModel], resource: dict[str, Any], path: str
) -> Iterator[Fault]:
    from pydantic import ValidationError

    try:
        read = model.model_validate(resource)
    except ValidationError as fault:
        yield from _told(fault, path)
    except (KeyError, TypeError):
        # In Parameters, for one. fhir.resources fails in this way, not with a ValidationError.
        yield Fault(path, "holds a resource of a type that FHIR R4 does not have")
    except RecursionError:
        yield Fault(path, _TOO_DEEP)
    else:
        yield from _changed(resource, read.model_dump(), path)
        yield from _off_list(read, path)


def _in_path(location: tuple[int | str, ...]) -> str:
    if location[-1:] == ("root",):  # fhir.resources' name for an element as a whole
        location = location[:-1]
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)


def _changed(given: object, read: object, path: str) -> Iterator[Fault]:
    """Find what fhir.resources let pass by taking it for something else, or by dropping it.

    It reads ``"6.2"`` as a number, 20200101 as a date in 1970, and an empty list as nothing.
    """
    if isinstance(given, dict) and isinstance(read, dict):
        if not given:
            yield Fault(path, "is empty: leave it out")
        for key, value in given.items():
            if key in read:
                yield from _changed(value, read[key], f"{path}.{key}")
            elif value in (None, [], {}):
                yield Fault(f"{path}.{key}", "is empty: leave it out")
            else:
                yield Fault(f"{path}.{key}", "is not an element of FHIR R4 here")
    elif isinstance(given, list) and isinstance(read, list):
        for index, (one, other) in enumerate(zip(given, read, strict=False)):
            yield from _changed(one, other, f"{path}[{index}]")
    elif _kind(given) != _kind(read):
        yield Fault(path, f"should be {_kind(read)}, but is {_kind(given)}")


def _off_list(element: BaseModel, path: str) -> Iterator[Fault]:
    """Find codes that are not in the list which FHIR requires for them."""
    from pydantic import BaseModel

    for name, field in type(element).model_fields.items():
        about, value = field.json_schema_extra, getattr(element, name)
        codes = about.get("enum_values") if isinstance(about, dict) else None
        many = isinstance(value, list)
        for index, one in enumerate(value if many else [value]):
            here = f"{path}.{field.alias or name}" + (f"[{index}]" if many else "")
            if isinstance(one, BaseModel):
                yield from _off_list(one, here)
            elif isinstance(codes, list) and one is not None and not {one, "+"} & {*codes}:
                yield Fault(here, f"is not one of {', '.join(map(str, codes))}")


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float() | Decimal():
            return "a number"
        case dict():
            return "an object"
        case list():
            return "a list"
        case _:  # text, or what fhir.resources makes of text: dates, URLs, bytes
            return "text"
