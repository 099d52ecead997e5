"""The spellings of ``units.yaml`` against a UCUM library."""

from decimal import Decimal
from fractions import Fraction

import pytest
from ucumvert import PintUcumRegistry
from ucumvert.parser import InvalidUcumError

from tests.chart.conftest import TERMS

UNITS = TERMS.vocabulary.units
SPELLINGS = [(table, spelling) for table, each in UNITS.items() for spelling in each.spellings]

NOT_UCUM = {
    # words
    "centimeter", "centimetre", "millimeter", "millimetre", "milligram", "gram", "percent",
    "score", "point", "points", "UNITS/L", "Units/L", "units/L",
    "kilogram", "kilograms", "grams", "pound", "pounds",
    # printed units: UCUM knows no capitals here, no plain IU, and writes micro as u
    "Kg", "KG", "lb", "lbs", "lb_av",
    "CM", "MM", "IU/L", "IU/l", "% predicted", "%pred",
    "µkat/L", "µkat/l", "μkat/L", "μkat/l", "µg/L", "µg/l", "μg/L", "μg/l", "µg",
    # no number stands in the denominator of UCUM; the body surface is an annotation there
    "mL/min/1.73m2", "mL/min/1.73 m2", "mL/min/1.73m²", "mL/min/1.73 m²", "mL/min/1.73m^2",
    "mL/min/1.73_m2",
}  # fmt: skip
"""Spellings met in practice that are no UCUM at all, so that a library cannot check them."""

UCUM_FOR_SOMETHING_ELSE = {
    "u/L": "unified atomic mass units per litre",
    "u/l": "unified atomic mass units per litre",
    "MG": "megagauss",
}
"""Printed units that are UCUM by accident, for something that no laboratory or pharmacy means."""

INTERNATIONAL_UNITS = {"[iU]/L", "[IU]/L", "[iU]/l"}
"""UCUM's arbitrary units, which convert to nothing; of an enzyme one is one U by definition."""

ANNOTATIONS = {"{score}", "{Score}", "{points}", "{#}"}
"""UCUM annotations, each of which is the number one."""


@pytest.fixture(scope="module")
def ucum() -> PintUcumRegistry:
    """Return the UCUM library."""
    return PintUcumRegistry()


def test_the_exceptions_are_spellings_of_the_vocabulary() -> None:
    """Nothing is excused here that no unit table has any longer."""
    spellings = {spelling for _, spelling in SPELLINGS}
    excused = NOT_UCUM | set(UCUM_FOR_SOMETHING_ELSE) | INTERNATIONAL_UNITS | ANNOTATIONS
    assert excused <= spellings


@pytest.mark.parametrize(("table", "spelling"), SPELLINGS)
def test_factor_agrees_with_ucum(table: str, spelling: str, ucum: PintUcumRegistry) -> None:
    """Every spelling that is UCUM has UCUM's own factor; every other one is a known exception."""
    factor = UNITS[table].spellings[spelling]
    if spelling in NOT_UCUM:
        with pytest.raises(InvalidUcumError):
            ucum.from_ucum(spelling)
    elif spelling in ANNOTATIONS:
        assert UNITS[table].unit in ANNOTATIONS
        assert factor == 1
    elif spelling in UCUM_FOR_SOMETHING_ELSE:
        unit = UNITS[table].unit
        assert not ucum.from_ucum(spelling).is_compatible_with(ucum.from_ucum(unit))
        assert factor == 1
    elif spelling in INTERNATIONAL_UNITS:
        assert str(ucum.from_ucum(spelling).units) == "international_unit / liter"
        assert factor == 1
    elif UNITS[table].unit in ANNOTATIONS:
        assert ucum.from_ucum(spelling).to("dimensionless").magnitude == factor == 1
    else:
        converted = ucum.from_ucum(spelling).to(ucum.from_ucum(UNITS[table].unit).units)
        difference = Fraction(float(converted.magnitude)) / Fraction(factor) - 1
        assert abs(difference) < Fraction(1, 10**12), converted


def test_words_mean_what_their_ucum_spelling_means() -> None:
    """A spelling that no library can check has the factor of the UCUM spelling it stands for."""
    same = {
        "vas": {"CM": "cm", "centimeter": "cm", "centimetre": "cm", "MM": "mm", "millimeter": "mm",
                "millimetre": "mm"},
        "score": {"score": "1", "points": "1", "point": "1"},
        "enzyme_activity": {"u/L": "U/L", "u/l": "U/L", "IU/L": "U/L", "IU/l": "U/L",
                            "UNITS/L": "U/L", "Units/L": "U/L", "units/L": "U/L",
                            "µkat/L": "ukat/L", "µkat/l": "ukat/L", "μkat/L": "ukat/L",
                            "μkat/l": "ukat/L"},
        "percent": {"percent": "%", "% predicted": "%", "%pred": "%"},
        "mass_concentration": {"µg/L": "ug/L", "µg/l": "ug/L", "μg/L": "ug/L", "μg/l": "ug/L"},
        "filtration_rate": dict.fromkeys(
            ("mL/min/1.73m2", "mL/min/1.73 m2", "mL/min/1.73m²", "mL/min/1.73 m²",
             "mL/min/1.73m^2", "mL/min/1.73_m2"), "mL/min/{1.73_m2}"),
        "ferritin": {"µg/L": "ug/L", "µg/l": "ug/L", "μg/L": "ug/L", "μg/l": "ug/L"},
        "body_weight": {"Kg": "kg", "KG": "kg", "kilogram": "kg", "kilograms": "kg", "gram": "g",
                        "grams": "g", "lb": "[lb_av]", "lbs": "[lb_av]", "lb_av": "[lb_av]",
                        "pound": "[lb_av]", "pounds": "[lb_av]"},
        "dose": {"MG": "mg", "milligram": "mg", "gram": "g", "µg": "ug"},
    }  # fmt: skip
    compared = {spelling for by_word in same.values() for spelling in by_word}
    assert compared == NOT_UCUM | set(UCUM_FOR_SOMETHING_ELSE)
    for table, by_word in same.items():
        for word, spelling in by_word.items():
            assert UNITS[table].spellings[word] == UNITS[table].spellings[spelling], word


def test_micro_is_known_by_both_of_its_characters() -> None:
    """The micro sign and the Greek letter look the same and both are met."""
    spellings = UNITS["enzyme_activity"].spellings
    assert {"\u00b5kat/L", "\u03bckat/L"} <= set(spellings)
    assert spellings["\u00b5kat/L"] == spellings["\u03bckat/L"] == Decimal(60)
