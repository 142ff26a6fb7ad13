"""Neutron's choice of a port's addresses.

From neutron/db/ipam_pluggable_backend.py and ipam_backend_mixin.py (2026.1): a request replaces all
addresses; an entry without `ip_address` keeps any address of its subnet that no other entry claims,
and else gets a random new one; each SLAAC subnet of the network adds its address unasked; it is
done in one transaction, so that a failure changes nothing.
"""

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from openeni_testing.fake_openstack.messages import ApiError, Json
from openeni_testing.fake_openstack.port_table import PortTable
from openeni_testing.fake_openstack.resources import Address, SubnetRecord
from openeni_testing.fake_openstack.responses import neutron_error, no_more_addresses, not_found

WINDOW: Final = 1000  # MAX_WIN of neutron/ipam/drivers/neutrondb_ipam/driver.py
_GUESSES: Final = 200  # before all addresses of a subnet are tried, from one of the window on


class Allocation:
    """The addresses of one port in one request. Nothing is taken before the port is stored."""

    def __init__(
        self,
        network_id: str,
        mac: str,
        subnets: Mapping[str, SubnetRecord],
        ports: PortTable,
        dice: random.Random,
    ) -> None:
        self._network_id = network_id
        self._mac = mac
        self._all_subnets = subnets
        self._subnets = [s for s in subnets.values() if s.network_id == network_id]
        self._ports = ports
        self._dice = dice
        self._chosen: list[Address] = []

    def for_new_port(self, entries: Sequence[Json] | None) -> tuple[Address, ...]:
        """Return the addresses of a POST; without `fixed_ips`, one of each IP version."""
        if entries is None:
            for version in (4, 6):
                self._add_any([s for s in self._managed() if s.version == version])
        else:
            self._add(entries)
        self._add_derived()
        return tuple(self._chosen)

    def for_update(
        self, current: Sequence[Address], entries: Sequence[Json]
    ) -> tuple[Address, ...]:
        """Return the addresses of a PUT, which replace the current ones."""
        deleted = {e["subnet_id"] for e in entries if e.get("delete_subnet")}
        wanted = [e for e in entries if e.get("subnet_id") not in deleted]
        named = {e["ip_address"] for e in wanted if "ip_address" in e}
        unclaimed = [a for a in current if a.ip not in named]
        self._chosen = [a for a in current if a.ip in named]
        kept = {a.ip for a in self._chosen}
        new = [e for e in wanted if "ip_address" in e and e["ip_address"] not in kept]
        self._dice.shuffle(unclaimed)
        for entry in (e for e in wanted if "ip_address" not in e):
            reused = next((a for a in unclaimed if a.subnet_id == entry["subnet_id"]), None)
            if reused is None:
                new.append(entry)
            else:
                unclaimed.remove(reused)
                self._chosen.append(reused)
        self._add(new)
        self._add_derived(deleted)
        return tuple(self._chosen)

    def _add(self, entries: Sequence[Json]) -> None:
        for entry in sorted(entries, key=lambda entry: "ip_address" not in entry):
            subnet = self._subnet(entry)
            if "ip_address" in entry:
                self._add_named(subnet, str(entry["ip_address"]))
            elif not subnet.auto_address:
                self._add_any([subnet])

    def _add_named(self, subnet: SubnetRecord, ip: str) -> None:
        if not subnet.contains(ip):
            raise ApiError(
                neutron_error(
                    400, "InvalidIpForSubnet", f"IP address {ip} is not a valid IP for the subnet."
                )
            )
        if subnet.auto_address and ip != subnet.derived_address(self._mac):
            message = (
                f"IPv6 address {ip} cannot be directly assigned to a port on subnet {subnet.id} as "
                "the subnet is configured for automatic addresses"
            )
            raise ApiError(neutron_error(400, "AllocationOnAutoAddressSubnet", message))
        address = Address(subnet.id, ip)
        if not self._is_free(address):
            message = f"IP address {ip} already allocated in subnet {subnet.id}"
            raise ApiError(neutron_error(409, "IpAddressAlreadyAllocated", message))
        self._chosen.append(address)

    def _add_any(self, subnets: Sequence[SubnetRecord]) -> None:
        """Add an address of the first subnet that has one; of no subnet at all, none is due."""
        for subnet in subnets:
            found = self._any_free(subnet)
            if found is not None:
                self._chosen.append(found)
                return
        if subnets:
            raise ApiError(no_more_addresses(self._network_id))

    def _any_free(self, subnet: SubnetRecord) -> Address | None:
        """Return one of the lowest free addresses: it can be one that was just given up.

        At least half of what is guessed from is free, however many are taken.
        """
        window = min(subnet.size, 2 * self._ports.used(subnet.id) + WINDOW)
        guesses = (self._dice.randrange(window) for _ in range(_GUESSES if window else 0))
        first = self._dice.randrange(window) if window else 0
        rest = itertools.chain(range(first, subnet.size), range(first))
        for index in itertools.chain(guesses, rest):
            address = Address(subnet.id, subnet.address_at(index))
            if self._is_free(address):
                return address
        return None

    def _is_free(self, address: Address) -> bool:
        return address not in self._chosen and not self._ports.is_taken(address)

    def _add_derived(self, deleted: Iterable[str] = ()) -> None:
        present = {address.subnet_id for address in self._chosen} | set(deleted)
        for subnet in self._subnets:
            if subnet.auto_address and subnet.id not in present:
                self._chosen.append(Address(subnet.id, subnet.derived_address(self._mac)))

    def _managed(self) -> list[SubnetRecord]:
        return [s for s in self._subnets if not s.auto_address]

    def _subnet(self, entry: Json) -> SubnetRecord:
        """Return the subnet of an entry, which names it or an address in it."""
        if "subnet_id" not in entry:
            return self._subnet_with(str(entry["ip_address"]))
        subnet = self._all_subnets.get(entry["subnet_id"])
        if subnet is None:
            raise ApiError(not_found("Subnet", entry["subnet_id"]))
        if subnet.network_id != self._network_id:
            message = (
                f"Invalid input for operation: Failed to create port on network "
                f"{self._network_id}, because fixed_ips included invalid subnet {subnet.id}."
            )
            raise ApiError(neutron_error(400, "InvalidInput", message))
        return subnet

    def _subnet_with(self, ip: str) -> SubnetRecord:
        for subnet in self._subnets:
            if subnet.contains(ip):
                return subnet
        message = f"IP address {ip} is not a valid IP for any of the subnets on the network."
        raise ApiError(neutron_error(400, "InvalidIpForNetwork", message))
