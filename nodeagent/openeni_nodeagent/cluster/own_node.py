"""The agent's own Node: what ENIs need to know of it, and labels that say what it can."""

from collections.abc import Callable
from typing import Final

from openeni_crds.names import LABEL_IPVLAN, LABEL_VETH, NODES
from openeni_kube.result import Done, Result, Retry
from openeni_kube.store import Store, StoreError
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.cluster.facts import node_facts
from openeni_nodeagent.cluster.objects import Node, ServiceCIDR
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.settings import Settings
from openeni_nodeagent.wiring import NodeFacts, Wiring, WiringError

_SLASH: Final = "~1"  # JSON pointer's (RFC 6901)


class NodeSide:
    """`reconcile` is a work queue's; `facts` may be asked by any thread."""

    def __init__(
        self,
        store: Store,
        wiring: Wiring,
        grants: Grants,
        *,
        settings: Settings,
        nodes: Cache[Node],
        cidrs: Cache[ServiceCIDR],
        changed: Callable[[], None],
    ) -> None:
        """`changed` hears of new facts, once they are in force."""
        self._store = store
        self._wiring = wiring
        self._grants = grants
        self._settings = settings
        self._nodes = nodes
        self._cidrs = cidrs
        self._changed = changed
        self._facts: NodeFacts | None = None

    def facts(self) -> NodeFacts | None:
        """None until the node has been prepared by this process."""
        return self._facts

    def restore(self, facts: NodeFacts) -> None:
        """Prepare the node as an earlier process did. Raises WiringError."""
        self._wiring.prepare_node(facts)

    def reconcile(self, name: str) -> Result:
        """Prepare the node and label it."""
        node = self._nodes.get(name)
        if node is None:
            return Done()
        facts = node_facts(node, self._cidrs.all(), self._settings.local_dns)
        if self._settings.service_cidrs:
            facts = NodeFacts(facts.addresses, self._settings.service_cidrs, facts.local_dns)
        if facts != self._facts:
            try:
                self._wiring.prepare_node(facts)
            except WiringError as error:
                return Retry(f"node {name} cannot be prepared: {error}")
            self._grants.see_node(facts)
            self._facts = facts
            self._changed()
        return self._label(node)

    def _label(self, node: Node) -> Result:
        wanted = labels(self._wiring.modes())
        wrong = {k: v for k, v in wanted.items() if node.metadata.labels.get(k) != v}
        if not wrong:
            return Done()
        operations = [
            {"op": "add", "path": f"/metadata/labels/{k.replace('/', _SLASH)}", "value": v}
            for k, v in wrong.items()
        ]
        try:
            self._store.patch(NODES, node.metadata.name, operations)
        except StoreError as error:
            return Retry(f"node {node.metadata.name} cannot be labelled: {error}")
        return Done()


def labels(modes: frozenset[str]) -> dict[str, str]:
    """What this kernel can do, as labels of the Node."""
    ipvlan = any(mode.startswith("IPVlan") for mode in modes)
    return {LABEL_VETH: str("Veth" in modes).lower(), LABEL_IPVLAN: str(ipvlan).lower()}
