"""The services that there are: one for each hook that a rule declares, as discovery tells them.

https://cds-hooks.hl7.org/2.0/#discovery. Each has an id of its own, because clients exist that keep
one service only of an id.
"""

from __future__ import annotations

from typing import get_args

from msgspec import Struct

from cds.hooks.prefetch import Template
from cds.rules.language import Hook
from cds.rules.ruleset import RuleSet

TITLE = "Myositis decision support"


class Service(Struct, frozen=True):
    """A service as discovery describes it."""

    hook: Hook
    id: str
    title: str
    description: str
    prefetch: dict[str, str]
    usageRequirements: str


def service_id(hook: Hook) -> str:
    """The id of the service for a hook, which is part of its address."""
    return f"myositis-{hook}"


def make_services(ruleset: RuleSet, templates: tuple[Template, ...]) -> tuple[Service, ...]:
    """The services of a rule set: for patient-view, and for each hook that a card is made for."""
    declared = {hook for rule in ruleset.card_rules for hook in rule.file.hooks}
    return tuple(
        Service(
            hook=hook,
            id=service_id(hook),
            title=_TITLES[hook],
            description=_DESCRIPTIONS[hook],
            prefetch={template.key: template.query for template in templates},
            usageRequirements=_requirements(templates) + _OF_ORDERS.get(hook, ""),
        )
        for hook in get_args(Hook)
        if hook in declared or hook == "patient-view"
    )


_TITLES: dict[Hook, str] = {
    "patient-view": TITLE,
    "order-select": f"{TITLE}: an order is selected",
    "order-sign": f"{TITLE}: orders are signed",
}

_DESCRIPTIONS: dict[Hook, str] = {
    "patient-view": (
        "Response to treatment by the IMACS core set measures, life-threatening involvement of "
        "heart and lung, and options for treatment, for patients with inflammatory myopathy. "
        "No cards for patients without it."
    ),
    "order-select": (
        "What to consider before a drug is ordered, when it is selected, for patients with "
        "inflammatory myopathy. No cards for patients without it."
    ),
    "order-sign": (
        "What to consider before drugs are ordered, when the orders are to be signed, for patients "
        "with inflammatory myopathy. No cards for patients without it."
    ),
}


def _requirements(templates: tuple[Template, ...]) -> str:
    optional = [f"`{template.key}`" for template in templates if template.optional]
    without = (
        f" Without {', '.join(optional)} calls are answered too: what it would hold is unknown."
        if optional
        else ""
    )
    return (
        f"FHIR R4. Every prefetch key is needed{' but the optional' if optional else ''}: "
        "its resources, or null where there are none, searches with all their pages; or "
        "`fhirServer` and `fhirAuthorization`, so that what is missing can be fetched." + without
    )


_OF_ORDERS: dict[Hook, str] = {
    "order-select": (
        " Of the draft orders the MedicationRequests are read. All of them are looked at together, "
        "and the cards are those that concern a selected one."
    ),
    "order-sign": " Of the draft orders the MedicationRequests are read.",
}
