"""Everything that can be wrong in a folder of rules, found in one run."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from cds.authoring.doubts import doubts
from cds.cards.cards import check_drafts
from cds.located import Place, Problem, did_you_mean, read_document, read_struct
from cds.rules.language import CaseFile
from cds.rules.reading import check_ruleset, rule_files
from cds.rules.ruleset import RuleSet
from cds.rules.site import RULES
from cds.ruletests import ENDING


def check_rules(
    folder: Path, as_of: date, site: Path | None = None
) -> tuple[RuleSet | None, list[Problem]]:
    """Every problem of every file of a folder; and the rule set, where none is an error.

    Warnings about what rules mean are given only where nothing keeps the rules from being read.
    They are given as if rules in draft and in testing were active, so that nothing comes up only on
    the day they are. ``as_of`` is the day on which reviews are past; ``site`` is a hospital's own
    folder.
    """
    ruleset, problems = check_ruleset(folder, site)
    tried = ruleset
    if ruleset is not None and ruleset.unfinished:
        tried, more = check_ruleset(folder, site, drafts=True)
        problems += more
    if tried is not None:
        problems += check_drafts(tried)
    problems += _check_tests(folder, site)
    problems += [
        Problem(
            Place(path.relative_to(folder).as_posix()),
            "unread-file",
            "is not read: end its name in .yaml",
        )
        for path in folder.rglob("*.yml")
    ]
    found_errors = any(problem.severity == "error" for problem in problems)
    if tried is not None:
        if not found_errors:
            problems += doubts(tried, folder, as_of)
        if tried is not ruleset:
            tried.close()
    if ruleset is not None and found_errors:
        ruleset.close()
        ruleset = None
    return ruleset, sorted(set(problems))


def _check_tests(folder: Path, site: Path | None) -> list[Problem]:
    """What is wrong with the test files as files; what they expect is for ``cds rules test``.

    A test may be about a rule of any status, so that a draft can have its test before it is active.
    """
    files = rule_files(folder)
    if site is not None and (site / RULES).is_dir():
        files += rule_files(site / RULES)
    ids = [path.stem for path in files]
    tests = {path: path.relative_to(folder).as_posix() for path in folder.rglob(f"*{ENDING}")}
    if site is not None:
        tests |= {path: str(path) for path in site.rglob(f"*{ENDING}")}
    problems: list[Problem] = []
    for path, name in sorted(tests.items()):
        document = read_document(path, name)
        file = read_struct(document, (), CaseFile)
        if file is not None and file.rule not in ids:
            document.report(
                "unknown-rule",
                ("rule",),
                f"`{file.rule}` is no rule{did_you_mean(file.rule, ids)}: correct the name, or "
                "remove this test with the rule that it was about",
            )
        problems += document.problems
    return problems
