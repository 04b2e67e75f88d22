"""A module that notes the process that imported it."""

from __future__ import annotations

import os

BY = os.getpid()


def imported_here() -> dict[str, int]:
    return {"imported_by": BY, "parent": os.getppid()}
