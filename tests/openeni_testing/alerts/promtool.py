"""Test rules with `promtool test rules`, whose clock is virtual.

A case has three times: half an hour of health, the cause for as long as the alert needs, and time
for the alert to end. An operator's series change their pod during the cause, with a gap, as when
another operator takes over.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import yaml

from openeni_nodeagent.metrics.catalogue import CATALOGUE as OF_AGENT
from openeni_testing.alerts.cases import Case, Growth, Level

Json = dict[str, Any]

SCRAPE: Final = 30  # seconds: the PodMonitor's interval
HEALTHY: Final = 60  # scrapes; the longest window of an expression is half an hour
GAP: Final = 3  # scrapes without a leader's metrics, so two minutes from one to the next
STALE: Final = 10  # scrapes: five minutes after its last value a series is gone
TIMEOUT: Final = 60
_AGENTS: Final = {metric.name for metric in OF_AGENT}
_ENDINGS: Final = re.compile(r"_(count|sum|bucket)$")
_WINDOW: Final = re.compile(r"\[(\w+)\](?: offset (\w+))?")
_LABEL: Final = re.compile(r"{{ \$labels\.(\w+) }}")
_VALUE: Final = re.compile(r"{{ \$value[^}]*}}")


def check(promtool: Path, folder: Path, rules: Json, cases: Mapping[str, Case]) -> str:
    """Return what promtool says of the cases by their names, "" if all is as it should be.

    `rules` is the PrometheusRule's spec, which is a file of rules to Prometheus.
    """
    by_name = _by_name(rules)
    tests = [_test(name, case, by_name[case.alert]) for name, case in cases.items()]
    return _said(promtool, folder, rules, tests)


def check_counter(
    promtool: Path,
    folder: Path,
    rules: Json,
    case: Case,
    grown: Sequence[float],
    *,
    moments: Mapping[int, bool],
) -> str:
    """Return what promtool says of a case whose one counter grows by so much at each scrape.

    `moments`: whether the alert fires at these scrapes.
    """
    rule = _by_name(rules)[case.alert]
    (counter,) = case.series
    values = " ".join(f"{value:g}" for value in accumulate(grown))
    series = {"series": _name(counter, "n1", "a"), "values": values}
    return _said(promtool, folder, rules, [_written(case.alert, case, rule, [series], moments)])


def _by_name(rules: Json) -> dict[str, Json]:
    (group,) = rules["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def _said(promtool: Path, folder: Path, rules: Json, tests: Sequence[Json]) -> str:
    """Return what promtool says of tests, each of one alert."""
    (group,) = rules["groups"]
    by_name = _by_name(rules)
    files: list[str] = []
    for number, one in enumerate(tests):
        rule = by_name[one["alert_rule_test"][0]["alertname"]]  # the others would be evaluated, too
        alone = {"groups": [group | {"rules": [rule]}]}
        (folder / f"rules-{number}.yaml").write_text(yaml.safe_dump(alone))
        test = {
            "rule_files": [f"rules-{number}.yaml"],
            "evaluation_interval": f"{SCRAPE}s",
            "tests": [one],
        }
        files.append(f"tests-{number}.yaml")
        (folder / files[-1]).write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [str(promtool), "test", "rules", *files],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _test(name: str, case: Case, rule: Json) -> Json:
    """Return one test of promtool: silent at first, not before its time, firing, silent again."""
    waits = _scrapes(rule["for"])
    window = max(
        (_scrapes(w[1]) + _scrapes(w[2] or "0m") for w in _WINDOW.finditer(rule["expr"])), default=0
    )
    begins, ends = HEALTHY, HEALTHY + window + waits + 2
    quiet = ends + max(window, STALE) + 2
    moments = {begins - 1: False, begins + waits - 1: False, ends - 1: True, quiet: False}
    if not any(isinstance(series, Growth) for series in case.series):
        moments[begins + waits + 1] = True  # a gauge: at once after its `for`
    series = [found for one in case.series for found in _series(one, begins, ends, quiet + 1)]
    return _written(name, case, rule, series, moments)


def _written(
    name: str, case: Case, rule: Json, series: Sequence[Json], moments: Mapping[int, bool]
) -> Json:
    """Return a test as promtool reads it."""
    return {
        "name": name,
        "interval": f"{SCRAPE}s",
        "input_series": [*series],
        "alert_rule_test": [
            {
                "eval_time": f"{moment * SCRAPE}s",
                "alertname": case.alert,
                "exp_alerts": [_expected(case, rule)] if fires else [],
            }
            for moment, fires in sorted(moments.items())
        ],
    }


def _series(one: Level | Growth, begins: int, ends: int, last: int) -> Iterator[Json]:
    """Yield a series, or those of two operators of which the second takes over."""
    agents = _ENDINGS.sub("", one.metric) in _AGENTS
    if agents or isinstance(one, Growth):
        yield {"series": _name(one, "n1", "a"), "values": _values(one, begins, ends, last)}
        return
    handed = (begins + ends) // 2
    first = _held(one.before, begins) + _held(one.during, handed - begins)
    yield {"series": _name(one, "n1", "a"), "values": " ".join(first)}
    later = [
        *_held(None, handed + GAP),
        *_held(one.during, ends - handed - GAP),
        *_held(one.before, last - ends),
    ]
    yield {"series": _name(one, "n2", "b"), "values": " ".join(later)}


def _values(one: Level | Growth, begins: int, ends: int, last: int) -> str:
    """Return the values of a series whose target stays, as promtool reads them."""
    if isinstance(one, Level):
        before, during = _held(one.before, begins), _held(one.during, ends - begins)
        return " ".join([*before, *during, *_held(one.before, last - ends)])
    top, parts = 0.0, list[str]()
    for growth, count in ((one.before, begins), (one.during, ends - begins)):
        parts.append(f"{top:g}+{growth:g}x{count - 1}")
        top += growth * count
    return " ".join([*parts, f"{top:g}+{one.before:g}x{last - ends}"])


def _held(value: float | None, count: int) -> list[str]:
    """Return a value for so many scrapes; `stale` is what a scrape without a series records."""
    if value is None:
        return ["stale"] + [f"_x{count - 1}"] * (count > 1)
    return [f"{value:g}x{count - 1}"]


def _name(one: Level | Growth, node: str, pod: str) -> str:
    labels = {**one.labels, **_target(node, pod)}
    return one.metric + "{" + ", ".join(f'{k}="{v}"' for k, v in labels.items()) + "}"


def _target(node: str, pod: str) -> dict[str, str]:
    """Return the labels that a PodMonitor's target has."""
    return {
        **_KEPT,
        "container": "openeni",
        "instance": f"{node}:9441",
        "node": node,
        "pod": f"openeni-{pod}",
    }


# Of them, those that no expression aggregates away.
_KEPT: Final = {
    "namespace": "openeni-system",
    "job": "openeni-system/openeni-operator",
    "endpoint": "http",
}


def _expected(case: Case, rule: Json) -> Json:
    """Return the alert with its labels and its texts."""
    kept = _KEPT if "without (" in rule["expr"] else {}
    of_node = {"node": "n1"} if "by (node" in rule["expr"] else {}
    labels = {**case.labels, **kept, **of_node}
    texts = {
        name: _VALUE.sub(case.value, _LABEL.sub(lambda found: labels[found[1]], text))
        for name, text in rule["annotations"].items()
    }
    return {"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": texts}


def _scrapes(duration: str) -> int:
    """Return how many scrapes a duration such as `15m` has."""
    return int(duration.removesuffix("m")) * 60 // SCRAPE
