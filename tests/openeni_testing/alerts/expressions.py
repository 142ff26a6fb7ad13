"""Read from a query of Prometheus which metrics and labels it is about."""

import re
from collections.abc import Iterator
from typing import Final

from openeni_crds.conditions import Reason, Status, Type
from openeni_kube.metrics import Metric, MetricType
from openeni_nodeagent.cni.protocol import Code, Command
from openeni_nodeagent.metrics.catalogue import CATALOGUE as OF_AGENT
from openeni_operator.process.metric_catalogue import CATALOGUE as OF_OPERATOR

CATALOGUES: Final = (*OF_OPERATOR, *OF_AGENT)
METRICS: Final = {
    **{m.name: m for m in CATALOGUES},
    **{
        f"{m.name}{ending}": m
        for m in CATALOGUES
        for ending in ("_bucket", "_count", "_sum")
        if m.type is MetricType.HISTOGRAM
    },
}
NODE_STATES: Final = ("served", "without_agent", "without_datapath", "without_subnet", "at_limit")
# What the values of a label may be, where an alert that names another would never fire.
VALUES: Final[dict[str, frozenset[str]]] = {
    "reason": frozenset(Reason),
    "type": frozenset(Type),
    "status": frozenset(Status),
    "outcome": frozenset({"Done", "RequeueAfter", "Retry", "Blocked"}),
    "kind": frozenset({"used", "limit"}),
    "state": frozenset(NODE_STATES),
    "command": frozenset(Command),
    "code": frozenset(str(int(code)) for code in Code),
    "phase": frozenset({"grant", "total"}),
}
OF_THE_POD: Final = frozenset({"container", "instance", "node", "pod"})  # Prometheus' own
_GROUPED: Final = ("by", "without")


def used(expression: str) -> list[tuple[Metric, dict[str, list[str]]]]:
    """Return the metrics of an expression with the values that their labels are matched with."""
    found: list[tuple[Metric, dict[str, list[str]]]] = []
    for name, matchers in re.findall(r"\b(openeni_\w+)(?:\{([^}]*)\})?", expression):
        pairs = re.findall(r'(\w+)\s*(?:=~?|!=|!~)\s*"([^"]*)"', matchers)
        found.append((METRICS[name], {label: value.split("|") for label, value in pairs}))
    return found


def grouping(word: str, expression: str) -> set[str]:
    """Return the labels that an expression lists after a word such as `by`."""
    lists = re.findall(rf"\b{word} \(([^)]*)\)", expression)
    return {label for listed in lists for label in listed.split(", ")}


def faults(expression: str) -> Iterator[str]:
    """Yield what an expression names that no metric of it has."""
    found = used(expression)
    if not found:
        yield "there is no metric of openeni's"
    for metric, matchers in found:
        yield from (f"{metric.name} has no {label}" for label in {*matchers} - _labels(metric))
        for label, values in matchers.items():
            known = VALUES.get(label, frozenset[str]())
            yield from (
                f"{label} is never {value}"
                for value in values
                if value not in known and not value.startswith("$")
            )
    grouped = {label for word in _GROUPED for label in grouping(word, expression)}
    labels = {label for metric, _ in found for label in _labels(metric)} | {"le"}
    yield from (f"nothing has the label {label}" for label in grouped - labels)


def _labels(metric: Metric) -> frozenset[str]:
    return OF_THE_POD | {*metric.labels}
