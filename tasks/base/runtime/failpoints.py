"""Named places at which a process kills itself, for tests of what a crash leaves."""

from __future__ import annotations

import os
import signal

VARIABLE = "KEEPFIT_FAILPOINT"


def reach(name: str) -> None:
    """Kill this process at once if the environment names this place."""
    # Places are named `<package>.<what>.<moment>`, such as `ledger.predictions.before_commit`.
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
