"""How the codes of a code system are made: form and check digits, by which a typing error is found.

A code that passes may still not exist: only a look-up in the terminology can tell that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal

Form = Literal["loinc", "snomed", "icd-10-cm", "atc", "rxnorm"]
"""A way of making codes that is known here."""


def mod_10(digits: str) -> int:
    """The check digit of LOINC, after Luhn: https://loinc.org/kb/faq/structure/."""
    doubled = (2 * int(digit) for digit in digits[::-2])
    total = sum(n - 9 if n > 9 else n for n in doubled) + sum(map(int, digits[-2::-2]))
    return -total % 10


def _permuted(power: int, digit: int) -> int:
    """Verhoeff's permutation of a digit, so many times over."""
    for _ in range(power % 8):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit


def _multiplied(a: int, b: int) -> int:
    """The product of two elements of the dihedral group of order ten."""
    turned = a % 5 + b % 5 if a < 5 else a % 5 - b % 5
    return turned % 5 + (0 if (a < 5) == (b < 5) else 5)


def verhoeff_holds(digits: str) -> bool:
    """Whether a number ends in its check digit after Verhoeff, as identifiers of SNOMED CT do.

    SNOMED CT Release File Specifications, Appendix C: Check digit computation.
    """
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = _multiplied(check, _permuted(place, int(digit)))
    return check == 0


def _of_loinc(code: str) -> str:
    # How the check digit of an answer (LA6576-8) or a part is made is not published with the rest.
    if re.fullmatch(r"L[AP]\d+-\d", code):
        return ""
    found = re.fullmatch(r"([1-9]\d{0,6})-(\d)", code)
    if found is None:
        return "a LOINC code is a number, a hyphen and a check digit"
    right = mod_10(found[1])
    return "" if int(found[2]) == right else f"its check digit should be {right}"


def _of_snomed(code: str) -> str:
    # The two digits before the check digit are 00 or 10 in a concept; others are descriptions.
    if not re.fullmatch(r"[1-9]\d{5,17}", code) or code[-3:-1] not in ("00", "10"):
        return "a SNOMED CT concept is a number of 6 to 18 digits with 00 or 10 before the last"
    return "" if verhoeff_holds(code) else "its check digit is wrong"


def _of(pattern: str, otherwise: str) -> Callable[[str], str]:
    return lambda code: "" if re.fullmatch(pattern, code) else otherwise


_CHECKS: Mapping[Form, Callable[[str], str]] = {
    "loinc": _of_loinc,
    "snomed": _of_snomed,
    "icd-10-cm": _of(
        r"[A-Z]\d[\dA-Z](?:\.[\dA-Z]{1,4})?",
        "an ICD-10-CM code is a letter, two more signs, and after a dot up to four",
    ),
    "atc": _of(
        r"[A-V]\d\d[A-Z]{2}\d\d",
        "the ATC code of a substance is made like L04AX03",
    ),
    "rxnorm": _of(r"[1-9]\d{0,7}", "an RxNorm identifier is a number"),
}


def fault_of(code: str, form: Form) -> str:
    """What is wrong with how a code is made, in words; empty where nothing is."""
    return _CHECKS[form](code)
