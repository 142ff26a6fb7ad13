"""Questions of `openeni` to a simulated operator."""

from dataclasses import replace

from openeni_crds.meta import parse_time
from openeni_kube.answers import Check, Diagnosis, Preflight, SweepForecast
from openeni_operator.ask.diagnose import diagnose
from openeni_operator.ask.preflight import preflight
from openeni_operator.ask.sweep import forecast_sweep
from openeni_testing.controller.process import CLUSTER_ID
from openeni_testing.controller.simulation import Simulation


def simulate_fit_cloud() -> Simulation:
    """Return two nodes and a pool, of which nothing was made yet, in a cloud that is fit for it."""
    made = Simulation(nodes=2)
    network = made.cloud.networks[made.network.id]
    made.cloud.networks[network.id] = replace(network, port_security=True)
    made.add_pool()
    return made


def ask_diagnose(sim: Simulation) -> Diagnosis:
    return diagnose(sim.api, lambda _: sim.cloud, CLUSTER_ID, parse_time(sim.now()))


def ask_preflight(sim: Simulation, node: str = "") -> Preflight:
    """Ask on the simulation's clock; who sleeps lets the cloud go on."""

    def sleep(seconds: float) -> None:
        sim.cloud.clock.now += seconds
        sim.cloud.settle()

    return preflight(
        sim.api,
        lambda _: sim.cloud,
        CLUSTER_ID,
        node,
        clock=sim.cloud.clock,
        sleep=sleep,
        now=sim.now,
    )


def ask_sweep(sim: Simulation) -> SweepForecast:
    return forecast_sweep(sim.api, lambda _: sim.cloud, CLUSTER_ID, sim.orphans)


def found(answer: Diagnosis) -> list[tuple[str, str, str]]:
    """Return kind, name and reason of each difference."""
    return [(d.kind, d.name, d.reason) for d in answer.differences]


def checks(answer: Preflight, name: str) -> list[Check]:
    return [check for check in answer.checks if check.name == name]
