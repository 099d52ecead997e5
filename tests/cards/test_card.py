import msgspec

from cds.cards.card import SUMMARY_LIMIT, Action, Card, Coding, Link, Source, Suggestion


def test_what_a_card_does_not_have_is_left_out() -> None:
    """Nothing empty is sent: the specification has no place for it."""
    card = Card("1", "Summary", "info", "Detail", Source("Label"))

    assert msgspec.json.decode(msgspec.json.encode(card)) == {
        "uuid": "1",
        "summary": "Summary",
        "indicator": "info",
        "detail": "Detail",
        "source": {"label": "Label"},
    }


def test_a_full_card_has_the_fields_of_the_specification() -> None:
    """Every field is named and nested as CDS Hooks 2.0 has it."""
    draft = {"resourceType": "MedicationRequest"}
    card = Card(
        "1",
        "Summary",
        "critical",
        "Detail",
        Source("Label", "https://source.example"),
        suggestions=(Suggestion("Draft", "2", (Action("create", "Creates", draft),)),),
        selectionBehavior="at-most-one",
        overrideReasons=(Coding("code", "https://system.example", "Display"),),
        links=(Link("Read", "https://link.example"),),
    )

    assert msgspec.json.decode(msgspec.json.encode(card)) == {
        "uuid": "1",
        "summary": "Summary",
        "indicator": "critical",
        "detail": "Detail",
        "source": {"label": "Label", "url": "https://source.example"},
        "suggestions": [
            {
                "label": "Draft",
                "uuid": "2",
                "actions": [{"type": "create", "description": "Creates", "resource": draft}],
            }
        ],
        "selectionBehavior": "at-most-one",
        "overrideReasons": [
            {"code": "code", "system": "https://system.example", "display": "Display"}
        ],
        "links": [{"label": "Read", "url": "https://link.example", "type": "absolute"}],
    }


def test_the_limit_is_that_of_the_specification() -> None:
    """A summary has fewer than 140 characters."""
    assert SUMMARY_LIMIT == 140
