"""List ports with openstacksdk, and leave them as Neutron's JSON has them (0046)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import openstack.network.v2.port


@dataclass(frozen=True)
class PortRow:
    """A port of a list, as Neutron's JSON has it."""

    body: Mapping[str, Any]

    @property
    def id(self) -> Any:
        """Return what the next page begins after."""
        return self.body["id"]


class ListedPort(openstack.network.v2.port.Port):
    """The SDK's port, which lists rows: to make an object of each takes 0.9 ms (0046)."""

    @classmethod
    def existing(cls, connection: Any = None, **body: Any) -> Any:  # noqa: ARG003 the SDK's
        """Return the row for one item of a list."""
        return PortRow(body)
