import pytest

from cds.chart.code_forms import Form, fault_of, mod_10, verhoeff_holds


@pytest.mark.parametrize(("digits", "check"), [("2157", 6), ("75874", 8), ("1", 8), ("98130", 8)])
def test_the_check_digit_of_loinc(digits: str, check: int) -> None:
    """As in 2157-6, creatine kinase."""
    assert mod_10(digits) == check


@pytest.mark.parametrize("code", ["396230008", "1212005", "311671000119100", "233703007"])
def test_the_check_digit_of_snomed(code: str) -> None:
    """A concept holds, and with any one of its digits changed it does not."""
    assert verhoeff_holds(code)
    for place, digit in enumerate(code):
        other = str((int(digit) + 1) % 10)
        assert not verhoeff_holds(code[:place] + other + code[place + 1 :])


def test_neighbours_that_were_exchanged_are_found() -> None:
    """The commonest mistake of a typist."""
    assert not verhoeff_holds("396320008")


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ("loinc", "2157-6"),
        ("loinc", "LA6576-8"),
        ("snomed", "396230008"),
        ("icd-10-cm", "M33.10"),
        ("icd-10-cm", "I41"),
        ("icd-10-cm", "J84.178"),
        ("atc", "L04AX03"),
        ("rxnorm", "6902"),
    ],
)
def test_codes_as_their_systems_make_them(form: Form, code: str) -> None:
    """Nothing is wrong with them."""
    assert fault_of(code, form) == ""


@pytest.mark.parametrize(
    ("form", "code", "said"),
    [
        ("loinc", "2157-7", "its check digit should be 6"),
        ("loinc", "21576", "a number, a hyphen and a check digit"),
        ("snomed", "396230009", "its check digit is wrong"),
        ("snomed", "0396230008", "a number of 6 to 18 digits"),
        ("snomed", "900000000000013", "00 or 10 before the last"),
        ("icd-10-cm", "M3310", "after a dot"),
        ("icd-10-cm", "m33.10", "a letter"),
        ("atc", "L04AX", "L04AX03"),
        ("rxnorm", "RX6902", "a number"),
    ],
)
def test_what_is_wrong_is_said(form: Form, code: str, said: str) -> None:
    """A check digit, a sign that is missing, letters of the wrong kind."""
    assert said in fault_of(code, form)
