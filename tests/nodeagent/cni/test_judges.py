"""The agent and its executable before the official judges of CNI: libcni and cnitool.

libcni runs every verb of every version of the specification against an agent, and decodes what it
answers; two cnitools, of today and of the time before 1.1.0, start and stop a pod in a kernel.
"""

import json
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from openeni_nodeagent.agent import Agent
from openeni_nodeagent.cni.call import Call
from openeni_nodeagent.cni.configuration import CONFLIST
from openeni_nodeagent.cni.conflist import conflist
from openeni_nodeagent.cni.runtime_config import bandwidth, port_mappings
from openeni_nodeagent.cni.server import CNIServer
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.enis.nic_guards import NICGuards
from openeni_nodeagent.grants.journal import Journal
from openeni_nodeagent.phases import PhaseHistory
from openeni_nodeagent.pod_options import Bandwidth, PortMapping, RateLimit, Transport
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_judges import VERSIONS, Judged
from openeni_testing.agent.host import AgentHost
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port
from openeni_testing.network.node import Node
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root  # cnitool's cache is hidden in a mount namespace

# A plugin after openeni, which adds an interface and an address of its own to the result.
CHAINED = f"""#!{sys.executable}
import json, os, sys
given = json.load(sys.stdin)
if os.environ["CNI_COMMAND"] == "ADD":
    result = given["prevResult"]
    result["interfaces"].append({{"name": "eth1", "mac": "02:00:00:00:00:01", "sandbox": "/x"}})
    result["ips"].append({{"address": "192.0.2.9/24", "interface": 2, "version": "4"}})
    print(json.dumps(result))
if os.environ["CNI_COMMAND"] == "VERSION":
    print(json.dumps({{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0", "1.1.0"]}}))
"""

OLDER = f"""#!{sys.executable}
import json, sys
given = json.load(sys.stdin)
if given["cniVersion"] == "1.1.0":
    print(json.dumps({{"cniVersion": "1.0.0", "code": 1, "msg": "incompatible CNI versions"}}))
    sys.exit(1)
print(json.dumps(given["prevResult"]))
"""


@pytest.fixture
def judged(tmp_path: Path, executable: Path) -> Judged:
    folder = tmp_path / "judges"
    folder.mkdir()
    return Judged(AgentHost(tmp_path, executable), folder)


@contextmanager
def agent(judged: Judged) -> Generator[str]:
    """Run an agent that can serve pods, and make the pod `web`; yield the pod's UID."""
    host = judged.host
    host.create_objects()
    with host.agent():
        wait_for(host.settings.served.exists, "the node can serve pods")
        yield node_objects.make_pod(host.store, "web")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_verb_of_every_version_is_answered_as_libcni_expects(
    judged: Judged, version: str
) -> None:
    host = judged.host
    with agent(judged) as uid:
        judged.write_list(version)
        assert judged.libcni("VERSION").supported == list(VERSIONS)
        assert judged.libcni("STATUS").code == 0
        made = judged.libcni("ADD", "c1", uid)
        assert (made.code, made.version) == (0, version)
        (address,) = host.datapath.owners()
        assert_decoded(made.result, address, str(host.runtime("c1").netns))
        assert judged.libcni("CHECK", "c1", uid).code == 0
        valid = [{"containerID": "c1", "ifname": "eth0"}]
        assert judged.libcni("GC", Valid=valid).code == 0
        assert host.datapath.owners() == {address: "c1"}
        host.datapath.lose(address)
        assert judged.libcni("CHECK", "c1", uid).code == 100
        for _ in range(2):
            assert judged.libcni("DEL", "c1", uid).code == 0
        assert judged.libcni("CHECK", "c1", uid).code == 7  # libcni has no result of it any more


def assert_decoded(result: Any, address: str, netns: str) -> None:
    """libcni has decoded the result, and can convert it to each version."""
    assert set(result) == set(VERSIONS)
    for version, converted in result.items():
        assert converted["cniVersion"] == version
        (ip,) = converted["ips"]
        assert ip["address"] == f"{address}/32"
        assert (ip["interface"], ip["gateway"]) == (1, "169.254.1.1")
        assert ip.get("version") == ("4" if version == "0.4.0" else None)
        host, pod = converted["interfaces"]
        assert (pod["name"], pod["sandbox"], "sandbox" in host) == ("eth0", netns, False)
        assert converted["routes"] == [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]


@pytest.mark.parametrize("version", VERSIONS)
def test_libcni_collects_what_the_runtime_no_longer_lists(judged: Judged, version: str) -> None:
    with agent(judged) as uid:
        judged.write_list(version)
        assert judged.libcni("ADD", "c1", uid).code == 0
        assert judged.libcni("GC", Valid=[]).code == 0
        assert judged.host.datapath.owners() == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_errors_are_decoded_with_code_message_and_details(judged: Judged, version: str) -> None:
    host = judged.host
    with agent(judged) as uid:
        judged.write_list(version)
        host.datapath.refused = "adding veth oe1: EPERM"
        error = judged.libcni("ADD", "c1", uid).error
        assert (error["code"], error["details"]) == (5, host.datapath.refused)
        assert "cannot be built" in error["msg"]
        host.datapath.refused = ""
        assert judged.libcni("ADD", "../c1", uid).code == 4
    assert judged.libcni("CHECK", "c1", uid).code == 11  # no agent


def test_status_says_that_no_pod_could_be_served_yet(judged: Judged) -> None:
    with agent(judged):
        judged.write_list("1.1.0")
    judged.host.settings.served.unlink()  # which an agent writes again
    assert judged.libcni("STATUS").code == 50


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plugin_after_openeni_may_add_to_the_result(judged: Judged, version: str) -> None:
    host = judged.host
    with agent(judged) as uid:
        chained = host.settings.bin_folder / "chained"
        chained.write_text(CHAINED)
        chained.chmod(0o755)
        judged.write_list(version, {"type": "chained", "capabilities": None})
        assert judged.libcni("VERSION").supported == list(VERSIONS)
        made = judged.libcni("ADD", "c1", uid)
        assert [i["name"] for i in made.result[version]["interfaces"]][1:] == ["eth0", "eth1"]
        assert judged.libcni("CHECK", "c1", uid).code == 0
        assert judged.libcni("DEL", "c1", uid).code == 0
        assert host.datapath.owners() == {}


def test_a_plugin_after_openeni_may_be_older_than_the_list(judged: Judged) -> None:
    """libcni calls it in a version that it does not know, until the administrator says less."""
    host, path = judged.host, judged.folder / CONFLIST
    with agent(judged) as uid:
        older = host.settings.bin_folder / "older"
        older.write_text(OLDER)
        older.chmod(0o755)
        body = json.loads(host.conflist.read_text())
        body["plugins"].append({"type": "older"})
        path.write_text(json.dumps(body))
        assert judged.libcni("ADD", "c1", uid).code == 1
        path.write_text(json.dumps(body | {"cniVersions": ["0.4.0", "1.0.0"]}))
        path.write_bytes(conflist(path.read_bytes()).content)  # as the agent writes it again
        assert judged.libcni("ADD", "c2", uid).version == "1.0.0"
        assert set(host.datapath.owners().values()) == {"c1", "c2"}


def test_a_list_in_which_openeni_is_not_the_first_is_refused(judged: Judged) -> None:
    with agent(judged) as uid:
        chained = judged.host.settings.bin_folder / "chained"
        chained.write_text(CHAINED.replace('given["prevResult"]', '{"interfaces":[],"ips":[]}'))
        chained.chmod(0o755)
        judged.write_list("1.0.0")
        path = judged.folder / CONFLIST
        body = json.loads(path.read_text())
        path.write_text(json.dumps(body | {"plugins": [{"type": "chained"}, *body["plugins"]]}))
        error = judged.libcni("ADD", "c1", uid).error
        assert (error["code"], "must be the first" in error["msg"]) == (7, True)
        path.write_bytes(conflist(path.read_bytes()).content)  # as the agent puts it right
        assert judged.libcni("ADD", "c2", uid).code == 0


def test_new_and_old_libcni_agree_with_the_installed_list(judged: Judged) -> None:
    with agent(judged) as uid:
        (judged.folder / CONFLIST).write_bytes(judged.host.conflist.read_bytes())
        assert judged.libcni("VERSION").version == "1.1.0"
        (beside := judged.folder / "openeni").mkdir()  # from libcni 1.3 on
        (beside / "absent.conf").write_text('{"type": "absent"}')
        assert judged.libcni("ADD", "new", uid).code == 0
        netns = str(judged.host.runtime("old").netns)
        old = judged.cnitool("cnitool-1.1", "add", netns, uid)
        assert (old.returncode, old.stderr) == (0, "")
        assert json.loads(old.stdout)["cniVersion"] == "1.0.0"


def test_libcni_passes_host_ports_and_bandwidth_through_the_installed_list(judged: Judged) -> None:
    calls: list[Call] = []

    def handle(call: Call) -> bytes:
        calls.append(call)
        return b'{"cniVersion":"1.1.0"}'

    host = judged.host
    (judged.folder / CONFLIST).write_bytes(conflist().content)
    (host.settings.bin_folder / "openeni").symlink_to(host.executable)
    server = CNIServer(host.settings.socket, handle, PhaseHistory())
    server.start()
    try:
        capabilities = {
            "portMappings": [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp"}],
            "bandwidth": {"EgressRate": 10**6, "EgressBurst": 0xFFFFFFFF},
            "ipRanges": [[{"subnet": "10.0.0.0/8"}]],
        }
        assert judged.libcni("ADD", "c1", "uid", Capabilities=capabilities).code == 0
    finally:
        server.stop()
    given = calls[0].request.config.runtime_config
    assert set(json.loads(given)) == {"portMappings", "bandwidth"}
    assert port_mappings(given) == (PortMapping(8080, 80, Transport.TCP),)
    assert bandwidth(given) == Bandwidth(egress=RateLimit(10**6, 0xFFFFFFFF))


@contextmanager
def agent_on_kernel(judged: Judged) -> Generator[str]:
    """Run an agent on a node's kernel, with the pod `web` at the API; yield the pod's UID."""
    host, network = judged.host, NeutronNetwork()
    node = Node("node", network, "10.99.0.11", "fd99::11")
    host.create_objects()
    port = Port("eni", node_objects.mac(0), ("10.98.0.4", *node_objects.addresses(3)))
    network.plug(node.namespace, "ens7", port)
    settings = host.settings
    try:
        with closing(KernelDatapath()) as datapath:
            journal = Journal(settings.journal, "boot")
            guards = NICGuards((), lambda _: None)
            made = Agent(settings, host.store, datapath, journal, guards, gateways=host.gateways)
            node.run(made.start)
            try:
                wait_for(settings.served.exists, "the node can serve pods")
                yield node_objects.make_pod(host.store, "web")
            finally:
                made.stop()
        assert network.dropped() == {}
    finally:
        node.close()
        network.close()


@pytest.mark.parametrize(
    ("tool", "version"),
    [*(("cnitool", v) for v in VERSIONS), ("cnitool-1.1", "0.4.0"), ("cnitool-1.1", "1.0.0")],
)
def test_cnitool_starts_checks_and_stops_a_pod_on_a_kernel(
    judged: Judged, tool: str, version: str
) -> None:
    with agent_on_kernel(judged) as uid, Namespace("pod") as pod:
        judged.write_list(version)

        def run(verb: str) -> str:
            done = judged.cnitool(tool, verb, pod.path, uid)
            assert (done.returncode, done.stderr) == (0, ""), verb
            return done.stdout

        result = json.loads(run("add"))
        assert result["cniVersion"] == version
        address = str(result["ips"][0]["address"])
        assert f"inet {address} " in pod.program("ip", "-4", "addr", "show", "dev", "eth0")
        run("check")
        pod.ip("route del default")
        while (unhealthy := judged.cnitool(tool, "check", pod.path, uid)).returncode == 0:
            # a look of the agent's start has put it back before
            assert "default via" in pod.program("ip", "-4", "route")
            pod.ip("route del default")
        assert unhealthy.returncode == 1
        assert "route 0.0.0.0/0 via 169.254.1.1" in unhealthy.stderr
        for _ in range(2):
            run("del")
        # The links go right after the answer: a runtime removes the namespace with them itself.
        wait_for(lambda: "eth0" not in pod.program("ip", "-o", "link"), "the pod's link is gone")


def test_cnitool_asks_for_status_and_its_gc_without_a_list_frees_nothing(judged: Judged) -> None:
    with agent(judged) as uid:
        judged.write_list("1.1.0")
        netns = str(judged.host.runtime("c1").netns)
        assert judged.libcni("ADD", "c1", uid).code == 0
        assert judged.cnitool("cnitool", "status", netns, uid).returncode == 0
        collected = judged.cnitool("cnitool", "gc", netns, uid)
        assert "GC needs cni.dev/valid-attachments" in collected.stderr
        assert len(judged.host.datapath.owners()) == 1
