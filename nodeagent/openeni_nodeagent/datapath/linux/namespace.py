"""Run functions in a pod's network namespace.

Each call gets a thread of its own, which enters the namespace, runs the function and ends. Such a
thread is never used again, so no other work can run in the wrong namespace.
"""

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from openeni_nodeagent.datapath_api import DatapathError, NamespaceGoneError

T = TypeVar("T")
_CLONE_NEWNET: Final = 0x40000000
_OWN_NAMESPACE: Final = "/proc/thread-self/ns/net"
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


@contextmanager
def open_namespace(path: str) -> Generator[int]:
    """Yield a descriptor of the namespace at `path`.

    Raises NamespaceGoneError if the path does not exist, and DatapathError for the node's own
    namespace: pods with hostNetwork get no address.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NamespaceGoneError(f"no network namespace at {path}: {error.strerror}") from error
    try:
        if os.path.samestat(os.fstat(descriptor), os.stat(_OWN_NAMESPACE)):  # noqa: PTH116 - a pair
            raise DatapathError(f"{path} is the node's own network namespace, not a pod's")
        yield descriptor
    finally:
        os.close(descriptor)


def in_namespace(descriptor: int, work: Callable[[], T]) -> T:
    """Run `work` in the namespace on a new thread. Raises its errors, and NamespaceGoneError."""
    return _run_on_thread(lambda: _enter(descriptor), work)


def in_new_namespace(work: Callable[[], T]) -> T:
    """Run `work` in a new namespace that ends with it. Raises its errors."""
    return _run_on_thread(_unshare, work)


class _NamespaceThread(threading.Thread, Generic[T]):
    def __init__(self, enter: Callable[[], None], work: Callable[[], T]) -> None:
        super().__init__(name="namespace", daemon=True)
        self._enter_namespace, self._work = enter, work
        self.error: BaseException | None = None
        self.result: T

    def run(self) -> None:
        try:
            self._enter_namespace()
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            self.error = error


def _run_on_thread(enter: Callable[[], None], work: Callable[[], T]) -> T:
    thread = _NamespaceThread(enter, work)
    try:
        thread.start()
    except RuntimeError as error:  # the limit of processes of the agent's pod
        raise DatapathError(f"cannot enter a network namespace: {error}") from error
    thread.join()
    if thread.error:
        raise thread.error
    return thread.result


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        if number == errno.EINVAL:  # a plain file: what the namespace was mounted on
            raise NamespaceGoneError("the pod's network namespace has ended")
        raise DatapathError(f"cannot enter the pod's network namespace: {os.strerror(number)}")


def _unshare() -> None:
    if _LIBC.unshare(_CLONE_NEWNET):
        raise DatapathError(f"cannot make a network namespace: {os.strerror(ctypes.get_errno())}")
