"""Sites change the folder ``minimal``, or the shipped rules as the example site does."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from cds.advice import Advice, advise, load_rules
from cds.chart.naming import Named
from cds.fhir.bundles import RESOURCE_TYPES, Delivery, decode, read_resource
from cds.rules.reading import check_ruleset, read_ruleset
from cds.rules.ruleset import RuleSet
from cds.rules.site import SiteNumber

CHECKOUT = Path(__file__).parents[2]
EXAMPLES = CHECKOUT / "fhir_examples"
SITE = EXAMPLES / "site"

RULE = """
id: {id}
title: Of this site
version: 1.0.0
status: active
owner: rheumatology
reviewed: 2026-01-01
review_by: 2027-01-01
evidence: [{{source: trial, supports: it, certainty: low}}]
{what}
"""
DERIVE = """derive: response.improved
when: measure.strength.improvement >= 10 %
"""
CARD = """when: diagnosis.myositis
card:
  problem: own
  indicator: info
  summary: Of this site
  lead: Of this site.
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The folder of a site that changes nothing."""
    folder = tmp_path / "site"
    write(folder, "site.yaml", "site: Example\n")
    return folder


@pytest.fixture(scope="module")
def changed() -> RuleSet:
    """The shipped rules as the example site changes them."""
    return load_rules(CHECKOUT / "rules", SITE)


def write(folder: Path, name: str, text: str) -> None:
    """Write a file into a site's folder."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def write_changes(folder: Path, text: str) -> None:
    """Write ``site.yaml``; what is given begins on line 2."""
    write(folder, "site.yaml", f"site: Example\n{text}")


def write_rule(folder: Path, id_: str, what: str) -> None:
    """Write a rule of the site's own."""
    write(folder, f"rules/{id_}.yaml", RULE.format(id=id_, what=what))


def problems_of(minimal: Path, site: Path) -> list[str]:
    """Every problem, with files named from the site's folder; no rule set where one is an error."""
    ruleset, problems = check_ruleset(minimal, site)
    assert (ruleset is None) is any(p.severity == "error" for p in problems)
    return [str(p).replace(f"{site}/", "") for p in problems]


def advise_on(file: Path, ruleset: RuleSet) -> Advice:
    """Advise on a Bundle that is the whole chart of its one patient."""
    delivery = Delivery(delivered=set(RESOURCE_TYPES))
    read_resource(decode(file.read_bytes()), delivery, "Bundle")
    patient = delivery.patients[0].id
    assert patient is not None
    return advise(delivery, patient, ruleset, date(2026, 11, 16))


def test_a_site_that_changes_nothing_leaves_the_rules_as_they_are(
    minimal: Path, site: Path
) -> None:
    """Only the version tells that there is a site."""
    with_site, without = read_ruleset(minimal, site), read_ruleset(minimal)
    assert with_site.terms.vocabulary == without.terms.vocabulary
    assert [r.file for r in with_site.rules] == [r.file for r in without.rules]
    assert with_site.version != without.version
    assert without.site is None
    assert with_site.site is not None
    assert with_site.site.file.site == "Example"


def test_the_version_covers_every_file_of_the_site(minimal: Path, site: Path) -> None:
    """A change in any of them, or of a file's name, is another version."""
    versions = {read_ruleset(minimal, site).version}
    write_changes(site, "names: {drugs.prednisone: [Prednison]}\n")
    versions.add(read_ruleset(minimal, site).version)
    write_rule(site, "own", CARD)
    versions.add(read_ruleset(minimal, site).version)
    write(site, "rules/own.test.yaml", "rule: own\ncases: []\n")
    versions.add(read_ruleset(minimal, site).version)
    assert len(versions) == 4
    assert read_ruleset(minimal, site).version in versions


# --- vocabulary ----------------------------------------------------------------------------------


def test_everything_that_can_be_added_to_the_vocabulary(minimal: Path, site: Path) -> None:
    """Systems, aliases, codes, names, units and upper limits stand beside what is shipped."""
    write_changes(
        site,
        """
systems:
  ward: {url: "https://ward.example"}
  local: {aliases: ["urn:local"]}
codes:
  observations.strength: {ward: {"7": Kraft}, local: {kraft: Kraft}}
names:
  drugs.prednisone: [Prednison]
  routes.oral: [peroral]
  diagnoses.myositis: [Myosit]
units:
  percent: {procent: 1, promille: 0.1}
upper_limits:
  activity: {value: 5, unit: "{score}", note: Ours}
""",
    )
    assert problems_of(minimal, site) == []
    terms = read_ruleset(minimal, site).terms
    v = terms.vocabulary
    assert v.observations["strength"].codes == {
        "local": {"strength": "Strength", "kraft": "Kraft"},
        "ward": {"7": "Kraft"},
    }
    for key in (("https://ward.example", "7"), ("urn:local", "kraft"), ("urn:local", "strength")):
        assert terms.observations[key].entry == "observation.strength"
    assert v.drugs["prednisone"].names == ("prednisone", "Prednison")
    assert terms.drug_names.find_all("Prednison 5 mg") == {"prednisone"}
    assert v.routes["oral"].names == ("oral", "peroral")
    assert terms.condition_names.find("Myosit") == Named("diagnosis.myositis")
    assert v.units["percent"].spellings == {
        "%": Decimal(1),
        "procent": Decimal(1),
        "promille": Decimal("0.1"),
    }
    limit = v.observations["activity"].upper_limit
    assert limit is not None
    assert (limit.value, limit.unit, limit.note, limit.certainty) == (
        Decimal(5),
        "{score}",
        "Ours",
        "unverified",
    )


def test_entries_of_the_site_may_use_its_systems_and_be_named_by_its_rules(
    minimal: Path, site: Path
) -> None:
    """A finding of ``vocabulary/`` has a code of a system of ``site.yaml``; a rule asks for it."""
    write_changes(site, 'systems: {ward: {url: "https://ward.example"}}\n')
    entry = "findings: {rash: {title: Rash, codes: {ward: {rash: Rash}}}}\n"
    write(site, "vocabulary/findings.yaml", entry)
    write_rule(site, "own", CARD.replace("diagnosis.myositis", "finding.rash"))
    assert problems_of(minimal, site) == []
    assert "finding.rash" in {d.name for d in read_ruleset(minimal, site).needed}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            "codes: {observations.strenght: {local: {a: A}}}",
            "site.yaml:2:9 unknown-id `observations.strenght` is no entry that can have `codes` "
            "(did you mean `observations.strength`?)",
        ),
        (
            "codes: {strength: {local: {a: A}}}",
            "site.yaml:2:9 unknown-id `strength` is no entry that can have `codes` "
            "(did you mean `observations.strength`?)",
        ),
        (
            "codes:\n  observations.strength: {locl: {a: A}}",
            "site.yaml:3:27 unknown-id `locl` is not a declared code system (did you mean "
            "`local`?): declare yours, with its URL, under `systems`",
        ),
        (
            "codes:\n  observations.strength: {local: {activity: A}}",
            "site.yaml:3:35 duplicate-code local activity stands already under "
            "observations.activity: one code can mean one thing only",
        ),
        (
            "codes:\n  observations.strength: {local: {a: A}}\n"
            "  observations.spo2: {local: {a: A}}",
            "site.yaml:4:31 duplicate-code local a stands already under observations.strength: "
            "one code can mean one thing only",
        ),
        (
            "codes:\n  observations.strength: {local: {strength: A}}",
            "site.yaml:3:35 duplicate-code local strength is shipped under observations.strength: "
            "remove it here",
        ),
        (
            "codes:\n  observations.strength: {local: {a: 5}}",
            "site.yaml:3:35 wrong-type should be text, but is a whole number; put it in quotes",
        ),
        (
            "systems: {ward: {}}",
            "site.yaml:2:11 missing-key `url` is missing: `ward` is not a shipped system",
        ),
        (
            'systems: {local: {url: "https://ward.example"}}',
            "site.yaml:2:19 duplicate-id `local` is a shipped system with another URL "
            "(https://example.org/codes): give yours another name, or write this URL under "
            "`aliases`",
        ),
        (
            'systems: {ward: {url: "https://example.org/codes"}}',
            "site.yaml:2:11 duplicate-id https://example.org/codes is the system `local` already: "
            "use that name",
        ),
        (
            "names: {findings.lung_disease: [Fibrosis], diagnoses.myositis: [fibrosis]}",
            "site.yaml:2:65 duplicate-name `fibrosis` stands already under findings.lung_disease: "
            "one name can mean one thing only",
        ),
        (
            "names: {observations.spo2: [saturation]}",
            "site.yaml:2:9 unknown-id `observations.spo2` is no entry that can have `names`",
        ),
        ("names: {drugs.prednisone: ['']}", "site.yaml:2:9 blank has a text that is empty"),
        (
            "units: {precent: {x: 1}}",
            "site.yaml:2:9 unknown-id `precent` is no entry that can have `units` "
            "(did you mean `percent`?)",
        ),
        (
            "units: {percent: {'%': 0.5}}",
            "site.yaml:2:19 duplicate-unit `%` is shipped as 1 %: a unit can mean one thing only",
        ),
        (
            "units: {percent: {x: 0}}",
            "site.yaml:2:19 bad-number the factor to % must be more than 0",
        ),
        (
            "upper_limits: {spo2: {value: 1, unit: ratio, note: x}}",
            "site.yaml:2:16 wrong-unit `1 ratio`: give it in %, in which `spo2` is held",
        ),
        (
            "units: {percent: {promille: 0.1}}\n"
            "upper_limits: {spo2: {value: 990, unit: promille, note: x}}",
            "site.yaml:3:16 wrong-unit `990 promille`, which is 99.0 %: give it in %, in which "
            "`spo2` is held",
        ),
        (
            "upper_limits: {spo2: {value: 0, unit: '%', note: x}}",
            "site.yaml:2:16 bad-number an upper limit must be more than 0",
        ),
        (
            "upper_limits: {spo2: {value: 99, unit: '%', note: x, source: trail}}",
            "site.yaml:2:54 unknown-source `trail` is not in sources.yaml (did you mean `trial`?)",
        ),
    ],
)
def test_what_cannot_be_added_to_the_vocabulary(
    minimal: Path, site: Path, changes: str, said: str
) -> None:
    """Each mistake is told at its place in ``site.yaml``, and alone."""
    write_changes(site, changes)
    assert problems_of(minimal, site) == [said]


def test_an_entry_of_the_site_may_not_take_a_shipped_id(minimal: Path, site: Path) -> None:
    """What is shipped is added to in ``site.yaml``, and never declared anew."""
    write(site, "vocabulary/own.yaml", "drugs: {prednisone: {title: Other, names: [other]}}\n")
    assert problems_of(minimal, site) == [
        "vocabulary/own.yaml:1:9 duplicate-id `prednisone` is declared already at "
        "vocabulary/vocabulary.yaml:34:3"
    ]


def test_a_section_that_is_one_whole_may_not_be_declared_again(minimal: Path, site: Path) -> None:
    """The words of negation, or the assessment's numbers, are not replaced in passing."""
    write(site, "vocabulary/own.yaml", 'negations: ["inte"]\n')
    assert problems_of(minimal, site) == [
        "vocabulary/own.yaml:1:1 duplicate-id `negations` stands in another file too"
    ]


# --- rules ---------------------------------------------------------------------------------------


def test_a_parameter_has_the_sites_value_in_the_condition(minimal: Path, site: Path) -> None:
    """The rule is judged by it, and the number remembers what was shipped, and where it was set."""
    write_changes(site, 'parameters: {improved: {threshold: {value: 25, unit: "%", note: Ours}}}\n')
    assert problems_of(minimal, site) == []
    ruleset = read_ruleset(minimal, site)
    rule = ruleset.deriving["response.improved"]
    number = rule.file.parameters["threshold"]
    assert isinstance(number, SiteNumber)
    assert (number.value, number.shipped.value, number.of) == (Decimal(25), Decimal(20), "improved")
    assert {p.constant.value for p in rule.node.parts if p.constant} == {Decimal(25)}
    # Cards of rules that wait for the fact rest on the number too.
    assert ruleset.chosen == {
        "improved": (("threshold", number),),
        "taper": (("threshold", number),),
    }


def test_the_age_of_adults_that_a_site_sets_counts_for_measures_too(site: Path) -> None:
    """It stands once, in the rule, and decides on ranges and instruments as well."""
    shipped = load_rules(CHECKOUT / "rules")
    assert (
        shipped.terms.adult_from == shipped.deriving["patient.adult"].file.parameters["adult_from"]
    )
    write_changes(site, "parameters: {adult: {adult_from: {value: 16, unit: a, note: Ours}}}\n")
    changed = load_rules(CHECKOUT / "rules", site)
    assert changed.terms.adult_from is not None
    assert changed.terms.adult_from.value == Decimal(16)
    shipped.close()
    changed.close()


def test_a_parameter_of_a_suggestion_can_be_set(minimal: Path, site: Path) -> None:
    """A draft is offered by the site's number, which the card then shows."""
    shipped = (minimal / "suggestions.yaml").read_text(encoding="utf-8")
    shipped += (
        "  parameters: {adult: {value: 18, unit: a}}\n  when: patient.age >= parameters.adult\n"
    )
    write(minimal, "suggestions.yaml", shipped)
    write_changes(site, "parameters: {reduce: {adult: {value: 16, unit: a, note: Ours}}}\n")
    assert problems_of(minimal, site) == []
    ruleset = read_ruleset(minimal, site)
    ((name, number),) = ruleset.chosen["taper"]
    assert (name, number.value, number.of) == ("adult", Decimal(16), "reduce")


def test_a_rule_that_is_off_is_not_in_the_set(minimal: Path, site: Path) -> None:
    """A card rule, which nobody waits for, can simply be switched off."""
    write_changes(site, "off: {taper: We never taper}\n")
    assert problems_of(minimal, site) == []
    assert [r.id for r in read_ruleset(minimal, site).rules] == ["improved"]


def test_a_rule_that_others_need_cannot_be_switched_off(minimal: Path, site: Path) -> None:
    """Each rule that needs what it derives or selects is named, in conditions and in texts."""
    write_changes(site, "off: {improved: Not here}\n")
    advice = "Switch that off too, or let a rule of this site derive it"
    assert problems_of(minimal, site) == [
        "site.yaml:2:7 rule-needed `improved` cannot be switched off: `taper` needs its "
        f"`{fact}`. {advice}"
        for fact in ("response.improved_measures", "response.improved")
    ]


def test_rules_that_need_each_other_can_be_switched_off_together(minimal: Path, site: Path) -> None:
    """Nothing is missed where nobody is left who asks for it; the fact is gone then."""
    write_changes(site, "off: {improved: Not here, taper: Nor this}\n")
    assert problems_of(minimal, site) == []
    ruleset = read_ruleset(minimal, site)
    assert ruleset.rules == ()
    assert "response.improved" not in ruleset.facts


def test_a_site_can_derive_a_fact_in_its_own_way(minimal: Path, site: Path) -> None:
    """A rule of the site takes the place of one that is off, for every rule that waits for it."""
    write_changes(site, "off: {improved: Ours is simpler, taper: Names a selection}\n")
    write_rule(site, "ours", DERIVE)
    write_rule(site, "own", CARD.replace("diagnosis.myositis", "response.improved"))
    assert problems_of(minimal, site) == []
    ruleset = read_ruleset(minimal, site)
    assert ruleset.deriving["response.improved"].id == "ours"
    assert [r.id for r in ruleset.rules] == ["ours", "own"]


def test_rules_of_the_site_stand_beside_the_shipped_ones(minimal: Path, site: Path) -> None:
    """They may rest on sources, reasons and suggestions of the site and on shipped ones."""
    write(site, "sources.yaml", "sop: {title: SOP, citation: SOP 2026., year: 2026}\n")
    write(site, "override-reasons.yaml", "in-trial: {display: In a trial}\n")
    write(
        site,
        "suggestions.yaml",
        "refer: {label: Refer, description: Refers, resource: {resourceType: ServiceRequest}}\n",
    )
    more = "  suggestions: [refer, reduce]\n  override_reasons: [in-trial, declined]\n"
    text = RULE.format(id="own", what=CARD + more).replace("source: trial", "source: sop")
    write(site, "rules/ward/own.yaml", text)
    assert problems_of(minimal, site) == []
    ruleset = read_ruleset(minimal, site)
    own = ruleset.rules[-1]
    assert own.id == "own"
    assert own.place.file == str(site / "rules/ward/own.yaml")
    assert own.card is not None
    assert [s.id for s in own.card.suggestions] == ["refer", "reduce"]
    assert ruleset.sources.keys() == {"trial", "withdrawn", "sop"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            "off: {tapper: x}",
            "site.yaml:2:7 unknown-rule `tapper` is no shipped rule (did you mean `taper`?)",
        ),
        ("off: {taper: ' '}", "site.yaml:2:7 blank has a text that is empty"),
        (
            "off:\n  taper: x\n  taper: y",
            "site.yaml:4:3 duplicate-key `taper` stands twice (first on line 3): only one can "
            "count, so remove one",
        ),
        (
            "off: {own: x}",
            "site.yaml:2:7 own-rule `own` is this site's own: change it in its file",
        ),
        (
            "parameters: {improve: {threshold: {value: 25, unit: '%', note: x}}}",
            "site.yaml:2:14 unknown-rule `improve` is no shipped rule or suggestion "
            "(did you mean `improved`?)",
        ),
        (
            "parameters: {improved: {treshold: {value: 25, unit: '%', note: x}}}",
            "site.yaml:2:25 unknown-parameter `improved` has no parameter `treshold` "
            "(did you mean `threshold`?); it has `threshold`",
        ),
        (
            "parameters: {improved: {threshold: {value: 2.5, unit: cm, note: x}}}",
            "site.yaml:2:25 wrong-unit the unit of `threshold` is `%` as shipped, and `cm` here: "
            "a site sets the value only, so convert it",
        ),
        (
            "parameters: {improved: {threshold: {value: 20.0, unit: '%', note: x}}}",
            "site.yaml:2:25 same-value `threshold` has this value as shipped: remove it",
        ),
        (
            "parameters: {improved: {threshold: {value: 25, unit: '%'}}}",
            "site.yaml:2:25 missing-key `note` is missing",
        ),
        (
            "parameters: {improved: {threshold: "
            "{value: 25, unit: '%', note: x, source: withdrawn}}}",
            "site.yaml:2:68 retired-source `withdrawn` is retired: cite another",
        ),
        (
            "off: {taper: x}\nparameters: {taper: {a: {value: 1, note: x}}}",
            "site.yaml:3:14 off-already `taper` is switched off: remove its parameters",
        ),
        (
            "of: {taper: x}",
            "site.yaml:2:1 unknown-key `of` is not known here (did you mean `off`?)",
        ),
    ],
)
def test_what_cannot_be_changed_in_the_rules(
    minimal: Path, site: Path, changes: str, said: str
) -> None:
    """Each mistake is told at its place in ``site.yaml``, and alone."""
    write_rule(site, "own", CARD)
    write_changes(site, changes)
    assert problems_of(minimal, site) == [said]


def test_mistakes_of_several_sections_are_told_at_once(minimal: Path, site: Path) -> None:
    """A section that cannot be read hides nothing of the others."""
    write_changes(site, "units: [x]\noff: {tapper: x}\ncodes: {drugs.prednison: {local: {a: A}}}\n")
    assert [p.split()[0] for p in problems_of(minimal, site)] == [
        "site.yaml:2:1",
        "site.yaml:3:7",
        "site.yaml:4:9",
    ]


def test_switching_off_what_is_off_is_a_warning(minimal: Path, site: Path) -> None:
    """After an upgrade that retires a rule, the site is served on, and told."""
    path = minimal / "guidance/taper.yaml"
    text = path.read_text(encoding="utf-8").replace("status: active", "status: draft")
    path.write_text(text, encoding="utf-8")
    write_changes(site, "off: {taper: x}\n")
    assert problems_of(minimal, site) == [
        "site.yaml:2:7 off-already `taper` is draft as shipped: it is off already, remove this"
    ]


def test_a_card_that_says_the_shipped_number_is_told_of(minimal: Path, site: Path) -> None:
    """A text with the number written out would contradict the site's: a warning names the rule."""
    path = minimal / "guidance/taper.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("lead: Consider", "lead: At least 20 %. Consider"), "utf-8")
    write_changes(site, 'parameters: {improved: {threshold: {value: 25, unit: "%", note: Ours}}}\n')
    assert problems_of(minimal, site) == [
        "site.yaml:2:25 number-in-text the card of `taper` has the shipped number (20 %) written "
        "in its text: switch it off, and add one of your own that says yours"
    ]


def test_a_rule_of_the_site_may_not_take_a_shipped_id(minimal: Path, site: Path) -> None:
    """A shipped rule is switched off by name, and never replaced in passing."""
    write_rule(site, "taper", CARD)
    assert problems_of(minimal, site) == [
        "rules/taper.yaml:2:1 duplicate-id `taper` is declared already at guidance/taper.yaml:1:1"
    ]


def test_a_source_of_the_site_may_not_take_a_shipped_id(minimal: Path, site: Path) -> None:
    """What shipped rules cite stays what it is."""
    write(site, "sources.yaml", "trial: {title: Other, citation: Other., year: 2026}\n")
    assert problems_of(minimal, site) == [
        "sources.yaml:1:1 duplicate-id `trial` is shipped: take another id"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "sites.yaml",
        "rule/own.yaml",
        "rules/own.yml",
        "vocabulary/deep/a.yaml",
        "rules/sources.yaml",
    ],
)
def test_a_file_that_nobody_would_read_is_told_of(minimal: Path, site: Path, name: str) -> None:
    """A misspelt folder or ending is no silent loss."""
    write(site, name, "a: 1\n")
    (problem,) = problems_of(minimal, site)
    assert problem.startswith(f"{name}:1:1 unread-file is not read")


def test_files_of_the_tools_that_keep_the_folder_are_left_alone(minimal: Path, site: Path) -> None:
    """A site may be a repository with checks of its own; they are no part of the version."""
    version = read_ruleset(minimal, site).version
    write(site, ".pre-commit-config.yaml", "repos: []\n")
    write(site, ".github/workflows/check.yml", "on: push\n")
    assert problems_of(minimal, site) == []
    assert read_ruleset(minimal, site).version == version


def test_a_folder_without_site_yaml_is_no_site(minimal: Path, tmp_path: Path) -> None:
    """The wrong folder is refused, not taken as one that changes nothing."""
    assert problems_of(minimal, tmp_path) == [
        f"{tmp_path}:1:1 no-site has no file `site.yaml`: is it a site's folder?"
    ]


# --- the example site ----------------------------------------------------------------------------


def test_the_example_site_is_in_order() -> None:
    """What the documentation shows passes the check without a warning."""
    ruleset, problems = check_ruleset(CHECKOUT / "rules", SITE)
    assert problems == []
    assert ruleset is not None
    ids = {r.id for r in ruleset.rules}
    assert "myositis-registry" in ids
    assert "first-line-untreated" not in ids


def test_what_the_documentation_says_to_write_is_a_site(site: Path) -> None:
    """Its pieces make one ``site.yaml`` without a problem, which reads the example patient."""
    page = (CHECKOUT / "docs/site-mapping.md").read_text(encoding="utf-8")
    pieces = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(pieces) == 4
    write_changes(site, "".join(pieces))
    assert problems_of(CHECKOUT / "rules", site) == []
    advice = advise_on(SITE / "local-codes.bundle.json", load_rules(CHECKOUT / "rules", site))
    assert advice.excluded == ()
    assert advice.cards[0].summary.split(":")[0] == "Improved since 2026-05-11"


def test_a_patient_in_the_hospitals_own_codes_is_read_with_its_site(changed: RuleSet) -> None:
    """Without the site she has no known diagnosis; with it every code, unit and word is known."""
    file = SITE / "local-codes.bundle.json"
    without = advise_on(file, load_rules(CHECKOUT / "rules"))
    assert without.applies is False
    advice = advise_on(file, changed)
    assert advice.excluded == ()
    said = [card.summary for card in advice.cards]
    assert said[0] == (
        "Improved since 2026-05-11: the IMACS definition of improvement is met on 2026-11-11"
    )
    assert "Myositis registry: consider asking this patient to take part" in said
    assert advice.chart is not None
    enzyme = advice.chart.changes["muscle_enzyme"]
    assert enzyme.instrument == "ck"
    assert "upper limit as configured, not from the laboratory" in enzyme.remark


def test_a_card_says_what_the_site_has_set(changed: RuleSet) -> None:
    """The site's number, the shipped one and the reason stand on every card that rests on it."""
    file = EXAMPLES / "refractory-dermatomyositis.bundle.json"
    (card,) = (c for c in advise_on(file, changed).cards if "Inadequate" in c.summary)
    assert (
        "**Set by this site (Example University Hospital):**\n\n"
        "- “adequate trial” 112 days (shipped: 84 days): This clinic judges a treatment after "
        "16 weeks; not verified in a source\n\n"
    ) in card.detail
    assert card.detail.count("adequate trial") == 1
    (shipped,) = (
        c for c in advise_on(file, load_rules(CHECKOUT / "rules")).cards if "Inadeq" in c.summary
    )
    assert "Set by this site" not in shipped.detail


def test_the_sites_number_decides(changed: RuleSet) -> None:
    """Ninety-odd days of treatment are inadequate as shipped, and too short for this site."""
    file = EXAMPLES / "not-improved.bundle.json"
    rules = {True: changed, False: load_rules(CHECKOUT / "rules")}
    for with_site, ruleset in rules.items():
        advice = advise_on(file, ruleset)
        assert advice.evaluation is not None
        assert advice.evaluation.outcomes["inadequate-response"] is not with_site


def test_a_code_that_its_system_cannot_have_made_is_a_warning(site: Path) -> None:
    """Some hospitals send such codes, so it is theirs to decide."""
    write(
        site,
        "site.yaml",
        "site: Example\ncodes:\n  diagnoses.dermatomyositis: {icd10cm: {M3310: Dermatomyositis}}\n",
    )
    ruleset, problems = check_ruleset(CHECKOUT / "rules", site)
    assert ruleset is not None
    ruleset.close()
    assert [(p.place.line, p.code, p.severity) for p in problems] == [(3, "bad-code", "warning")]
