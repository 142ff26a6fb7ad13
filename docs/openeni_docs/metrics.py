"""Render docs/metrics.md from both metric catalogues and the chart's alerts."""

import re
from collections.abc import Iterable
from typing import Final

from openeni_docs.alerts import Rule, rules
from openeni_docs.markdown import code, table
from openeni_kube.metrics import Metric, MetricType
from openeni_nodeagent.metrics.catalogue import CATALOGUE as OF_AGENT
from openeni_operator.process.metric_catalogue import CATALOGUE as OF_OPERATOR

_LABEL: Final = re.compile(r"{{ \$(?:labels\.)?(\w+)[^}]*}}")
_HEADER: Final = """\
# Metrics of operator and node agent

Made from operator/openeni_operator/process/metric_catalogue.py,
nodeagent/openeni_nodeagent/metrics/catalogue.py and helm/openeni/alerts.yaml by `make generate`;
change it there.

With the value `metrics.enabled` the operator serves its metrics at `/metrics` on
`operator.probePort`, and each node's agent serves its own on `agent.metricsPort`. For the
Prometheus Operator `metrics.podMonitor.enabled` installs a PodMonitor for each, and
`metrics.rules.enabled` a PrometheusRule with the alerts below; any other Prometheus finds the ports
by the pods' labels `app.kubernetes.io/name=openeni` and `app.kubernetes.io/component=operator` or
`agent`; give the agents' series the label `node`. Both listen on the node's address, since their
pods have the host's network. Everybody who can reach that address can
read the metrics: they name pools, clouds and subnets, and hold no secret; no label names a pod. A
NetworkPolicy has no effect on such pods: where others should not read them, keep the ports from
them in the node's firewall or security group.

Names and labels are API. The values of every label are bounded by the code, by `clouds.yaml` and
by the pools and subnets that exist. A metric that has nothing to report is absent. Both serve the
metrics of their process (`process_*`), too.

## Of the operator

An operator that does not lead serves `openeni_leader`, `openeni_build_info` and the metrics of its
process alone.

"""
_AGENT: Final = """
## Of the node agent

The PodMonitor adds the label `node`. The agent computes its metrics four times a second
at most, and never makes an ADD wait for them.

"""
_ALERTS: Final = """
## Alerts

Each alert has a page: what it means, what it looks at, what to do, and when it is over. Where
`metrics.rules.docsURL` is the address of your copy of docs/, its `runbook_url` leads there. The
rules are in `helm/openeni/alerts.yaml`; `promtool` has each of them fire and end in a test.

"""


def page() -> str:
    """Return docs/metrics.md."""
    alerts = table(("alert", "severity", "after", ""), map(_alert_row, rules()))
    return "".join((_HEADER, _metrics(OF_OPERATOR), _AGENT, _metrics(OF_AGENT), _ALERTS, alerts))


def _metrics(catalogue: Iterable[Metric]) -> str:
    return table(("metric", "type", "labels", ""), map(_metric_row, catalogue))


def _metric_row(metric: Metric) -> tuple[str, ...]:
    bounds = ", ".join(f"{bound:g}" for bound in metric.buckets)
    more = f" Buckets: {bounds}." if metric.type is MetricType.HISTOGRAM else ""
    labels = ", ".join(map(code, metric.labels))
    return code(metric.name), metric.type, labels, metric.help + more


def _alert_row(rule: Rule) -> tuple[str, ...]:
    summary = _LABEL.sub(lambda found: found[1].upper(), rule.summary)
    return f"[{rule.alert}](alerts/{rule.alert}.md)", rule.severity, rule.for_, summary
