"""The lab's hypervisor inside an OpenStack process.

The lab's package is put last on the path: it needs nothing but the standard library, and whatever
else is installed beside it must not hide OpenStack's own packages.
"""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3]))

from openeni_lab.hypervisor.antispoof import AddressPair, PortFacts
from openeni_lab.hypervisor.plug import PlugError
from openeni_lab.hypervisor.command import Hypervisor

__all__ = ["HYPERVISOR", "AddressPair", "PlugError", "PortFacts"]

HYPERVISOR = Hypervisor(Path(os.environ["OPENENI_LAB_STATE"]))
