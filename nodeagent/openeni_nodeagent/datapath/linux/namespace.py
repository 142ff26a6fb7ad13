"""Run functions in a pod's network namespace.

The calling thread enters it and comes back. One that cannot come back ends the process: whatever it
did next would be done to a pod. Kubelet starts the agent again, which finds everything in the
journal and the kernel.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

from openeni_nodeagent.datapath_api import DatapathError, NamespaceGoneError

T = TypeVar("T")
_CLONE_NEWNET: Final = 0x40000000
_OWN_NAMESPACE: Final = "/proc/thread-self/ns/net"
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
LOST_EXIT_CODE: Final = 70  # EX_SOFTWARE of sysexits.h
_STDERR: Final = 2


@contextmanager
def open_namespace(path: str) -> Generator[int]:
    """Yield a descriptor of the namespace at `path`.

    Raises NamespaceGoneError if the path does not exist, and DatapathError for the node's own
    namespace: pods with hostNetwork get no address.
    """
    try:
        # Whatever a runtime has named: a FIFO would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError) as error:
        raise NamespaceGoneError(f"no network namespace at {path}: {error.strerror}") from error
    except OSError as error:  # such as too many open files: it may be there
        raise DatapathError(f"cannot open {path}: {error.strerror}") from error
    try:
        if os.path.samestat(os.fstat(descriptor), os.stat(_OWN_NAMESPACE)):  # noqa: PTH116 - a pair
            raise DatapathError(f"{path} is the node's own network namespace, not a pod's")
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def own_namespace() -> Generator[int]:
    """Yield a descriptor of the calling thread's namespace: the node's. Raises DatapathError."""
    try:
        own = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DatapathError(f"cannot open the node's namespace: {error.strerror}") from error
    try:
        yield own
    finally:
        os.close(own)


def in_namespace(descriptor: int, work: Callable[[], T]) -> T:
    """Run `work` in the namespace. Raises its errors, DatapathError and NamespaceGoneError.

    It must start no thread and no program, which would stay there.
    """
    with own_namespace() as own:
        _enter(descriptor)
        try:
            return work()
        finally:
            _come_back(own)


def in_new_namespace(work: Callable[[], T]) -> T:
    """Run `work` in a new namespace, on a thread that ends with it. Raises its errors."""
    with ThreadPoolExecutor(1, thread_name_prefix="namespace") as thread:
        try:
            working = thread.submit(_work_apart, work)
        except RuntimeError as error:  # the limit of processes of the agent's pod
            raise DatapathError(f"cannot make a network namespace: {error}") from error
        return working.result()


def _work_apart(work: Callable[[], T]) -> T:
    if _LIBC.unshare(_CLONE_NEWNET):
        raise DatapathError(f"cannot make a network namespace: {os.strerror(ctypes.get_errno())}")
    return work()


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        if number == errno.EINVAL:  # a plain file: what the namespace was mounted on
            raise NamespaceGoneError("the pod's network namespace has ended")
        raise DatapathError(f"cannot enter the pod's network namespace: {os.strerror(number)}")


def _come_back(own: int) -> None:
    """Leave the pod's namespace. The log may not be read: nothing may wait for it here."""
    if _LIBC.setns(own, _CLONE_NEWNET):
        try:
            cause = os.strerror(ctypes.get_errno())
            os.set_blocking(_STDERR, False)
            os.write(_STDERR, f"a thread cannot leave a pod's network: {cause}; exit\n".encode())
        finally:
            os._exit(LOST_EXIT_CODE)
