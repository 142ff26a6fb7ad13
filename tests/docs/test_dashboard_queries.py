"""Every query of a dashboard is about metrics and labels that are exposed."""

import json
import re
from typing import Any, Final

import pytest

from openeni_chart.panels import DASHBOARDS, Panel
from openeni_testing.alerts.expressions import faults
from openeni_testing.objects import REPOSITORY

PANELS: Final = [panel for dashboard in DASHBOARDS for panel in dashboard.panels]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel.title))
def test_a_panel_asks_for_what_is_exposed(panel: Panel) -> None:
    assert list(faults(panel.query)) == []
    grouped = re.findall(r"by \(([^)]*)\)", panel.query)
    named = re.findall(r"{{(\w+)}}", panel.legend)
    assert not named or set(named) <= set(grouped[0].split(", "))


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("sum(up)", "there is no metric of openeni's"),
        ('sum(openeni_pods_waiting{node="a", lane="b"})', "openeni_pods_waiting has no lane"),
        ('sum(openeni_pool_condition{type="Perfect"})', "type is never Perfect"),
        ("sum by (host) (openeni_pods_waiting)", "nothing has the label host"),
    ],
)
def test_what_is_not_exposed_is_found(query: str, fault: str) -> None:
    assert fault in list(faults(query))


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: str(dashboard.name))
def test_a_dashboard_lets_a_prometheus_be_chosen_and_every_panel_asks_it(dashboard: Any) -> None:
    body = json.loads((REPOSITORY / f"helm/openeni/dashboards/{dashboard.name}.json").read_text())
    variables = {v["name"]: v for v in body["templating"]["list"]}
    assert list(variables) == ["datasource", dashboard.variable]
    assert variables["datasource"]["type"] == "datasource"
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert variables[dashboard.variable]["datasource"] == chosen
    for panel in body["panels"]:
        assert [target["datasource"] for target in panel["targets"]] == [chosen]


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: str(dashboard.name))
def test_no_panel_covers_another(dashboard: Any) -> None:
    body = json.loads((REPOSITORY / f"helm/openeni/dashboards/{dashboard.name}.json").read_text())
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in body["panels"]):
        columns = range(place["x"], place["x"] + place["w"])
        rows = range(place["y"], place["y"] + place["h"])
        cells = {(column, row) for column in columns for row in rows}
        assert not taken & cells
        assert max(columns) < 24
        taken |= cells
