import shutil
from pathlib import Path

from cds.advice import load_rules
from cds.hooks.prefetch import Template
from cds.hooks.services import make_services, service_id
from cds.rules.ruleset import RuleSet

CHECKOUT = Path(__file__).resolve().parents[2]


def test_there_is_a_service_for_each_hook_that_a_rule_declares(
    ruleset: RuleSet, templates: tuple[Template, ...]
) -> None:
    """Each has an id of its own, the same prefetch, and says what it needs."""
    services = make_services(ruleset, templates)

    assert [(each.hook, each.id) for each in services] == [
        ("patient-view", "myositis-patient-view"),
        ("order-select", "myositis-order-select"),
        ("order-sign", "myositis-order-sign"),
    ]
    assert len({each.title for each in services}) == len({each.description for each in services})
    for each in services:
        assert each.prefetch == {template.key: template.query for template in templates}
        assert "Without `allergies` calls are answered too" in each.usageRequirements
        assert ("draft orders" in each.usageRequirements) is (each.hook != "patient-view")


def test_without_a_rule_for_it_there_is_no_service_for_a_hook(
    tmp_path: Path, templates: tuple[Template, ...]
) -> None:
    """Opening a chart is always answered; an order only where a rule has something to say."""
    rules = shutil.copytree(CHECKOUT / "rules", tmp_path / "rules")
    for file in rules.rglob("*.yaml"):
        text = file.read_text("utf-8")
        file.write_text(text.replace("hooks: [order-select, order-sign]\n", ""), "utf-8")
    ruleset = load_rules(rules)

    assert [each.id for each in make_services(ruleset, templates)] == [service_id("patient-view")]
    ruleset.close()
