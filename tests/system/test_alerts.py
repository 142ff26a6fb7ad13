"""Alerts fire for real causes and end as their pages say, and dashboards have data.

A real Prometheus scrapes the lab; a minute stands for half an hour. With a virtual clock all
alerts are tested: tests/chart/test_alert_rules.py. Orphaned ports, which take ten minutes, are left
to `make soak` (OPENENI_SOAK).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from openeni_chart.panels import DASHBOARDS, Dashboard
from openeni_docs.alerts import rules
from openeni_lab.product import pods
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.alerts import causes, lasting, stalls
from openeni_testing.alerts.causes import Causes
from openeni_testing.alerts.lasting import LastingCauses
from openeni_testing.alerts.prometheus import Prometheus
from openeni_testing.alerts.stalls import StallCauses
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab.shared_lab import SharedLab
from openeni_testing.waiting import wait_for

WHOLE: Final = bool(os.environ.get("OPENENI_SOAK"))
pytestmark = [
    pytest.mark.lab,
    pytest.mark.root,
    pytest.mark.long,
    pytest.mark.timeout(3000 if WHOLE else 2100),
]

SLOW_SECONDS: Final = 90.0  # in which an agent with enough processor time has answered slowly
INTERVAL: Final = "2m"  # in the place of Grafana's $__rate_interval


@pytest.fixture
def caused(
    installed: InstalledLab, shared_lab: SharedLab, request: pytest.FixtureRequest
) -> Iterator[Causes]:
    """Yield causes that end with the test; a lab in which they do not is not used again."""
    made: Causes = request.param(installed)
    yield made
    with shared_lab.removed_on_failure():
        made.clean()
        nodes = len(installed.nodes)
        wait_for(
            lambda: pods.rolled_out(installed.api, nodes), "openeni is as before", lab.PATIENCE
        )


@pytest.fixture
def prometheus(installed: InstalledLab, tmp_path: Path) -> Iterator[Prometheus]:
    made = Prometheus(installed, tmp_path)
    made.start()
    yield made
    made.stop()


def query(text: str, dashboard: Dashboard) -> str:
    """Return a panel's query as Grafana sends it, with all that there is to choose."""
    return text.replace(f"${dashboard.variable}", ".*").replace("$__rate_interval", INTERVAL)


def wait_for_data(prometheus: Prometheus) -> None:
    """Wait until each query of each dashboard has a value."""
    for dashboard in DASHBOARDS:
        assert prometheus.query(f"count by ({dashboard.variable}) ({dashboard.listed_by})")
        for panel in dashboard.panels:

            def has_data(text: str = query(panel.query, dashboard)) -> bool:
                found = [one["value"][1] for one in prometheus.query(text)]
                assert set(found) - {"NaN"}, text
                return True

            wait_for(has_data, f"{dashboard.title}: {panel.title}", 60)


@pytest.mark.parametrize("caused", [Causes], indirect=True)
def test_alerts_fire_for_real_causes_and_end_as_their_pages_say(
    installed: InstalledLab, caused: Causes, prometheus: Prometheus
) -> None:
    assert {one["alertname"] for one in causes.REAL} <= {rule.alert for rule in rules()}
    caused.spoil_pools()
    lab.deploy(installed, "guests", "roomy", 2)
    caused.replace_the_operators(lambda: prometheus.wait_until_fires(causes.NO_LEADER))
    prometheus.wait_until_silent(causes.NO_LEADER)
    caused.take_agents("")
    prometheus.wait_until_fires(causes.NO_AGENTS)
    caused.take_agents(causes.NODE)
    prometheus.wait_until_silent(causes.NO_AGENTS)
    caused.use_up_quota()
    caused.trouble_the_node()
    prometheus.wait_until_fires(causes.REPAIRS)
    caused.mend_the_node()
    for name in ("first", "second"):  # a rate needs a change
        lab.start_on(installed, causes.NODE, name, "roomy")
    caused.fail_adds(1)
    prometheus.wait_for_series(f'openeni_cni_errors_total{{node="{causes.NODE}", code="7"}}')
    caused.fail_adds(8)
    prometheus.wait_until_fires(causes.ADD_FAILING)
    wait_for_data(prometheus)
    prometheus.wait_until_fires(*causes.OF_POOLS, causes.CRD_SKEW)
    caused.age_taint()
    prometheus.wait_until_fires(causes.AGENT_DOWN)
    if WHOLE:
        prometheus.wait_until_fires(causes.ORPHANED, seconds=1200)

    caused.take_agents(None)
    caused.mend_pools()
    prometheus.wait_until_silent(*causes.OF_POOLS, *causes.OF_NODES, causes.AGENT_DOWN)
    caused.mend_starts()
    prometheus.wait_until_silent(*causes.REAL)


@pytest.mark.parametrize("caused", [LastingCauses], indirect=True)
def test_alerts_of_what_lasts_fire_for_real_causes_and_end_with_them(
    installed: InstalledLab,
    shared_lab: SharedLab,
    caused: LastingCauses,
    prometheus: Prometheus,
) -> None:
    assert {one["alertname"] for one in lasting.LASTING} <= {rule.alert for rule in rules()}
    caused.start()
    caused.leave_an_eni()
    caused.cut_off()
    caused.want_an_eni()
    prometheus.wait_until_fires(lasting.STUCK)
    prometheus.wait_until_fires(*lasting.UNHEARD)
    shared_lab.expected_exits.add(caused.queue_a_del())
    prometheus.wait_until_fires(lasting.QUEUED)
    caused.take_rights()
    prometheus.wait_until_fires(lasting.FAILING)
    caused.give_rights()
    prometheus.wait_until_fires(lasting.OUTDATED)

    caused.restore_group()
    prometheus.wait_until_silent(lasting.FAILING, lasting.OUTDATED)
    caused.connect()
    prometheus.wait_until_silent(*lasting.UNHEARD, lasting.QUEUED)
    caused.take_agents(None)
    prometheus.wait_until_silent(*lasting.LASTING)


@pytest.mark.parametrize("caused", [StallCauses], indirect=True)
def test_alerts_of_what_stalls_fire_for_real_causes_and_end_with_them(
    caused: StallCauses, prometheus: Prometheus
) -> None:
    assert {one["alertname"] for one in stalls.STALLS} <= {rule.alert for rule in rules()}
    caused.start()
    caused.take_table()
    prometheus.wait_until_fires(stalls.FAILING)
    caused.give_table()
    caused.throttle(lambda: prometheus.wait_until_fires(stalls.SLOW, seconds=SLOW_SECONDS))
    caused.unthrottle()
    prometheus.wait_until_silent(stalls.FAILING, stalls.SLOW)
    caused.cut_off()
    caused.end_pods()
    prometheus.wait_until_fires(stalls.AGENT_STALLED)
    caused.connect()
    caused.limit_reads()
    prometheus.wait_until_fires(stalls.OPERATOR_STALLED)

    caused.lift_limit()
    prometheus.wait_until_silent(*stalls.STALLS)
