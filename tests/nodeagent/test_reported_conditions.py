"""The agent's conditions of an ENI say what it waits for, or what is wrong on its node."""

from pathlib import Path

import pytest

from openeni_crds.conditions import Reason, Status, Type, find
from openeni_crds.names import ENIS
from openeni_kube.result import Done, Retry
from openeni_nodeagent.cni.install import HostFiles
from openeni_nodeagent.configuration_reconciler import ConfigurationReconciler
from openeni_nodeagent.datapath_api import (
    DatapathError,
    KernelRefusedError,
    ModeUnsupportedError,
    NoCarrierError,
)
from openeni_nodeagent.enis import link_reports
from openeni_nodeagent.enis.nic_guards import Guard, GuardError, NICGuards, known_guards
from openeni_nodeagent.reports.eni_publisher import ENIPublisher
from openeni_testing.agent import node_objects
from openeni_testing.agent.parts import AgentParts


@pytest.fixture
def parts(tmp_path: Path) -> AgentParts:
    return AgentParts(tmp_path)


def reported(
    parts: AgentParts,
    type_: Type,
    publisher: ENIPublisher | None = None,
    *,
    look: bool = True,
) -> tuple[Status, str, str]:
    """Publish; return the status, reason and message that the ENI has then."""
    assert (publisher or parts.eni_publisher()).reconcile("pods-0") == Done()
    parts.sync(look=look)
    (eni,) = parts.caches.enis.all()
    found = find(eni.status.conditions, type_)
    assert found is not None
    return found.status, found.reason, found.message


def reported_mac(parts: AgentParts) -> str:
    """Return the MAC address of the port that the last report was about."""
    (eni,) = parts.caches.enis.all()
    assert eni.status.node is not None
    return eni.status.node.mac_address


def test_a_restarted_agent_looks_at_the_link_of_an_eni_that_is_being_deleted(
    parts: AgentParts,
) -> None:
    parts.create_objects()
    parts.grant("web", "c1")
    parts.store.delete(ENIS, "pods-0")
    again = parts.restarted()
    again.sync(look=False)
    unknown = (
        Status.UNKNOWN,
        Reason.WAITING_FOR_AGENT,
        "the node's agent has not looked at it yet",
    )
    assert reported(again, Type.LINK_READY, look=False) == unknown
    again.sync()
    assert reported(again, Type.LINK_READY) == (Status.TRUE, Reason.LINK_UP, "")


def test_an_attachment_is_awaited(parts: AgentParts) -> None:
    parts.create_objects()
    assert reported(parts, Type.LINK_READY) == (Status.TRUE, Reason.LINK_UP, "")
    node_objects.write_operator_status(parts.store, attached=False)
    parts.sync()
    message = "waiting for port port-0 to be attached: see the condition Attached"
    assert reported(parts, Type.LINK_READY) == (Status.FALSE, Reason.WAITING_FOR_ATTACH, message)


def test_a_link_that_was_given_up_is_reported_with_its_port(parts: AgentParts) -> None:
    parts.create_objects()
    parts.store.delete(ENIS, "pods-0")
    parts.sync()
    message = "the node has given up port port-0: the ENI is being deleted"
    assert reported(parts, Type.LINK_READY) == (Status.FALSE, Reason.DELETING, message)


def test_what_was_found_for_a_port_is_withdrawn_with_it(parts: AgentParts) -> None:
    parts.create_objects()
    assert reported(parts, Type.GUEST_PREPARED) == (Status.TRUE, Reason.PREPARED, "")
    assert reported_mac(parts) == node_objects.mac(0)
    lost = [{"op": "remove", "path": "/status/port"}]
    parts.store.patch(ENIS, "pods-0", operations=lost, subresource="status")
    parts.sync()
    for type_ in (Type.GUEST_PREPARED, Type.LINK_READY):
        assert reported(parts, type_) == (
            Status.UNKNOWN,
            Reason.WAITING_FOR_PORT,
            "the ENI has no port: see PortReady",
        )
    assert reported_mac(parts) == ""
    again = parts.restarted()
    again.sync()
    assert reported(again, Type.LINK_READY)[1] == Reason.WAITING_FOR_PORT


def test_a_report_names_the_port_that_it_is_about(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another port may come before the agent has seen that there was none."""
    parts.create_objects()
    assert reported(parts, Type.GUEST_PREPARED) == (Status.TRUE, Reason.PREPARED, "")

    def refuse(_: str) -> None:
        raise GuardError("disk full")

    monkeypatch.setattr(parts.guards, "prepare", refuse)
    node_objects.write_operator_status(parts.store, number=1)
    parts.sync(look=False)
    for type_, status, reason in (
        (Type.GUEST_PREPARED, Status.FALSE, Reason.GUEST_NOT_PREPARED),
        (Type.LINK_READY, Status.UNKNOWN, Reason.WAITING_FOR_AGENT),
    ):
        assert reported(parts, type_, look=False)[:2] == (status, reason)
        assert reported_mac(parts) == node_objects.mac(1)


def test_an_eni_that_never_had_a_port_is_not_reported_on(parts: AgentParts) -> None:
    node_objects.make_pool(parts.store)
    node_objects.make_eni(parts.store)
    parts.sync()
    assert parts.status.reconcile("pods-0") == Done()
    assert parts.store.get(ENIS, "pods-0").get("status", {}) == {}


def test_a_nic_is_awaited_reported_as_missing_and_used_once_it_is_there(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.datapath.nics.clear()
    parts.create_objects()
    message = f"no NIC with MAC {node_objects.mac(0)}"
    assert reported(parts, Type.LINK_READY) == (Status.FALSE, Reason.WAITING_FOR_NIC, message)
    with monkeypatch.context() as patch:
        patch.setattr(link_reports, "NIC_MISSING_SECONDS", 0.0)
        parts.sync()
    assert reported(parts, Type.LINK_READY) == (Status.FALSE, Reason.NIC_MISSING, message)
    parts.datapath.nics.add(node_objects.mac(0))
    parts.sync()
    assert reported(parts, Type.LINK_READY) == (Status.TRUE, Reason.LINK_UP, "")


def test_a_carrier_that_is_missing_for_a_moment_changes_nothing_and_for_good_ends_grants(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> tuple[Status, str, bool]:
        status, reason, _ = reported(parts, Type.LINK_READY)
        (eni,) = parts.caches.enis.all()
        assert eni.status.node
        return status, reason, eni.status.node.available > 0

    parts.create_objects()
    parts.datapath.eni_error = NoCarrierError("NIC ens7 has no carrier")
    parts.sync()
    assert found() == (Status.TRUE, Reason.LINK_UP, True)
    monkeypatch.setattr(link_reports, "CARRIER_LOST_SECONDS", 0.0)
    parts.sync()
    assert found() == (Status.FALSE, Reason.NO_CARRIER, False)
    parts.datapath.eni_error = None
    parts.sync()
    assert found() == (Status.TRUE, Reason.LINK_UP, True)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KernelRefusedError("RTM_NEWADDR: EPERM"), Reason.KERNEL_REFUSED),
        (ModeUnsupportedError("no ipvlan"), Reason.MODE_UNSUPPORTED),
    ],
)
def test_why_the_link_cannot_be_configured_is_quoted(
    parts: AgentParts, error: DatapathError, reason: Reason
) -> None:
    parts.datapath.eni_error = error
    parts.create_objects()
    assert reported(parts, Type.LINK_READY) == (Status.FALSE, reason, str(error))


def test_a_guard_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    networkd = tmp_path / "networkd"
    known = known_guards(tmp_path / "none", networkd, tmp_path / "none", tmp_path / "none")
    parts = AgentParts(tmp_path, guards=NICGuards(known, lambda _: None))
    obstacle = networkd / "05-openeni-fa163e000000.network"
    obstacle.mkdir(parents=True)
    parts.create_objects()
    status, reason, message = reported(parts, Type.GUEST_PREPARED)
    assert (status, reason) == (Status.FALSE, Reason.GUEST_NOT_PREPARED)
    assert message.startswith(f"{obstacle} cannot be written: ")
    obstacle.rmdir()
    parts.sync()
    assert reported(parts, Type.GUEST_PREPARED) == (Status.TRUE, Reason.PREPARED, "")


def test_a_program_that_cannot_be_reloaded_is_named_until_it_can(tmp_path: Path) -> None:
    refusals = ["networkd cannot be reloaded"]

    def reload(_: str) -> None:
        if refusals:
            raise GuardError(refusals[0])

    guard = Guard(tmp_path, "05-openeni", ".network", "node", "<mac>", "networkd")
    parts = AgentParts(tmp_path, guards=NICGuards([guard], reload))
    parts.create_objects()
    for _ in range(2):
        found = Status.FALSE, Reason.GUEST_NOT_PREPARED, "networkd cannot be reloaded"
        assert reported(parts, Type.GUEST_PREPARED) == found
    refusals.clear()
    parts.sync()
    assert reported(parts, Type.GUEST_PREPARED) == (Status.TRUE, Reason.PREPARED, "")


def test_the_guards_are_those_of_the_port_that_the_eni_has(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("none", "networkd", "networkd.conf.d", "udev")]
    for folder in folders[1:]:
        folder.mkdir()
    parts = AgentParts(tmp_path, guards=NICGuards(known_guards(*folders), lambda _: None))

    def names_of(mac: str) -> set[str]:
        compact = mac.replace(":", "")
        node = {"05-openeni.network", "80-openeni.rules", "90-openeni.conf"}
        return node | {f"05-openeni-{compact}.network", f"80-openeni-{compact}.rules"}

    parts.create_objects()
    for number in (0, 1):
        node_objects.write_operator_status(parts.store, number=number)
        parts.datapath.nics = {node_objects.mac(number)}
        parts.sync()
        parts.sync()  # the look before has found that the former port's NIC is gone
        found = {file.name for folder in folders[1:] for file in folder.iterdir()}
        assert found == names_of(node_objects.mac(number))


class Runtime:
    """The folders of a node's container runtime, and the agent's part that configures it."""

    def __init__(self, folder: Path, parts: AgentParts) -> None:
        (folder / "executable").write_bytes(b"\x7fELF")
        self.bin, self.conf = folder / "bin", folder / "conf"
        self.bin.mkdir()
        self.conf.mkdir()
        self.synced = True
        files = HostFiles(folder / "executable", self.bin, self.conf, folder / "served")
        self.configuration = ConfigurationReconciler(
            node_objects.NODE,
            files,
            parts.caches,
            parts.grants,
            parts.links,
            is_synced=lambda: self.synced,
            on_change=lambda: None,
        )
        self.publisher = parts.eni_publisher(self.configuration.condition)


def test_nothing_is_reported_of_the_runtime_before_the_watches_have_synced(
    tmp_path: Path, parts: AgentParts
) -> None:
    parts.create_objects()
    runtime = Runtime(tmp_path, parts)
    runtime.synced = False
    runtime.configuration.reconcile("")
    assert reported(parts, Type.CNI_CONFIGURED, runtime.publisher) == (
        Status.UNKNOWN,
        Reason.WAITING_FOR_AGENT,
        "the agent starts",
    )
    assert list(runtime.conf.iterdir()) == []


def test_a_folder_that_the_executable_cannot_be_installed_in_is_named(
    tmp_path: Path, parts: AgentParts
) -> None:
    parts.create_objects()
    runtime = Runtime(tmp_path, parts)
    obstacle = runtime.bin / "openeni"
    obstacle.mkdir()
    assert isinstance(runtime.configuration.reconcile(""), Retry)
    status, reason, message = reported(parts, Type.CNI_CONFIGURED, runtime.publisher)
    assert (status, reason) == (Status.FALSE, Reason.INSTALL_FAILED)
    assert message.startswith(f"{obstacle} cannot be written: ")
    assert list(runtime.conf.iterdir()) == []
