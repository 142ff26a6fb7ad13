"""Answer a question of `openeni` in an agent's pod: look, decide, print one JSON object."""

import time
from typing import Final

import msgspec

from openeni_kube.answers import CONFIRM_SECONDS, confirmed, print_answer, print_failure
from openeni_kube.command_line import Question
from openeni_kube.store import Store, StoreError
from openeni_nodeagent.ask.diagnose import NotServingError, diagnose
from openeni_nodeagent.datapath_api import DatapathError, NodeDatapath
from openeni_nodeagent.grants.journal import BOOT_ID
from openeni_nodeagent.settings import Settings

QUESTIONS: Final = ("diagnose",)


def answer(_: Question, settings: Settings, store: Store, datapath: NodeDatapath) -> int:
    """Print what two looks at the node agree on; return the exit code."""
    boot_id = BOOT_ID.read_text().strip()
    try:
        found = confirmed(
            lambda: diagnose(settings, store, datapath, boot_id),
            lambda: time.sleep(CONFIRM_SECONDS),
        )
    except StoreError as error:
        return print_failure(f"the agent cannot use the Kubernetes API server: {error.message}")
    except msgspec.ValidationError as error:
        return print_failure(f"an object of the node does not match its schema: {error}")
    except (NotServingError, DatapathError) as error:
        return print_failure(str(error))
    return print_answer(found, good=not found.differences)
