"""The process of each flow run, so that runs of dead processes can be detected."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from tasks.base.runtime.files import write_whole
from tasks.base.runtime.process_identity import has_ended, this_process
from tasks.base.text.redaction import without_credentials

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def mark_running(state: Path, flow_run: str, api: str = "") -> None:
    """Record that this process runs the flow run `flow_run` (an id) of the Prefect API `api`."""
    write_whole(_file(state, flow_run), f"{this_process()}\n{without_credentials(api)}")


def runner_of(state: Path, flow_run: str) -> str | None:
    """Return the process that runs `flow_run`, as `this_process` names it; None if unmarked."""
    return _lines(state, flow_run)[0] or None


def left_on(state: Path, api: str) -> dict[str, datetime]:
    """Return the marked runs of the Prefect API `api` whose process ended, and when they began."""
    # Those of no API, which no other process knows, are forgotten.
    left = {}
    for run in marked(state):
        process, where = _lines(state, run)
        if process and has_ended(process):
            if not where:
                unmark(state, run)
            elif where == without_credentials(api):
                left[run] = marked_at(state, run)
    return left


def marked_at(state: Path, flow_run: str) -> datetime:
    """Return when `flow_run` was marked, in UTC; the earliest time there is if it was not."""
    try:
        return datetime.fromtimestamp(_file(state, flow_run).stat().st_mtime, UTC)
    except OSError:
        return datetime.min.replace(tzinfo=UTC)


def unmark(state: Path, flow_run: str) -> None:
    """Forget the process of a run that has ended."""
    _file(state, flow_run).unlink(missing_ok=True)


def marked(state: Path) -> tuple[str, ...]:
    """Return the ids of all flow runs that are marked."""
    return tuple(p.stem for p in sorted((state / "runs").glob("*.json")) if _ID.fullmatch(p.stem))


def _lines(state: Path, flow_run: str) -> tuple[str, str]:
    """Return the process that is named and the API, empty where a mark states none."""
    try:
        process, _, api = _file(state, flow_run).read_text("utf-8").partition("\n")
    except (OSError, UnicodeDecodeError, ValueError):
        return "", ""
    return process.strip(), api.strip()


def _file(state: Path, flow_run: str) -> Path:
    if not _ID.fullmatch(flow_run):
        raise ValueError(f"{flow_run!r} is no id of a flow run")
    return state / "runs" / f"{flow_run}.json"
