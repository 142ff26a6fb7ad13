"""A pod's next sandbox takes over what its last one has, while something is at work at that one."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.datapath_api import KernelRefusedError, PodInterface, PodNetwork
from openeni_testing.agent import node_objects
from openeni_testing.agent.failed_adds import call, with_node
from openeni_testing.agent.memory_datapath import MemoryDatapath
from openeni_testing.agent.parts import AgentParts

IPVLAN: Final = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2))
WEB: Final = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}
PORTS: Final = {"runtimeConfig": {"portMappings": [WEB]}}


class Kernel(MemoryDatapath):
    """Removes a host port by its number, and refuses an address that another link has.

    That is what nftables' maps and ipvlan (`ipvlan_addr_busy`) do.
    """

    def __init__(self) -> None:
        super().__init__(node_objects.mac(0))
        self.ports: dict[int, str] = {}
        self.links: dict[str, str] = {}  # container by address
        self.before_delete: Callable[[], object] = lambda: None

    def add(self, pod: PodInterface, netns: str, *, rebuilds: bool = False) -> PodNetwork:
        for address in pod.addresses:
            if self.links.get(address, pod.container_id) != pod.container_id:
                raise KernelRefusedError(f"EADDRINUSE: {address}")
        made = super().add(pod, netns, rebuilds=rebuilds)
        self.links |= dict.fromkeys(pod.addresses, pod.container_id)
        self.ports |= {port.host_port: pod.container_id for port in pod.host_ports}
        return made

    def delete(self, pod: PodInterface) -> None:
        self.before_delete()
        super().delete(pod)
        for port in pod.host_ports:
            self.ports.pop(port.host_port, None)

    def finish_delete(self, pod: PodInterface, netns: str, kept: Collection[str] = ()) -> None:
        super().finish_delete(pod, netns, kept)
        self.links = {a: one for a, one in self.links.items() if one != pod.container_id}


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def parts(tmp_path: Path, kernel: Kernel) -> AgentParts:
    made = AgentParts(tmp_path, datapath=kernel)
    node_objects.make_pool(made.store, datapath=IPVLAN)
    node_objects.make_eni(made.store, datapath=IPVLAN)
    node_objects.write_operator_status(made.store, count=4)
    with_node(made)
    return made


def refused(parts: AgentParts, uid: str) -> Callable[..., None]:
    """Return a function that makes an ADD of the next sandbox, which must be refused."""

    def add(*_: object) -> None:
        with pytest.raises(CNIError, match=r"host port 8080/tcp .* is in use") as raised:
            call(parts, "ADD", uid, "next", config=PORTS)
        assert raised.value.code == Code.TRY_AGAIN

    return add


def test_a_host_port_is_not_taken_over_while_an_add_of_the_last_one_is_at_work(
    parts: AgentParts, kernel: Kernel
) -> None:
    uid = node_objects.make_pod(parts.store, "web")
    parts.sync()
    add = refused(parts, uid)
    kernel.before_add = lambda pod: add() if pod.container_id == "last" else None
    call(parts, "ADD", uid, "last", config=PORTS)
    assert kernel.ports == {8080: "last"}
    call(parts, "ADD", uid, "next", config=PORTS)
    call(parts, "DEL", uid, "last")
    assert kernel.ports == {8080: "next"}


def test_a_host_port_is_not_taken_over_while_a_del_of_the_last_one_is_at_work(
    parts: AgentParts, kernel: Kernel
) -> None:
    uid = node_objects.make_pod(parts.store, "web")
    parts.sync()
    call(parts, "ADD", uid, "last", config=PORTS)
    kernel.before_delete = refused(parts, uid)
    call(parts, "DEL", uid, "last")
    assert kernel.ports == {}
    call(parts, "ADD", uid, "next", config=PORTS)
    assert kernel.ports == {8080: "next"}


def test_a_kept_address_is_taken_over_though_the_last_ones_link_is_still_to_be_removed(
    parts: AgentParts, kernel: Kernel
) -> None:
    uid = node_objects.make_pod(parts.store, "web", {names.ANNOTATION_STICKY: "1h"})
    parts.sync()
    call(parts, "ADD", uid, "last")
    (before,) = parts.grants.all()
    call(parts, "DEL", uid, "last")
    parts.looks.look()  # at once, since it is kept for a pod
    call(parts, "ADD", uid, "next")
    (grant,) = parts.grants.all()
    assert grant.addresses == before.addresses
    assert kernel.links == dict.fromkeys(grant.addresses, "next")
