from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from cds.chart.chart import Chart
from cds.chart.facts.declaration import Event
from cds.fhir.bundles import Delivery
from tests.chart.conftest import (
    FACTS,
    Json,
    ago,
    chart_of,
    concept,
    deliver,
    observation,
)

PREDNISONE = concept("rxnorm|8640")
MDA5 = "loinc|82424-3"
FVC = "loinc|19872-1"
Damage = Callable[[Delivery, str], None]


def incomplete(delivery: Delivery, kind: str) -> None:
    """Say that a further page of this type exists, or that the server failed to answer."""
    delivery.incomplete.add(kind)


def unreadable(delivery: Delivery, kind: str) -> None:
    """Say that an entry of this type could not be read."""
    delivery.unread.add(kind)


def undelivered(delivery: Delivery, kind: str) -> None:
    """Say that nobody asked for this type."""
    delivery.delivered.discard(kind)


every_damage = pytest.mark.parametrize("damage", [incomplete, unreadable, undelivered])


def damaged(damage: Damage, kind: str, *resources: Json) -> Chart:
    """Read a chart of these resources, of which those of one type are not all known."""
    delivery = deliver(*resources)
    damage(delivery, kind)
    return chart_of(delivery)


def event(surely: int | None, possibly: int | None, *, complete: bool = True) -> Event:
    """Return an event so many days ago."""
    return Event(
        None if surely is None else Decimal(surely),
        None if possibly is None else Decimal(possibly),
        complete,
    )


def fvc(percent: object, days_ago: int, **of: Any) -> Json:
    """Return an FVC in percent of predicted."""
    return observation(FVC, percent, "%", ago(days_ago), **of)


METHOTREXATE = concept("rxnorm|6851")
MYOCARDITIS = "snomed|50920009"


def evidence(chart: Chart, name: str) -> list[tuple[str, str, str]]:
    """Return the evidence of a fact."""
    return [(e.reference, e.date, e.text) for e in FACTS[name].evidence(chart)]
