"""Reconcile the agent's own Node: pass its facts on, and label it with its datapath modes.

The labels are there as long as openeni has a pool, or anything on the node. Helm's uninstall waits
until they are gone.
"""

from collections.abc import Callable
from typing import Final

from openeni_crds.meta import Json
from openeni_crds.names import LABEL_IPVLAN, LABEL_VETH, NODES
from openeni_kube.result import Done, Result, Retry
from openeni_kube.store import Store, StoreError
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.cluster.facts import node_facts
from openeni_nodeagent.cluster.objects import Node, ServiceCIDR
from openeni_nodeagent.datapath_api import NodeDatapath, NodeFacts
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import JournalError
from openeni_nodeagent.settings import Settings

LABELS: Final = (LABEL_VETH, LABEL_IPVLAN)
_SLASH: Final = "~1"  # JSON pointer's (RFC 6901)


class NodeReconciler:
    """A work queue calls `reconcile`; any thread may call `facts`."""

    def __init__(
        self,
        store: Store,
        datapath: NodeDatapath,
        grants: Grants,
        *,
        settings: Settings,
        nodes: Cache[Node],
        cidrs: Cache[ServiceCIDR],
        is_unused: Callable[[], bool | None],
        on_facts: Callable[[NodeFacts], None],
    ) -> None:
        """`on_facts` is called with the node's facts whenever they have changed.

        `is_unused` returns True if there is no pool and the node has nothing of openeni, and None
        as long as that is not known.
        """
        self._store = store
        self._datapath = datapath
        self._grants = grants
        self._settings = settings
        self._nodes = nodes
        self._cidrs = cidrs
        self._is_unused = is_unused
        self._on_facts = on_facts
        self._facts: NodeFacts | None = None

    def facts(self) -> NodeFacts | None:
        """Return the node's facts; None until this process has read them from the API server."""
        return self._facts

    def reconcile(self, name: str) -> Result:
        """Pass the node's facts on, and label the node, or take its labels off.

        A journal that cannot be written keeps no pod from another service network.
        """
        node = self._nodes.get(name)
        if node is None:
            return Done()
        last = self._facts or self._grants.known_node()
        facts = node_facts(node, self._cidrs.all(), self._settings).with_last_addresses(last)
        if facts != self._facts:
            self._on_facts(facts)
            self._facts = facts
        try:
            self._grants.remember_node(facts)
        except JournalError as error:
            return Retry(f"node {name}: {error}")
        return self._label(node)

    def _label(self, node: Node) -> Result:
        there, unused = node.metadata.labels, self._is_unused()
        if unused is None:
            return Done()
        if unused:
            operations = [{"op": "remove", "path": _path(k)} for k in LABELS if k in there]
        else:
            wanted = labels(self._datapath.datapath_modes())
            wrong = {k: v for k, v in wanted.items() if there.get(k) != v}
            # A JSON patch adds no member to a map that is not there.
            bare = [_add("/metadata/labels", {})] if wrong and not there else []
            operations = [*bare, *(_add(_path(k), v) for k, v in wrong.items())]
        try:
            if operations:
                self._store.patch(NODES, node.metadata.name, operations=operations)
        except StoreError as error:
            return Retry(f"node {node.metadata.name} cannot be labelled: {error}")
        return Done()


def labels(datapath_modes: frozenset[str]) -> dict[str, str]:
    """Return the Node's labels for the datapath modes that its kernel supports."""
    ipvlan = any(mode.startswith("IPVlan") for mode in datapath_modes)
    return {LABEL_VETH: str("Veth" in datapath_modes).lower(), LABEL_IPVLAN: str(ipvlan).lower()}


def _path(label: str) -> str:
    return f"/metadata/labels/{label.replace('/', _SLASH)}"


def _add(path: str, value: object) -> Json:
    return {"op": "add", "path": path, "value": value}
