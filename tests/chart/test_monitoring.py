"""PodMonitors, the PrometheusRule and dashboards: only where they are asked for."""

from typing import Any, Final

import pytest
import yaml

from openeni_docs.alerts import RULES as FILE
from openeni_lab.product import chart
from openeni_lab.programs import prepared

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

KINDS: Final = ("PodMonitor", "PrometheusRule")
RULES: Final[list[Json]] = yaml.safe_load(FILE.read_text())


def rendered(**values: Any) -> tuple[Json, ...]:
    return chart.render(prepared.read(["helm"]).built.bin("helm"), values)


def monitoring(pod_monitor: Json | None = None, rules: Json | None = None) -> list[Json]:
    """Return the objects with these values of theirs."""
    given: Json = {
        "podMonitor": {"enabled": True, **(pod_monitor or {})},
        "rules": {"enabled": True, **(rules or {})},
    }
    documents = rendered(metrics={"enabled": True, **given})
    return [d for d in documents if d["kind"] in KINDS]


def workload(documents: tuple[Json, ...], component: str) -> Json:
    kind = {"operator": "Deployment", "agent": "DaemonSet"}[component]
    (found,) = (d for d in documents if d["kind"] == kind)
    return found


def variables(documents: tuple[Json, ...], component: str = "operator") -> dict[str, str]:
    (container,) = workload(documents, component)["spec"]["template"]["spec"]["containers"]
    return {e["name"]: e.get("value", "") for e in container["env"]}


def test_by_default_nothing_is_served_and_no_kind_is_needed() -> None:
    documents = rendered()
    assert {d["kind"] for d in documents}.isdisjoint(KINDS)
    assert variables(documents)["OPENENI_METRICS"] == "false"
    assert variables(documents, "agent")["OPENENI_METRICS_PORT"] == "0"
    (agent,) = workload(documents, "agent")["spec"]["template"]["spec"]["containers"]
    assert "ports" not in agent


@pytest.mark.parametrize(
    ("enabled", "kinds"),
    [((), ()), (("podMonitor",), ("PodMonitor",)), (("rules",), ("PrometheusRule",))],
)
def test_metrics_need_no_kind_of_others_and_each_kind_is_asked_for_alone(
    enabled: tuple[str, ...], kinds: tuple[str, ...]
) -> None:
    documents = rendered(metrics={"enabled": True, **{part: {"enabled": True} for part in enabled}})
    assert {d["kind"] for d in documents} & set(KINDS) == set(kinds)
    assert variables(documents)["OPENENI_METRICS"] == "true"
    assert variables(documents, "agent")["OPENENI_METRICS_PORT"] == "9442"


@pytest.mark.parametrize(
    ("component", "port", "relabelled"),
    [("operator", "probePort", None), ("agent", "metricsPort", "node")],
)
def test_what_a_pod_monitor_selects_is_its_components_port_and_no_other(
    component: str, port: str, relabelled: str | None
) -> None:
    documents = rendered(metrics={"enabled": True}, **{component: {port: 19441}})
    other = {"operator": "agent", "agent": "operator"}[component]
    (monitor,) = (
        d
        for d in monitoring()
        if d["metadata"]["name"] == f"openeni-{component}" and d["kind"] == "PodMonitor"
    )
    mine, others = workload(documents, component), workload(documents, other)
    selected = monitor["spec"]["selector"]["matchLabels"].items()
    assert selected <= mine["spec"]["template"]["metadata"]["labels"].items()
    assert not selected <= others["spec"]["template"]["metadata"]["labels"].items()
    assert monitor["metadata"]["namespace"] == mine["metadata"]["namespace"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    targets = [rule["targetLabel"] for rule in endpoint.pop("relabelings", [])]
    assert targets == ([relabelled] if relabelled else [])
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "30s"}
    (container,) = mine["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 19441}]


def test_two_listeners_on_one_port_of_a_node_are_refused() -> None:
    with pytest.raises(chart.ChartError, match=r"operator\.probePort is the same"):
        rendered(metrics={"enabled": True}, agent={"metricsPort": 9441})
    rendered(agent={"metricsPort": 9441})  # which is not open then


@pytest.mark.parametrize(
    ("docs", "url"),
    [
        ("", None),
        ("https://docs.example/openeni/", "https://docs.example/openeni/alerts/"),
    ],
)
def test_every_alert_arrives_with_its_runbook_if_that_is_a_link(docs: str, url: str | None) -> None:
    found = monitoring(rules={"docsURL": docs})
    (rules,) = (d for d in found if d["kind"] == "PrometheusRule")
    (group,) = rules["spec"]["groups"]
    assert len(group["rules"]) == len(RULES)
    for rule, source in zip(group["rules"], RULES, strict=True):
        assert rule["alert"] == source["alert"]
        assert rule["expr"] == source["expr"]
        assert rule["for"] == source["for"]
        assert rule["labels"] == {"severity": source["severity"]}
        runbook = {"runbook_url": f"{url}{source['alert']}.md"} if url else {}
        assert rule["annotations"] == {
            "summary": source["summary"],
            "description": source["description"],
            **runbook,
        }


def dashboards(**values: Any) -> dict[str, Json]:
    """Return the ConfigMaps of dashboards by their names."""
    documents = rendered(
        metrics={"enabled": True, "dashboards": {"enabled": True, **values}},
        commonAnnotations={"team": "network"},
    )
    return {d["metadata"]["name"]: d for d in documents if d["kind"] == "ConfigMap"}


def test_dashboards_are_config_maps_that_grafanas_sidecar_finds_where_they_are_asked_for() -> None:
    assert [d for d in rendered(metrics={"enabled": True}) if d["kind"] == "ConfigMap"] == []
    found = dashboards()
    assert [*found] == ["openeni-dashboard-nodes", "openeni-dashboard-pools"]
    for body in found.values():
        ((name, text),) = body["data"].items()
        assert text == (FILE.parent / "dashboards" / name).read_text().rstrip("\n")
        assert body["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert body["metadata"]["annotations"] == {"team": "network"}


def test_dashboards_have_the_labels_annotations_and_folder_of_the_values() -> None:
    labels = {"grafana_dashboard": None, "dash": "yes"}
    for body in dashboards(labels=labels, annotations={"a": "b"}, folder="Network").values():
        metadata = body["metadata"]
        assert metadata["labels"]["dash"] == "yes"
        assert "grafana_dashboard" not in metadata["labels"]
        expected = {"team": "network", "a": "b", "grafana_folder": "Network"}
        assert metadata["annotations"] == expected


def test_each_has_its_own_labels_of_the_values_and_none_replaces_one_of_the_charts() -> None:
    labels = {
        kind: {"release": kind, "app.kubernetes.io/part-of": "platform"} for kind in ("a", "b")
    }
    found = monitoring({"labels": labels["a"]}, {"labels": labels["b"]})
    assert [body["kind"] for body in found] == ["PodMonitor", "PodMonitor", "PrometheusRule"]
    for body, release in zip(found, "aab", strict=True):
        assert body["metadata"]["labels"]["release"] == release
        assert body["metadata"]["labels"]["app.kubernetes.io/part-of"] == "openeni"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"enabled": "yes"}, "at '/metrics/enabled'"),
        ({"labels": {}}, "at '/metrics'"),
        ({"podMonitor": {"interval": "often"}}, "at '/metrics/podMonitor/interval'"),
        ({"rules": {"docsURL": "docs"}}, "at '/metrics/rules/docsURL'"),
        ({"enabled": False, "rules": {"enabled": True}}, "metrics.rules.enabled: no metrics are"),
        ({"podMonitor": {"enabled": True}}, "metrics.podMonitor.enabled: no metrics are served"),
        ({"dashboards": {"enabled": True}}, "metrics.dashboards.enabled: no metrics are served"),
        ({"dashboards": {"panels": []}}, "at '/metrics/dashboards'"),
    ],
)
def test_what_cannot_work_is_refused_with_the_values_name(values: Json, words: str) -> None:
    with pytest.raises(chart.ChartError, match=words):
        rendered(metrics=values)
