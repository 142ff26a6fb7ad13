"""A lab with openeni installed by Helm, for people, the demo and system tests."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from openeni_lab.cloud import access
from openeni_lab.hypervisor.network import LabNetwork
from openeni_lab.images.archive import Image
from openeni_lab.kubernetes.api import Api, ApiError
from openeni_lab.lab import Lab
from openeni_lab.machine import service, steps
from openeni_lab.machine.client import Machine
from openeni_lab.machine.steps import Progress, Step, StepError
from openeni_lab.product import chart, monitoring_kinds, pods, tree_images
from openeni_lab.product.chart import NAMESPACE, REGISTRY
from openeni_lab.product.reach import Reach

Json = dict[str, Any]

OPERATORS: Final = 2  # the chart's default


@dataclass(frozen=True)
class InstalledLab:
    """A lab that is up and has openeni installed."""

    lab: Lab

    @classmethod
    def of_tree(cls, lab: Lab, progress: Progress) -> "InstalledLab":
        """Describe the lab with openeni of the source tree as it is now; make its images."""
        progress.start("openeni's images", 2)
        images = tree_images.make_tree_images(lab.built.images)
        progress.done()
        return cls(replace(lab, more_images=images))

    @property
    def images(self) -> tuple[Image, ...]:
        """Return openeni's images, which `steps` install; none unless made by `of_tree`."""
        return self.lab.more_images

    @property
    def nodes(self) -> Mapping[str, Machine]:
        """Return each node's machine by its name."""
        return {name: node.machine for name, node in self.lab.nodes.items()}

    @property
    def helm(self) -> Path:
        return self.lab.built.bin("helm")

    @property
    def reach(self) -> Reach:
        layout, kubectl = self.lab.layout, self.lab.built.bin("kubectl")
        return Reach(layout.kubeconfig, kubectl, layout.kubectl_cache, self.lab.machine, self.nodes)

    @property
    def api(self) -> Api:
        """Return a client with every right (system:masters)."""
        return Api(self.lab.layout.kubeconfig)

    def steps(self) -> list[Step]:
        """Return the steps that install or upgrade openeni, once the nodes have its images."""
        upgraded: list[bool] = []

        def upgrade() -> None:
            layout = self.lab.layout
            self.api.apply(self._prerequisites())
            home = layout.state / "cache" / "helm"
            chart.upgrade(self.helm, layout.kubeconfig, home, self.values())
            upgraded.append(True)

        return [
            Step(
                "the kinds of the Prometheus Operator",
                lambda: monitoring_kinds.are_served(self.api.get(monitoring_kinds.PATH)),
                lambda: self.api.apply(monitoring_kinds.crds()),
            ),
            Step("helm upgrade --install openeni", lambda: bool(upgraded), upgrade, 3),
            Step(
                "openeni's pods",
                self._rolled_out,
                lambda: None,
                10,
                lambda: pods.hindrances(self.api),
            ),
        ]

    def reload(self, progress: Progress) -> None:
        """Bring a running lab to the current source tree: images, chart, pods."""
        now = InstalledLab.of_tree(self.lab, progress)
        nodes = now.lab.nodes.values()
        imported = steps.together("images on the nodes", [[node.images_step()] for node in nodes])
        steps.run([imported, *now.steps()], progress)
        current = {image.name for image in now.images}
        for node in nodes:
            node.remove_images(f"{REGISTRY}/openeni-", current)

    def _rolled_out(self) -> bool:
        api = self.api  # asked many times a second; making a client reads files
        try:
            crashes = pods.crashes(api, {image.name for image in self.images})
            complete = pods.rolled_out(api, len(self.lab.layout.nodes))
        except ApiError:
            return False
        if crashes:
            raise StepError(crashes)
        return complete

    def dropped(self) -> dict[str, int]:
        """Return how many packets anti-spoofing has dropped, by port id."""
        return LabNetwork(self.lab.layout, self.lab.machine).dropped()

    def dropped_since(self, before: Mapping[str, int]) -> dict[str, int]:
        """Return by how much counters of dropped packets have changed; a new port's began at 0."""
        changed = Counter(self.dropped())
        changed.subtract(before)
        return {port: count for port, count in changed.items() if count}

    def restart_node(self, name: str, progress: Progress) -> None:
        """Restart a node as a reboot would: its processes end, its NICs and its disk stay.

        A VM's images are lost with it, and those of an earlier source tree cannot be made again: so
        openeni is brought to the current tree.
        """
        self.lab.restart_node(name, progress)
        self.reload(progress)

    def exits_so_far(self) -> frozenset[str]:
        """Return the ids of the unexpected exits so far, for `unexpected_exits` to leave out."""
        return service.exits_so_far(self.lab.machines) | {key for key, _ in self._container_exits()}

    def unexpected_exits(self, since: Collection[str] = ()) -> list[str]:
        """Return a line for each unexpected exit of a program or of a container of openeni."""
        containers = [line for key, line in self._container_exits() if key not in since]
        return [*service.unexpected_exits(self.lab.machines, since), *containers]

    def _container_exits(self) -> Iterator[tuple[str, str]]:
        with suppress(ApiError, OSError):  # then the control plane's own exits say more
            yield from pods.exits(self.api)

    def _prerequisites(self) -> Sequence[Json]:
        """Return what an administrator makes before the installation."""
        clouds = {"clouds": {"default": access.operator_cloud(self.lab.layout)}}
        return (
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {
                    "name": NAMESPACE,
                    "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
                },
            },
            clouds_secret(clouds),
        )

    def values(self) -> Json:
        """Return the values that only the lab knows; all nodes are upgraded at once."""
        named = (image.name.partition(":") for image in self.images)
        tags = {name: tag for name, _, tag in named}
        at_once = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}}
        return {
            "image": {"registry": REGISTRY, "pullPolicy": "Never"},
            "operator": {
                "image": {"tag": tags[f"{REGISTRY}/openeni-operator"]},
                "replicas": min(OPERATORS, len(self.lab.layout.nodes)),  # no two on one node
            },
            "agent": {
                "image": {"tag": tags[f"{REGISTRY}/openeni-agent"]},
                "minReadySeconds": 0,
                "updateStrategy": at_once,
            },
            "metrics": {
                "enabled": True,
                "podMonitor": {"enabled": True},
                "rules": {"enabled": True},
            },
        }


def clouds_secret(clouds: Json) -> Json:
    """Return the Secret with a clouds.yaml."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "openeni-clouds", "namespace": NAMESPACE},
        "stringData": {"clouds.yaml": yaml.safe_dump(clouds)},
    }


def up(lab: Lab, progress: Progress) -> InstalledLab:
    """Start whatever is missing of the lab and of openeni in it."""
    found = InstalledLab.of_tree(lab, progress)
    found.lab.up(progress)
    steps.run(found.steps(), progress)
    return found
