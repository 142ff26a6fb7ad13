"""A D-Bus message bus that is sufficient for a client that calls one method."""

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import jeepney
from jeepney.low_level import HeaderFields, MessageFlag, Parser

_jeepney: Any = jeepney


class FakeBus:
    """Listens at `path`; knows the services in `running` and records every call to them."""

    def __init__(self, path: Path, *running: str) -> None:
        self.calls: list[tuple[str, str, tuple[Any, ...]]] = []
        self.started: list[str] = []  # services that a real bus would have started
        self.refusal = ""
        self.hello_refusal = ""
        self.chats = False  # it answers nothing, and sends signals instead
        self._running = running
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):  # closed already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        while b"AUTH EXTERNAL" not in connection.recv(4096):
            pass
        connection.sendall(b"OK 1234deadbeef\r\n")
        rest = connection.recv(4096).partition(b"BEGIN\r\n")[2]
        parser: Any = Parser()
        parser.add_data(rest)
        while True:
            while (message := parser.get_next_message()) is not None:
                connection.sendall(self._reply(message))
            data = connection.recv(4096)
            if not data:
                return
            parser.add_data(data)

    def _reply(self, message: Any) -> bytes:
        fields = message.header.fields
        service = fields[HeaderFields.destination]
        if self.chats:
            answer = _jeepney.new_signal(_jeepney.message_bus, "NameAcquired", "s", (":1.7",))
        elif service == "org.freedesktop.DBus" and self.hello_refusal:
            answer = _jeepney.new_error(message, self.hello_refusal, "s", ("no",))
        elif service == "org.freedesktop.DBus":
            answer = _jeepney.new_method_return(message, "s", (":1.7",))
        elif service not in self._running:
            if not message.header.flags & MessageFlag.no_auto_start:
                self.started.append(service)
            answer = _jeepney.new_error(message, "org.freedesktop.DBus.Error.NameHasNoOwner")
        elif self.refusal:
            answer = _jeepney.new_error(message, self.refusal, "s", ("no",))
        else:
            self.calls.append((service, fields[HeaderFields.member], tuple(message.body)))
            answer = _jeepney.new_method_return(message)
        data: bytes = answer.serialise(serial=7)
        return data
