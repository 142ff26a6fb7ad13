"""Objects as the operator, an agent and Kubernetes write them."""

from typing import Any, Final

from openeni_crds.conditions import Condition
from openeni_crds.eni import ENI, ENISpec
from openeni_crds.enipool import Datapath, Mode
from openeni_crds.meta import Json, ObjectMeta, OwnerReference, encode
from openeni_crds.names import (
    API_VERSION,
    ENIPOOLS,
    ENIS,
    FINALIZER_ENI,
    FINALIZER_ENIPOOL,
    LABEL_IPVLAN,
    LABEL_NODE_HASH,
    LABEL_POOL,
    LABEL_VETH,
    node_hash,
)
from openeni_crds.status.eni import ENIStatus, PortStatus, PortSubnet
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.reports import podip_body

NOW: Final = "2026-11-24T01:02:03Z"
ADDRESSES: Final = ("10.98.0.11", "10.98.0.12", "10.98.0.13")


def manifest(version: str, kind: str, name: str, namespace: str = "", **parts: Any) -> Json:
    """Return an object of any kind."""
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name} | place} | parts


def node(name: str) -> Json:
    made = manifest("v1", "Node", name)
    labels = {"kubernetes.io/hostname": name, LABEL_VETH: "false", LABEL_IPVLAN: "false"}
    made["metadata"]["labels"] = labels
    return made


def pod(name: str, namespace: str, node_name: str, account: str = "") -> Json:
    spec: Json = {"nodeName": node_name, "containers": [{"name": "main", "image": "none"}]}
    if account:
        spec["serviceAccountName"] = account
    else:
        spec["automountServiceAccountToken"] = False
    return manifest("v1", "Pod", name, namespace, spec=spec)


def pool(name: str) -> Json:
    spec: Json = {
        "subnets": [{"name": "pods"}],
        "securityGroups": [{"name": "pods"}],
        "datapath": {"mode": "Veth"},
    }
    made = manifest(API_VERSION, ENIPOOLS.name, name, spec=spec)
    made["metadata"]["finalizers"] = [FINALIZER_ENIPOOL]
    return made


def eni(name: str, node_name: str, pool: Json) -> Json:
    """Return an ENI whose last address the operator wants back."""
    owner = OwnerReference(
        API_VERSION,
        ENIPOOLS.name,
        pool["metadata"]["name"],
        pool["metadata"]["uid"],
        controller=True,
    )
    made = ENI(
        metadata=ObjectMeta(
            name=name,
            finalizers=(FINALIZER_ENI,),
            labels={LABEL_POOL: owner.name, LABEL_NODE_HASH: node_hash(node_name)},
            owner_references=(owner,),
        ),
        spec=ENISpec(
            pool_name=owner.name,
            node_name=node_name,
            server_id="6a2c5b0e-0f5c-4d7e-9a44-1f3f0f3a7f01",
            cloud="default",
            network_id="0d9c2a52-5d0a-4c0c-8e44-0c2f8f5f1a02",
            subnet_ids=("5b1f7c1a-1c57-4f0a-8a3f-8d5e4f7d1c03",),
            security_group_ids=("9e3d7d5c-7b1e-4f5a-b6ad-3f5e9d2c1b04",),
            datapath=Datapath(Mode.VETH),
            mtu=1450,
            address_count=len(ADDRESSES),
            retiring=ADDRESSES[-1:],
        ),
    )
    return {"apiVersion": API_VERSION, "kind": ENIS.name, **encode(made)}


def port_status(*, revision: int = 4) -> PortStatus:
    return PortStatus(
        id="b7a1f2de-63c5-4a5e-8d50-70c19f2a6e06",
        name="openeni-1c0ffee1-0b9f8e7d-6c5b-4a39-8281-706f5e4d3c2b",
        mac_address="fa:16:3e:5e:30:01",
        revision=revision,
        mtu=1450,
        subnets=(PortSubnet("5b1f7c1a-1c57-4f0a-8a3f-8d5e4f7d1c03", "10.98.0.0/22", "10.98.0.1"),),
        primary=("10.98.0.10",),
        addresses=ADDRESSES,
    )


def status(stored: Json, part: Json) -> Json:
    """Return the apply of a part of an object's status; its uid keeps it from a namesake."""
    meta = {k: v for k, v in stored["metadata"].items() if k in {"name", "namespace", "uid"}}
    return manifest(stored["apiVersion"], stored["kind"], "") | {"metadata": meta, "status": part}


def port_report(conditions: tuple[Condition, ...], *, revision: int = 4) -> Json:
    """Return the operator's part of an ENI's status."""
    return encode(ENIStatus(conditions=conditions, port=port_status(revision=revision)))


def condition(type_: str, *, time: str = NOW, generation: int = 1) -> Json:
    return {
        "type": type_,
        "status": "True",
        "reason": "Ready",
        "message": "",
        "observedGeneration": generation,
        "lastTransitionTime": time,
    }


def grant(stored_pod: Json, eni_name: str, pool_name: str, container: str = "5d1b") -> Grant:
    """Return the grant of an address to a pod."""
    meta = stored_pod["metadata"]
    return Grant(
        attachment=Attachment(meta["uid"], container, "eth0"),
        namespace=meta["namespace"],
        name=meta["name"],
        netns="",
        eni=eni_name,
        pool=pool_name,
        addresses=ADDRESSES[:1],
        datapath_mode="Veth",
        mtu=1450,
        at=0,
        cool_down=130,
        connected=True,
        host_interface="oe1f2e3d4c5b6",
        gateway=("169.254.1.1",),
    )


def podip(stored_pod: Json, node_name: str, eni_name: str, pool_name: str) -> Json:
    """Return a PodIP as an agent creates it."""
    made = grant(stored_pod, eni_name, pool_name)
    return podip_body.body(made, node_name, made.attachment.pod_uid)
