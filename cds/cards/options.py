"""The options of a card: each a row with its evidence, and what of this patient bears on it.

Of the drug of an option it says what was given before, and what speaks against it. What is being
given already is not proposed, but named below the table. Of draft orders, or of what is given, it
likewise says what speaks against them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from cds.cards.history import history, ingredients
from cds.cards.markdown import escape, escape_authored, table
from cds.cards.once import once
from cds.cards.resting import Doubt, doubted_choices, rests_on
from cds.cards.texts import Telling, fill, join_words, link, say_all, title_of, value_of
from cds.chart.facts.drugs import CONTRAINDICATION, CURRENT, ORDERED
from cds.chart.terms import in_sentence
from cds.chart.vocabulary import Certainty
from cds.rules.language import LicenceStatus
from cds.rules.ruleset import CardTemplate, Option, Rule, RuleSet
from cds.rules.texts import about_drug
from cds.rules.trace import Trace, holding, trace_rule, undecided


def options_blocks(card: CardTemplate, telling: Telling) -> list[str]:
    """The options of a card as blocks of Markdown; none where nothing is to be proposed."""
    options = card.options
    if not options:
        return []
    new = [option for option in options if not _given(option, telling)]
    # What was never tried stands first, else in the order of the authors: of a drug that was given
    # and stopped the reader must weigh why before proposing it again.
    new.sort(key=lambda option: _had(option, telling))
    proposed: list[Option] = []
    warned: list[Option] = []
    for option in new:
        (warned if _warned(option, telling) else proposed).append(option)
    blocks = []
    if proposed:
        blocks += ["**Options**", _table("Consider", proposed, telling)]
    if warned:
        head = "**Options that are contraindicated or advised against in this patient**"
        blocks += [head, _table("Otherwise an option", warned, telling)]
    speaking = [a for option in options for a in against(option, telling, truth=True)]
    if record := _on_record(speaking, telling):
        blocks += ["**What speaks against options, from the record**", record]
    if given := _being_given(options, telling):
        blocks.append(f"**Being given already:** {given}.")
    perhaps = [a for option in new for a in against(option, telling, truth=None)]
    if unknown := _unknown(perhaps, telling):
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
    warned = {
        drug
        for each in against(option, telling, truth=True)
        if each.weight != "caution"
        for drug in each.concerned
    }
    drugs = ingredients(option.drug or "", telling.ruleset.terms.vocabulary)
    return bool(warned) and warned.issuperset(drugs)


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
            said[", ".join([times or fill(option.option, telling, escape), *reasons])] = None
    return "; ".join(said)


# --- what speaks against it ----------------------------------------------------------------------


class Against(Struct, frozen=True):
    """A contraindication to a drug or to drugs of a class.

    ``concerned`` are those drugs of the class; ``titles`` names them where they are not all of it.
    ``own`` says that these are whichever the patient reacts to.
    """

    rule: Rule
    weight: str
    concerned: tuple[str, ...]
    titles: str
    own: bool = False


def against(option: Option, telling: Telling, *, truth: bool | None) -> list[Against]:
    """The contraindications to the drug of an option that have this truth in this patient."""
    return [] if option.drug is None else _of_drug(option.drug, telling, truth=truth)


def _of_drug(drug: str, telling: Telling, *, truth: bool | None) -> list[Against]:
    outcomes = telling.evaluation.outcomes
    found = []
    for each in _contraindications(drug, telling.ruleset):
        if each.own:
            found += _of_own(each, telling, truth=truth)
        elif outcomes[each.rule.id] is truth:
            found.append(each)
    return found


def _of_own(each: Against, telling: Telling, *, truth: bool | None) -> list[Against]:
    """The same of those drugs alone of which it has this truth in this patient."""
    holds = telling.evaluation.outcomes[each.rule.id]
    if holds is False or (holds is None and truth is True):
        return []
    said = each.rule.file.contraindication
    assert said is not None  # these are the rules that have one
    concerned = []
    for drug in each.concerned:
        reacts = value_of(f"drug.{drug}.{said.drugs_with}", telling)
        if holds is None and reacts is True:
            reacts = None
        if reacts is truth:
            concerned.append(drug)
    if not concerned:
        return []
    titles = _titles(concerned, each.concerned, telling.ruleset)
    return [replace(each, concerned=tuple(concerned), titles=titles)]


@once
def _contraindications(drug: str, ruleset: RuleSet) -> tuple[Against, ...]:
    """What may speak against a drug or drugs of a class, whoever the patient is."""
    vocabulary = ruleset.terms.vocabulary
    drugs = ingredients(drug, vocabulary)
    found = []
    for rule in ruleset.contraindications:
        said = rule.file.contraindication
        assert said is not None  # these are the rules that have one
        meant = {name for each in said.drugs for name in ingredients(each, vocabulary)}
        own = said.drugs_with is not None
        if concerned := drugs if own else tuple(name for name in drugs if name in meant):
            titles = _titles(concerned, drugs, ruleset)
            found.append(Against(rule, said.weight, concerned, titles, own))
    return tuple(found)


def _titles(concerned: Sequence[str], among: Sequence[str], ruleset: RuleSet) -> str:
    """The drugs that something is about, in brackets; empty where it is about all of them."""
    if len(concerned) == len(among):
        return ""
    drugs = ruleset.terms.vocabulary.drugs
    return escape(f" ({join_words([in_sentence(drugs[d].title) for d in concerned])})")


_WEIGHTS = ("contraindicated", "advised against", "caution")
"""How much a rule speaks against a drug, the most first."""


UNREAD = "recalled, not read"
"""What is said of the basis of a reason that nobody read in a source."""


def _reasons(option: Option, telling: Telling) -> list[str]:
    """What speaks against an option, the strongest reason first."""
    return [_say_against(each, telling) for each in _ranked(against(option, telling, truth=True))]


def _ranked(speaking: Iterable[Against]) -> list[Against]:
    return sorted(speaking, key=lambda each: _WEIGHTS.index(each.weight))


def _say_against(each: Against, telling: Telling) -> str:
    """What speaks against an option, with its reason in the chart and its source."""
    rule = each.rule
    assert rule.against is not None
    own = Telling(telling.ruleset, telling.chart, telling.evaluation, rule.file.parameters)
    texts = [rule.against]
    if each.own:
        texts = [about_drug(rule.against, drug) for drug in each.concerned]
    said = "; ".join(dict.fromkeys(fill(text, own, escape) for text in texts))
    told = f"**{each.weight}**{each.titles}: {said}"
    if each.own:  # it rests on the record that it cites
        return told
    first = rule.file.evidence[0]
    # What nobody read in a source is said to be so, in place of the source.
    basis = UNREAD if first.certainty == "unverified" else link(first.source, telling)
    return f"{told} ({basis})"


MOST_CITED = 4
"""Resources cited for one fact that speaks against options."""


def _on_record(speaking: Iterable[Against], telling: Telling) -> str:
    """What of the record speaks against drugs, each fact once, with its evidence."""
    found: dict[str, None] = {}
    for each in speaking:
        if each.own:  # what is on record of the drug stands beside it
            continue
        for leaf in holding(_trace(each.rule, telling)):
            if cited := say_all(leaf.evidence, MOST_CITED) or _as_seen(leaf, telling):
                found[f"- {_title(leaf, telling)}: {escape(cited)}"] = None
    return "\n".join(found)


def _unknown(perhaps: Iterable[Against], telling: Telling) -> str:
    """What is not known and would speak against drugs: ``eGFR (methotrexate, tacrolimus)``.

    With what is on record of it all the same: a value that is too old, what leaves it open.
    """
    drugs_of = telling.ruleset.terms.vocabulary.drugs
    found: dict[str, dict[str, None]] = {}
    for each in sorted(perhaps, key=lambda each: each.own):
        names = [in_sentence(drugs_of[drug].title) for drug in each.concerned]
        if each.own and "AllergyIntolerance" not in telling.chart.complete:
            names = []  # it is not known of any drug
        for leaf in undecided(_trace(each.rule, telling)):
            recorded = say_all(leaf.evidence, MOST_CITED)
            said = _title(leaf, telling) + (f" – {escape(recorded)}" if recorded else "")
            found.setdefault(said, {}).update(dict.fromkeys(names))
    return "; ".join(
        f"{title} ({', '.join(names)})" if names else title for title, names in found.items()
    )


def _as_seen(leaf: Trace, telling: Telling) -> str:
    """A number that no resource stands for, such as an age."""
    number = telling.ruleset.facts[leaf.node.fact or ""].kind == "number"
    return leaf.seen if number else ""


def _trace(rule: Rule, telling: Telling) -> Trace:
    return trace_rule(rule, telling.ruleset, telling.chart, telling.evaluation)


def _title(leaf: Trace, telling: Telling) -> str:
    return escape_authored(title_of(leaf.node.fact or "", telling))


# --- drugs that are ordered or given -------------------------------------------------------------


def drugs_blocks(facts: Iterable[str], telling: Telling, *, given: bool) -> list[str]:
    """The draft orders that these contraindications speak against, each with all that does.

    Or what is ``given`` now. ``facts`` are those of contraindications that hold
    (``contraindication.x``).
    """
    told = set(facts)
    ending = CURRENT if given else ORDERED
    rows, speaking, perhaps = [], [], []
    for drug in telling.ruleset.terms.vocabulary.drugs:
        if value_of(f"drug.{drug}{ending}", telling) is not True:
            continue
        found = [a for a in _of_drug(drug, telling, truth=True) if a.rule.file.derive in told]
        if not found:
            continue
        cited = telling.ruleset.facts[f"drug.{drug}{ending}"].evidence(telling.chart)
        reasons = "; ".join(_say_against(each, telling) for each in _ranked(found))
        rows.append((escape(say_all(cited, MOST_CITED)), reasons))
        speaking += found
        perhaps += _of_drug(drug, telling, truth=None)
    if not rows:
        return []
    blocks = [table(("Given" if given else "Ordered", "What speaks against it"), rows)]
    if record := _on_record(speaking, telling):
        blocks += ["**From the record**", record]
    if unknown := _unknown(perhaps, telling):
        what = "what is given" if given else "the order"
        blocks.append(f"**Not known, and of weight for {what}:** {unknown}.")
    return blocks


def rules_of_drugs(card: CardTemplate, telling: Telling) -> list[Rule]:
    """The contraindications that a card shows of drugs, the strongest first."""
    members = {m for s in card.show for m in _contraindications_shown(s, telling)}
    rules = [rule for rule in telling.ruleset.contraindications if rule.file.derive in members]
    return sorted(rules, key=_strength)


def _strength(rule: Rule) -> int:
    assert rule.file.contraindication is not None  # these are the rules that have one
    return _WEIGHTS.index(rule.file.contraindication.weight)


def _contraindications_shown(shown: str, telling: Telling) -> tuple[str, ...]:
    if shown not in telling.evaluation.selections:
        return ()
    members = telling.evaluation.selections[shown].members
    return tuple(member for member in members if member.startswith(CONTRAINDICATION))


# --- what of it is in doubt ----------------------------------------------------------------------


def _name(option: Option, telling: Telling) -> str:
    """What an option is called where only its drug matters: its text, if it names none."""
    vocabulary = telling.ruleset.terms.vocabulary
    if option.drug is None:
        return fill(option.option, telling)
    return (vocabulary.drug_classes.get(option.drug) or vocabulary.drugs[option.drug]).title


def doubts_of_options(card: CardTemplate, telling: Telling) -> Iterator[Doubt]:
    """What of options and drafts is in doubt: approvals, contraindications and their numbers."""
    options = [o for o in card.options if not _given(o, telling)]
    approvals: dict[Certainty, set[str]] = {}
    for o in options:
        if o.status is not None and o.status.certainty != "verified":
            approvals.setdefault(o.status.certainty, set()).add(_name(o, telling))
    for certainty, titles in approvals.items():
        yield Doubt(certainty, f"whether approved: {', '.join(sorted(titles))}")
    rules = {a.rule.id: a.rule for o in options for a in against(o, telling, truth=True)}
    rules |= {rule.id: rule for rule in rules_of_drugs(card, telling)}
    for rule in rules.values():
        if rule.file.evidence[0].certainty == "unverified":
            yield Doubt("unverified", f"contraindication: {in_sentence(rule.file.title)}")
        rests = rests_on((rule.node,), (), telling)
        yield from doubted_choices(rests.facts, telling)
        for asked, number in rests.doubted:
            yield Doubt(number.certainty, asked)
