"""Helm's pre-delete hook: refuse while pools exist, then wait until every node is as it was.

Runs as `python -m openeni_operator.uninstall`. Operator and agents clean up once the last pool is
gone: ports, the nodes' CNI configuration, their labels and taint. Without them nobody would.
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from openeni_crds.meta import Json
from openeni_crds.names import (
    ENIPOOLS,
    ENIS,
    LABEL_IPVLAN,
    LABEL_VETH,
    MANAGER_OPERATOR,
    NODES,
    PODIPS,
    TAINT_AGENT_NOT_READY,
    Kind,
)
from openeni_kube.client import NotConfiguredError, connect
from openeni_kube.store import NotFoundError, Store, StoreError, object_key

WAIT_SECONDS: Final = 240.0  # Helm itself waits five minutes
LOOK_SECONDS: Final = 2.0
SHOWN: Final = 5  # names of each kind in a message
GUIDE: Final = "docs/upgrade.md of openeni, Uninstalling, says how to force it and what that leaves"


@dataclass(frozen=True)
class Remains:
    """Names of what is left of openeni in the cluster."""

    pools: tuple[str, ...] = ()  # that nobody has deleted
    going: tuple[str, ...] = ()  # pools that are being deleted
    enis: tuple[str, ...] = ()
    podips: tuple[str, ...] = ()  # namespace/name, as their pods
    nodes: tuple[str, ...] = ()  # with labels or the taint of openeni

    @property
    def refusal(self) -> str:
        """Return why openeni cannot be removed; "" if waiting is enough."""
        if not self.pools:
            return ""
        return (
            f"pools exist: {_listed(self.pools)}. Their pods would lose their network, and their "
            "ports would stay. Move the pods away, `kubectl delete enipool` each of them, and "
            "uninstall again. Or keep openeni, which goes on as before: `helm rollback` to the "
            f"last revision makes upgrades possible again. {GUIDE}"
        )

    @property
    def text(self) -> str:
        """Return what is still waited for; "" if nothing is left."""
        kinds = (
            ("pools", self.going),
            ("pods with an address", self.podips),
            ("ENIs", self.enis),
            ("nodes to clean", self.nodes),
        )
        return "; ".join(f"{kind}: {_listed(names)}" for kind, names in kinds if names)


def main() -> int:
    """Return 0 once nothing is left, or 1 after one line that says why not."""
    try:
        store = connect(agent=MANAGER_OPERATOR, connections=1)
    except NotConfiguredError as error:
        return _complain(str(error))
    return wait(lambda: observe(store), time.monotonic, time.sleep)


def wait(
    look: Callable[[], Remains], clock: Callable[[], float], sleep: Callable[[float], None]
) -> int:
    """Look until nothing is left, for `WAIT_SECONDS`; return the exit status."""
    begun, seen = clock(), ""
    while True:
        try:
            remains = look()
        except StoreError as error:
            left = f"the Kubernetes API server cannot be used: {error}"
        else:
            if remains.refusal:
                return _complain(remains.refusal)
            left = remains.text
            if not left:
                return 0
        if clock() - begun > WAIT_SECONDS:
            return _complain(f"after {WAIT_SECONDS:.0f} s there are still {left}. {GUIDE}")
        if left != seen:
            sys.stderr.write(f"waiting for {left}\n")
            seen = left
        sleep(LOOK_SECONDS)


def observe(store: Store) -> Remains:
    """Return what is left. Raises StoreError."""
    pools = _items(store, ENIPOOLS)
    return Remains(
        pools=_names(p for p in pools if not _is_going(p)),
        going=_names(p for p in pools if _is_going(p)),
        enis=_names(_items(store, ENIS)),
        podips=tuple(sorted(object_key(podip) for podip in _items(store, PODIPS))),
        nodes=_names(node for node in _items(store, NODES) if _is_marked(node)),
    )


def _items(store: Store, kind: Kind) -> Sequence[Json]:
    try:
        return store.list(kind).items
    except NotFoundError:  # somebody has deleted the CRDs already
        return ()


def _is_going(body: Json) -> bool:
    return "deletionTimestamp" in body["metadata"]


def _is_marked(node: Json) -> bool:
    labels: Json = node["metadata"].get("labels") or {}
    taints: Sequence[Json] = node.get("spec", {}).get("taints") or ()
    return bool({LABEL_VETH, LABEL_IPVLAN} & labels.keys()) or any(
        taint["key"] == TAINT_AGENT_NOT_READY for taint in taints
    )


def _names(bodies: Iterable[Json]) -> tuple[str, ...]:
    return tuple(sorted(str(body["metadata"]["name"]) for body in bodies))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _complain(text: str) -> int:
    sys.stderr.write(f"openeni cannot be uninstalled: {text}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
