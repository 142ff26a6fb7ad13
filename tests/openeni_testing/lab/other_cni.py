"""Another CNI plugin on nodes of a lab, as in a cluster that migrates to openeni or from it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from openeni_lab.machine.client import Machine
from openeni_lab.programs import prepared
from openeni_lab.programs.sets import CNI_PLUGINS

SUBNET: Final = "10.88.0"  # of its pods, on every node
_FILE: Final = "/etc/cni/net.d/20-other.conflist"  # behind openeni's
_PLUGIN: Final = {
    "type": "ptp",
    "ipam": {"type": "host-local", "ranges": [[{"subnet": f"{SUBNET}.0/24"}]]},
}
_TEXT: Final = json.dumps({"cniVersion": "1.0.0", "name": "other", "plugins": [_PLUGIN]})


@dataclass(frozen=True)
class OtherCNI:
    """The other plugin of these nodes, on which it is not at first."""

    nodes: Mapping[str, Machine]

    def install(self, *names: str) -> None:
        """Put the plugin and its configuration on nodes, or on all of them."""
        plugins = prepared.read([CNI_PLUGINS.name]).built.bin("ptp").parent
        for name in names or self.nodes:
            machine = self.nodes[name]
            machine.check(["sh", "-c", f"cp {plugins}/ptp {plugins}/host-local /opt/cni/bin/"])
            machine.check(["sh", "-c", f"cat > {_FILE}"], stdin=_TEXT.encode())

    def remove(self, *names: str) -> None:
        """Take its configuration off nodes, or off all of them; pods keep their network."""
        for name in names or self.nodes:
            self.nodes[name].check(["rm", "-f", _FILE])
