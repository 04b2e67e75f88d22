"""One store a process and place, so that its doors share the connection."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from tasks.registry.store import Store


def store_of(state: Path) -> Store:
    """Return the store of `state`, or of ``MLFLOW_TRACKING_URI`` where it is set."""
    return _store(state, os.environ.get("MLFLOW_TRACKING_URI", ""))


@lru_cache(maxsize=8)
def _store(state: Path, uri: str) -> Store:  # noqa: ARG001 - the address is part of the key
    return Store.open(state)
