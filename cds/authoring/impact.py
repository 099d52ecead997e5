"""What a change of rules would do to the cards of a cohort: gained, lost and changed.

Both sets of rules answer the same patients, one patient after the other, so that a cohort may be
larger than memory. A patient whom either set cannot answer is listed as a fault and not compared.

The report for a change request names patients by their number in the cohort only. In its examples
references are numbered, and dates are counted from the first one in each example.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
import sqlite3
import subprocess
import textwrap
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import IO, Literal, TypeAlias

import msgspec
import yaml
from msgspec import Struct, field

from cds.advice import Question, advise_on
from cds.cards.card import Card, Suggestion
from cds.cards.markdown import escape, table
from cds.chart.vocabulary import Number
from cds.fhir.bundles import RESOURCE_TYPES, Unreadable, reference_id
from cds.fhir.strict import NotValid
from cds.rules.engine import EngineFault
from cds.rules.language import CardFile, RuleFile
from cds.rules.reading import rule_files
from cds.rules.ruleset import EnginesDisagree, RuleSet
from cds.rules.words import say_number

Reader: TypeAlias = Callable[[bytes, str], Question]
"""Reads what a file asks, and about whom; it is named for messages. Raises ``Unreadable``."""


class Side(Struct, frozen=True):
    """One of the two sets of rules: what the author calls it, its files, and how it reads."""

    name: str
    folder: Path
    ruleset: RuleSet
    read: Reader


# --- the rules of a revision ---------------------------------------------------------------------


class NoRules(ValueError):
    """Neither a folder nor a revision with rules; the text says what to write instead."""


def rules_at(text: str, into: Path) -> tuple[Path, str]:
    """The folder that a text names, and how to call it.

    A text that names no folder is a git revision of the repository of the present folder, ``REV``
    or ``REV:path/to/rules`` (``rules`` if no path is given); its files are written to ``into``.
    Raises ``NoRules``.
    """
    if Path(text).is_dir():
        return Path(text), text
    revision, _, path = text.partition(":")
    path = path.strip("/") or "rules"
    top = _git("rev-parse", "--show-toplevel")
    if isinstance(top, str):
        raise NoRules(f"{text}: is not a folder, and no git revision can be read here: {top}")
    found = None if revision.startswith("-") else _git("rev-parse", "--verify", f"{revision}^0")
    if not isinstance(found, bytes):
        raise NoRules(
            f"{text}: is neither a folder nor a revision of this repository; write a folder, "
            "a revision such as HEAD~1, or REVISION:path/to/rules"
        )
    commit = found.decode().strip()
    root = top.decode().strip()
    archive = _git("archive", "--format=zip", f"{commit}:{path}", folder=root)
    if isinstance(archive, str):
        raise NoRules(f"{text}: the revision {commit[:10]} has no folder `{path}`: {archive}")
    with zipfile.ZipFile(BytesIO(archive)) as files:
        files.extractall(into)
    return into, f"{revision}:{path} ({commit[:10]})"


def _git(*arguments: str, folder: str | None = None) -> bytes | str:
    """What git answers; its complaint, as a text, where it does not."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=False)
    except OSError as fault:
        return f"git cannot be run: {fault.strerror}"
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return said[-1].removeprefix("fatal: ") if said else "git gave no reason"


# --- the cohort ----------------------------------------------------------------------------------


class Member(Struct, frozen=True):
    """One patient of a cohort: its number from 1, where it stands, and its FHIR JSON.

    ``problem`` says why there is none. ``content`` is one resource, Bundle or CDS Hooks request.
    """

    number: int
    place: str
    content: bytes
    problem: str = ""


class NoCohort(ValueError):
    """Something named as a cohort is not there, or holds nothing."""


class _Named(Struct):
    """A resource that another names."""

    reference: str | None = None


class _Header(Struct):
    """What a line of NDJSON is, and whose."""

    resourceType: str | None = None
    id: str | None = None
    subject: _Named | None = None
    medicationReference: _Named | None = None


_HEADER = msgspec.json.Decoder(_Header)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINES = frozenset({".ndjson", ".jsonl"})
_BUNDLE = b'{"resourceType":"Bundle","type":"collection","entry":[%s]}'


class Cohort:
    """Patients in folders and files; only one of them is in memory at a time.

    A ``.json`` file is one patient. A line of an ``.ndjson`` file that is a Bundle or a CDS Hooks
    request is one too; other lines are resources, as a FHIR bulk export has them by type, and those
    of one patient in all ``.ndjson`` files of a folder are taken together, as a Bundle would be.
    Where each of them stands is kept in a temporary database, on disk where it grows.

    ``aside`` counts what was left out because it is nothing that a patient's chart is made of.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Look through the files; raises ``NoCohort``."""
        self.aside: Counter[str] = Counter()
        self._files: list[Path] = []
        self._lines: list[Path] = []
        self._faults: list[tuple[str, str]] = []
        for path in dict.fromkeys(paths):
            if not path.exists():
                raise NoCohort(f"{path}: there is no such file or folder")
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                self._sort(file, named=file == path)
        self._files = list(dict.fromkeys(self._files))
        self._lines = list(dict.fromkeys(self._lines))
        self._places = sqlite3.connect("")
        self._places.execute("CREATE TABLE whole (file, line, start, size)")
        self._places.execute("CREATE TABLE part (folder, patient, file, start, size, medication)")
        self._places.execute("CREATE TABLE medication (folder, id, file, start, size)")
        for number, file in enumerate(self._lines):
            self._look_through(number, file)
        self._places.execute("CREATE INDEX by_patient ON part (folder, patient, file, start)")
        self._places.execute("CREATE INDEX by_id ON medication (folder, id)")
        (whole,) = self._places.execute("SELECT count(*) FROM whole").fetchone()
        (grouped,) = self._places.execute(
            "SELECT count(*) FROM (SELECT DISTINCT folder, patient FROM part)"
        ).fetchone()
        self._number: int = len(self._files) + len(self._faults) + whole + grouped
        if not self._number:
            listed = ", ".join(map(str, paths))
            raise NoCohort(f"{listed}: holds no Bundle, request or resource (.json, .ndjson)")

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[Member]:
        for number, member in enumerate(self._members(), 1):
            yield msgspec.structs.replace(member, number=number)

    def close(self) -> None:
        """Give the temporary database back."""
        self._places.close()

    def _sort(self, file: Path, *, named: bool) -> None:
        if file.suffix in _LINES:
            self._lines.append(file)
        elif named or (file.suffix == ".json" and file.is_file()):
            # A folder may hold other JSON beside; a file that is named is meant.
            if named or _is_patient(file):
                self._files.append(file)
            else:
                self.aside["JSON files that are neither FHIR nor CDS Hooks requests"] += 1

    def _look_through(self, number: int, file: Path) -> None:
        """Note where each line of a file stands, and whose it is."""
        folder, start = str(file.parent), 0
        try:
            with file.open("rb") as lines:
                for count, line in enumerate(lines, 1):
                    text = line.removeprefix(_BYTE_ORDER_MARK) if count == 1 else line
                    place = (number, start + len(line) - len(text), len(text))
                    start += len(line)
                    if text.strip():
                        self._note(text, f"{file}:{count}", count, folder, place)
        except OSError as fault:
            self._faults.append((str(file), f"cannot be read: {fault.strerror}"))

    def _note(
        self, text: bytes, named: str, line: int, folder: str, place: tuple[int, int, int]
    ) -> None:
        try:
            header = _HEADER.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
            self._faults.append((named, f"cannot be told whose it is: {_kind_of(fault)}"))
            return
        kind = header.resourceType
        if kind is None or kind == "Bundle":
            file, start, size = place
            self._places.execute("INSERT INTO whole VALUES (?, ?, ?, ?)", (file, line, start, size))
        elif kind == "Medication":
            self._places.execute(
                "INSERT INTO medication VALUES (?, ?, ?, ?, ?)", (folder, header.id, *place)
            )
        elif kind not in RESOURCE_TYPES:
            self.aside[f"lines of type {kind}"] += 1
        elif (patient := _whose(header)) is None:
            self._faults.append((named, f"is of type {kind} and names no Patient as its subject"))
        else:
            medicine = header.medicationReference
            medication = reference_id(medicine.reference) if medicine and medicine.reference else ""
            self._places.execute(
                "INSERT INTO part VALUES (?, ?, ?, ?, ?, ?)", (folder, patient, *place, medication)
            )

    def _members(self) -> Iterator[Member]:
        for file in self._files:
            try:
                yield Member(0, str(file), file.read_bytes())
            except OSError as fault:
                yield Member(0, str(file), b"", f"cannot be read: {fault.strerror}")
        for place, problem in self._faults:
            yield Member(0, place, b"", problem)
        for number, line, start, size in self._places.execute(
            "SELECT file, line, start, size FROM whole ORDER BY file, line"
        ):
            yield self._member(f"{self._lines[number]}:{line}", [(number, start, size)], b"%s")
        rows = self._places.execute(
            "SELECT folder, patient, file, start, size, medication FROM part "
            "ORDER BY folder, patient, file, start"
        )
        for (folder, patient), of in itertools.groupby(rows, lambda row: row[:2]):
            parts = list(of)
            places = [row[2:5] for row in parts]
            for id_ in sorted({row[5] for row in parts if row[5]}):
                places += self._places.execute(
                    "SELECT file, start, size FROM medication WHERE folder = ? AND id = ?",
                    (folder, id_),
                )
            yield self._member(f"{folder}: Patient/{patient}", places, _BUNDLE)

    def _member(self, place: str, places: Iterable[tuple[int, int, int]], form: bytes) -> Member:
        try:
            lines = list(self._read(places))
        except OSError as fault:
            return Member(0, place, b"", f"cannot be read: {fault.strerror}")
        if form is _BUNDLE:
            lines = [b'{"resource":%s}' % line for line in lines]
        return Member(0, place, form % b",".join(lines))

    def _read(self, places: Iterable[tuple[int, int, int]]) -> Iterator[bytes]:
        for number, of in itertools.groupby(places, lambda place: place[0]):
            with self._lines[number].open("rb") as file:
                for _, start, size in of:
                    file.seek(start)
                    yield file.read(size)


def _is_patient(file: Path) -> bool:
    """Whether a JSON file may be a patient's; also where it is broken, which must be said."""
    try:
        content = msgspec.json.decode(file.read_bytes().removeprefix(_BYTE_ORDER_MARK))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    return isinstance(content, dict) and not {"resourceType", "hook", "prefetch"}.isdisjoint(
        content
    )


def _whose(header: _Header) -> str | None:
    if header.resourceType == "Patient":
        return header.id
    reference = header.subject.reference if header.subject else None
    if reference and (reference.startswith("urn:") or "Patient" in reference.split("/")):
        return reference_id(reference)
    return None


def _kind_of(fault: Exception) -> str:
    """Why a line cannot be read, without anything that stands in it."""
    if isinstance(fault, msgspec.ValidationError):
        return str(fault)
    return "it is not JSON" if isinstance(fault, msgspec.DecodeError) else "it is not UTF-8 JSON"


# --- the comparison ------------------------------------------------------------------------------

Kind = Literal["gained", "lost", "changed"]
KINDS: tuple[Kind, ...] = ("gained", "lost", "changed")


class CardChange(Struct, frozen=True):
    """A card of a rule that only one set gives, or that both give with different ``parts``."""

    rule: str
    kind: Kind
    parts: tuple[str, ...]
    old: Card | None
    new: Card | None


class Fault(Struct, frozen=True):
    """Why one set, or both, could not answer; ``reason`` is free of anything from the chart.

    ``problem`` begins with the place.
    """

    side: Literal["old", "new", "both"]
    reason: str
    problem: str


class Difference(Struct, frozen=True, kw_only=True):
    """What both sets make of one patient; ``given`` are the rules whose card each gives."""

    number: int
    place: str
    patient: str | None
    applies: tuple[bool, bool]
    given: tuple[tuple[str, ...], tuple[str, ...]]
    changes: tuple[CardChange, ...]
    faults: tuple[Fault, ...]


class _Unanswered(Exception):
    def __init__(self, reason: str, problem: str) -> None:
        self.reason = reason
        self.problem = problem
        super().__init__()


class _Answer(Struct, frozen=True):
    patient: str
    applies: bool
    cards: dict[str, Card]


def differences(
    old: Side, new: Side, cohort: Iterable[Member], as_of: date
) -> Iterator[Difference]:
    """Compare what two sets of rules make of each patient, one after the other."""
    for member in cohort:
        yield _compare(old, new, member, as_of)


def _compare(old: Side, new: Side, member: Member, as_of: date) -> Difference:
    answers: list[_Answer] = []
    faults: list[Fault] = []
    sides: tuple[tuple[Literal["old", "new"], Side], ...] = (("old", old), ("new", new))
    for name, side in sides:
        try:
            answers.append(_answer(side, member, as_of))
        except _Unanswered as fault:
            faults.append(Fault(name, fault.reason, fault.problem))
    if len(faults) == 2 and faults[0].problem == faults[1].problem:
        faults = [msgspec.structs.replace(faults[0], side="both")]
    of_old, of_new = answers if not faults else (None, None)
    return Difference(
        number=member.number,
        place=member.place,
        patient=answers[0].patient if answers else None,
        applies=(of_old.applies, of_new.applies) if of_old and of_new else (False, False),
        given=(tuple(of_old.cards), tuple(of_new.cards)) if of_old and of_new else ((), ()),
        changes=tuple(_changes(of_old.cards, of_new.cards)) if of_old and of_new else (),
        faults=tuple(faults),
    )


def _answer(side: Side, member: Member, as_of: date) -> _Answer:
    if member.problem:
        raise _Unanswered("could not be read", f"{member.place}: {member.problem}")
    try:
        question = side.read(member.content, member.place)
        advice = advise_on(question, side.ruleset, as_of)
    except Unreadable as fault:
        within = fault.place.startswith(member.place)
        said = str(fault) if within else f"{member.place}: {fault}"
        raise _Unanswered("could not be read", said) from None
    except (EngineFault, EnginesDisagree, NotValid) as fault:
        said = f"{member.place}: no answer can be trusted: {fault}"
        raise _Unanswered("no answer can be trusted", said) from None
    except Exception as fault:
        # One patient must not end a long comparison; what the fault says may be of the chart.
        said = f"{member.place}: no answer can be trusted: unexpected {type(fault).__name__}"
        raise _Unanswered("no answer can be trusted", said) from None
    if advice.applies is None:
        raise _Unanswered(
            "whether the rules apply is not known",
            f"{member.place}: Conditions are missing or could not be read, so whether the rules "
            "are about this patient is not known",
        )
    cards = dict(zip(advice.given, advice.cards, strict=True))
    return _Answer(advice.patient, advice.applies, cards)


def _changes(old: dict[str, Card], new: dict[str, Card]) -> Iterator[CardChange]:
    for rule in dict.fromkeys([*old, *new]):
        was, becomes = old.get(rule), new.get(rule)
        if was is None:
            yield CardChange(rule, "gained", (), None, becomes)
        elif becomes is None:
            yield CardChange(rule, "lost", (), was, None)
        elif parts := tuple(_parts_that_differ(was, becomes)):
            yield CardChange(rule, "changed", parts, was, becomes)


_PARTS = {
    "summary": "summary",
    "indicator": "indicator",
    "detail": "detail",
    "suggestions": "suggestions",
    "overrideReasons": "override reasons",
    "source": "source",
    "links": "links",
}
"""The parts of a card that a reader sees; its identifiers follow the version of the rule."""


def _parts_that_differ(old: Card, new: Card) -> Iterator[str]:
    for name, words in _PARTS.items():
        was, becomes = getattr(old, name), getattr(new, name)
        if name == "suggestions":
            was, becomes = [_without_id(s) for s in was], [_without_id(s) for s in becomes]
        if was != becomes:
            yield words


def _without_id(suggestion: Suggestion) -> Suggestion:
    return msgspec.structs.replace(suggestion, uuid="")


# --- the totals ----------------------------------------------------------------------------------

MOST_LISTED = 40
"""Patients listed for one rule in a report; the JSON has all."""


class Tally(Struct):
    """What became of the cards of one rule: how many each set gives, and whose differ."""

    old: int = 0
    new: int = 0
    gained: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    parts: Counter[str] = field(default_factory=Counter)

    def of(self, kind: Kind) -> list[int]:
        """The numbers of the patients whose card was gained, lost or changed."""
        numbers: list[int] = getattr(self, kind)
        return numbers


class Example(Struct, frozen=True):
    """One patient's changed card of a rule."""

    number: int
    old: Card
    new: Card


class Totals(Struct):
    """Everything that is kept of a comparison: numbers, never a chart.

    ``applies`` counts the patients whom either set is about; rates are of those. ``exchanged``
    counts cards given in place of another one about the same problem.
    """

    patients: int = 0
    compared: int = 0
    applies: int = 0
    applies_old: int = 0
    applies_new: int = 0
    affected: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)
    exchanged: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[str, Example] = field(default_factory=dict)
    faults: list[tuple[int, Fault]] = field(default_factory=list)
    again: int = 0
    """How often the id of a patient had come before, as in a Bundle and a request of the same."""
    ids: set[int] = field(default_factory=set)
    shown: list[str] = field(default_factory=list)
    """The first patients whose cards differ, each with where it stands, in words."""

    def add(self, difference: Difference, problems: dict[str, str]) -> None:
        """Count one patient; ``problems`` has the problem that each rule's card is about."""
        self.patients += 1
        if difference.faults:
            self.faults += [(difference.number, fault) for fault in difference.faults]
            return
        self.compared += 1
        self.again += hash(difference.patient) in self.ids
        self.ids.add(hash(difference.patient))
        self.applies += any(difference.applies)
        self.applies_old += difference.applies[0]
        self.applies_new += difference.applies[1]
        self.affected += bool(difference.changes)
        if difference.changes and len(self.shown) < MOST_LISTED:
            said = ", ".join(f"{change.rule} {change.kind}" for change in difference.changes)
            self.shown.append(f"{difference.number}. {difference.place}: {said}")
        for rule in difference.given[0]:
            self._tally(rule).old += 1
        for rule in difference.given[1]:
            self._tally(rule).new += 1
        for change in difference.changes:
            tally = self._tally(change.rule)
            tally.of(change.kind).append(difference.number)
            tally.parts.update(change.parts)
            if change.old and change.new and change.rule not in self.examples:
                self.examples[change.rule] = Example(difference.number, change.old, change.new)
        for lost, gained in itertools.product(difference.changes, repeat=2):
            if (lost.kind, gained.kind) == ("lost", "gained") and problems.get(
                lost.rule
            ) == problems.get(gained.rule):
                self.exchanged[lost.rule, gained.rule] += 1

    def _tally(self, rule: str) -> Tally:
        return self.tallies.setdefault(rule, Tally())

    def count(self, kind: Kind) -> int:
        """How many cards were gained, lost or changed in all."""
        return sum(len(tally.of(kind)) for tally in self.tallies.values())


def problems_of(*rulesets: RuleSet) -> dict[str, str]:
    """The problem that the card of each rule is about; the later set counts."""
    return {
        rule.id: rule.card.problem
        for ruleset in rulesets
        for rule in ruleset.card_rules
        if rule.card is not None
    }


# --- what changed in the files -------------------------------------------------------------------


class ParameterChange(Struct, frozen=True):
    """A parameter that was added, removed or set differently, in words."""

    name: str
    old: str | None
    new: str | None


class RuleChange(Struct, frozen=True, kw_only=True):
    """A rule that is active in one set only, or differs: versions, parameters, and what else.

    ``condition`` are the lines of a diff of what stands after ``when``.
    """

    rule: str
    old_version: str | None
    new_version: str | None
    parameters: tuple[ParameterChange, ...] = ()
    parts: tuple[str, ...] = ()
    condition: tuple[str, ...] = ()


def rule_changes(old: RuleSet, new: RuleSet) -> list[RuleChange]:
    """Every active rule that is in one set only, or differs between them."""
    was = {rule.id: rule.file for rule in old.rules}
    becomes = {rule.id: rule.file for rule in new.rules}
    changes = []
    for name in sorted({*was, *becomes}):
        one, other = was.get(name), becomes.get(name)
        if one is None or other is None:
            changes.append(
                RuleChange(
                    rule=name,
                    old_version=one.version if one else None,
                    new_version=other.version if other else None,
                )
            )
        elif one != other:
            changes.append(_rule_change(one, other))
    return changes


def _rule_change(old: RuleFile, new: RuleFile) -> RuleChange:
    parameters = [
        ParameterChange(name, _say_parameter(was), _say_parameter(becomes))
        for name in dict.fromkeys([*old.parameters, *new.parameters])
        if (was := old.parameters.get(name)) != (becomes := new.parameters.get(name))
    ]
    parts = [
        each.name.replace("_", " ")
        for each in msgspec.structs.fields(RuleFile)
        if each.name not in ("version", "parameters", "card", "when")
        and getattr(old, each.name) != getattr(new, each.name)
    ]
    if old.card and new.card:
        parts += [
            f"{each.name.replace('_', ' ')} of the card"
            for each in msgspec.structs.fields(CardFile)
            if getattr(old.card, each.name) != getattr(new.card, each.name)
        ]
    elif old.card != new.card:
        parts.append("card")
    return RuleChange(
        rule=new.id,
        old_version=old.version,
        new_version=new.version,
        parameters=tuple(parameters),
        parts=tuple(parts),
        condition=tuple(_diff(_written(old.when), _written(new.when), 1)),
    )


def _say_parameter(number: Number | None) -> str | None:
    if number is None:
        return None
    said = [number.source, number.certainty, number.note]
    return f"{say_number(number.value, number.unit)} ({', '.join(filter(None, said))})"


def _written(condition: object) -> list[str]:
    text: str = yaml.safe_dump(msgspec.to_builtins(condition), sort_keys=False, allow_unicode=True)
    return text.splitlines()


def file_changes(old: Path, new: Path) -> list[tuple[str, Kind | Literal["added", "removed"]]]:
    """The other files, such as the vocabulary, that are in one folder only, or differ."""
    changes: list[tuple[str, Kind | Literal["added", "removed"]]] = []
    was, becomes = _other_files(old), _other_files(new)
    for name in sorted({*was, *becomes}):
        if name not in was:
            changes.append((name, "added"))
        elif name not in becomes:
            changes.append((name, "removed"))
        elif was[name].read_bytes() != becomes[name].read_bytes():
            changes.append((name, "changed"))
    return changes


def _other_files(folder: Path) -> dict[str, Path]:
    rules = set(rule_files(folder))
    return {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*.yaml")
        if path not in rules and not path.name.endswith(".test.yaml")
    }


def _diff(old: Sequence[str], new: Sequence[str], context: int) -> list[str]:
    lines = difflib.unified_diff(old, new, n=context, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


# --- the record ----------------------------------------------------------------------------------


class Record:
    """Writes the JSON of a comparison as it goes on: what is compared, each patient, the totals.

    It names files and patients, and holds their cards: it stays where the cohort may be.
    """

    def __init__(self, into: IO[bytes], old: Side, new: Side, as_of: date) -> None:
        self._into = into
        self._first = True
        head = {
            "as_of": as_of,
            "old": {"name": old.name, "version": old.ruleset.version},
            "new": {"name": new.name, "version": new.ruleset.version},
            "rules": rule_changes(old.ruleset, new.ruleset),
            "files": dict(file_changes(old.folder, new.folder)),
        }
        into.write(msgspec.json.encode(head)[:-1] + b',"patients":[\n')

    def add(self, difference: Difference) -> None:
        """Write one patient, where anything differs or is at fault."""
        if difference.changes or difference.faults:
            self._into.write(b"" if self._first else b",\n")
            self._into.write(msgspec.json.encode(difference))
            self._first = False

    def finish(self, totals: Totals, aside: Counter[str]) -> None:
        """Write the totals."""
        end = {
            "patients": totals.patients,
            "compared": totals.compared,
            "applies": totals.applies,
            "applies_old": totals.applies_old,
            "applies_new": totals.applies_new,
            "affected": totals.affected,
            "again": totals.again,
            "faults": len(totals.faults),
            "rules": totals.tallies,
            "exchanged": [
                {"old": was, "new": becomes, "patients": count}
                for (was, becomes), count in totals.exchanged.items()
            ],
            "aside": aside,
        }
        self._into.write(b'\n],"totals":' + msgspec.json.encode(end) + b"}\n")


# --- to read -------------------------------------------------------------------------------------


def describe(totals: Totals, old: Side, new: Side, aside: Counter[str]) -> Iterator[str]:
    """The totals as lines of text, at most 80 columns wide where words allow."""
    yield f"Old  {old.name}, version {old.ruleset.version}"
    yield f"New  {new.name}, version {new.ruleset.version}"
    yield ""
    yield from textwrap.wrap(f"{_in_short(totals)}.", 80)
    changes = rule_changes(old.ruleset, new.ruleset)
    if totals.tallies:
        yield ""
        width = max(24, *map(len, totals.tallies))
        words = ("old", "new", *KINDS)
        columns = [max(6, len(word) + 1) for word in words]
        head = "".join(f"{word:>{column}}" for word, column in zip(words, columns, strict=True))
        yield f"{'Cards by rule':{width}}{head}"
        for rule in sorted(totals.tallies):
            tally = totals.tallies[rule]
            counts = [tally.old, tally.new, *(len(tally.of(kind)) for kind in KINDS)]
            cells = (f"{n or '·':>{column}}" for n, column in zip(counts, columns, strict=True))
            yield f"{rule:{width}}" + "".join(cells)
    for title, lines in (
        ("Given in place of another card about the same problem", list(_exchanges(totals))),
        ("Patients", _shown(totals)),
        ("Rules that differ", [_say_rule_change(change) for change in changes]),
        (
            "Other files that differ",
            [f"{name}: {what}" for name, what in file_changes(old.folder, new.folder)],
        ),
        ("Left aside", [f"{count} {what}" for what, count in aside.items()]),
    ):
        if lines:
            yield ""
            yield title
            for line in lines:
                yield from textwrap.wrap(
                    line,
                    80,
                    initial_indent="  ",
                    subsequent_indent="      ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )


def _in_short(totals: Totals) -> str:
    said = (
        f"{totals.affected} of {_counted(totals.applies, 'patient')} whom the rules apply to "
        f"({_rate(totals.affected, totals.applies)}) would see other cards: "
        + ", ".join(f"{_counted(totals.count(kind), 'card')} {kind}" for kind in KINDS)
    )
    if totals.applies_old != totals.applies_new:
        said += (
            f"; the old rules apply to {totals.applies_old} of them, "
            f"the new ones to {totals.applies_new}"
        )
    said += f". {_counted(totals.patients, 'patient')} in the cohort"
    if totals.faults:
        said += f", {totals.patients - totals.compared} of them not answered"
    if totals.again:
        said += f", {totals.again} of them with an id that had come before: each counts"
    return said


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _rate(number: int, of: int) -> str:
    return f"{number * 100 / of:.1f} %" if of else "–"


def _exchanges(totals: Totals) -> Iterator[str]:
    for (lost, gained), count in totals.exchanged.most_common():
        yield f"{_counted(count, 'patient')}: {lost} → {gained}"


def _shown(totals: Totals) -> list[str]:
    more = totals.affected - len(totals.shown)
    return [*totals.shown, f"and {more} more"] if more > 0 else totals.shown


def _patients(totals: Totals) -> Iterator[str]:
    for rule in sorted(totals.tallies):
        for kind in KINDS:
            if numbers := totals.tallies[rule].of(kind):
                yield f"{rule} {kind}: {_listed(numbers)}"


def _listed(numbers: Sequence[int]) -> str:
    said = ", ".join(map(str, numbers[:MOST_LISTED]))
    more = len(numbers) - MOST_LISTED
    return f"{said} and {more} more" if more > 0 else said


def _say_rule_change(change: RuleChange) -> str:
    if change.old_version is None:
        return f"{change.rule} {change.new_version}: only in the new set"
    if change.new_version is None:
        return f"{change.rule} {change.old_version}: only in the old set"
    said = [
        f"{each.name} {each.old or 'not there'} → {each.new or 'not there'}"
        for each in change.parameters
    ]
    said += ["condition"] if change.condition else []
    said += change.parts
    return f"{change.rule} {_versions(change)}: {'; '.join(said) or 'version'}"


def _versions(change: RuleChange) -> str:
    if change.old_version == change.new_version:
        return f"{change.new_version} (version not raised)"
    return f"{change.old_version} → {change.new_version}"


# --- the report for a change request -------------------------------------------------------------


def markdown(
    totals: Totals, old: Side, new: Side, as_of: date, aside: Counter[str]
) -> Iterator[str]:
    """The report, block by block, with patients as numbers only."""
    yield "# Impact of a change of rules"
    rows = [
        (word, escape(side.name), side.ruleset.version)
        for word, side in (("Old", old), ("New", new))
    ]
    yield table(("", "Rules", "Version"), rows)
    yield f"**{_in_short(totals)}**, judged as of {as_of}."
    yield "## What changed in the rules"
    changes = rule_changes(old.ruleset, new.ruleset)
    files = file_changes(old.folder, new.folder)
    if not changes and not files:
        yield "Nothing."
    if changes:
        yield table(("Rule", "Version", "Changed"), map(_change_row, changes))
    if parameters := [(change.rule, p) for change in changes for p in change.parameters]:
        cells = [
            (escape(rule), escape(p.name), escape(p.old or "–"), escape(p.new or "–"))
            for rule, p in parameters
        ]
        yield table(("Rule", "Parameter", "Old", "New"), cells)
    for change in changes:
        if change.condition:
            yield f"Condition of {escape(change.rule)}:"
            yield _fenced(change.condition)
    if files:
        yield table(("Other file", ""), [(escape(name), what) for name, what in files])
    yield "## Cards by rule"
    yield from _cards_table(totals)
    if exchanges := list(_exchanges(totals)):
        yield "Given in place of another card about the same problem:"
        yield "\n".join(f"- {escape(line)}" for line in exchanges)
    if patients := list(_patients(totals)):
        yield "## Patients"
        yield "Numbers are places in the cohort; the JSON of this comparison names them."
        yield "\n".join(f"- {escape(line)}" for line in patients)
    if totals.examples:
        yield "## Examples of changed cards"
        yield (
            "References are numbered, and dates are counted from the first one in each example. "
            "Values and texts are the chart's own: read them before you share this."
        )
        for rule, example in sorted(totals.examples.items()):
            yield f"### {escape(rule)}, patient {example.number}"
            yield _fenced(_example(example.old, example.new))
    if totals.faults:
        yield "## Not answered"
        yield table(
            ("Patient", "Rules", "Reason"),
            ((str(number), fault.side, fault.reason) for number, fault in totals.faults),
        )
    yield "## How it was compared"
    yield (
        "Each set of rules answered each patient by itself. A card is changed where its summary, "
        "indicator, detail, suggestions, override reasons, source or links are. A patient whom "
        "either set could not answer is not compared. A Bundle, or the lines of a patient in an "
        "export, is taken as the whole chart: what it does not hold is not recorded."
    )
    if aside:
        yield "Left aside:"
        yield "\n".join(f"- {count} {escape(what)}" for what, count in aside.items())


def _change_row(change: RuleChange) -> tuple[str, str, str]:
    if change.old_version is None:
        return escape(change.rule), f"– → {change.new_version}", "only in the new set"
    if change.new_version is None:
        return escape(change.rule), f"{change.old_version} → –", "only in the old set"
    said = ["parameters"] if change.parameters else []
    said += ["condition"] if change.condition else []
    said += change.parts
    return escape(change.rule), _versions(change), escape(", ".join(said) or "version")


def _cards_table(totals: Totals) -> Iterator[str]:
    if not totals.tallies:
        yield "Neither set gives any card."
        return

    def cell(number: int) -> str:
        return f"{number} ({_rate(number, totals.applies)})"

    rows = [
        (
            escape(rule),
            cell(tally.old),
            cell(tally.new),
            *(cell(len(tally.of(kind))) for kind in KINDS),
            ", ".join(f"{part} {count}" for part, count in tally.parts.items()),
        )
        for rule, tally in sorted(totals.tallies.items())
    ]
    head = ("Rule", "Old", "New", "Gained", "Lost", "Changed", "Parts changed")
    yield table(head, rows)
    yield f"Rates are of the {_counted(totals.applies, 'patient')} whom the rules apply to."


def _fenced(lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}diff\n{text}\n{fence}"


_REFERENCE = re.compile(rf"\b({'|'.join(sorted([*RESOURCE_TYPES, 'Medication']))})/[\w.\\-]+")
_DATE = re.compile(r"\b(\d{4}-\d{2})(-\d{2})?(?!\d|-)")


def _example(old: Card, new: Card) -> list[str]:
    was, becomes = _lines_of(old), _lines_of(new)
    text = "\n".join([*was, *becomes])
    names = {
        name: f"{kind}/{number}"
        for number, (name, kind) in enumerate(
            dict.fromkeys((hit[0], hit[1]) for hit in _REFERENCE.finditer(text)), 1
        )
    }
    days = [day for hit in _DATE.finditer(text) if (day := _day(hit[0])) is not None]
    first = min(days, default=None)

    def hide(line: str) -> str:
        line = _REFERENCE.sub(lambda hit: names[hit[0]], line)
        return _DATE.sub(lambda hit: _since(hit[0], first), line)

    return [hide(line) for line in _diff(was, becomes, 0)]


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _since(text: str, first: date | None) -> str:
    day = _day(text)
    return "[month]" if day is None or first is None else f"[day {(day - first).days}]"


def _lines_of(card: Card) -> list[str]:
    lines = [f"summary: {card.summary}", f"indicator: {card.indicator}", *card.detail.splitlines()]
    for suggestion in card.suggestions:
        lines.append(f"suggestion: {suggestion.label}")
        for action in suggestion.actions:
            lines.append(f"{action.type}: {action.description}")
            lines += json.dumps(action.resource, indent=2, ensure_ascii=False).splitlines()
    lines += [f"override reason: {reason.display}" for reason in card.overrideReasons]
    lines.append(f"source: {card.source.label} {card.source.url or ''}".rstrip())
    lines += [f"link: {link.label} {link.url}" for link in card.links]
    return lines
