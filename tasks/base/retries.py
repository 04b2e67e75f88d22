"""When a door is tried again."""

from __future__ import annotations

from typing import Any

from tasks.base.errors import TransientError


def transient_only(task: Any, task_run: Any, state: Any) -> bool:  # noqa: ARG001 - Prefect's signature
    """Return whether `state` failed for a reason that may pass: only then is a door retried."""
    try:
        state.result()
    except TransientError:
        return True
    except Exception:  # noqa: BLE001 - every other failure is final
        return False
    return False
