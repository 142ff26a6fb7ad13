"""A store in memory that is restored from a backup, as etcd is: versions go back, too."""

import copy
from typing import Any

from openeni_testing.store.memory import MemoryStore


class RestorableStore(MemoryStore):
    """A restored one forgets its history: a watch from a later version hears nothing."""

    def backup(self) -> Any:
        with self._changed:
            return copy.deepcopy((dict(self._kinds), self._kind_versions, self._version))

    def restore(self, backup: Any, *, made_up: int = 0) -> None:
        """Bring it back; others, of whom nothing is shown, have made so many changes since."""
        with self._changed:
            kinds, self._kind_versions, self._version = copy.deepcopy(backup)
            self._version += made_up
            self._kinds.clear()
            self._kinds.update(kinds)
            self._history.clear()
