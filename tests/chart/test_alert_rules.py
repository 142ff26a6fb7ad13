"""Each alert fires for its cause, after its time and not before, and ends with the cause."""

from pathlib import Path
from typing import Any, Final

import pytest

from openeni_lab.product import chart
from openeni_lab.programs import prepared
from openeni_testing.alerts import promtool
from openeni_testing.alerts.cases import CASES, Case

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

NAMED: Final = {f"{number} {case.alert}": case for number, case in enumerate(CASES)}


@pytest.fixture(scope="module")
def rules() -> Json:
    """Return the spec of the PrometheusRule, as the chart has it installed."""
    metrics = {"enabled": True, "rules": {"enabled": True, "docsURL": "https://docs.example"}}
    documents = chart.render(prepared.read(["helm"]).built.bin("helm"), {"metrics": metrics})
    (found,) = (d for d in documents if d["kind"] == "PrometheusRule")
    spec: Json = found["spec"]
    return spec


def said(folder: Path, rules: Json, cases: dict[str, Case]) -> str:
    return promtool.check(prepared.read(["prometheus"]).built.bin("promtool"), folder, rules, cases)


def test_every_alert_has_a_case_and_every_case_an_alert(rules: Json) -> None:
    (group,) = rules["groups"]
    assert {case.alert for case in CASES} == {rule["alert"] for rule in group["rules"]}


def test_every_alert_fires_for_its_cause_after_its_time_and_ends_with_it(
    rules: Json, tmp_path: Path
) -> None:
    assert said(tmp_path, rules, NAMED) == ""


@pytest.mark.parametrize(
    ("alert", "old", "new"),
    [
        ("OpenENIPoolNoCapacity", "instance, node, pod, reason", "instance, node, reason"),
        ("OpenENINoAgents", "== 0", "== 1"),
        ("OpenENIADDFailing", 'code!="11"', 'code="11"'),
        ("OpenENIPodsWaiting", "[2m]", "[1m]"),
    ],
)
def test_a_rule_that_is_wrong_is_found(
    rules: Json, tmp_path: Path, alert: str, old: str, new: str
) -> None:
    (group,) = rules["groups"]
    (rule,) = (rule for rule in group["rules"] if rule["alert"] == alert)
    assert old in rule["expr"]
    others = [other for other in group["rules"] if other is not rule]
    wrong = rule | {"expr": rule["expr"].replace(old, new)}
    broken = {"groups": [group | {"rules": [*others, wrong]}]}
    assert alert in said(tmp_path, broken, {n: c for n, c in NAMED.items() if c.alert == alert})
