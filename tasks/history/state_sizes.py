"""Sizes of the stores of a state folder."""

from __future__ import annotations

import contextlib
from pathlib import Path


def sizes(state: Path) -> dict[str, int]:
    """Return the bytes of each kind of thing in `state`."""
    work = state / "pipelines"

    def of(*patterns: str) -> int:
        return sum(bytes_in(path) for pattern in patterns for path in work.glob(f"*/{pattern}"))

    return {
        "prefect": bytes_in(state / "prefect"),
        "mlflow": sum(bytes_in(path) for path in (state / "mlflow").glob("mlflow.db*")),
        "artifacts": bytes_in(state / "mlflow" / "artifacts"),
        "ledger": sum(bytes_in(path) for path in state.glob("ledger.db*")),
        "snapshots": of("data", "scoring"),
        "fits": of("fits"),
        "reports": of("reports", "figures", "monitoring", "contracts", "trainings"),
        "predictions": of("predictions"),
        "logs": bytes_in(state / "logs"),
    }


def bytes_in(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; 0 for what is not there."""
    total = 0
    for file in (path, *path.rglob("*")) if path.is_dir() else (path,):
        with contextlib.suppress(OSError):
            if file.is_file() and not file.is_symlink():
                total += file.stat().st_size
    return total
