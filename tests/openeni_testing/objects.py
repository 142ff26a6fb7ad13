"""Minimal valid objects of every kind, for tests to change and to store."""

import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from openeni_crds.meta import Json
from openeni_crds.names import API_VERSION, CRDS, ENIPOOLS, ENIS, PODIPS, PODS, Kind
from openeni_kube.store import NotFoundError, Store
from openeni_testing.waiting import wait_for

REPOSITORY: Final = Path(__file__).parents[2]


def unique(prefix: str) -> str:
    """Return a name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def pool_body(name: str) -> Json:
    """Return an ENIPool."""
    return {
        "apiVersion": API_VERSION,
        "kind": ENIPOOLS.name,
        "metadata": {"name": name},
        "spec": {
            "subnets": [{"name": "pods"}],
            "securityGroups": [{"name": "pods"}],
            "datapath": {"mode": "Veth"},
        },
    }


def eni_body(name: str, *, node: str = "n1", pool: str = "pods") -> Json:
    """Return an ENI."""
    return {
        "apiVersion": API_VERSION,
        "kind": ENIS.name,
        "metadata": {"name": name},
        "spec": {
            "poolName": pool,
            "nodeName": node,
            "serverID": "6a2c5b0e-0f5c-4d7e-9a44-1f3f0f3a7f01",
            "cloud": "default",
            "networkID": "0d9c2a52-5d0a-4c0c-8e44-0c2f8f5f1a02",
            "subnetIDs": ["5b1f7c1a-1c57-4f0a-8a3f-8d5e4f7d1c03"],
            "securityGroupIDs": ["9e3d7d5c-7b1e-4f5a-b6ad-3f5e9d2c1b04"],
            "datapath": {"mode": "Veth"},
            "mtu": 1450,
            "addressCount": 15,
        },
    }


def podip_body(name: str, *, node: str = "n1", namespace: str = "default") -> Json:
    """Return a PodIP."""
    return {
        "apiVersion": API_VERSION,
        "kind": PODIPS.name,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "podUID": "2f1f9a3e-6d0e-4c39-9a35-8c1c7d7f5e05",
            "nodeName": node,
            "containerID": "5d1b",
            "eniName": "pods-2f1f9a3e-0",
            "poolName": "pods",
            "address": "10.98.0.5",
            "datapathMode": "Veth",
        },
    }


def condition(type_: str, status: str = "True") -> Json:
    """Return a condition of a status."""
    return {
        "type": type_,
        "status": status,
        "reason": "Tested",
        "message": "",
        "lastTransitionTime": "2026-11-24T01:02:03Z",
    }


def port_status(name: str) -> Json:
    """Return what the operator writes about a port of that name."""
    return {
        "id": "b7a1f2de",
        "name": name,
        "macAddress": "fa:16:3e:5e:30:01",
        "revision": 4,
        "mtu": 1450,
        "subnets": [{"id": "5b1f7c1a", "cidr": "10.98.0.0/22"}],
        "primary": ["10.98.0.10"],
        "addresses": ["10.98.0.11"],
    }


def status_of(name: str, **status: Any) -> Json:
    """Return the body that applies these parts of a status."""
    return {"metadata": {"name": name}, "status": status}


def install_crds(store: Store) -> None:
    """Put the CRDs of the repository into an API server and wait until it serves them."""
    for path in sorted((REPOSITORY / "crds").glob("*.yaml")):
        body = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
        store.apply(CRDS, body, manager="openeni-tests")
        name = body["metadata"]["name"]
        wait_for(partial(_established, store, name), f"{name} is established")


def remove(store: Store, kind: Kind, name: str, namespace: str = "") -> None:
    """Delete an object and its finalizers."""
    store.delete(kind, name, namespace)
    released: list[Json] = [{"op": "add", "path": "/metadata/finalizers", "value": []}]
    with suppress(NotFoundError):  # nobody did, or its owner was faster
        store.patch(kind, name, namespace, operations=released)


def remove_objects(store: Store) -> None:
    """Remove every object that a test may have made."""
    for kind in (ENIPOOLS, ENIS, PODIPS, PODS):
        for body in store.list(kind).items:
            meta = body["metadata"]
            remove(store, kind, meta["name"], meta.get("namespace", ""))


def _established(store: Store, name: str) -> bool:
    conditions: list[Json] = store.get(CRDS, name).get("status", {}).get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)
