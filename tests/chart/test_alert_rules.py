"""Each alert fires for its cause, after its time and not before, and ends with the cause."""

from pathlib import Path
from typing import Any, Final

import pytest

from openeni_lab.product import chart
from openeni_lab.programs import prepared
from openeni_testing.alerts import promtool
from openeni_testing.alerts.cases import CASES, Case
from openeni_testing.alerts.promtool import HEALTHY, SCRAPE

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

MINUTE: Final = 60 // SCRAPE  # in scrapes
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


def repaired(folder: Path, rules: Json, grown: list[float], moments: dict[int, bool]) -> str:
    """Return what promtool says if the agent repairs so much from scrape to scrape."""
    (case,) = (case for case in CASES if case.alert == "OpenENIRepairsRepeated")
    tool = prepared.read(["prometheus"]).built.bin("promtool")
    return promtool.check_counter(tool, folder, rules, case, grown, moments=moments)


@pytest.mark.parametrize(
    "commands",
    [{0: 1}, {0: 22}, {0: 22, 9: 22}, {0: 22, 10: 22, 20: 22}],
    ids=["one rule", "22 rules at once", "twice within ten minutes", "thrice within half an hour"],
)
def test_a_few_commands_that_undo_much_are_not_again_and_again(
    rules: Json, tmp_path: Path, commands: dict[int, int]
) -> None:
    grown = [0.0] * (HEALTHY + 60 * MINUTE)
    for minute, count in commands.items():
        grown[HEALTHY + minute * MINUTE] = count
    assert repaired(tmp_path, rules, grown, dict.fromkeys(range(len(grown)), False)) == ""


@pytest.mark.parametrize(
    ("every", "count"),
    [(2 * MINUTE, 1), (1, 20 * SCRAPE)],
    ids=["a rule each two minutes", "twenty each second"],
)
def test_what_is_undone_again_and_again_is_told_after_half_an_hour_until_it_ends(
    rules: Json, tmp_path: Path, every: int, count: int
) -> None:
    ends = HEALTHY + 60 * MINUTE
    grown = [0.0] * (ends + 15 * MINUTE)
    grown[HEALTHY:ends:every] = [count] * len(grown[HEALTHY:ends:every])
    told = dict.fromkeys(range(HEALTHY + 31 * MINUTE, ends), True)
    silent = dict.fromkeys(
        [*range(HEALTHY + 30 * MINUTE), *range(ends + 10 * MINUTE, len(grown))], False
    )
    assert repaired(tmp_path, rules, grown, told | silent) == ""
