"""Make the node's network programs reload their configuration, over the system bus.

The only importer of jeepney. The programs' own commands (nmcli, networkctl) would need the host's
file system; the bus needs one socket.
"""

from pathlib import Path
from typing import Any, Final

import jeepney
from jeepney import DBusAddress, MessageFlag, MessageType
from jeepney.io import blocking

from openeni_nodeagent.enis.nic_guards import GuardError

RELOAD_SECONDS: Final = 10.0
_message: Any = jeepney  # without types
_blocking: Any = blocking
_CALLS: Final[dict[str, tuple[DBusAddress, str, str | None, tuple[int, ...]]]] = {
    # Reload(u flags): 1 is NM_MANAGER_RELOAD_FLAG_CONF, the configuration files alone
    "NetworkManager": (
        DBusAddress(
            "/org/freedesktop/NetworkManager",
            bus_name="org.freedesktop.NetworkManager",
            interface="org.freedesktop.NetworkManager",
        ),
        "Reload",
        "u",
        (1,),
    ),
    "networkd": (
        DBusAddress(
            "/org/freedesktop/network1",
            bus_name="org.freedesktop.network1",
            interface="org.freedesktop.network1.Manager",
        ),
        "Reload",
        None,
        (),
    ),
}
_ABSENT: Final = (
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
)


def reload(socket: Path, service: str) -> None:
    """Reload a program's configuration; do nothing if it does not run. Raises GuardError."""
    if not socket.exists():
        return
    address, method, signature, arguments = _CALLS[service]
    message = _message.new_method_call(address, method, signature, arguments)
    message.header.flags |= MessageFlag.no_auto_start  # a program that does not run is not started
    try:
        with _blocking.open_dbus_connection(f"unix:path={socket}") as connection:
            reply = connection.send_and_get_reply(message, timeout=RELOAD_SECONDS)
    except (OSError, TimeoutError, EOFError, ValueError) as error:
        raise GuardError(f"{service} cannot be reloaded: {error}") from None
    if reply.header.message_type != MessageType.error:
        return
    name = next((str(v) for k, v in reply.header.fields.items() if k.name == "error_name"), "")
    if name not in _ABSENT:
        raise GuardError(f"{service} refused to reload: {name} {reply.body}")
