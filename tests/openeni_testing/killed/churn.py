"""What happens to a cluster, at random: nodes join and leave, pods come and go."""

import random

from openeni_crds.names import NODES
from openeni_testing.killed.cluster import ADDRESSES, MOST_ENIS, Cluster
from openeni_testing.killed.services import GROUPS

FEWEST_NODES, MOST_NODES = 3, 6
MOST_PODS = ADDRESSES * MOST_ENIS - 2  # on a node: two of its addresses may be on their way out


class Churn:
    """Makes one change after another; not while the API server is away."""

    def __init__(self, cluster: Cluster, dice: random.Random) -> None:
        self.cluster, self.dice = cluster, dice
        self._away = ""  # a node whose object was deleted, and which is created again
        self._weights = {
            self.add_pods: 6,
            self.end_pods: 5,
            self.join: 2,
            self.leave: 1,
            self.lose_node_object: 1,
            self.change_groups: 2,
            self.delete_eni: 2,
        }
        for _ in range(FEWEST_NODES):
            cluster.add_node()

    def step(self) -> None:
        self.restore_node_object()
        actions, weights = zip(*self._weights.items(), strict=True)
        self.dice.choices(actions, weights)[0]()

    def add_pods(self) -> None:
        node = self.dice.choice(sorted(self.cluster.servers))
        free = MOST_PODS - len(self.cluster.pods_on(node))
        for _ in range(min(free, self.dice.randint(1, 5))):
            self.cluster.add_pod(node)

    def end_pods(self) -> None:
        """End all pods of a node, so that its ENIs become idle, or some anywhere."""
        node = self.dice.choice(sorted(self.cluster.servers))
        pods = self.cluster.pods_on(node)
        if not pods or self.dice.random() < 0.5:
            pods = sorted(self.cluster.pods)
            pods = self.dice.sample(pods, len(pods) // 3)
        for pod in pods:
            self.cluster.end_pod(pod)

    def join(self) -> None:
        if len(self.cluster.servers) < MOST_NODES:
            self.cluster.add_node()

    def leave(self) -> None:
        if len(self.cluster.servers) > FEWEST_NODES:
            node = self.dice.choice(sorted(self.cluster.servers))
            self.cluster.remove_node(node, with_ports=self.dice.random() < 0.2)

    def lose_node_object(self) -> None:
        """Delete a Node whose server and pods live; its kubelet creates it again."""
        self._away = self.dice.choice(sorted(self.cluster.servers))
        self.cluster.store.delete(NODES, self._away)

    def restore_node_object(self) -> None:
        if self._away:
            self.cluster.create_node_object(self._away)
            self._away = ""

    def delete_eni(self) -> None:
        """Delete an ENI under its pods, if there are any: they keep their addresses."""
        names = sorted(eni.name for eni in self.cluster.enis() if not eni.metadata.deleting)
        if names:
            self.cluster.delete_eni(self.dice.choice(names))

    def change_groups(self) -> None:
        self.cluster.set_groups(list(GROUPS[: self.dice.randint(1, len(GROUPS))]))
