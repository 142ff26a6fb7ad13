"""Helm's pre-delete hook: refuse while pools exist, then wait until every node is as it was.

Runs as `python -m openeni_operator.hooks.uninstall`. Operator and agents clean up once the last
pool is gone: ports of ENIs, CNI configurations, the nodes' labels and taint. Without them nobody
would. Ports without an ENI stay; while a pool is there its status names them.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from openeni_crds.conditions import Status, Type
from openeni_crds.meta import Json
from openeni_crds.names import (
    ENIPOOLS,
    ENIS,
    LABEL_IPVLAN,
    LABEL_VETH,
    NODES,
    PODIPS,
    TAINT_AGENT_NOT_READY,
    Kind,
)
from openeni_kube.store import NotFoundError, Store, object_key
from openeni_operator.hooks.waiting import Finding, Messages, listed, names, run

GUIDE: Final = "docs/upgrade.md of openeni, Uninstalling, says how to force it and what that leaves"
MESSAGES: Final = Messages("openeni cannot be uninstalled", GUIDE)


@dataclass(frozen=True)
class Remains:
    """Names of what is left of openeni in the cluster."""

    pools: tuple[str, ...] = ()  # that nobody has deleted
    going: tuple[str, ...] = ()  # pools that are being deleted
    enis: tuple[str, ...] = ()
    podips: tuple[str, ...] = ()  # namespace/name, as their pods
    nodes: tuple[str, ...] = ()  # with labels or the taint of openeni
    orphans: tuple[str, ...] = ()  # what pools say of ports without an ENI

    @property
    def finding(self) -> Finding:
        """Return whether openeni can be removed."""
        notice = f"nobody deletes them: {'; '.join(self.orphans)}" if self.orphans else ""
        if self.pools:
            return Finding(
                notice=notice,
                refusal=f"pools exist: {listed(self.pools)}. Their pods would lose their network, "
                "and their ports would stay. Move the pods away, `kubectl delete enipool` each of "
                "them, and uninstall again. Or keep openeni, which goes on as before: `helm "
                f"rollback` to the last revision makes upgrades possible again. {GUIDE}",
            )
        kinds = (
            ("pools to go", self.going),
            ("pods with an address to end", self.podips),
            ("ENIs to go", self.enis),
            ("nodes to be cleaned", self.nodes),
        )
        left = "; ".join(f"{kind}: {listed(found)}" for kind, found in kinds if found)
        return Finding(left, notice=notice)


def main() -> int:
    """Return 0 once nothing is left, or 1 after one line that says why not."""
    return run(lambda store: observe(store).finding, MESSAGES)


def observe(store: Store) -> Remains:
    """Return what is left. Raises StoreError."""
    pools = _items(store, ENIPOOLS)
    return Remains(
        pools=names(p for p in pools if not _is_going(p)),
        going=names(p for p in pools if _is_going(p)),
        enis=names(_items(store, ENIS)),
        podips=tuple(sorted(object_key(podip) for podip in _items(store, PODIPS))),
        nodes=names(node for node in _items(store, NODES) if _is_marked(node)),
        orphans=tuple(sorted({message for pool in pools for message in _orphans(pool)})),
    )


def _items(store: Store, kind: Kind) -> Sequence[Json]:
    try:
        return store.list(kind).items
    except NotFoundError:  # somebody has deleted the CRDs already
        return ()


def _orphans(pool: Json) -> Iterator[str]:
    """Yield what a pool says of ports without an ENI; all pools of a cloud say the same."""
    for condition in pool.get("status", {}).get("conditions", ()):
        if condition["type"] == Type.PORTS_OWNED and condition["status"] == Status.FALSE:
            yield condition["message"]


def _is_going(body: Json) -> bool:
    return "deletionTimestamp" in body["metadata"]


def _is_marked(node: Json) -> bool:
    labels: Json = node["metadata"].get("labels") or {}
    taints: Sequence[Json] = node.get("spec", {}).get("taints") or ()
    return bool({LABEL_VETH, LABEL_IPVLAN} & labels.keys()) or any(
        taint["key"] == TAINT_AGENT_NOT_READY for taint in taints
    )


if __name__ == "__main__":
    sys.exit(main())
