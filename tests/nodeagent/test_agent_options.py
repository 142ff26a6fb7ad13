"""Host ports and bandwidth through the whole agent: one port, one pod, whatever is restarted."""

from pathlib import Path

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_crds.names import EVENTS
from openeni_nodeagent.pod_options import Bandwidth, PortMapping, RateLimit, Transport
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import Answer
from openeni_testing.agent.host import AgentHost, grant_of, granted
from openeni_testing.waiting import wait_for

WEB = {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}  # as of containerd
PORTS = (PortMapping(8080, 80, Transport.TCP),)
IN_KERNEL = (PortMapping(8080, 80, Transport.TCP, "0.0.0.0"),)  # noqa: S104 - one map a family
TRY_AGAIN, INVALID_CONFIG = 11, 7
INGRESS = {"ingressRate": 8000, "ingressBurst": 800}
L2 = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2))


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    host = AgentHost(tmp_path, executable)
    host.create_objects()
    return host


def add(
    host: AgentHost, name: str, container: str, *ports: object, uid: str = "", **more: object
) -> Answer:
    uid = uid or node_objects.make_pod(host.store, name)
    given = {"portMappings": ports, **more}
    return host.runtime(container).call("ADD", container, uid, name, runtimeConfig=given)


def mapped(host: AgentHost) -> dict[str, tuple[PortMapping, ...]]:
    """Return the host ports that the kernel has, by container."""
    ports = host.datapath.observe(()).host_ports
    return {container: ports[address] for address, container in host.datapath.owners().items()}


def test_a_host_port_is_one_pods_until_its_del_and_the_error_names_it(host: AgentHost) -> None:
    with host.agent():
        assert add(host, "one", "c1", WEB).code == 0
    with host.agent():  # the journal knows it
        answer = add(host, "two", "c2", WEB)
        assert answer.error == TRY_AGAIN
        assert "host port 8080/tcp of pod default/two" in answer.body["msg"]
        assert "default/one" in answer.body["details"]
        assert mapped(host) == {"c1": IN_KERNEL}
        host.delete("c1")
        assert host.runtime("c2").call("DEL", "c2").code == 0
        assert add(host, "three", "c3", WEB).code == 0
        assert mapped(host) == {"c3": IN_KERNEL}


def test_another_protocol_or_address_of_the_node_is_another_port(host: AgentHost) -> None:
    with host.agent():
        at = WEB | {"HostIP": "10.99.0.11"}
        assert add(host, "one", "c1", at).code == 0
        assert add(host, "two", "c2", WEB | {"HostIP": "127.0.0.1"}).code == 0
        assert add(host, "three", "c3", at | {"Protocol": "udp"}).code == 0
        assert add(host, "four", "c4", WEB).error == TRY_AGAIN


@pytest.mark.parametrize("host_ips", [("", "0.0.0.0"), ("0.0.0.0", ""), ("", "")])  # noqa: S104
def test_of_two_ports_of_a_pod_behind_one_of_the_node_the_first_is_served(
    host: AgentHost, host_ips: tuple[str, str]
) -> None:
    first, second = (WEB | {"HostIP": host_ip} for host_ip in host_ips)
    with host.agent():
        assert add(host, "web", "c1", first, second | {"ContainerPort": 81}).code == 0
        assert [p for p in mapped(host)["c1"] if p.host_ip != "::"] == list(IN_KERNEL)


def test_a_new_sandbox_of_the_pod_takes_its_port_and_a_late_del_leaves_it(host: AgentHost) -> None:
    with host.agent() as agent:
        uid = node_objects.make_pod(host.store, "web")
        assert add(host, "web", "old", WEB, uid=uid).code == 0
        assert add(host, "web", "new", WEB, uid=uid).code == 0
        assert grant_of(agent, "old").host_ports == ()
        assert grant_of(agent, "new").host_ports == PORTS
    with host.agent() as agent:
        assert grant_of(agent, "old").host_ports == ()
        host.delete("old")
        assert add(host, "other", "c3", WEB).error == TRY_AGAIN


def test_a_lost_journal_does_not_lose_host_ports(host: AgentHost) -> None:
    with host.agent():
        assert add(host, "web", "c1", WEB).code == 0
        host.ready_podip("web")
    host.settings.journal.unlink()
    with host.agent() as agent:
        wait_for(lambda: granted(agent) == {"c1"}, "the pod is known again")
        assert grant_of(agent, "c1").host_ports == IN_KERNEL
        assert add(host, "two", "c2", WEB).error == TRY_AGAIN


@pytest.mark.parametrize(
    ("ports", "cause"),
    [
        ([WEB | {"HostPort": 70000}], "hostPort"),
        ([WEB | {"HostIP": "fe80::1%eth0"}], "zone"),
    ],
)
def test_ports_that_nobody_can_serve_are_refused_before_an_address_is_granted(
    host: AgentHost, ports: list[object], cause: str
) -> None:
    with host.agent() as agent:
        answer = add(host, "web", "c1", *ports)
        assert answer.error == INVALID_CONFIG
        assert cause in answer.body["msg"]
        assert granted(agent) == set()


def test_limits_are_kept_with_the_grant(host: AgentHost) -> None:
    with host.agent():
        assert add(host, "web", "c1", bandwidth=INGRESS).code == 0
    assert not host.store.list(EVENTS).items  # the pool's mode is Veth
    with host.agent() as agent:
        assert grant_of(agent, "c1").bandwidth == Bandwidth(ingress=RateLimit(8000, 800))


def test_a_pod_whose_mode_does_not_limit_what_it_gets_has_an_event(
    tmp_path: Path, executable: Path
) -> None:
    host = AgentHost(tmp_path, executable)
    node_objects.make_node(host.store)
    node_objects.make_pool(host.store, datapath=L2)
    node_objects.make_eni(host.store, datapath=L2)
    node_objects.write_operator_status(host.store)
    egress = {"egressRate": 8000, "egressBurst": 800}
    with host.agent():
        assert add(host, "other", "c1", bandwidth=egress).code == 0
        uid = node_objects.make_pod(host.store, "web")
        assert add(host, "web", "c2", uid=uid, bandwidth=INGRESS | egress).code == 0
        (event,) = wait_for(lambda: host.store.list(EVENTS).items, "an event")
    assert event["reason"] == "BandwidthNotLimited"
    assert event["regarding"]["uid"] == uid
    assert event["note"].startswith("the pod's ingress bandwidth is not limited: IPVlanL2 pods")
