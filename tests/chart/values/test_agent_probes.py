"""How long kubelet and the executable wait for an agent that is late."""

import re
from typing import Any

import pytest

from openeni_lab.layout import REPOSITORY
from openeni_lab.product import chart
from openeni_lab.programs import prepared
from openeni_nodeagent.cni import self_check

pytestmark = pytest.mark.cluster

FEWEST_SECONDS, MOST_SECONDS = 300, 600  # of an agent's start, until kubelet starts it anew
SOURCE = REPOSITORY / "nodeagent" / "openeni_nodeagent" / "cni" / "openeni.c"


def probes() -> dict[str, Any]:
    helm = prepared.read(["helm"]).built.bin("helm")
    (found,) = (d for d in chart.render(helm) if d["kind"] == "DaemonSet")
    (container,) = found["spec"]["template"]["spec"]["containers"]
    return {name: container[name] for name in container if name.endswith("Probe")}


def test_kubelet_waits_longer_than_the_executable_and_no_less_than_the_agent_for_itself() -> None:
    text = SOURCE.read_text()
    (seconds,) = map(int, re.findall(r"^#define QUERY_SECONDS (\d+)", text, re.MULTILINE))
    found = probes()
    assert set(found) == {"startupProbe", "livenessProbe", "readinessProbe"}
    for name in ("livenessProbe", "readinessProbe"):
        # The executable's own start takes time, too.
        assert found[name]["timeoutSeconds"] > seconds
    assert seconds >= self_check.ANSWER_SECONDS


def test_an_agent_that_starts_has_five_minutes_and_one_that_hangs_then_no_more_than_ten() -> None:
    """Nobody listens: the probe fails at once. One listens and is silent: kubelet ends the wait."""
    probe = probes()["startupProbe"]
    period, tries = probe["periodSeconds"], probe["failureThreshold"]
    assert period * tries == FEWEST_SECONDS
    assert max(probe["timeoutSeconds"], period) * tries <= MOST_SECONDS


def test_an_agent_that_hangs_has_shown_its_threads_before_kubelet_ends_it() -> None:
    probe = probes()["livenessProbe"]
    misses = self_check.SILENT_SECONDS // self_check.ANSWER_SECONDS + 1
    shown = misses * (self_check.PERIOD_SECONDS + self_check.ANSWER_SECONDS)
    ended = (
        self_check.SILENT_SECONDS + (probe.get("failureThreshold", 3) - 1) * probe["periodSeconds"]
    )
    assert shown < ended
