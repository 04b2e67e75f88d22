"""When a door is tried again."""

from __future__ import annotations

from typing import Any

from tasks.base.errors import TransientError
from tasks.base.progress import Step, report

# Seconds before each further try of a door in the middle of work: a server that is away for two
# minutes costs its time and nothing else.
PATIENT = (2.0, 10.0, 30.0, 90.0)


def transient_only(task: Any, task_run: Any, state: Any) -> bool:  # noqa: ARG001 - Prefect's signature
    """Return whether `state` failed for a reason that may pass: only then is a door retried."""
    try:
        state.result()
    except TransientError as error:
        report(Step("wait", error.message))
        return True
    except Exception:  # noqa: BLE001 - every other failure is final
        return False
    return False
