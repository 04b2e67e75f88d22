"""The flows as Prefect loads them by a deployment's entrypoint: `flows.deployed.training`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

FLOWS = ("inspection", "monitoring", "noticing", "scoring", "training")


def __getattr__(name: str) -> Any:
    """Return Prefect's flow `name`; no other flow is imported for it."""
    if name not in FLOWS:
        raise AttributeError(f"no flow {name} is deployed")
    return getattr(import_module(f"flows.{name}"), name).prefect
