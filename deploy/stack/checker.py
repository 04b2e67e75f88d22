"""The checker of the stack: contracts are checked here for every flow run.

`python -m deploy.stack.checker DESCRIPTOR STATE` writes a byte to the descriptor every two
seconds while it is well. It listens in the state folder, and ends with the stack.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.child_processes import beating
from tasks.base.runtime.environment import (
    keep_private,
    return_freed_memory,
    turn_telemetry_off,
)
from tasks.contracts.shared_checker import listening, serve


def _main(descriptor: str, state: str) -> None:
    turn_telemetry_off()
    keep_private()
    return_freed_memory()
    beat = beating(int(descriptor))
    listener = listening(Path(state))
    # Requests from now on wait until the libraries are imported.
    beat()
    serve(listener, beat)


if __name__ == "__main__":
    _main(*sys.argv[1:3])
