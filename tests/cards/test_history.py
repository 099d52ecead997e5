"""What a patient had of a drug or a class, in words."""

from collections.abc import Callable

from cds.advice import Advice
from cds.cards.history import history
from cds.cards.texts import Telling

Tell = Callable[[str, str], Telling]
RULE = "escalate-inadequate-response"


def drugs(told: list[str]) -> list[str]:
    """The drug that each line is about."""
    return [line.split(" ")[0] for line in told]


def test_drugs_stand_in_the_order_in_which_they_were_begun(telling: Tell) -> None:
    """What was begun last comes last, wherever the vocabulary has it."""
    chart = telling(RULE, "refractory-dermatomyositis").chart
    assert drugs(history("steroid_sparing", chart)) == [
        "methotrexate",
        "mycophenolate",
        "azathioprine",
    ]


def test_only_what_goes_on_is_told_where_that_is_asked(telling: Tell) -> None:
    """Drugs that were stopped are left out."""
    chart = telling(RULE, "refractory-dermatomyositis").chart
    assert history("steroid_sparing", chart, now=True) == ["azathioprine now, since 2026-05-20"]


def test_of_a_single_drug_its_times_are_told(telling: Tell) -> None:
    """A drug is told like a class of one."""
    chart = telling(RULE, "refractory-dermatomyositis").chart
    (told,) = history("mycophenolate", chart)
    assert told.startswith("mycophenolate 2025-07-09 to 2026-05-18, stopped")


def test_what_is_ordered_to_begin_later_is_told_so(ordered: Callable[..., Advice]) -> None:
    """After the times that have ended; of what goes on already a further order says nothing."""

    def told(drug: str, *, now: bool = False) -> list[str]:
        chart = ordered("refractory-dermatomyositis", drug, "2026-11-17").chart
        assert chart is not None
        return history(drug, chart, now=now)

    (again,) = told("mycophenolate")
    assert again.startswith("mycophenolate 2025-07-09 to 2026-05-18, stopped")
    assert again.endswith(", ordered to begin 2026-11-17")
    assert told("tacrolimus") == ["tacrolimus ordered to begin 2026-11-17"]
    assert told("tacrolimus", now=True) == []
    assert told("azathioprine") == ["azathioprine now, since 2026-05-20"]
