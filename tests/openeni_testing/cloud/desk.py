"""Callers of one cloud, each of which comes back when it was told to, on a virtual clock."""

from dataclasses import dataclass, field

from openeni_operator.cloud.admission import (
    Admission,
    Admitted,
    Call,
    CallLimits,
    NotYet,
    Refused,
)
from openeni_operator.cloud.budget import CallType
from openeni_operator.cloud.errors import CloudError

LIMITS = CallLimits()
READ = Call("find port", CallType.READ, "network")
SERVER = Call("get server", CallType.READ, "compute")
CREATE = Call("create port", CallType.WRITE, "network", "p", "port/p")
DELETE = Call("delete port", CallType.WRITE, "network", "p", "port/p")


def attach(n: int) -> Call:
    return Call("attach port", CallType.ATTACH, "compute", f"port-{n}", f"server/{n}")


@dataclass
class Desk:
    """Callers of one cloud, each of which comes back when it was told to."""

    admission: Admission = field(default_factory=lambda: Admission(LIMITS))
    now: float = 0.0

    def make(self, call: Call, failure: CloudError | None = None) -> Admitted | NotYet | Refused:
        """Make a call that takes no time."""
        verdict = self.admission.admit(call, self.now)
        if isinstance(verdict, Admitted):
            self.admission.finish(call, failure, self.now, self.now)
        return verdict

    def refused(self, call: Call) -> CloudError:
        verdict = self.admission.admit(call, self.now)
        assert isinstance(verdict, Refused)
        return verdict.error
