"""The command ``cds``: serve, evaluate files, check rules, copy the examples."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, NoReturn

import msgspec
import typer
from msgspec import UNSET, Raw, Struct, UnsetType
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track

from cds import records
from cds.advice import Question, advise_on, load_rules
from cds.authoring import scaffold
from cds.authoring.checking import check_rules
from cds.authoring.codes import CODES
from cds.authoring.coverage import coverage_lines, find_unmapped
from cds.authoring.derived import DerivedExplanation, describe_derived, explain_derived
from cds.authoring.explain import UnknownRule, explain, find_rule
from cds.authoring.explain import describe as describe_explanation
from cds.authoring.formatting import authored_files, format_file
from cds.authoring.impact import (
    Cohort,
    NoCohort,
    NoRules,
    Reader,
    Record,
    Side,
    Totals,
    differences,
    markdown,
    problems_of,
    rules_at,
)
from cds.authoring.impact import describe as describe_impact
from cds.authoring.listing import (
    SECTIONS,
    entry_lines,
    list_rules,
    list_vocabulary,
    rule_lines,
    search_entries,
)
from cds.authoring.problem_formats import as_json as problems_as_json
from cds.authoring.problem_formats import as_sarif as problems_as_sarif
from cds.authoring.problem_formats import as_text as problem_as_text
from cds.authoring.problem_formats import by_weight, name_of
from cds.authoring.schemas import FOLDER, write_schemas
from cds.clients import app as clients
from cds.fhir.bundles import (
    RESOURCE_TYPES,
    Delivery,
    Unreadable,
    decode,
    keep_about,
    known_as,
    not_about,
    read_resource,
    reference_id,
    settle_server,
    take_drafts,
)
from cds.fhir.resources import AboutPatient, Bundle
from cds.fhir.strict import Fault, NotValid, validate
from cds.hooks.logs import log_plainly
from cds.hooks.orders import check_about, read_orders
from cds.hooks.outcomes import Refused
from cds.hooks.prefetch import Template, make_templates, read_prefetch
from cds.hooks.requests import OrderSignContext, Request, hook_of, read_request
from cds.located import FilesInvalid, Place, Problem, did_you_mean
from cds.report import print_report, record_of
from cds.rules.derivations import Derivation
from cds.rules.engine import EngineFault
from cds.rules.ruleset import EnginesDisagree, Rule, RuleSet
from cds.rules.site import read_changed_vocabulary, read_site
from cds.ruletests import describe as describe_tests
from cds.ruletests import run as run_tests
from cds.ruletests import run_drafts, to_junit, together
from cds.settings import Settings, SettingsInvalid, from_environment, today
from cds.terminal import printable, printable_json, printable_line

app = typer.Typer(
    help="Decision support for inflammatory myopathies over FHIR R4 and CDS Hooks.",
    no_args_is_help=True,
    add_completion=False,
    # The variables of a traceback may hold patient data.
    pretty_exceptions_show_locals=False,
)
rules = typer.Typer(help="Check and test the rule files.", no_args_is_help=True)
app.add_typer(rules, name="rules")
vocabulary = typer.Typer(help="Look into the vocabulary.", no_args_is_help=True)
app.add_typer(vocabulary, name="vocabulary")
app.add_typer(clients, name="clients")
app.add_typer(records.decisions, name="decisions")
app.add_typer(records.feedback, name="feedback")


def main() -> None:
    """Run the command line."""
    _have_streams()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a character shows its number, in place of the program ending.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # What the hooks log is not for this reader, and stdout is for answers.
    log_plainly()
    app()


def _have_streams() -> None:
    """Put nothing where a standard stream was closed, before a database or a call gets its number.

    What is written to that stream would else be written into these.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))


def _version(asked: bool) -> None:
    if not asked:
        return
    try:
        typer.echo(f"cds {installed_version('myositis-cds')}")
    except PackageNotFoundError:
        typer.echo("cds, from a folder that is not installed")
    raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Decision support for inflammatory myopathies over FHIR R4 and CDS Hooks."""


# --- serve ---------------------------------------------------------------------------------------


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address, in place of CDS_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port, in place of CDS_PORT.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes, in place of CDS_WORKERS.")
    ] = None,
) -> None:
    """Serve CDS Hooks; settings come from the environment (CDS_PORT, CDS_AUTH and others)."""
    # Imported where it is needed: no other command has use for HTTP.
    from cds.hooks.server import serve as serve_with

    settings = _settings()
    if host is not None:
        settings = msgspec.structs.replace(settings, host=host)
    if port is not None:
        settings = msgspec.structs.replace(settings, port=port)
    if workers is not None:
        operation = msgspec.structs.replace(settings.operation, workers=workers)
        settings = msgspec.structs.replace(settings, operation=operation)
    serve_with(settings)


def _settings() -> Settings:
    try:
        return from_environment(os.environ)
    except SettingsInvalid as fault:
        _fail(str(fault))


def _fail(message: str) -> NoReturn:
    _complain(message)
    raise typer.Exit(1)


def _complain(message: str) -> None:
    sys.stdout.flush()
    typer.echo("\n".join(map(printable, message.split("\n"))), err=True)


SiteOption = Annotated[
    Path | None,
    typer.Option(
        "--site",
        metavar="FOLDER",
        help="Folder of this hospital's own additions and changes; CDS_SITE if not given.",
    ),
]


def _site(given: Path | None) -> Path | None:
    if given is None:
        return _settings().site
    if not given.is_dir():
        _fail(f"{given}: is not a folder; name the folder that holds site.yaml")
    return given.absolute()


# --- evaluate ------------------------------------------------------------------------------------


@app.command()
def evaluate(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="FHIR Bundles or CDS Hooks requests, one patient each; - for standard input.",
        ),
    ],
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], metavar="DATE", help="The day to judge from; today if not given."
        ),
    ] = None,
    baseline: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="DATE",
            help="The visit to compare with; chosen by the rules if not given.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line for each file.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a file that is not valid FHIR R4 throughout.")
    ] = False,
    site: SiteOption = None,
) -> None:
    """Say what the rules make of patients: measures, response, cards.

    A Bundle is taken as the patient's whole chart: what it does not hold is not recorded.

    A file that cannot be read is named on stderr, and the others are answered; exit status 1.
    """
    settings = _settings()
    day = as_of.date() if as_of else today(settings)
    try:
        ruleset = load_rules(settings.rules, _site(site))
        asking = _Asking(
            ruleset,
            make_templates(ruleset.terms.vocabulary),
            day,
            baseline.date() if baseline else None,
            strict,
        )
    except FilesInvalid as fault:
        _fail("\n".join(_said(problem, settings.rules) for problem in fault.problems))
    console = Console(markup=False, emoji=False)
    failed = False
    for file in files:
        failed |= not _evaluate_one(file, asking, console, as_json=as_json)
    if failed:
        raise typer.Exit(1)


class _Asking(Struct, frozen=True):
    """What is asked of every file."""

    ruleset: RuleSet
    templates: tuple[Template, ...]
    as_of: date
    baseline: date | None
    strict: bool


class _Error(Struct, frozen=True):
    """Why a file has no answer: ``place`` is a place in the file, or the file."""

    place: str
    problem: str


class _Unanswered(Struct, frozen=True, omit_defaults=True):
    """What ``--json`` says of a file without an answer."""

    file: str
    error: _Error | None = None
    faults: tuple[_Fault, ...] = ()


class _Fault(Struct, frozen=True):
    path: str
    problem: str


_ENCODER = msgspec.json.Encoder(decimal_format="number")


def _evaluate_one(file: str, asking: _Asking, console: Console, *, as_json: bool) -> bool:
    """Answer one file on stdout, or complain on stderr; whether it was answered."""
    # A file name may be bytes that are no text.
    name = os.fsencode(file).decode("utf-8", "backslashreplace")
    try:
        question = _read(file, name, asking)
        _check_about(question, name)
        advice = advise_on(
            question,
            asking.ruleset,
            asking.as_of,
            baseline=asking.baseline,
            everything=True,
        )
    except _NotStrict as fault:
        unanswered = _Unanswered(
            name, faults=tuple(_Fault(f.path, f.message) for f in fault.faults)
        )
    except Unreadable as fault:
        unanswered = _Unanswered(name, _Error(fault.place, fault.problem))
    except (EngineFault, EnginesDisagree, NotValid) as fault:
        unanswered = _Unanswered(name, _Error(name, f"no answer can be trusted: {fault}"))
    else:
        if as_json:
            typer.echo(printable_json(_ENCODER.encode(record_of(name, advice, asking.ruleset))))
        else:
            print_report(name, advice, asking.ruleset, console)
        if advice.applies is None:
            _complain(
                f"{name}: Conditions are missing or could not be read, so whether the rules are "
                "about this patient is not known, and no cards can be given"
            )
        return advice.applies is not None
    if unanswered.error is not None:
        place = unanswered.error.place
        within = place == name or place.startswith(f"{name}:")
        _complain(f"{place if within else f'{name}: {place}'}: {unanswered.error.problem}")
    for each in unanswered.faults:
        _complain(f"{name}: {each.path}: {each.problem}")
    if as_json:
        typer.echo(printable_json(_ENCODER.encode(unanswered)))
    return False


# --- reading a file ------------------------------------------------------------------------------


class _NotStrict(Exception):
    """A file is not valid FHIR R4 throughout, as ``--strict`` asks."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__()


class _Kind(Struct):
    """What tells a CDS Hooks request from a FHIR resource."""

    resourceType: Raw | UnsetType = UNSET
    hook: Raw | UnsetType = UNSET
    hookInstance: Raw | UnsetType = UNSET
    context: Raw | UnsetType = UNSET
    prefetch: Raw | UnsetType = UNSET

    @property
    def is_request(self) -> bool:
        """Whether this is a request, even one that lacks something."""
        told = (self.hook, self.hookInstance, self.context, self.prefetch)
        return self.resourceType is UNSET and any(part is not UNSET for part in told)


_KIND = msgspec.json.Decoder(_Kind)
_NOT_AN_OBJECT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _read(file: str, name: str, asking: _Asking) -> Question:
    """Read what a file holds, and whom it is about; raises ``Unreadable`` or ``_NotStrict``."""
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as fault:
        raise Unreadable(name, f"cannot be read: {fault.strerror}") from None
    return _read_content(raw, name, asking)


def _read_content(raw: bytes, name: str, asking: _Asking) -> Question:
    """Read a Bundle, a resource or a request as ``_read`` does."""
    raw = raw.removeprefix(_BYTE_ORDER_MARK)
    if not raw.strip():
        raise Unreadable(name, "is empty")
    try:
        kind = _KIND.decode(raw)
    except _NOT_AN_OBJECT:
        decode(raw, name)  # says where and why
        raise
    if kind.is_request:
        return _read_request(raw, name, asking)
    if asking.strict and (faults := validate(raw)):
        raise _NotStrict(faults)
    resource = decode(raw, name)
    delivery = Delivery()
    read_resource(resource, delivery, type(resource).__name__)
    if isinstance(resource, Bundle):
        delivery.delivered |= RESOURCE_TYPES
    return Question(delivery, _whose(delivery, name))


def _read_request(raw: bytes, name: str, asking: _Asking) -> Question:
    hook = hook_of(raw) or "patient-view"
    drafts = selected = None
    try:
        request = read_request(raw, hook)
        orders = read_orders(request.context)
        if asking.strict and (faults := list(_faults_of(request))):
            raise _NotStrict(faults)
        if orders is not None:
            drafts, selected = orders.drafts, orders.selected
        delivery = read_prefetch(
            request.prefetch or {}, asking.templates, request.patient, request.fhirServer, drafts
        )
        if orders is not None:
            check_about(orders, delivery, request.patient)
    except Refused as refusal:
        raise Unreadable(name, " ".join(refusal.problems)) from None
    return Question(delivery, request.patient, hook, drafts, selected)


def _faults_of(request: Request) -> Iterator[Fault]:
    for key, value in (request.prefetch or {}).items():
        if bytes(value) != b"null":
            yield from validate(bytes(value), f"prefetch.{key}")
    if isinstance(request.context, OrderSignContext):
        yield from validate(bytes(request.context.draftOrders), "context.draftOrders")


def _whose(delivery: Delivery, name: str) -> str:
    """Whose the resources of a file are: the one Patient's, else their one subject's."""
    subjects = _subjects(delivery.about_patient)
    patients = {patient.id for patient in delivery.patients if patient.id}
    if not patients:
        delivery.patient_urls |= subjects
    found = sorted(patients or set(subjects.values()))
    if len(found) > 1:
        listed = ", ".join(f"Patient/{each}" for each in found)
        raise Unreadable(name, f"holds several patients ({listed}): give each a file of its own")
    if not found:
        raise Unreadable(
            name, "holds no Patient with an id, and no subject that tells whose it is: add either"
        )
    return found[0]


def _check_about(question: Question, name: str) -> None:
    """Refuse a file in which all of a kind is about others: none would then be missed by anybody.

    Raises ``Unreadable``.
    """
    delivery, patient = question.delivery, question.patient
    kinds: tuple[tuple[str, Sequence[AboutPatient]], ...] = (
        ("Observation", delivery.observations),
        ("Condition", delivery.conditions),
        ("AllergyIntolerance", delivery.allergies),
        ("medication", delivery.uses),
    )
    settle_server(patient, delivery, drafts=question.drafts)
    known = known_as(delivery, patient)
    for kind, resources in kinds:
        if resources and all(not_about(each.subject, known) for each in resources):
            raise Unreadable(
                name, f"is about Patient/{patient}, but every {kind} in it is about somebody else"
            )


def _subjects(resources: Iterable[AboutPatient]) -> dict[str, str]:
    """The ids of the patients whom resources are about, by the reference to each."""
    return {
        reference: reference_id(reference)
        for resource in resources
        if resource.subject and (reference := resource.subject.reference)
        if reference.startswith("urn:") or "Patient" in reference.split("/")
    }


# --- rules ---------------------------------------------------------------------------------------

Folder = Annotated[
    Path | None,
    typer.Argument(metavar="[PATH]", help="Folder of rule files; CDS_RULES if not given."),
]


ProblemFormat = Literal["text", "json", "sarif"]


@rules.command()
def check(
    path: Folder = None,
    site: SiteOption = None,
    form: Annotated[
        ProblemFormat, typer.Option("--format", help="For people, programs, or editors and CI.")
    ] = "text",
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="DATE",
            help="The day on which reviews are past; today if not given.",
        ),
    ] = None,
    explain_code: Annotated[
        str | None,
        typer.Option("--explain", metavar="CODE", help="Say what a code means, with an example."),
    ] = None,
) -> None:
    """Check every rule file, and say every problem at its place: file:line:column CODE message.

    Fails on errors. Warnings are looked for where there is no error.
    """
    if explain_code is not None:
        _explain_code(explain_code)
        return
    folder = _settings().rules if path is None else path
    if not folder.is_dir():
        _fail(f"{folder}: is not a folder; name the folder that holds `vocabulary`")
    own = _site(site)
    day = as_of.date() if as_of else today(_settings())
    ruleset, problems = check_rules(folder, day, own)
    if ruleset is not None:
        try:
            make_templates(ruleset.terms.vocabulary)
        except FilesInvalid as fault:
            problems += fault.problems
    problems.sort(key=by_weight)
    _print_problems(problems, folder, form)
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    if errors or ruleset is None:
        more = f", {_counted(warnings, 'warning')}" if warnings else ""
        hint = "; `cds rules check --explain CODE` says more of each" if form == "text" else ""
        _fail(f"{_counted(errors, 'error')}{more} in {_folders(folder, own)}{hint}")
    if form == "text":
        read = f"{_counted(len(ruleset.every), 'rule')} read from {_folders(folder, own)}"
        more = f", {_counted(warnings, 'warning')}" if warnings else ""
        typer.echo(f"{read}: no errors{more}")
    if strict and warnings:
        _fail(f"{_counted(warnings, 'warning')} in {_folders(folder, own)}, with --strict")


def _explain_code(code: str) -> None:
    if code not in CODES:
        hint = did_you_mean(code, CODES) or f": choose from {', '.join(CODES)}"
        _fail(f"`{code}` is no code of a problem{hint}")
    page = CODES[code].page
    if sys.stdout.isatty():
        Console().print(Markdown(page))
    else:
        typer.echo(page.rstrip())


def _print_problems(problems: list[Problem], folder: Path, form: ProblemFormat) -> None:
    files = [name_of(problem, folder) for problem in problems]
    if form == "json":
        typer.echo(problems_as_json(problems, files))
    elif form == "sarif":
        typer.echo(problems_as_sarif(problems, files))
    else:
        console = Console(markup=False, emoji=False, highlight=False)
        for problem, file in zip(problems, files, strict=True):
            # What is read by a program stays in one line.
            console.print(problem_as_text(problem, file), soft_wrap=not console.is_terminal)


@rules.command("test")
def test_rules(
    path: Folder = None,
    coverage: Annotated[
        float,
        typer.Option(
            min=0,
            max=100,
            metavar="PERCENT",
            help="Fail where conditions were seen true, false and unknown less than this.",
        ),
    ] = 0,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the results as JUnit XML too.")
    ] = None,
    patients: Annotated[
        Path | None,
        typer.Option(
            "--examples",
            metavar="FOLDER",
            help="Where the Bundles are that cases name; those of this installation if not given.",
        ),
    ] = None,
    site: SiteOption = None,
) -> None:
    """Run the test files beside the rules, and try the boundary of every threshold.

    Drafts and rules in testing are tried as if they were active; the coverage is of active rules.

    With a site, the test files are the site's: the shipped ones say what holds without its changes.
    """
    settings = _settings()
    folder = settings.rules if path is None else path
    if not folder.is_dir():
        _fail(f"{folder}: is not a folder; name the folder that holds `vocabulary`")
    try:
        ruleset = load_rules(folder, _site(site))
    except FilesInvalid as fault:
        _fail("\n".join(_said(problem, folder) for problem in fault.problems))
    examples = patients or settings.examples
    report = run_tests(ruleset, folder, examples)
    if ruleset.unfinished:
        try:
            with_drafts = load_rules(folder, _site(site), drafts=True)
        except FilesInvalid as fault:
            _fail("\n".join(_said(problem, folder) for problem in fault.problems))
        report = together(report, run_drafts(with_drafts, folder, examples))

    def placed(place: Place) -> str:
        return str(msgspec.structs.replace(place, file=str(_from_here(folder / place.file))))

    for line in describe_tests(report, placed):
        typer.echo(printable_line(line))
    if junit is not None:
        try:
            junit.write_bytes(to_junit(report))
        except OSError as fault:
            _fail(f"{junit}: cannot be written: {fault.strerror}")
    if report.coverage < Decimal(str(coverage)):
        _fail(f"{report.coverage} % is less than the {coverage:g} % that --coverage asks for")
    if not report.passed:
        raise typer.Exit(1)


@rules.command("list")
def list_of_rules(
    path: Folder = None,
    site: SiteOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the rules: status, version, what they make, hooks, review, evidence."""
    settings = _settings()
    folder = _rules_folder(path)
    own = _site(site)
    records, problems = list_rules(folder, read_site(own) if own else None)
    if as_json:
        for record in records:
            typer.echo(printable_json(msgspec.json.encode(record)))
    else:
        for line in rule_lines(records, today(settings)):
            typer.echo(printable_line(line))
    if problems:
        _fail("\n".join(_said(problem, folder) for problem in problems))


@rules.command("format")
def format_rules(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]...", help="Files or folders; CDS_RULES if not given."),
    ] = None,
    check_only: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; name the files that would change, and fail."),
    ] = False,
) -> None:
    """Lay out rule files: order of keys, indentation, quotes; every comment is kept."""
    changed = failed = count = 0
    word = "would change" if check_only else "changed"
    for path in paths or [_settings().rules]:
        if not path.exists():
            _fail(f"{path}: is neither a file nor a folder")
        for file in authored_files(path):
            count += 1
            try:
                before, after = format_file(file)
                if before == after:
                    continue
                if not check_only:
                    file.write_bytes(after.encode())
            except FilesInvalid as fault:
                _complain("\n".join(map(str, fault.problems)))
                failed += 1
            except OSError as fault:
                _complain(f"{file}: cannot be written: {fault.strerror}")
                failed += 1
            else:
                changed += 1
                typer.echo(printable(f"{word}: {file}"))
    left = f", {failed} refused" if failed else ""
    typer.echo(f"{_counted(count, 'file')}, {changed} {word}{left}")
    if failed or (check_only and changed):
        raise typer.Exit(1)


@rules.command("schema")
def schemas_of_rules(
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to; `schema` in CDS_RULES if not given."),
    ] = None,
) -> None:
    """Write the JSON Schema of every kind of rule file, for completion in editors."""
    folder = out or _settings().rules / FOLDER
    try:
        written = write_schemas(folder)
    except OSError as fault:
        _fail(f"{fault.filename}: cannot be written: {fault.strerror}")
    typer.echo(f"{_counted(len(written), 'schema')} in {_from_here(folder)}")


RulesOption = Annotated[
    Path | None,
    typer.Option("--rules", metavar="PATH", help="Folder of rule files; CDS_RULES if not given."),
]


@rules.command("new")
def new_rule(
    id_: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Its id, and the name of its file.")
    ] = None,
    path: RulesOption = None,
    kind: Annotated[str | None, typer.Option(help="card or criterion.")] = None,
    folder: Annotated[str | None, typer.Option(help="Such as guidance/escalation.")] = None,
    title: Annotated[str | None, typer.Option(help="What it is, in a line.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who answers for it.")] = None,
    status: Annotated[str | None, typer.Option(help="draft, testing or active.")] = None,
    when: Annotated[
        list[str] | None, typer.Option(help="A condition; of several, all must hold.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="An id in sources.yaml.")] = None,
    supports: Annotated[str | None, typer.Option(help="What the source supports.")] = None,
    certainty: Annotated[str | None, typer.Option(help="How certain that is.")] = None,
    derive: Annotated[str | None, typer.Option(help="The fact that a criterion derives.")] = None,
    problem: Annotated[str | None, typer.Option(help="What the card is about.")] = None,
    indicator: Annotated[str | None, typer.Option(help="critical, warning or info.")] = None,
    summary: Annotated[str | None, typer.Option(help="The first line of the card.")] = None,
    lead: Annotated[str | None, typer.Option(help="The sentence that matters.")] = None,
) -> None:
    """Write a new rule and its test; what is not given as an option is asked."""
    settings = _settings()
    root = _rules_folder(path)
    given: dict[str, str | list[str] | None] = {
        "id": id_,
        "kind": kind,
        "folder": folder,
        "title": title,
        "owner": owner,
        "status": status,
        "when": when,
        "source": source,
        "supports": supports,
        "certainty": certainty,
        "derives": derive,
        "problem": problem,
        "indicator": indicator,
        "summary": summary,
        "lead": lead,
    }
    try:
        shelf = scaffold.read_shelf(root)
        answers = scaffold.answer(given, shelf, _ask)
        written = scaffold.write_rule(answers, shelf, today(settings))
    except FilesInvalid as fault:
        _fail("\n".join(_said(each, root) for each in fault.problems))
    except (scaffold.Unfit, FileExistsError) as fault:
        _fail(str(fault))
    except OSError as fault:
        _fail(f"{fault.filename}: cannot be written: {fault.strerror}")
    for file in written:
        typer.echo(f"written: {_from_here(file)}")
    if answers.status == "active":
        typer.echo("The rule is active: it counts wherever this folder is served.")
    else:
        typer.echo(
            f"The rule is in {answers.status}: `cds rules test` and `cds rules explain` try it, "
            "and it counts nowhere else until its status is active."
        )


def _ask(question: str, default: str, check: Callable[[str], str]) -> str:
    """Ask until the answer fits."""

    def checked(answer: str) -> str:
        try:
            return check(answer.strip())
        except scaffold.Unfit as fault:
            raise typer.BadParameter(str(fault)) from None

    answer: str = typer.prompt(question, default=default or None, value_proc=checked)
    return answer


def _rules_folder(path: Path | None) -> Path:
    folder = _settings().rules if path is None else path
    if not (folder / "vocabulary").is_dir():
        _fail(f"{folder}: is no rules folder; name the one that holds `vocabulary`")
    return folder


AsOf = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d"], metavar="DATE", help="The day to judge from; today if not given."
    ),
]


@rules.command("explain")
def explain_rule(
    rule: Annotated[str, typer.Argument(help="The id of a rule, or the fact that it derives.")],
    file: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE", help="FHIR Bundle or CDS Hooks request; - for standard input."
        ),
    ],
    as_of: AsOf = None,
    path: RulesOption = None,
    site: SiteOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say why a rule fired for a patient, or what would have to be different for it to fire."""
    folder = _rules_folder(path)
    asking = _asking(folder, site, as_of)
    name = os.fsencode(file).decode("utf-8", "backslashreplace")
    try:
        if rule in asking.ruleset.unfinished:
            asking = _asking(folder, site, as_of, drafts=True)
        asked = find_rule(rule, asking.ruleset)
        question = _at_hook_of(asked, _read(file, name, asking))
        _check_about(question, name)
        advice = advise_on(question, asking.ruleset, asking.as_of, everything=True)
        explanation = (
            explain_derived(asked, asking.ruleset, advice)
            if isinstance(asked, Derivation)
            else explain(asked, asking.ruleset, advice)
        )
    except UnknownRule as fault:
        listed = f"`cds rules list {shlex.quote(str(_from_here(folder)))}` names them all"
        _fail(f"{fault}; {listed}")
    except Unreadable as fault:
        _fail(str(fault) if fault.place.startswith(name) else f"{name}: {fault}")
    except (EngineFault, EnginesDisagree, NotValid) as fault:
        _fail(f"{name}: no answer can be trusted: {fault}")
    if as_json:
        typer.echo(printable_json(_ENCODER.encode(explanation)))
        return
    lines = (
        describe_derived(explanation)
        if isinstance(explanation, DerivedExplanation)
        else describe_explanation(explanation)
    )
    for line in lines:
        typer.echo(printable_line(line))


def _at_hook_of(rule: Rule | Derivation, question: Question) -> Question:
    """A chart as at the first hook of a rule: with its draft orders, where one is being placed."""
    hook = rule.file.hooks[0]
    if question.drafts is not None or hook == "patient-view":
        return question
    drafts = take_drafts(question.delivery)
    return msgspec.structs.replace(question, hook=hook, drafts=drafts)


def _asking(
    folder: Path, site: Path | None, as_of: datetime | None, *, drafts: bool = False
) -> _Asking:
    try:
        ruleset = load_rules(folder, _site(site), drafts=drafts)
        templates = make_templates(ruleset.terms.vocabulary)
    except FilesInvalid as fault:
        _fail("\n".join(_said(problem, folder) for problem in fault.problems))
    day = as_of.date() if as_of else today(_settings())
    return _Asking(ruleset, templates, day, None, strict=False)


@rules.command("impact")
def impact_of_rules(
    old: Annotated[
        str, typer.Argument(help="Folder of rules, or git revision: REV or REV:path/to/rules.")
    ],
    new: Annotated[str, typer.Argument(help="Likewise, the rules to compare with.")],
    cohort: Annotated[
        list[Path],
        typer.Argument(
            metavar="COHORT",
            help="Folders and files of Bundles, CDS Hooks requests, or NDJSON as FHIR exports it.",
        ),
    ],
    as_of: AsOf = None,
    site: SiteOption = None,
    as_json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write every difference, with the cards."),
    ] = None,
    as_markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Write a report for a change request."),
    ] = None,
) -> None:
    """Say whose cards change between two sets of rules: gained, lost and changed.

    A patient who cannot be answered is named on stderr, and the others are compared; exit status 1.
    """
    with contextlib.ExitStack() as stack:
        before, after = (_side(text, site, as_of, stack) for text in (old, new))
        day = as_of.date() if as_of else today(_settings())
        console = Console(stderr=True, markup=False, emoji=False)
        try:
            with console.status("Looking through the cohort"):
                members = stack.enter_context(contextlib.closing(Cohort(cohort)))
            written = stack.enter_context(as_json.open("wb")) if as_json else None
            totals = _compare(before, after, members, day, console, written)
            if as_markdown is not None:
                report = markdown(totals, before, after, day, members.aside)
                as_markdown.write_text("\n\n".join(report) + "\n", encoding="utf-8")
        except NoCohort as fault:
            _fail(str(fault))
        except OSError as fault:
            _fail(f"{fault.filename}: cannot be written: {fault.strerror}")
        for line in describe_impact(totals, before, after, members.aside):
            typer.echo(printable_line(line))
        if totals.faults:
            raise typer.Exit(1)


def _side(
    text: str, site: Path | None, as_of: datetime | None, stack: contextlib.ExitStack
) -> Side:
    """The rules of a folder or of a revision, whose files are there until the stack closes."""
    into = stack.enter_context(tempfile.TemporaryDirectory(prefix="cds-rules-"))
    try:
        folder, name = rules_at(text, Path(into))
    except NoRules as fault:
        _fail(str(fault))
    if not (folder / "vocabulary").is_dir():
        _fail(f"{name}: is no rules folder; name the one that holds `vocabulary`")
    asking = _asking(folder, site, as_of)
    return Side(name, folder, asking.ruleset, _reader(asking))


def _compare(
    old: Side, new: Side, members: Cohort, day: date, console: Console, written: BinaryIO | None
) -> Totals:
    """Compare patient by patient, with a progress bar on a terminal; faults go to stderr."""
    totals, problems = Totals(), problems_of(old.ruleset, new.ruleset)
    record = Record(written, old, new, day) if written else None
    for each in track(
        differences(old, new, members, day),
        "Comparing",
        total=len(members),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        totals.add(each, problems)
        if record is not None:
            record.add(each)
        for fault in each.faults:
            rules_of = "" if fault.side == "both" else f" (by the {fault.side} rules)"
            _complain(f"{fault.problem}{rules_of}")
    if record is not None:
        record.finish(totals, members.aside)
    return totals


def _reader(asking: _Asking) -> Reader:
    def read(content: bytes, name: str) -> Question:
        question = _read_content(content, name, asking)
        _check_about(question, name)
        return question

    return read


# --- vocabulary ----------------------------------------------------------------------------------


@vocabulary.command("list")
def list_of_entries(
    section: Annotated[
        str | None, typer.Argument(metavar="[SECTION]", help=f"One of {', '.join(SECTIONS)}.")
    ] = None,
    path: RulesOption = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only what says this, whatever the case.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    site: SiteOption = None,
) -> None:
    """List what is declared: the facts that each entry makes, its codes, units and names."""
    if section is not None and section not in SECTIONS:
        hint = did_you_mean(section, SECTIONS)
        _fail(f"`{section}` is no section{hint}; the sections are {', '.join(SECTIONS)}")
    folder = _rules_folder(path)
    problems: list[Problem] = []
    own = _site(site)
    changes = read_site(own) if own else None
    entries = list_vocabulary(read_changed_vocabulary(folder, changes, problems))
    if changes is not None:
        problems += changes.document.problems
    found = search_entries(entries, section, search)
    if as_json:
        for record in found:
            typer.echo(printable_json(msgspec.json.encode(record)))
    else:
        for line in entry_lines(found):
            typer.echo(printable_line(line))
    if problems:
        _fail("\n".join(_said(problem, folder) for problem in problems))
    if not found:
        _fail(f"nothing says `{search}`" if search else "nothing is declared there")


@vocabulary.command("coverage")
def coverage_of_files(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="FHIR Bundles or CDS Hooks requests, one patient each; - for standard input.",
        ),
    ],
    path: RulesOption = None,
    site: SiteOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """List the codes of Observations, Conditions, drugs and allergies that nothing maps.

    Each comes with how often it was met, the entries that are called like it, and the line that
    would map it in a site's site.yaml. A file that cannot be read is named on stderr, and the
    others are answered; exit status 1.
    """
    settings = _settings()
    folder = _rules_folder(path)
    try:
        ruleset = load_rules(folder, _site(site))
        templates = make_templates(ruleset.terms.vocabulary)
    except FilesInvalid as fault:
        _fail("\n".join(_said(problem, folder) for problem in fault.problems))
    asking = _Asking(ruleset, templates, today(settings), None, strict=False)
    deliveries = []
    for file in files:
        name = os.fsencode(file).decode("utf-8", "backslashreplace")
        try:
            question = _read(file, name, asking)
        except Unreadable as fault:
            _complain(str(fault))
        else:
            keep_about(question.delivery, question.patient)
            deliveries.append(question.delivery)
    found = find_unmapped(deliveries, ruleset.terms)
    if as_json:
        typer.echo(printable_json(msgspec.json.encode(found)))
    else:
        for line in coverage_lines(found):
            typer.echo(printable_line(line))
    if len(deliveries) < len(files):
        raise typer.Exit(1)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _said(problem: Problem, folder: Path) -> str:
    """A problem, with the path of its file as the reader can open it from here."""
    file = folder / problem.place.file
    if not file.exists() and not Path(problem.place.file).is_absolute():  # the folder itself
        file = folder
    place = msgspec.structs.replace(problem.place, file=str(_from_here(file)))
    return str(msgspec.structs.replace(problem, place=place))


def _folders(folder: Path, site: Path | None) -> str:
    """A rules folder and a site's, as the reader can open them from here."""
    return f"{_from_here(folder)} and {_from_here(site)}" if site else str(_from_here(folder))


def _from_here(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


# --- examples ------------------------------------------------------------------------------------


@app.command()
def examples(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Where to; made if it is not there.")
    ] = Path("fhir_examples"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that differ.")] = False,
) -> None:
    """Copy the example patients that travel with this installation into a folder."""
    shipped = _settings().examples
    files = sorted(path for path in shipped.rglob("*") if path.is_file())
    targets = {path: folder / path.relative_to(shipped) for path in files}
    try:
        contents = {path: path.read_bytes() for path in files}
        differing = [
            target
            for path, target in targets.items()
            if target.exists() and target.read_bytes() != contents[path]
        ]
        if differing and not force:
            listed = "\n".join(f"  {target}" for target in differing)
            _fail(
                f"Nothing was copied, because these files are there already and differ:\n{listed}"
                "\nName another folder, or overwrite them with --force."
            )
        for path, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists() or target in differing:
                target.write_bytes(contents[path])
    except OSError as fault:
        _fail(f"{fault.filename}: cannot be written: {fault.strerror}")
    typer.echo(f"{_counted(len(files), 'file')} in {folder}")
    first = folder / "rp-ild-mda5.bundle.json"
    if first.is_file():
        typer.echo(f"Try:  cds evaluate {shlex.quote(str(first))} --as-of 2026-11-16")
