"""Host ports and bandwidth as runtimes write them into the configuration."""

import json

import pytest

from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.cni.runtime_config import MOST_HOST_PORTS, bandwidth, port_mappings
from openeni_nodeagent.event_reasons import PodReason
from openeni_nodeagent.pod_options import Bandwidth, PortMapping, RateLimit, Transport

CONTAINERD = {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}
CRI_O = {"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "10.99.0.11"}
UNLIMITED = 0xFFFFFFFF  # containerd's burst


def ports(*entries: object) -> tuple[PortMapping, ...]:
    return port_mappings(json.dumps({"portMappings": entries, "bandwidth": "x"}).encode())


def limits(**entry: object) -> Bandwidth:
    return bandwidth(json.dumps({"bandwidth": entry, "portMappings": "x"}).encode())


def test_without_a_runtimes_additions_there_are_neither_ports_nor_limits() -> None:
    for nothing in (b"", b"{}", b'{"portMappings":null,"bandwidth":null}'):
        assert port_mappings(nothing) == ()
        assert bandwidth(nothing) == Bandwidth()


def test_ports_are_read_as_containerd_and_as_cri_o_write_them() -> None:
    assert ports(CONTAINERD, CRI_O) == (
        PortMapping(8080, 80, Transport.TCP),
        PortMapping(53, 5353, Transport.UDP, "10.99.0.11"),
    )


def test_an_address_has_one_form_and_a_protocol_a_default() -> None:
    given = {"hostPort": 1, "containerPort": 65535, "hostIP": "FD99::0011"}
    assert ports(given) == (PortMapping(1, 65535, Transport.TCP, "fd99::11"),)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("::ffff:10.99.0.11", "10.99.0.11"),
        ("::FFFF:0:0", "0.0.0.0"),  # noqa: S104 - of a pod
        ("::10.99.0.11", "::a63:b"),
    ],
)
def test_an_ipv4_address_in_an_ipv6_one_is_that_address_as_for_go(given: str, read: str) -> None:
    (found,) = ports(CONTAINERD | {"HostIP": given})
    assert found.host_ip == read


def test_a_port_of_the_container_alone_is_no_mapping() -> None:
    assert ports({"hostPort": 0, "containerPort": 80}, {"containerPort": 80}) == ()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"HostPort": 65536}, "hostPort"),
        ({"HostPort": -1}, "hostPort"),
        ({"HostPort": "80"}, "hostPort"),
        ({"ContainerPort": 0}, "containerPort"),
        ({"ContainerPort": None}, "containerPort"),
        ({"Protocol": "icmp"}, "icmp"),
        ({"HostIP": "fe80::1%eth0"}, "zone"),
        ({"HostIP": "::ffff:10.99.0.11%eth0"}, "zone"),
        ({"Protocol": None}, "protocol"),
        ({"HostIP": "localhost"}, "localhost"),
        ({"HostIP": "10.0.0.0/8"}, "10.0.0.0/8"),
    ],
)
def test_an_impossible_port_is_an_error_that_names_entry_and_field(
    change: dict[str, object], names: str
) -> None:
    with pytest.raises(CNIError) as raised:
        ports(CRI_O, CONTAINERD | change)
    assert raised.value.code == Code.INVALID_CONFIG
    assert "runtimeConfig.portMappings[1] of the network configuration: " in raised.value.message
    assert names in raised.value.message


def test_a_host_port_that_leads_nowhere_is_an_error() -> None:
    with pytest.raises(
        CNIError, match=r"portMappings\[1\].*hostPort 8080 .*containerPort"
    ) as raised:
        ports(CRI_O, {"hostPort": 8080, "protocol": "tcp"})
    assert raised.value.code == Code.INVALID_CONFIG


def test_limits_are_read_as_containerd_and_as_others_write_them() -> None:
    egress = RateLimit(10**15, UNLIMITED)
    assert limits(EgressRate=10**15, EgressBurst=UNLIMITED, IngressRate=0, IngressBurst=0) == (
        Bandwidth(None, egress)
    )
    assert limits(ingressRate=1000, ingressBurst=8) == Bandwidth(RateLimit(1000, 8))


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        ({"ingressRate": 1000}, "ingressRate and ingressBurst"),
        ({"egressBurst": 1}, "egressRate and egressBurst"),
        ({"egressRate": -1, "egressBurst": 1}, "egressRate"),
        ({"egressRate": 1 << 63, "egressBurst": 1}, "egressRate"),
        ({"egressRate": 1, "egressBurst": 1 << 40}, "egressBurst"),
        ({"egressRate": 1.5, "egressBurst": 1}, "egressRate"),
    ],
)
def test_an_impossible_limit_is_an_error_that_names_the_field(
    entry: dict[str, object], names: str
) -> None:
    with pytest.raises(CNIError) as raised:
        limits(**entry)
    assert raised.value.code == Code.INVALID_CONFIG
    assert "runtimeConfig.bandwidth of the network configuration: " in raised.value.message
    assert names in raised.value.message


def test_what_is_no_such_thing_at_all_is_an_error() -> None:
    for given in (b'{"portMappings":"x"}', b"[]"):
        with pytest.raises(CNIError, match="runtimeConfig of the network configuration"):
            port_mappings(given)


def test_a_pod_has_so_many_host_ports_and_the_error_says_what_to_do() -> None:
    def of(count: int) -> list[dict[str, object]]:
        return [{"HostPort": n, "ContainerPort": n} for n in range(1, count + 1)]

    without = [{"HostPort": 0, "ContainerPort": 80}] * 10
    assert len(ports(*of(MOST_HOST_PORTS), *without)) == MOST_HOST_PORTS
    with pytest.raises(CNIError) as refused:
        ports(*of(MOST_HOST_PORTS), {"HostPort": "not looked at"}, *without)
    assert "hostPort" in refused.value.message
    with pytest.raises(CNIError) as refused:
        ports(*of(MOST_HOST_PORTS + 1), {"HostPort": "not looked at"})
    error = refused.value
    assert error.code == Code.INVALID_CONFIG
    assert error.reason is PodReason.TOO_MANY_HOST_PORTS
    for word in ("runtimeConfig.portMappings", f"more than {MOST_HOST_PORTS} ports", "hostNetwork"):
        assert word in error.message
