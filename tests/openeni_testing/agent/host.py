"""A node agent with a store and a kernel in memory, and the real CNI executable before it."""

# pyright: reportPrivateUsage=false

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from openeni_crds import names
from openeni_crds.conditions import Condition, Type, find, is_true
from openeni_crds.eni import ENI
from openeni_crds.enipool import Datapath
from openeni_crds.meta import decode
from openeni_crds.podip import PodIP
from openeni_crds.status.eni import NodeStatus
from openeni_kube.store import NotFoundError
from openeni_nodeagent.agent import Agent
from openeni_nodeagent.cni.configuration import CONFLIST
from openeni_nodeagent.cni.server import make_run_folder
from openeni_nodeagent.datapath_api import LinkFacts
from openeni_nodeagent.enis.nic_guards import NICGuards, known_guards
from openeni_nodeagent.gateway_api import Answer
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.journal import Journal
from openeni_nodeagent.settings import Settings, from_environment
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import Runtime
from openeni_testing.agent.memory_datapath import MemoryDatapath
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for


@dataclass
class MemoryGateways:
    """Gateways that answer at once, but for those that are `silent`."""

    silent: set[str] = field(default_factory=set[str])
    stale: set[str] = field(default_factory=set[str])  # they have answered, and are asked again
    fixed: set[str] = field(default_factory=set[str])  # somebody has set their MACs
    asks_for: set[str] = field(default_factory=set[str])  # addresses that the network answers not
    asked: list[str] = field(default_factory=list[str])
    listening: list["MemoryListener"] = field(default_factory=list["MemoryListener"])

    def ask(self, _: LinkFacts, gateway: str) -> Answer:
        self.asked.append(gateway)
        if gateway in self.silent:
            return Answer.NONE
        if gateway in self.fixed:
            return Answer.FIXED
        return Answer.OLD if gateway in self.stale else Answer.FRESH

    def listen(self, _: LinkFacts, __: str, ___: str, spare: str) -> "MemoryListener":
        made = MemoryListener(self, spare)
        self.listening.append(made)
        return made


@dataclass(frozen=True)
class MemoryListener:
    """Hears whether a gateway asks for an address, until it is closed."""

    gateways: MemoryGateways
    spare: str

    def finish(self) -> bool:
        self.close()
        return self.spare in self.gateways.asks_for

    def close(self) -> None:
        self.gateways.listening.remove(self)


@dataclass
class AgentHost:
    """One node; its files in `folder` outlive each agent that is started."""

    folder: Path
    executable: Path
    store: MemoryStore = field(default_factory=lambda: MemoryStore(bookmark_seconds=0.2))
    datapath: MemoryDatapath = field(default_factory=lambda: MemoryDatapath(node_objects.mac(0)))
    gateways: MemoryGateways = field(default_factory=MemoryGateways)
    service_cidrs: str = "10.96.0.0/12"  # "": those of the cluster's objects
    reload: Callable[[str], None] = lambda _: None  # a program of the node

    def __post_init__(self) -> None:
        for name in ("bin", "conf", "networkd", "netns"):
            (self.folder / name).mkdir()
        make_run_folder(self.settings.run)

    @property
    def settings(self) -> Settings:
        given = environment(self.folder, self.executable)
        return from_environment({**given, "OPENENI_SERVICE_CIDRS": self.service_cidrs})

    @property
    def conflist(self) -> Path:
        """The runtime's configuration, once the agent has installed it."""
        return self.settings.conf_folder / CONFLIST

    def runtime(self, container: str, deadline: int = 20) -> Runtime:
        """The runtime with a namespace for `container`."""
        netns = self.folder / "netns" / container
        netns.touch()
        return Runtime(self.executable, self.settings.run, netns, deadline)

    def create_objects(
        self, *, count: int = 3, cool_down: str = "30s", datapath: Datapath = node_objects.VETH
    ) -> None:
        """Create this node, a pool that selects every pod, and one attached ENI."""
        node_objects.make_node(self.store)
        node_objects.make_pool(self.store, cool_down=cool_down, datapath=datapath)
        node_objects.make_eni(self.store, datapath=datapath)
        node_objects.write_operator_status(self.store, count=count)

    @contextmanager
    def agent(self, boot: str = "boot") -> Generator[Agent]:
        """Run an agent until the block ends; what a previous process configured is forgotten."""
        self.datapath.configured.clear()
        self.datapath.node = None
        settings = self.settings
        guards = NICGuards(
            known_guards(
                settings.networkmanager, settings.networkd, settings.networkd_conf, settings.udev
            ),
            self.reload,
        )
        journal = Journal(settings.journal, boot)
        agent = Agent(settings, self.store, self.datapath, journal, guards, gateways=self.gateways)
        agent.start()
        try:
            yield agent
        finally:
            agent.stop()
            assert self.datapath.wrong == []

    def eni(self, name: str = "pods-0") -> ENI:
        return decode(self.store.get(names.ENIS, name), ENI)

    def condition(self, type_: Type, name: str = "pods-0") -> Condition:
        """Return the ENI's condition, as soon as it exists."""
        return wait_for(lambda: find(self.eni(name).status.conditions, type_), f"{type_}")

    def node_status(self, name: str = "pods-0") -> NodeStatus:
        return self.eni(name).status.node or NodeStatus()

    def podip(self, name: str) -> PodIP | None:
        try:
            return decode(self.store.get(names.PODIPS, name, "default"), PodIP)
        except NotFoundError:
            return None

    def ready(self, name: str) -> bool:
        podip = self.podip(name)
        return podip is not None and is_true(podip.status.conditions, Type.READY)

    def ready_podip(self, name: str) -> PodIP:
        """Return the PodIP, as soon as it is Ready."""
        wait_for(lambda: self.ready(name), f"PodIP {name} is Ready")
        podip = self.podip(name)
        assert podip is not None
        return podip

    def holds(self, name: str, *, container: str = "", uid: str = "") -> bool:
        """Return True if the PodIP is this container's, or this pod's."""
        podip = self.podip(name)
        return podip is not None and (
            podip.spec.container_id == container or podip.spec.pod_uid == uid
        )

    def add(self, name: str, container: str, uid: str = "") -> str:
        """Start a pod; return its address."""
        uid = uid or node_objects.make_pod(self.store, name)
        answer = self.runtime(container).call("ADD", container, uid, name)
        assert answer.code == 0, answer
        return answer.address

    def delete(self, container: str) -> None:
        answer = self.runtime(container).call("DEL", container)
        assert answer.code == 0, answer


def is_synced(agent: Agent) -> bool:
    """Return True once the agent serves ADDs."""
    return agent._readiness.synced.is_set()


def knows_pod(agent: Agent, uid: str) -> bool:
    """Return True while the agent's cache has this pod."""
    return any(pod.metadata.uid == uid for pod in agent._caches.pods.all())


def waiting_adds(agent: Agent) -> int:
    """Return the number of ADDs that wait for an address."""
    return len(agent._grants.waits())


def grant_of(agent: Agent, container: str) -> Grant:
    """Return the container's grant."""
    found = agent._grants.find(container, "eth0")
    assert found is not None
    return found


def granted(agent: Agent) -> set[str]:
    """Return the containers that have a grant."""
    return {grant.attachment.container_id for grant in agent._grants.all()}


def is_link_ready(agent: Agent, eni: str) -> bool:
    """Return True if the agent lets ADDs use the ENI's link now."""
    return agent._enis.is_link_ready(eni)


def logged_cluster(agent: Agent) -> str:
    """Return the cluster that lines of the grant log name."""
    return agent._grant_log.cluster


def known_enis(agent: Agent) -> set[str]:
    """Return the ENIs whose facts the journal has."""
    return {eni.name for eni in agent._grants.known_enis()}


def reserved(agent: Agent) -> frozenset[str]:
    """Return the addresses without a grant that no look has missed in the kernel yet."""
    return agent._grants.reserved()


def grant_events(agent: Agent) -> list[Grant]:
    """Return a list to which each grant is added that listeners are told of from now on."""
    seen: list[Grant] = []
    agent._grants.subscribe(seen.append)
    return seen


def environment(folder: Path, executable: Path) -> dict[str, str]:
    """The agent's environment with every folder below `folder`."""
    return {**folders(folder), "OPENENI_CNI_EXECUTABLE": str(executable)}


def folders(folder: Path) -> dict[str, str]:
    """The environment of an agent with an executable of its own, as in its image."""
    return {
        "NODE_NAME": node_objects.NODE,
        "OPENENI_RUN": str(folder / "run"),
        "OPENENI_CNI_BIN_DIR": str(folder / "bin"),
        "OPENENI_CNI_CONF_DIR": str(folder / "conf"),
        "OPENENI_NETWORKMANAGER_DIR": str(folder / "networkmanager"),
        "OPENENI_NETWORKD_DIR": str(folder / "networkd"),
        "OPENENI_NETWORKD_CONF_DIR": str(folder / "networkd.conf.d"),
        "OPENENI_UDEV_DIR": str(folder / "udev"),
        "OPENENI_BUS": str(folder / "bus"),
        "OPENENI_SERVICE_CIDRS": "10.96.0.0/12",
    }
