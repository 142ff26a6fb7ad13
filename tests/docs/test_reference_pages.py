"""docs/metrics.md, docs/events.md and the alerts say what the code does."""

import re
from typing import Any, Final

import pytest
import yaml

from openeni_docs.alerts import RULES as FILE
from openeni_docs.alerts import RUNBOOKS, sections
from openeni_docs.website.pages import anchor, headings
from openeni_nodeagent.metrics.catalogue import CATALOGUE as OF_AGENT
from openeni_operator.process.metric_catalogue import POOL_CONDITION, POOL_NODES
from openeni_testing.alerts.expressions import (
    CATALOGUES,
    NODE_STATES,
    OF_THE_POD,
    faults,
    grouping,
    used,
)
from openeni_testing.objects import REPOSITORY

Json = dict[str, Any]

ALERTS: Final[list[Json]] = yaml.safe_load(FILE.read_text())
each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda a: str(a["alert"]))


def test_every_metric_and_alert_has_a_row() -> None:
    page = (REPOSITORY / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| (?:`(\w+)`|\[(\w+)\])", page, re.MULTILINE)
    wanted = [m.name for m in CATALOGUES] + [a["alert"] for a in ALERTS]
    assert [metric or alert for metric, alert in rows] == wanted


def test_every_alert_has_a_runbook_and_no_other_has() -> None:
    runbooks = sections(RUNBOOKS.read_text(), "## ")
    assert [*runbooks] == ["", *(a["alert"] for a in ALERTS)]


@each_alert
def test_a_page_says_what_an_alert_means_what_to_do_and_when_it_is_over(alert: Json) -> None:
    text = (REPOSITORY / f"docs/alerts/{alert['alert']}.md").read_text()
    parts = sections(text, "## ")
    assert [*parts] == ["", "What it looks at", "What to do", "When it is over"]
    assert all(parts.values())
    assert alert["expr"] in parts["What it looks at"]
    assert "```sh" in parts["What to do"]


def test_a_page_stands_for_an_alert_that_is_there() -> None:
    pages = {path.stem for path in (REPOSITORY / "docs/alerts").iterdir()}
    assert pages == {a["alert"] for a in ALERTS}


def test_every_link_to_a_section_of_the_conditions_leads_somewhere() -> None:
    text = (REPOSITORY / "docs/conditions.md").read_text()
    anchors = {*map(anchor, headings(text))}
    pages = [path.read_text() for path in (REPOSITORY / "docs/alerts").iterdir()]
    linked = re.findall(r"\(#([^)]*)\)", text)
    linked += [found for p in pages for found in re.findall(r"conditions\.md#([^)]*)\)", p)]
    assert linked
    assert set(linked) <= anchors


@each_alert
def test_an_alert_is_about_metrics_that_are_exposed(alert: Json) -> None:
    assert list(faults(alert["expr"])) == []


@each_alert
def test_an_alert_names_only_labels_that_it_has(alert: Json) -> None:
    named = re.findall(r"\$labels\.(\w+)", alert["summary"] + alert["description"])
    metrics = {label for metric, _ in used(alert["expr"]) for label in metric.labels}
    labels = grouping("by", alert["expr"]) or metrics - grouping("without", alert["expr"])
    assert set(named) <= labels


@each_alert
def test_neither_another_leader_nor_another_reason_begins_an_alerts_time_anew(alert: Json) -> None:
    """The next leader's series are of another pod, and come after a gap."""
    expression = alert["expr"]
    if expression == "absent(openeni_leader == 1)":
        return
    found = used(expression)
    if all(metric in OF_AGENT for metric, _ in found):
        return  # a node has one agent, and its series are those of the node
    aggregated = re.findall(r"\b(max|min|sum) (without|by) \(([^)]*)\)", expression)
    assert len(aggregated) == len(found)
    assert len(re.findall(r"(?:last_over_time|rate)\(openeni_", expression)) == len(found)
    assert len(re.findall(r"\[(?:2|10)m\]\)", expression)) == len(found)
    for (_, word, listed), (metric, _) in zip(aggregated, found, strict=True):
        labels = set(listed.split(", "))
        if word == "by":
            assert not labels & (OF_THE_POD | {"reason"})
        else:
            assert labels >= OF_THE_POD | ({"reason"} & set(metric.labels))


@each_alert
def test_an_alert_has_every_field_and_no_other(alert: Json) -> None:
    assert set(alert) == {"alert", "expr", "for", "severity", "summary", "description"}
    assert alert["severity"] in {"critical", "warning"}
    assert re.fullmatch(r"[0-9]+m", alert["for"])
    assert alert["expr"].count("(") == alert["expr"].count(")")
    assert not alert["summary"].endswith(".")
    assert alert["description"].endswith(".")


def test_the_states_in_a_metrics_text_are_those_of_the_status() -> None:
    for state in NODE_STATES:
        assert state in POOL_NODES.help
    assert POOL_CONDITION.labels == ("pool", "type", "status", "reason")
