"""The options of a card: each a row with its evidence, and what of this patient bears on it.

Of the drug of an option it says what was given before, and what speaks against it. What is being
given already is not proposed, but named below the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cds.cards.history import history, ingredients
from cds.cards.markdown import escape, escape_authored, in_sentence, table
from cds.cards.texts import Telling, fill, join_words, link, say_all, title_of, value_of
from cds.rules.language import LicenceStatus
from cds.rules.ruleset import CardTemplate, Option, Rule
from cds.rules.texts import Slot
from cds.rules.trace import Trace, trace_rule, undecided
from cds.rules.words import say_constant


def options_blocks(card: CardTemplate, telling: Telling) -> list[str]:
    """The options of a card as blocks of Markdown; none where nothing is to be proposed."""
    options = shown_options(card, telling)
    new = [option for option in options if not _given(option, telling)]
    # What was never tried stands first, else in the order of the authors: of a drug that was given
    # and stopped the reader must weigh why before proposing it again.
    new.sort(key=lambda option: _had(option, telling))
    blocks = []
    warned = [option for option in new if _warned(option, telling)]
    if proposed := [option for option in new if option not in warned]:
        blocks += ["**Options**", _table("Consider", proposed, telling)]
    if warned:
        head = "**Options that are contraindicated or advised against in this patient**"
        blocks += [head, _table("Otherwise an option", warned, telling)]
    if record := _on_record(options, telling):
        blocks += ["**What speaks against options, from the record**", record]
    if given := _being_given(options, telling):
        blocks.append(f"**Being given already:** {given}.")
    if unknown := _unknown(new, telling):
        blocks.append(f"**Not known, and of weight for the options:** {unknown}.")
    return blocks


def _table(head: str, options: list[Option], telling: Telling) -> str:
    rows = [_row(option, telling) for option in options]
    heads = (head, "Evidence", "Status", "This patient", "Source")
    # A card whose options name no drugs has nothing to say of them.
    kept = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    return table([heads[i] for i in kept], ([row[i] for i in kept] for row in rows))


def _warned(option: Option, telling: Telling) -> bool:
    """Whether more than care speaks against every drug of an option."""
    drugs = ingredients(option.drug or "", telling.ruleset.terms.vocabulary)
    warned = {
        drug
        for rule in against(option, telling, truth=True)
        if rule.file.contraindication and rule.file.contraindication.weight != "caution"
        for drug in _concerned(rule, option, telling)
    }
    return bool(warned) and warned >= set(drugs)


def shown_options(card: CardTemplate, telling: Telling) -> list[Option]:
    """The options of a card whose conditions hold, those that are being given included."""
    values = telling.evaluation.values
    return [o for o in card.options if o.when is None or o.when.test(values) is True]


def _given(option: Option, telling: Telling) -> bool:
    return option.drug is not None and value_of(f"drug.{option.drug}.current", telling) is True


def _had(option: Option, telling: Telling) -> bool:
    """Whether the patient had the drug of an option, or one of its class."""
    drugs = ingredients(option.drug, telling.ruleset.terms.vocabulary) if option.drug else ()
    return any(drug in telling.chart.exposures for drug in drugs)


def _row(option: Option, telling: Telling) -> tuple[str, ...]:
    said = _reasons(option, telling)
    said += [_history(option.drug, telling)] if option.drug else []
    return (
        fill(option.option, telling, escape),
        fill(option.evidence, telling, escape),
        _say_status(option.status) if option.status else "",
        "; ".join(said),
        link(option.source, telling),
    )


def _say_status(status: LicenceStatus) -> str:
    indication = escape_authored(status.indication)
    if status.licence == "approved":
        return f"approved: {indication}" if indication else "approved"
    licence = "**off label**" if status.licence == "off label" else status.licence
    return f"{licence} ({indication})" if indication else licence


# --- what the patient had ------------------------------------------------------------------------


def _history(drug: str, telling: Telling) -> str:
    """What the patient had of a drug or of each drug of a class, in a cell of the table."""
    if said := history(drug, telling.chart):
        return escape("; ".join(said))
    ever = value_of(f"drug.{drug}.ever", telling)
    return {True: "given before", False: "not on record", None: "not known whether given before"}[
        ever if isinstance(ever, bool) else None
    ]


def _being_given(options: Iterable[Option], telling: Telling) -> str:
    said: dict[str, None] = {}
    for option in options:
        if option.drug is not None and _given(option, telling):
            reasons = _reasons(option, telling)
            times = escape("; ".join(history(option.drug, telling.chart, now=True)))
            said["; ".join([times or fill(option.option, telling, escape), *reasons])] = None
    return ". ".join(said)


# --- what speaks against it ----------------------------------------------------------------------


def against(option: Option, telling: Telling, *, truth: bool | None) -> list[Rule]:
    """The contraindications to the drug of an option that have this truth in this patient."""
    if option.drug is None:
        return []
    outcomes = telling.evaluation.outcomes
    return [
        rule
        for rule in telling.ruleset.contraindications
        if outcomes[rule.id] is truth and _concerned(rule, option, telling)
    ]


def _concerned(rule: Rule, option: Option, telling: Telling) -> list[str]:
    """The drugs of an option that a contraindication is about."""
    vocabulary = telling.ruleset.terms.vocabulary
    said = rule.file.contraindication
    if said is None or option.drug is None:
        return []
    meant = {name for drug in said.drugs for name in ingredients(drug, vocabulary)}
    return [name for name in ingredients(option.drug, vocabulary) if name in meant]


_WEIGHTS = ("contraindicated", "advised against", "caution")
"""How much a rule speaks against a drug, the most first."""


def _reasons(option: Option, telling: Telling) -> list[str]:
    """What speaks against an option, the strongest reason first."""
    rules = against(option, telling, truth=True)
    if len(rules) > 1:
        rules.sort(key=_by_weight)
    return [_say_against(rule, option, telling) for rule in rules]


def _by_weight(rule: Rule) -> int:
    assert rule.file.contraindication is not None  # these are the rules that have one
    return _WEIGHTS.index(rule.file.contraindication.weight)


def _say_against(rule: Rule, option: Option, telling: Telling) -> str:
    """What speaks against an option, with its reason in the chart and its source."""
    vocabulary = telling.ruleset.terms.vocabulary
    assert rule.file.contraindication is not None  # these are the rules that have one
    assert rule.against is not None
    concerned = _concerned(rule, option, telling)
    whole = len(concerned) == len(ingredients(option.drug or "", vocabulary))
    names = [in_sentence(vocabulary.drugs[d].title) for d in concerned]
    titles = "" if whole else f" ({join_words(names)})"
    own = Telling(telling.ruleset, telling.chart, telling.evaluation, rule.file.parameters)
    first = rule.file.evidence[0]
    # What nobody read in a source is said to be so, in place of the source.
    basis = "unverified" if first.certainty == "unverified" else link(first.source, telling)
    return (
        f"**{rule.file.contraindication.weight}**{escape_authored(titles)}: "
        f"{fill(rule.against, own, escape)} ({basis})"
    )


MOST_CITED = 4
"""Resources cited for one fact that speaks against options."""


def _on_record(options: Iterable[Option], telling: Telling) -> str:
    """What of the record speaks against options, each fact once, with its evidence."""
    found: dict[str, None] = {}
    for option in options:
        for rule in against(option, telling, truth=True):
            for leaf in _holding(_trace(rule, telling)):
                if cited := say_all(leaf.evidence, MOST_CITED):
                    found[f"- {_title(leaf, telling)}: {escape(cited)}"] = None
    return "\n".join(found)


def _holding(trace: Trace) -> Iterator[Trace]:
    """The conditions on facts of the chart that make a rule hold."""
    if trace.truth is True and trace.node.fact is not None and not trace.parts:
        yield trace
    for part in trace.parts:
        yield from _holding(part)


def _unknown(options: Iterable[Option], telling: Telling) -> str:
    """What is not known and would speak against options: ``eGFR (methotrexate, tacrolimus)``."""
    drugs_of = telling.ruleset.terms.vocabulary.drugs
    found: dict[str, dict[str, None]] = {}
    for option in options:
        for rule in against(option, telling, truth=None):
            names = [in_sentence(drugs_of[d].title) for d in _concerned(rule, option, telling)]
            for leaf in undecided(_trace(rule, telling)):
                found.setdefault(_title(leaf, telling), {}).update(dict.fromkeys(names))
    return "; ".join(f"{title} ({', '.join(names)})" for title, names in found.items())


def _trace(rule: Rule, telling: Telling) -> Trace:
    return trace_rule(rule, telling.ruleset, telling.chart, telling.evaluation)


def _title(leaf: Trace, telling: Telling) -> str:
    return escape_authored(title_of(leaf.node.fact or "", telling))


# --- what of it nobody read ----------------------------------------------------------------------


def _is_dose(part: str | Slot) -> bool:
    return isinstance(part, Slot) and part.dose is not None


def unverified_of_options(card: CardTemplate, telling: Telling) -> Iterator[str]:
    """What the options say and nobody read in a source: approvals and contraindications."""
    options = [o for o in shown_options(card, telling) if not _given(o, telling)]
    recalled = {
        fill(tuple(part for part in o.option if not _is_dose(part)), telling)
        for o in options
        if o.status is not None and o.status.certainty == "unverified"
    }
    if recalled:
        yield f"whether approved: {', '.join(sorted(recalled))}"
    rules = {r.id: r for o in options for r in against(o, telling, truth=True)}
    for rule in rules.values():
        if rule.file.evidence[0].certainty == "unverified":
            yield f"contraindication: {in_sentence(rule.file.title)}"
        for constant in telling.ruleset.unverified[rule.id]:
            name = (constant.parameter or "").replace("_", " ")
            yield f"“{name}” {say_constant(constant)}"
