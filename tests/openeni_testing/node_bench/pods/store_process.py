"""`python -m ...store_process SOCKET`: the API server in memory, as a process of its own.

In the benchmark's own process its work would be part of what is measured.
"""

import sys
from pathlib import Path

from openeni_crds.meta import Json
from openeni_testing.operator_bench.child import answer_orders
from openeni_testing.store.memory import MemoryStore
from openeni_testing.store.remote import serve


def main(path: Path) -> None:
    store = MemoryStore()
    serve(store, path)

    def set_outage(*, outage: bool) -> Json:
        store.set_outage(outage)
        return {}

    answer_orders({"set outage": set_outage})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
