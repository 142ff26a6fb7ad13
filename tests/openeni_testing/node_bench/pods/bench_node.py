"""The benchmark's node: its NICs, its agent as a process of its own, and its container runtimes."""

import subprocess
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from openeni_crds import names
from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode
from openeni_crds.podip import PodIP
from openeni_crds.status.eni import MOST_PODS
from openeni_lab.runtime.cni import NetworkConfigList
from openeni_lab.runtime.sandbox import SandboxRuntime
from openeni_testing.agent import host, node_objects
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port
from openeni_testing.node_bench.pods import cluster as clusters
from openeni_testing.node_bench.pods.agent_image import AgentRoot
from openeni_testing.node_bench.pods.cluster import FIRST_ENI, Cluster, eni_name
from openeni_testing.waiting import reap, wait_for

ENIS: Final = 16
FOLDER: Final = Path("/run/openeni-bench")
IPAM: Final[Json] = {"type": "host-local", "subnet": "10.200.0.0/16", "dataDir": "/run/reference"}
REFERENCES: Final[Mapping[str, Json]] = {
    "ptp": {"type": "ptp"},
    "ipvlan": {"type": "ipvlan", "master": "reference0", "mode": "l2"},
}
NOTHING: Final = "nothing"  # the executable
NOTHING_OF_MUSL: Final = "nothing-of-musl"  # linked as openeni's is
END_SECONDS: Final = 60.0


@dataclass
class BenchNode:
    """A node in namespaces of this process. The runtimes must be used in `space`."""

    space: Namespace
    network: NeutronNetwork
    cluster: Cluster
    agent: subprocess.Popen[bytes]
    log: Path
    executable: Path
    pods: Sequence[Json]
    openeni: SandboxRuntime
    reference: SandboxRuntime
    nothing: NetworkConfigList
    nothing_of_musl: NetworkConfigList

    def wait_for_addresses(self, count: int) -> None:
        """Wait until so many addresses are free: those of ended pods cool down."""
        wait_for(lambda: self._available() >= count, f"{count} free addresses", 180)

    def wait_for_podips(self, count: int) -> None:
        """Wait until there are so many PodIPs, and all are Ready: the agent has told all."""
        wait_for(lambda: self._are_published(count), f"{count} PodIPs that are Ready", 180)

    def enis(self) -> list[ENI]:
        return [decode(body, ENI) for body in self.cluster.store.list(names.ENIS).items]

    def fullest_eni(self) -> tuple[int, int]:
        """Return the number of the ENI that has the most pods, and how many these are."""
        counts = Counter(podip.spec.eni_name for podip in self._podips())
        numbers = range(FIRST_ENI, FIRST_ENI + ENIS)
        return max(((n, counts[eni_name(n)]) for n in numbers), key=lambda found: found[1])

    def check_log(self) -> None:
        """Raise an error if the agent has ended or logged an exception."""
        text = self.log.read_text()
        if self.agent.poll() is not None or "Traceback" in text:
            raise RuntimeError(f"the agent has failed:\n{text[-4000:]}")

    def _available(self) -> int:
        self.check_log()
        return sum(eni.status.node.available for eni in self.enis() if eni.status.node)

    def _are_published(self, count: int) -> bool:
        self.check_log()
        podips = self._podips()
        ready = [podip for podip in podips if is_true(podip.status.conditions, Type.READY)]
        return len(podips) == len(ready) == count

    def _podips(self) -> list[PodIP]:
        return [decode(body, PodIP) for body in self.cluster.store.list(names.PODIPS).items]


@contextmanager
def running(
    programs: Path,
    image: AgentRoot,
    datapath: Json,
    reference: str,
    plugins: Path,
    *,
    pods: int,
    kubeconfig: Path | None,
) -> Generator[BenchNode]:
    """Run a node during the block, which begins once all its ENIs are ready.

    `programs` has the executables of nothing. All files of the node are below /run, so that they
    are in memory whatever kernel this is.
    """
    network = NeutronNetwork()
    for name in ("bin", "conf", "networkd"):
        (FOLDER / name).mkdir(parents=True)
    with Namespace("node") as space:
        _plug(network, space, reference)
        cluster = (
            clusters.reached_by(space, kubeconfig, FOLDER)
            if kubeconfig
            else clusters.in_memory(FOLDER)
        )
        with cluster as made:
            clusters.create_objects(made.store, datapath, ENIS)
            created = clusters.create_pods(made.store, pods)
            log = FOLDER / "agent.log"
            with _agent(image, space, made, log) as agent:
                conf, own = FOLDER / "conf", FOLDER / "bin"
                wait_for(lambda: list(conf.glob("*.conflist")), "the runtime's configuration")
                plugin = {"cniVersion": "1.0.0", "name": "reference"}
                listed = {**plugin, "plugins": [{**REFERENCES[reference], "ipam": IPAM}]}
                node = BenchNode(
                    space,
                    network,
                    made,
                    agent,
                    log,
                    own / "openeni",
                    created,
                    SandboxRuntime(NetworkConfigList.load(conf, [own, plugins])),
                    SandboxRuntime(NetworkConfigList(listed, [plugins])),
                    *_of_nothing(programs),
                )
                wait_for(partial(_all_ready, node), "every ENI's link is ready")
                yield node
                node.check_log()
    network.close()


def eni_port(number: int) -> Port:
    """Return the port of the ENI with this number."""
    addresses = (f"10.98.{number}.4", *node_objects.addresses(MOST_PODS, number))
    return Port(eni_name(number), node_objects.mac(number), addresses)


def _of_nothing(programs: Path) -> Iterator[NetworkConfigList]:
    for program in (NOTHING, NOTHING_OF_MUSL):
        listed = {"cniVersion": "1.0.0", "name": program, "plugins": [{"type": program}]}
        yield NetworkConfigList(listed, [programs])


def _plug(network: NeutronNetwork, space: Namespace, reference: str) -> None:
    """Give the node its NICs: its own, one for each ENI, and what the reference plugin needs.

    The gateways of all ENIs answer: whoever looks for one that does not has more to do.
    """
    own = Port("node", "fa:16:3e:99:00:11", ("10.99.0.11",))
    network.plug(space, "eth0", own, bridge="br-nodes")
    space.ip(
        "addr add 10.99.0.11/24 dev eth0", "link set eth0 up", "route add default via 10.99.0.1"
    )
    for number in range(FIRST_ENI, FIRST_ENI + ENIS):
        network.plug(space, f"ens{number}", eni_port(number))
        network.fabric.ip(f"addr replace 10.98.{number}.1/24 dev br-pods")
    if reference == "ipvlan":
        space.ip("link add reference0 type dummy", "link set reference0 up")


@contextmanager
def _agent(
    image: AgentRoot, space: Namespace, cluster: Cluster, log: Path
) -> Generator[subprocess.Popen[bytes]]:
    """Run the agent during the block."""
    variables = {
        **host.folders(FOLDER),
        "OPENENI_RUN": names.RUN_FOLDER,  # where the executable looks if nothing else is set
        **cluster.environment,
    }
    with log.open("wb") as out:
        process = space.run(image.start, cluster.agent, variables, out.fileno())
    try:
        yield process
    finally:
        process.terminate()
        reap(process, END_SECONDS)


def _all_ready(node: BenchNode) -> bool:
    node.check_log()
    return all(is_true(eni.status.conditions, Type.LINK_READY) for eni in node.enis())
