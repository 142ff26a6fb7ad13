"""Make the node's network programs reload their configuration, over the system bus.

The only importer of jeepney. The programs' own commands (nmcli, networkctl) would need the host's
file system; the bus needs one socket.
"""

import socket
import time
from pathlib import Path
from typing import Any, Final

import jeepney
from jeepney import DBusAddress, HeaderFields, MessageFlag, MessageType
from jeepney.io import blocking

from openeni_nodeagent.enis.nic_guards import GuardError

RELOAD_SECONDS: Final = 10.0  # for all of the exchange; jeepney's own waits for Hello for ever
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


def reload(path: Path, service: str) -> None:
    """Reload a program's configuration; do nothing if it does not run. Raises GuardError."""
    if not path.exists():
        return
    address, method, signature, arguments = _CALLS[service]
    message = _message.new_method_call(address, method, signature, arguments)
    message.header.flags |= MessageFlag.no_auto_start  # a program that does not run is not started
    try:
        reply = _exchange(path, message)
    except (OSError, ValueError) as error:
        raise GuardError(f"{service} cannot be reloaded: {error}") from None
    name = reply.header.fields.get(HeaderFields.error_name, "")
    if _is_error(reply) and name not in _ABSENT:
        raise GuardError(f"{service} cannot be reloaded: {name} {reply.body}")


def _exchange(path: Path, message: Any) -> Any:
    """Return the reply to a message, or to the Hello before it if that is an error.

    Raises OSError, and ValueError if the bus does not let us in.
    """
    deadline = time.monotonic() + RELOAD_SECONDS
    parser = _message.Parser()
    with _blocking.prep_socket(str(path), timeout=RELOAD_SECONDS) as connection:
        connection.sendall(_message.message_bus.Hello().serialise(1))
        reply = _reply_to(1, connection, parser, deadline)
        if _is_error(reply):
            return reply
        connection.sendall(message.serialise(2))
        return _reply_to(2, connection, parser, deadline)


def _reply_to(serial: int, connection: socket.socket, parser: Any, deadline: float) -> Any:
    """Read messages until one is the reply to that of this serial. Raises OSError."""
    while True:
        while (message := parser.get_next_message()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer within {RELOAD_SECONDS:g} s")
            connection.settimeout(left)
            if not (data := connection.recv(4096)):
                raise ConnectionResetError("the bus has closed the connection")
            parser.add_data(data)
        if message.header.fields.get(HeaderFields.reply_serial) == serial:
            return message


def _is_error(reply: Any) -> bool:
    return bool(reply.header.message_type == MessageType.error)
