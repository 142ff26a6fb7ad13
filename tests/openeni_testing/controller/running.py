"""Run the operator's controllers with their threads, on a store and clouds of the test's choice.

Wired by the product itself; kopf's place as the source of watch events is taken by informers.
"""

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

from openeni_crds.meta import Json
from openeni_crds.names import Kind
from openeni_kube.clock import now_text
from openeni_kube.result import Result
from openeni_kube.store import Store
from openeni_kube.watches.informer import Informer
from openeni_operator.__main__ import until_done
from openeni_operator.cloud.admission import CallLimits
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cloud.openstack import connect
from openeni_operator.controllers import Controllers, build_controllers
from openeni_operator.resync import KOPF_KINDS
from openeni_operator.settings import Settings
from openeni_testing.controller.process import CLUSTER_ID
from openeni_testing.controller.recorded_events import RecordedEvents

Observe: TypeAlias = Callable[[Kind, Result, float], None]


def ignore(_kind: Kind, _result: Result, _seconds: float) -> None:
    """Ignore what came of a reconcile."""


@contextmanager
def running_operator(
    store: Store,
    clouds_file: Path,
    *,
    settings: Settings | None = None,
    limits: CallLimits | None = None,
    timeout: float = 60,
    observe: Observe = ignore,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Controllers]:
    """Run the controllers during the block; `timeout` is that of each call to a cloud.

    Budgets, pauses and ages use `clock`; the queue does not.
    """
    clouds = Clouds(
        clouds_file,
        partial(connect, timeout=timeout),
        lambda name: CallLimiter(name, limits or CallLimits(), clock=clock),
        clock,
    )
    with running_controllers(
        store, clouds, settings=settings, observe=observe, clock=clock
    ) as controllers:
        yield controllers


@contextmanager
def running_controllers(
    store: Store,
    clouds: Clouds,
    *,
    settings: Settings | None = None,
    observe: Observe = ignore,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], str] = now_text,
) -> Generator[Controllers]:
    """Run the controllers during the block, on connections of the test's choice."""
    controllers = build_controllers(
        settings or Settings(),
        store,
        clouds,
        CLUSTER_ID,
        recorder=RecordedEvents(),
        observe=observe,
        clock=clock,
        now=now,
    )
    with ExitStack() as stack:
        controllers.sync()
        until_done(controllers.start)
        stack.callback(controllers.stop, 0.0)
        for kind in KOPF_KINDS:
            informer = _informer(store, controllers, kind)
            controllers.relists.begin(informer.relist)
            informer.start()
            stack.callback(informer.stop)
        yield controllers


def _informer(store: Store, controllers: Controllers, kind: Kind) -> Informer:
    def put(body: Json) -> None:
        controllers.state.put(kind, body)

    def remove(body: Json) -> None:
        controllers.state.delete(kind, body)

    return Informer(
        store,
        kind,
        on_change=put,
        on_delete=remove,
        on_rewind=partial(controllers.state.rewind, kind),
        on_listed=partial(controllers.state.settle, kind),
    )
