"""The facts that decide the next step for an ENI's port, as they are observed each time."""

from dataclasses import dataclass

from openeni_operator.cloud.api import Port
from openeni_operator.eni.port_settings import PortSettings
from openeni_operator.eni.resize import NO_RESIZE, Resize
from openeni_operator.eni.steps import Step


@dataclass(frozen=True)
class Elapsed:
    """Seconds since events that only this process saw; None if there was none."""

    create_requested: float | None = None  # a POST that was not refused
    attach_requested: float | None = None
    attach_refusals: int = 0  # in a row: the server had no slot
    detach_requested: float | None = None
    detaching_port: str = ""  # ID of the port of the last detach request
    detaches: int = 0  # such requests for that port that were not refused
    port_missing: float | None = None
    deleted_port: str = ""  # ID of a port whose deletion Neutron has confirmed
    settings_requested: float | None = None  # tags, or a QoS policy
    resize_requested: float | None = None  # a change of addresses that may still be done
    resize_refused: float | None = None
    resize_refusals: int = 0  # in a row
    inactive: float | None = None  # the port has been attached and not ACTIVE
    reattachments: int = 0  # detach requests since it was last ACTIVE


@dataclass(frozen=True)
class Facts:
    """An ENI as the API server, Neutron, Nova and the agent report it."""

    server_id: str
    tags: frozenset[str]  # those that tell whose port it is
    settings: PortSettings
    deleting: bool = False
    ports: tuple[Port, ...] = ()  # every port with the ENI's port name
    recorded_port: str = ""  # ID of the port in ENI.status
    guest_prepared: bool = False  # the agent keeps the guest's own network tools off the NIC
    in_use: bool = True  # the agent may still use the NIC or grant addresses
    given_up: bool = False  # no pod has an address of the port, and the agent grants none
    link_ready: bool = False  # the agent has found the NIC
    server_gone: bool = False  # Nova reports that the server does not exist
    mass_loss: bool = False  # Neutron shows neither the recorded port nor many others of ours
    behind: bool = False  # Neutron has for long shown an older port than before
    unshown: int = 0  # ports that Neutron has created and not shown; the recorded one is the last
    resize: Resize = NO_RESIZE  # of the port
    yields: bool = False  # others' claims are in transit: what is added might be theirs
    elapsed: Elapsed = Elapsed()
    refused: Step | None = None  # the last change that the cloud has refused to this process

    @property
    def port(self) -> Port | None:
        """The port to keep, if there are several."""
        return min(self.ports, key=self._rank, default=None)

    def _rank(self, port: Port) -> tuple[bool, bool, str, str]:
        return (
            port.device_id != self.server_id,
            port.id != self.recorded_port,
            port.created_at,
            port.id,
        )
