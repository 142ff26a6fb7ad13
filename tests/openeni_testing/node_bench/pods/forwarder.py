"""Forward a port of a namespace's loopback to the same port of this process's loopback.

So an agent in the namespace reaches an API server outside of it; and does not while it is `down`.
"""

import socket
import threading
from contextlib import suppress
from typing import Final

from openeni_testing.network.netns import Namespace

_LOOPBACK: Final = "127.0.0.1"
_CHUNK: Final = 1 << 16


class Forwarder:
    def __init__(self, node: Namespace, port: int) -> None:
        self._port = port
        self._lock = threading.Lock()
        self._down = False
        self._open: set[socket.socket] = set()
        self._listening = node.run(socket.create_server, (_LOOPBACK, port))
        threading.Thread(target=self._listen, daemon=True).start()

    def set_down(self, *, down: bool) -> None:
        """Break all connections and refuse new ones, or accept them again."""
        with self._lock:
            self._down = down
            for connection in self._open if down else ():
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.set_down(down=True)
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _listen(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                if self._down:
                    near.close()
                    continue
                far = socket.create_connection((_LOOPBACK, self._port))
                self._open |= {near, far}
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            self._open.discard(source)  # closed once nobody refers to it
