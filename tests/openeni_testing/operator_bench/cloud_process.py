"""`python -m openeni_testing.operator_bench.cloud_process CLOUDS_YAML`: the fake OpenStack."""

import sys
from pathlib import Path

from openeni_crds.meta import Json
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.operator_bench.child import answer_orders
from openeni_testing.operator_bench.objects import CALL_SECONDS, CLOUD_NAME


class CloudOrders:
    """Orders of the benchmark to its cloud."""

    def __init__(self, cloud: FakeOpenStack) -> None:
        self._cloud = cloud
        self._reported: set[str] = set()  # IDs of ports
        self._taken_at = cloud.state.clock()

    def add_servers(self, count: int) -> Json:
        return {"ids": [self._cloud.state.add_server().id for _ in range(count)]}

    def take_calls(self) -> Json:
        """Return when calls were made, in seconds since the last time, by operation."""
        with self._cloud.state.lock:
            times: dict[str, list[float]] = {}
            for call in self._cloud.audit.calls:
                times.setdefault(call.operation, []).append(call.at - self._taken_at)
            self._cloud.audit.clear()
            self._taken_at = self._cloud.state.clock()
        return {"times": times}

    def take_attached(self) -> Json:
        """Return the IDs of the ports that have been attached since the last time."""
        with self._cloud.state.lock:
            attached = {p.id for p in self._cloud.state.ports.all() if p.device_id}
        new = attached - self._reported
        self._reported |= new
        return {"ports": sorted(new)}


def main(clouds_yaml: Path) -> None:
    with FakeOpenStack() as cloud:
        cloud.latency.default = CALL_SECONDS
        cloud.settings.port_quota = -1
        cloud.state.add_subnet(cloud.state.add_network(), CLOUD_NAME, "10.64.0.0/14")
        cloud.state.add_group(CLOUD_NAME)
        cloud.write_clouds_yaml(clouds_yaml)
        orders = CloudOrders(cloud)
        answer_orders(
            {
                "add servers": orders.add_servers,
                "take calls": orders.take_calls,
                "take attached": orders.take_attached,
            }
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
