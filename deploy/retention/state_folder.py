"""Keeps the state folder from growing: what is old and referred to by nothing that scores goes.

`python -m deploy.retention.state_folder FILE…` does it once. Prefect's server looks after
its own database; here go snapshots, fits, figures, reports and pages, MLflow's versions and runs,
old rows of the ledger, and logs. What stays is decided by age (`retention`) and by what still
refers to it: see `deploy.retention.versions.kept_versions`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.retention.versions import collect_registry, kept_versions
from tasks.base.command_results import TrainingOutcome
from tasks.base.errors import KeepfitError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.runtime.process_identity import has_ended
from tasks.base.runtime.running_flows import marked, runner_of
from tasks.base.training_records import Snapshot
from tasks.history.state_sizes import bytes_in
from tasks.ledger.ledger import ledger_of
from tasks.ledger.single_flight import Busy
from tasks.ledger.training_outcomes import last_outcomes
from tasks.registry.open_pipeline import OpenPipeline, open_pipeline
from tasks.training.training_identity import fit_key

_LOGGER = logging.getLogger(__name__)
_LAST = 5
_ALL = 1_000_000
_LOG_BYTES = 20_000_000


@dataclass(frozen=True)
class Collected:
    """Result of one pass."""

    items: int = 0  # files, folders, versions and runs
    size: int = 0  # bytes of the files and folders, and those by which the MLflow store shrank
    postponed: str = ""  # why nothing was removed; empty when it was looked


def collect(pipeline: OpenPipeline, now: datetime) -> Collected:
    """Remove files of `pipeline` that are older than its `retention` and referred to by nothing."""
    # Nothing is removed while a run of the state is open. A training that starts meanwhile waits.
    if not pipeline.work.is_dir():
        return Collected()
    try:
        with pipeline.ledger.flight(pipeline.config.name):
            if open_runs(pipeline.state):
                return Collected(postponed="a run is open")
            before = now - pipeline.config.retention
            outcomes = last_outcomes(pipeline.work, _ALL)
            trained = [o.model.version for o in outcomes[:_LAST] if o.model is not None]
            versions = kept_versions(pipeline, trained, before)
            kept = [*outcomes[:_LAST]]
            kept += [o for o in outcomes[_LAST:] if o.model and o.model.version in versions]
            items = size = 0
            for path in _removable(pipeline, kept, before.timestamp()):
                size += bytes_in(path)
                items += 1
                _remove(path)
            taken = _mlflow_bytes(pipeline)
            items += collect_registry(pipeline, versions, before, now)
            return Collected(items, size + max(0, taken - _mlflow_bytes(pipeline)))
    except Busy:
        return Collected(postponed="a training runs")


def open_runs(state: Path) -> tuple[str, ...]:
    """Return the ids of the flow runs of `state` whose process lives."""
    named = ((run, runner_of(state, run)) for run in marked(state))
    return tuple(run for run, process in named if process is not None and not has_ended(process))


def shorten_logs(state: Path, most: int = _LOG_BYTES) -> None:
    """Let each log keep its last part, `most` bytes at the longest; its writer goes on."""
    for log in (state / "logs").glob("*.log"):
        with contextlib.suppress(OSError), log.open("r+b") as file:
            length = file.seek(0, os.SEEK_END)
            if length > most:
                file.seek(length - most // 2)
                file.readline()
                tail = file.read()
                file.seek(0)
                file.write(tail)
                file.truncate()


def _mlflow_bytes(pipeline: Pipeline) -> int:
    return bytes_in(pipeline.state / "mlflow")


def _removable(
    pipeline: Pipeline, kept: Sequence[TrainingOutcome], before: float
) -> Iterator[Path]:
    work = pipeline.work
    keys = {outcome.key for outcome in kept}
    digests = {o.data_digest[:32] for o in kept if o.data_digest}
    pages = {Path(o.contract_page).stem for o in kept if o.contract_page}
    named: tuple[tuple[str, set[str]], ...] = (
        ("trainings", {key[:32] for key in keys}),
        ("reports", {key[:16] for key in keys}),
        ("figures", {key[:16] for key in keys}),
        ("fits", _fits(pipeline, kept)),
        ("contracts", pages),
        ("data", digests),
        ("references", {f"v{o.model.version}-" for o in kept if o.model}),
        ("scoring", set()),
        ("monitoring", set()),
        ("quarantine", set()),
    )
    for room, names in named:
        yield from _old(work / room, names, before)


def _fits(pipeline: Pipeline, kept: Iterable[TrainingOutcome]) -> set[str]:
    """Return the folders of fits that a training with the settings of now would use again."""
    return {
        fit_key(pipeline, Snapshot(path="", digest=outcome.data_digest, rows=0, kinds={}))[:32]
        for outcome in kept
        if outcome.data_digest
    }


def _old(folder: Path, kept: set[str], before: float) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            name = path.name.split(".")[0]
            held = name in kept or any(k.endswith("-") and name.startswith(k) for k in kept)
            if not held and _touched(path) < before:
                yield path


def _touched(path: Path) -> float:
    """Return when the newest file of `path` was written, seconds since 1970."""
    files = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    found = []
    for file in files:
        with contextlib.suppress(OSError):
            found.append(file.lstat().st_mtime)
    return max(found, default=float("inf"))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def prune_ledgers(pipelines: Sequence[Pipeline], now: datetime) -> None:
    """Remove old rows of every ledger; pipelines that share one have the longest `retention`."""
    shared: dict[str, Pipeline] = {}
    for pipeline in pipelines:
        url = pipeline.config.ledger.url
        key = str(pipeline.state) if url is None else url.get_secret_value()
        shared[key] = max(pipeline, shared.get(key, pipeline), key=_kept)
    for pipeline in shared.values():
        with _going_on(pipeline.config.name):
            ledger_of(pipeline).prune(now, _kept(pipeline))


@contextlib.contextmanager
def _going_on(name: str) -> Iterator[None]:
    """Log what is wrong with one pipeline: the others are not to be kept from theirs."""
    try:
        yield
    except (KeepfitError, OSError) as error:
        _LOGGER.warning("%s: %s", name, error)


def _kept(pipeline: Pipeline) -> timedelta:
    """Return for how long rows are kept: scoring reads one window back."""
    return max(pipeline.config.retention, pipeline.config.monitoring.window)


def _main(*files: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    pipelines, now = [], datetime.now(UTC)
    for file in files:
        with _going_on(file):
            pipelines.append(load_pipeline(Path(file)))
            done = collect(open_pipeline(pipelines[-1]), now)
            text = done.postponed or f"{done.items} old items removed, {done.size:,} bytes"
            _LOGGER.info("%s: %s", pipelines[-1].config.name, text)
    prune_ledgers(pipelines, now)
    for state in {pipeline.state for pipeline in pipelines}:
        shorten_logs(state)


if __name__ == "__main__":
    _main(*sys.argv[1:])
