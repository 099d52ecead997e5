"""The course of results that a card names."""

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest

from cds.advice import Advice
from cds.cards.results import MOST_RESULTS, say_measured, say_results
from cds.cards.texts import Telling
from cds.chart.measurements import Measurement

Tell = Callable[[str, str], Telling]


def said(tell: Telling, *show: str) -> list[str]:
    """The lines about what a card shows, without their heading."""
    card = next(r.card for r in tell.ruleset.card_rules if r.card)
    return say_results(msgspec.structs.replace(card, show=show), tell).splitlines()[2:]


def with_series(tell: Telling, name: str, taken: list[Measurement]) -> Telling:
    """The same patient with these measurements in place of others."""
    measurements = msgspec.structs.replace(
        tell.chart.measurements, series={**tell.chart.measurements.series, name: taken}
    )
    chart = msgspec.structs.replace(tell.chart, measurements=measurements)
    return msgspec.structs.replace(tell, chart=chart)


def test_a_course_has_values_days_limit_and_resources(telling: Tell) -> None:
    """How fast it went stands beside the values, and the limit where the laboratory gives one."""
    tell = telling("pulse-for-rapidly-progressive-ild", "rp-ild-mda5")
    assert said(tell, "observation.fvc_percent_predicted", "observation.ferritin") == [
        "- FVC, % predicted: 78 % (2026-10-26) → 61 % (2026-11-13), in 18 days "
        "(Observation/rp-ild-mda5-fvc-percent-2026-10-26, "
        "Observation/rp-ild-mda5-fvc-percent-2026-11-13)",
        "- Ferritin: 890 µg/L (2026-10-26) → 2140 µg/L (2026-11-13), in 18 days, "
        "upper limit 150 (reference range) (Observation/rp-ild-mda5-ferritin-2026-10-26, "
        "Observation/rp-ild-mda5-ferritin-2026-11-13)",
    ]


def test_of_a_group_every_observation_that_is_recorded_has_a_line(telling: Tell) -> None:
    """In the order of the group, each once, though it is named by itself as well."""
    tell = telling("pulse-for-myocarditis", "myocarditis")
    lines = said(tell, "observation.troponin_i_hs", "troponin", "treatments", "measures")
    assert [line.split(":")[0] for line in lines] == [
        "- High-sensitivity troponin I",
        "- High-sensitivity troponin T",
    ]


def test_what_is_not_recorded_has_no_line(telling: Tell) -> None:
    """Without any there is no heading either."""
    tell = telling("pulse-for-myocarditis", "myocarditis")
    assert said(tell, "observation.ferritin") == []
    card = next(r.card for r in tell.ruleset.card_rules if r.id == "response-improved")
    assert card is not None
    assert say_results(card, tell) == ""


def test_one_value_is_told_without_a_span(telling: Tell) -> None:
    """A single SpO2 is no course, and is not passed over."""
    (line,) = said(telling("pulse-for-rapidly-progressive-ild", "juvenile-rp-ild"),
                   "observation.spo2")  # fmt: skip
    assert line.startswith("- SpO2: 89 % (2026-11-13) (Observation/")


@pytest.mark.parametrize(("days", "span"), [(1, "in 1 day"), (2, "in 2 days")])
def test_the_span_is_from_the_first_value_told_to_the_last(
    telling: Tell, days: int, span: str
) -> None:
    """Of two values a day apart it is one day."""
    tell = telling("pulse-for-rapidly-progressive-ild", "juvenile-rp-ild")
    (one,) = tell.chart.measurements.series["spo2"]
    later = msgspec.structs.replace(one, day=one.day + timedelta(days=days))
    (line,) = said(with_series(tell, "spo2", [one, later]), "observation.spo2")
    assert f"), {span} (" in line


def test_a_long_course_begins_with_an_ellipsis(telling: Tell) -> None:
    """The latest values are the ones that count."""
    tell = telling("pulse-for-rapidly-progressive-ild", "juvenile-rp-ild")
    (one,) = tell.chart.measurements.series["spo2"]
    many = [
        msgspec.structs.replace(one, day=one.day - timedelta(days=i))
        for i in range(MOST_RESULTS, -1, -1)
    ]
    (line,) = said(with_series(tell, "spo2", many), "observation.spo2")
    assert line.startswith("- SpO2: … → 89 %")
    assert line.count("89 %") == MOST_RESULTS


def test_a_value_is_told_with_what_must_be_said_of_it(telling: Tell) -> None:
    """As it was recorded where it was converted, and that its code was not verified."""
    tell = telling("response-improved", "real-world-mess")
    first = tell.chart.measurements.series["ck"][0]
    doubtful = msgspec.structs.replace(first, remark="code not verified")
    assert say_measured(first, tell) == "2550 U/L (2026-03-02; 42.5 µkat/L as recorded)"
    assert say_measured(doubtful, tell).endswith("as recorded; code not verified)")


@pytest.mark.parametrize(
    ("case", "named"),
    [
        ("rp-ild-mda5", ["FVC, % predicted", "DLCO, % predicted", "SpO2", "Ferritin"]),
        ("rp-ild-already-pulsed", ["FVC, % predicted", "DLCO, % predicted", "SpO2"]),
        ("ild-suspicion-only", ["FVC, % predicted", "DLCO, % predicted", "SpO2"]),
        (
            "myocarditis",
            ["High-sensitivity troponin T", "High-sensitivity troponin I", "NT-proBNP"],
        ),
        ("troponin-without-myocarditis", ["High-sensitivity troponin I"]),
    ],
)
def test_cards_about_heart_and_lung_show_the_course_of_their_markers(
    example: Callable[[str], Advice], case: str, named: list[str]
) -> None:
    """Above the options, so that the danger is seen before what to do about it."""
    detail = example(case).cards[0].detail
    before, _, course = detail.partition("**Course of results**\n\n")
    lines = course.split("\n\n")[0].splitlines()
    assert [line[2:].split(": ")[0] for line in lines] == named
    assert "**Options**" not in before
