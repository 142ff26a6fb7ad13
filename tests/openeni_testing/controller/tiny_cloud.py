"""A cloud with one ENI's ports only, for the rules alone: every call is done at once."""

from dataclasses import dataclass, field, replace
from typing import Any

from openeni_operator.cloud.api import ACTIVE, Port
from openeni_operator.eni.facts import Elapsed, Facts
from openeni_operator.eni.steps import (
    AddAddresses,
    AddClaimedAddress,
    AttachPort,
    ConfirmPort,
    CreatePort,
    DeletePort,
    DetachPort,
    ForgetPort,
    Ready,
    ReleaseAddresses,
    RemoveFinalizer,
    SetQoSPolicy,
    SetSecurityGroups,
    Step,
    TagPort,
    UntagPort,
    Wait,
)
from openeni_testing.controller.ports import HERE, NONE, a_port


@dataclass
class TinyCloud:
    """Just enough of a cloud and an agent to carry out steps; waiting advances the clock."""

    facts: Facts
    now: float = 0.0
    since: dict[str, float] = field(default_factory=dict[str, float])
    detaching_port: str = ""
    deleted_port: str = ""

    def __post_init__(self) -> None:
        self.detaching_port = self.facts.elapsed.detaching_port
        for name in ("create_requested", "attach_requested", "detach_requested", "port_missing"):
            age = getattr(self.facts.elapsed, name)
            if age is not None:
                self.since[name] = -age

    def observe(self) -> Facts:
        facts = self.facts
        if facts.recorded_port and not facts.ports:
            self.since.setdefault("port_missing", self.now)
        else:
            self.since.pop("port_missing", None)
        if facts.ports:
            self.since.pop("create_requested", None)
        if not any(p.device_id for p in facts.ports if p.id == self.detaching_port):
            self.since.pop("detach_requested", None)
        ages: dict[str, Any] = {name: self.now - at for name, at in self.since.items()}
        elapsed = Elapsed(
            **ages, detaching_port=self.detaching_port, deleted_port=self.deleted_port
        )
        recorded = facts.port.id if facts.port is not None else facts.recorded_port
        self.facts = replace(facts, recorded_port=recorded)
        return replace(facts, elapsed=elapsed)

    def carry_out(self, step: Step) -> None:  # noqa: C901, PLR0912 a table
        match step:
            case CreatePort():
                self._put(a_port("p7", tags=NONE))
            case TagPort(port, tag):
                found = self._port(port)
                self._put(replace(found, tags=found.tags | {tag}))
            case DeletePort(port):
                self.deleted_port = port
                left = tuple(p for p in self.facts.ports if p.id != port)
                self.facts = replace(self.facts, ports=left)
            case ConfirmPort():
                self.facts = replace(self.facts, behind=False)
            case AttachPort(port):
                self.since["attach_requested"] = self.now
                self._put(replace(self._port(port), device_id=HERE, status="BUILD"))
            case UntagPort(port, tag):
                found = self._port(port)
                self._put(replace(found, tags=found.tags - {tag}))
            case SetSecurityGroups(port, enable):
                groups, found = self.facts.settings.security_groups, self._port(port)
                security = True if enable else found.port_security
                self._put(replace(found, security_group_ids=groups, port_security=security))
            case ReleaseAddresses():
                self.facts = replace(self.facts, resize=replace(self.facts.resize, release=()))
            case AddClaimedAddress():
                self.facts = replace(self.facts, resize=replace(self.facts.resize, claimed=None))
            case AddAddresses():
                self.facts = replace(self.facts, resize=replace(self.facts.resize, add=()))
            case SetQoSPolicy(port, policy):
                self._put(replace(self._port(port), qos_policy_id=policy))
            case DetachPort(port):
                self.since["detach_requested"], self.detaching_port = self.now, port
                self._put(replace(self._port(port), device_id="", status="DOWN"))
            case ForgetPort():
                self.facts = replace(self.facts, recorded_port="")
            case Wait(_, _, after):
                self.now += after
                self._let_others_act()
            case Ready() | RemoveFinalizer():
                pass

    def _let_others_act(self) -> None:
        """Neutron activates attached ports; the agent prepares, finds the NIC and releases it."""
        active = tuple(replace(p, status=ACTIVE) if p.device_id else p for p in self.facts.ports)
        link_ready = any(p.device_id for p in active)
        self.facts = replace(
            self.facts, ports=active, guest_prepared=True, link_ready=link_ready, in_use=False
        )

    def _port(self, port_id: str) -> Port:
        return next(p for p in self.facts.ports if p.id == port_id)

    def _put(self, port: Port) -> None:
        others = tuple(p for p in self.facts.ports if p.id != port.id)
        self.facts = replace(self.facts, ports=(*others, port))
