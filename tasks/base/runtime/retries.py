"""When a door is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.base.errors import TransientError
from tasks.base.runtime.progress import Step, report

# Seconds before each further try of a door. At the start of work little is lost by giving up; in
# the middle a server that is away for two minutes costs its time and nothing else.
BRIEF = (2.0, 10.0)
PATIENT = (2.0, 10.0, 30.0, 90.0)


def retried(delays: Sequence[float]) -> dict[str, Any]:
    """Return the options of a door that is tried again, after `delays`, for what may pass."""
    return {
        "retries": len(delays),
        "retry_delay_seconds": list(delays),
        "retry_condition_fn": transient_only,
    }


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
