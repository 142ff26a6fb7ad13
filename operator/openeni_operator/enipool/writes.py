"""Carry out the actions of a plan: create, resize, retire, unretire and delete ENIs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from openeni_crds.eni import ENI, ENISpec
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, ObjectMeta, OwnerReference, encode
from openeni_crds.names import (
    API_VERSION,
    ENIPOOLS,
    ENIS,
    FINALIZER_ENI,
    LABEL_NODE_HASH,
    LABEL_POOL,
    PODIPS,
    eni_name,
    node_hash,
)
from openeni_kube.store import ConflictError, InvalidError, Store
from openeni_operator.cluster_state import ClusterState
from openeni_operator.core_objects import Node
from openeni_operator.eni.created import CreatedENIs
from openeni_operator.eni.report import capacity_of, held_by
from openeni_operator.enipool.address_choice import request_addresses
from openeni_operator.enipool.facts import PoolFacts
from openeni_operator.enipool.memory.subnet_usage import SubnetUsage
from openeni_operator.enipool.port_selection import PortSelection
from openeni_operator.enipool.resolution import Resolution
from openeni_operator.sizing.state import (
    Action,
    CreateENI,
    DeleteENI,
    GrowENI,
    RetireAddresses,
    RetireENI,
    UnretireENI,
)


@dataclass(frozen=True)
class ENIWriter:
    """Writes ENIs of one node and pool during one reconcile."""

    state: ClusterState
    store: Store
    facts: PoolFacts
    usage: SubnetUsage
    selection: PortSelection | None  # with a resolution
    created: CreatedENIs
    fail: Callable[[str], None]  # called with what must be planned again

    @property
    def pool(self) -> ENIPool:
        return self.facts.pool

    def execute(self, action: Action, resolution: Resolution | None) -> None:
        """Carry out one action. Raises StoreError."""
        match action:
            case CreateENI(node, addresses):
                if resolution is not None and self.selection is not None:
                    self._create(self.facts.nodes[node], addresses, resolution, self.selection)
            case DeleteENI(name):
                eni = self.state.eni(name)
                if eni is not None:
                    self.store.delete(ENIS, name, uid=eni.metadata.uid)
            case _:
                eni = self.state.eni(action.eni)
                if eni is not None:
                    self._write_spec(eni, self._request(eni, action))

    def set_port_settings(self, eni: ENI) -> None:
        """Write the settings that the ENI's port shall have. Raises StoreError."""
        if self.selection is not None:
            self._write_spec(eni, self.selection.changes(eni))

    def _create(
        self, node: Node, addresses: int, resolution: Resolution, selection: PortSelection
    ) -> None:
        with self.usage.lock:
            subnets = resolution.choose(node.zone, addresses + 1, self.usage)
            self.usage.promise((subnet.id for subnet in subnets), addresses + 1)
        names = (eni_name(self.pool.name, node.name, i) for i in count())
        name = next(n for n in names if self.state.eni(n) is None)
        eni = ENI(
            metadata=ObjectMeta(
                name=name,
                finalizers=(FINALIZER_ENI,),
                labels={LABEL_POOL: self.pool.name, LABEL_NODE_HASH: node_hash(node.name)},
                owner_references=(owner_of(self.pool),),
            ),
            spec=ENISpec(
                pool_name=self.pool.name,
                node_name=node.name,
                server_id=node.server_id,
                cloud=self.pool.spec.cloud,
                network_id=resolution.network.id,
                subnet_ids=tuple(s.id for s in subnets),
                security_group_ids=tuple(g.id for g in selection.groups),
                port_tags=selection.tags,
                qos_policy_id=selection.qos_policy.id if selection.qos_policy else "",
                datapath=self.pool.spec.datapath,
                mtu=resolution.mtu,
                address_count=addresses,
            ),
        )
        body: Json = {"apiVersion": API_VERSION, "kind": ENIS.name, **encode(eni)}
        try:
            created = self.store.create(ENIS, body)
            self.created.note(created["metadata"]["uid"])
        except ConflictError:  # created earlier; the watch has not delivered it yet
            created = self.store.get(ENIS, name)
        self.state.put(ENIS, created)

    def _request(
        self, eni: ENI, action: GrowENI | RetireAddresses | RetireENI | UnretireENI
    ) -> dict[str, Any]:
        """Return the changes of the ENI's spec; the agent's answers count from then on."""
        port = eni.status.port
        match action:
            case RetireENI():
                return {"retiring": list(port.addresses) if port else []}
            case UnretireENI():
                kept = {"addressCount": max(1, capacity_of(eni))} if self.facts.elastic else {}
                return {"retiring": [], **kept}
            case GrowENI(_, keep) | RetireAddresses(_, keep):
                leaving = self.facts.leaving.get(eni.name, frozenset())
                fewer = bool(leaving) or keep < capacity_of(eni)
                granted = self._granted(eni) if fewer else set[str]()
                wanted = request_addresses(eni, keep, granted, leaving)
                with self.usage.lock:
                    self.usage.promise(eni.spec.subnet_ids, max(0, wanted.count - held_by(eni)))
                fields = {"addressCount": wanted.count, "retiring": list(wanted.retiring)}
                same = {
                    "addressCount": eni.spec.address_count == wanted.count,
                    "retiring": set(eni.spec.retiring) == set(wanted.retiring),
                }
                return {name: value for name, value in fields.items() if not same[name]}

    def _granted(self, eni: ENI) -> set[str]:
        """Return the ENI's addresses that pods have, by their PodIPs; the agent knows of more."""
        listed = self.store.list(PODIPS, field_selector=f"spec.eniName={eni.name}").items
        specs = (body["spec"] for body in listed)
        return {s[name] for s in specs for name in ("address", "addressIPv6") if s.get(name)}

    def _write_spec(self, eni: ENI, fields: Mapping[str, Any]) -> None:
        """Replace fields of the ENI's spec, by their names there, in one write; none if equal."""
        if not fields:
            return
        patch: list[Json] = [
            {"op": "test", "path": "/metadata/uid", "value": eni.metadata.uid},
            {"op": "test", "path": "/metadata/generation", "value": eni.metadata.generation},
            *({"op": "add", "path": f"/spec/{name}", "value": v} for name, v in fields.items()),
        ]
        try:
            body = self.store.patch(ENIS, eni.name, operations=patch)
        except InvalidError:
            found = self.store.get(ENIS, eni.name)["metadata"]
            if (found["uid"], found["generation"]) == (eni.metadata.uid, eni.metadata.generation):
                raise  # no test failed: the value is refused, by CRDs of another version perhaps
            self.fail(f"ENI {eni.name} has changed meanwhile")
            return
        self.state.put(ENIS, body, only_update=True)


def owner_of(pool: ENIPool) -> OwnerReference:
    """Return the ENIs' owner reference to their pool, for tools and for garbage collection."""
    return OwnerReference(
        api_version=API_VERSION,
        kind=ENIPOOLS.name,
        name=pool.name,
        uid=pool.metadata.uid,
        controller=True,
    )
