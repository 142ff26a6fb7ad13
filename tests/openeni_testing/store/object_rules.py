"""What the API server does to an object before it stores it: which parts a writer may change."""

import uuid
from functools import cache
from typing import Any, TypeVar

import msgspec

from openeni_crds.meta import Json, decode
from openeni_crds.names import NODES, PODS, Kind
from openeni_crds.schema import MODELS, definition
from openeni_kube.store import ConflictError, InvalidError

T = TypeVar("T")
# Set by the server alone, whatever a writer sends.
SERVERS = ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")
_IDENTITY = ("name", "namespace", *SERVERS)
STATUS_SPLIT = frozenset({*MODELS, PODS, NODES})
_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder()


def copied(body: T) -> T:
    """Return a copy as it arrives in JSON, with lists for tuples; copy.deepcopy is far slower."""
    copy: T = _decoder.decode(_encoder.encode(body))
    return copy


@cache
def schema_of(kind: Kind) -> Json:
    """Return the whole object's schema; of a kind that is not ours nothing is known."""
    if kind not in MODELS:
        return {}
    schema: Json = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def whole(kind: Kind, body: Json) -> Json:
    """Fill in the schema's defaults and hold the object to the model's bounds."""
    if kind not in MODELS:
        return body
    _fill(body, schema_of(kind))
    model: Any = MODELS[kind]
    try:
        decode(body, model)
    except msgspec.ValidationError as error:
        raise InvalidError(422, f"{kind.name} is invalid: {error}") from error
    return body


def born(kind: Kind, body: Json, now: str) -> Json:
    """Return a new object as it is stored."""
    fresh = copied(body)
    meta = {k: v for k, v in fresh["metadata"].items() if k not in SERVERS and v}
    if kind.namespaced and "namespace" not in meta:
        raise InvalidError(400, f"{kind.name}: metadata.namespace is required")
    meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now, "generation": 1}
    fresh |= {"apiVersion": kind.api_version, "kind": kind.name, "metadata": meta}
    if kind in STATUS_SPLIT and kind != NODES:
        fresh.pop("status", None)
    if kind == PODS:
        fresh["status"] = {"phase": "Pending"}
    return whole(kind, fresh)


def _fill(body: Any, schema: Json) -> None:
    whole: Any = body  # isinstance() makes a list of unknowns of it, for pyright
    if isinstance(body, dict):
        for name, child in schema.get("properties", {}).items():
            if name not in body and "default" in child:
                body[name] = copied(child["default"])
            if name in body:
                _fill(body[name], child)
    if isinstance(body, list):
        for item in whole:
            _fill(item, schema.get("items", {}))


def desired(body: Json) -> Json:
    """Return what metadata.generation counts the changes of."""
    return {name: part for name, part in body.items() if name not in {"metadata", "status"}}


def owned(body: Json, kind: Kind, subresource: str) -> Json:
    """Return the fields of an applied body that its writer comes to own."""
    if subresource:
        return {subresource: body.get(subresource, {})}
    meta = {name: part for name, part in body["metadata"].items() if name not in _IDENTITY}
    rest = {k: v for k, v in body.items() if k not in {"apiVersion", "kind", "metadata", "status"}}
    if kind not in STATUS_SPLIT and "status" in body:
        rest["status"] = body["status"]
    return rest | ({"metadata": meta} if meta else {})


def merged(kind: Kind, old: Json, wanted: Json, subresource: str) -> Json:
    """Return `old` with those parts of `wanted` that may be written this way."""
    if subresource:
        rest = {name: part for name, part in old.items() if name != subresource}
        return copied(rest | {k: v for k, v in wanted.items() if k == subresource})
    kept = {name: old["metadata"][name] for name in _IDENTITY if name in old["metadata"]}
    meta = {k: v for k, v in wanted["metadata"].items() if k not in _IDENTITY and v} | kept
    body = wanted | {"apiVersion": old["apiVersion"], "kind": old["kind"], "metadata": meta}
    if kind in STATUS_SPLIT:
        body = {k: v for k, v in body.items() if k != "status"}
        body |= {"status": old["status"]} if "status" in old else {}
    return copied(body)


def check_preconditions(meta: Json, live: Json, subresource: str) -> None:
    """Raise where a writer names another version or uid than the living one's.

    The API server does not look at the uid of a status: its strategy copies the metadata first.
    """
    version, uid = meta.get("resourceVersion"), meta.get("uid")
    if version and version != live["metadata"]["resourceVersion"]:
        raise ConflictError(409, "metadata.resourceVersion: the object has been modified")
    if uid and uid != live["metadata"]["uid"] and not subresource:
        raise InvalidError(422, "metadata.uid: field is immutable")


def check_no_new_finalizer(old: Json, body: Json) -> None:
    new = set(body["metadata"].get("finalizers", ())) - set(old["metadata"].get("finalizers", ()))
    if new:
        raise InvalidError(
            422, f"metadata.finalizers: none can be added while deleting: {sorted(new)}"
        )
