"""Objects of one node as the API server has them, for the agent's tests."""

from collections.abc import Sequence
from typing import Any, Final

from openeni_crds import names
from openeni_crds.conditions import Reason, Type, condition, merge
from openeni_crds.enipool import Datapath, Mode
from openeni_crds.meta import Json, encode
from openeni_crds.names import MANAGER_OPERATOR
from openeni_kube.store import Store
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_testing.objects import eni_body, pool_body

NODE: Final = "n1"
VETH: Final = Datapath(Mode.VETH)
NOW: Final = "2026-01-01T00:00:00Z"


def mac(number: int) -> str:
    return f"fa:16:3e:00:00:{number:02x}"


def make_node(store: Store, addresses: Sequence[str] = ("10.99.0.11",)) -> None:
    store.create(
        names.NODES,
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NODE, "labels": {"kubernetes.io/os": "linux"}},
            "spec": {"providerID": "openstack:///6a2c5b0e-0f5c-4d7e-9a44-1f3f0f3a7f01"},
            "status": {"addresses": [{"type": "InternalIP", "address": a} for a in addresses]},
        },
    )


def make_pool(
    store: Store,
    name: str = "pods",
    *,
    cool_down: str = "30s",
    selects_all: bool = True,
    datapath: Datapath = VETH,
) -> None:
    body = pool_body(name)
    body["spec"]["coolDown"] = cool_down
    body["spec"]["datapath"] = encode(datapath)
    if selects_all:
        body["spec"]["podSelector"] = {}
    store.create(names.ENIPOOLS, body)


def make_eni(
    store: Store, name: str = "pods-0", *, pool: str = "pods", datapath: Datapath = VETH
) -> None:
    body = eni_body(name, node=NODE, pool=pool)
    body["spec"]["datapath"] = encode(datapath)
    body["metadata"]["finalizers"] = [names.FINALIZER_ENI]
    store.create(names.ENIS, body)


def addresses(count: int, number: int = 0) -> tuple[str, ...]:
    return tuple(f"10.98.{number}.{5 + i}" for i in range(count))


def addresses_6(count: int) -> tuple[str, ...]:
    return tuple(f"fd98::{5 + i}" for i in range(count))


def port(count: int, number: int = 0, *, dual: bool = False) -> Json:
    """ENI.status.port as the operator writes it."""
    subnet = {"id": "s", "cidr": f"10.98.{number}.0/24", "gateway": f"10.98.{number}.1"}
    subnet_6 = {"id": "s6", "cidr": "fd98::/64", "gateway": "fd98::1"}
    return {
        "id": f"port-{number}",
        "name": f"openeni-1234-{number}",
        "macAddress": mac(number),
        "revision": 1,
        "mtu": 1450,
        "subnets": [subnet, *([subnet_6] if dual else [])],
        "primary": [f"10.98.{number}.4", *(["fd98::4"] if dual else [])],
        "addresses": [*addresses(count, number), *(addresses_6(count) if dual else ())],
    }


def write_operator_status(
    store: Store,
    name: str = "pods-0",
    *,
    count: int = 3,
    number: int = 0,
    attached: bool = True,
    dual: bool = False,
) -> None:
    """Write the operator's part of an ENI's status."""
    given = (
        condition(Type.PORT_READY, Reason.PORT_CREATED, status=True),
        condition(
            Type.ATTACHED,
            Reason.ATTACHED if attached else Reason.WAITING_FOR_ATTACH,
            status=attached,
        ),
    )
    store.apply(
        names.ENIS,
        {
            "apiVersion": names.API_VERSION,
            "kind": "ENI",
            "metadata": {"name": name},
            "status": {
                "conditions": [encode(c) for c in merge((), given, NOW)],
                "port": port(count, number, dual=dual),
            },
        },
        manager=MANAGER_OPERATOR,
        subresource="status",
    )


def make_pod(store: Store, name: str, annotations: dict[str, str] | None = None) -> str:
    """Create a Pod that is bound to the node; return its UID."""
    made = store.create(
        names.PODS,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "default",
                "annotations": annotations or {},
            },
            "spec": {"nodeName": NODE},
        },
    )
    return str(made["metadata"]["uid"])


def granted(attachment: Attachment, address: str, **more: Any) -> Grant:
    """Return a grant to the pod default/web as its ADD has begun it; `more` are fields of it."""
    return Grant(
        attachment,
        "default",
        "web",
        netns="/ns",
        eni="e",
        pool="pods",
        addresses=(address,),
        datapath_mode="Veth",
        mtu=1450,
        at=1,
        cool_down=30,
        **more,
    )
