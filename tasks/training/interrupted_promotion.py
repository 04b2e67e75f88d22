"""Decisions about a version by a process that ended before they were recorded.

What is to be recorded is kept while a version is registered or the alias moves. The next command
of any kind records it. Done again, a training that promoted finds its own version as champion, on
rows that the gate can learn nothing new from: what was decided then holds, and is recorded under
the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from tasks.base.errors import KeepfitError, TransientError
from tasks.base.monitoring_records import Decision
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.files import write_whole
from tasks.base.training_records import FAMILY_TAG, ModelVersion, Verdict
from tasks.ledger.ledger import Ledger
from tasks.ledger.single_flight import Busy
from tasks.registry.alias.champion_alias import PROMOTED, RETURNED, VERIFIED
from tasks.registry.mlflow.shared_stores import champion_if_any, versions_of
from tasks.registry.open_pipeline import OpenPipeline
from tasks.training.decisions import record_both, recorded_versions, verdict_of

_MOVING = timedelta(hours=1)
"""Within it a process that wrote what it decided may still be about to move the alias."""


def record_interrupted(pipeline: OpenPipeline) -> None:
    """Record decisions (trainings, moves of the alias) whose process ended before it could."""
    # While a training goes on, which will record itself, nothing is done.
    if not any(_unrecorded(pipeline)):
        return
    with suppress(Busy), pipeline.ledger.flight(pipeline.config.name):
        record_left(pipeline)


def record_left(pipeline: OpenPipeline) -> None:
    """Record them while the pipeline's flight is held."""
    for file, kept in _unrecorded(pipeline):
        if kept is not None and kept.kind != "trained":
            _record_move(file, kept, versions_of(pipeline), pipeline.ledger)
            continue
        made = None if kept is None else _made(pipeline, kept)
        if kept is None or made is None:
            file.unlink(missing_ok=True)  # No version came of it: it is judged again.
            continue
        moved = made.tags.get(PROMOTED) if verdict_of(kept).promoted else None
        at = kept.at if moved is None else datetime.fromisoformat(moved)
        whole = kept.model_copy(update={"at": at, "version": made.version})
        record_both(pipeline.ledger, whole, made)
        # Done again, this training finds what was decided.
        write_whole(file, whole.model_dump_json())


def move_and_record(pipeline: OpenPipeline, decision: Decision, move: Callable[[], object]) -> None:
    """Move the alias and record why, at the latest by the next command after a kill."""
    file = _file(pipeline, decision.id)
    write_whole(file, decision.model_dump_json())
    try:
        move()
    except TransientError:
        raise
    except KeepfitError:
        file.unlink(missing_ok=True)
        raise
    pipeline.ledger.record(decision)
    file.unlink(missing_ok=True)


def _record_move(
    file: Path, decision: Decision, versions: tuple[ModelVersion, ...], ledger: Ledger
) -> None:
    tag = RETURNED if decision.kind == "rolled_back" else PROMOTED
    moments = [v.tags.get(tag) for v in versions if v.version == decision.version]
    if any(m and datetime.fromisoformat(m) >= decision.at.replace(microsecond=0) for m in moments):
        ledger.record(decision)
    elif datetime.now(UTC) - decision.at < _MOVING:
        return  # Perhaps about to be moved.
    file.unlink(missing_ok=True)


def settled_champion(pipeline: OpenPipeline, data_digest: str) -> ModelVersion | None:
    """Return the champion, or the one before it where these rows made it and are not concluded."""
    # Done again, that training finds the champion that it was planned against, and so itself.
    champion = champion_if_any(pipeline)
    if champion is None or not (key := champion.tags.get("keepfit.training_key", "")):
        return champion
    for file in (pipeline.work / "verdicts").glob(f"{key}*.json"):
        trained = _read(file)
        alike = trained is not None and (trained.data_digest, trained.config_digest) == (
            data_digest,
            pipeline.digest,
        )
        left = _left(pipeline, file.stem, champion.tags.get(FAMILY_TAG, ""))
        if alike and left is not None:
            former = left[0].champion_version
            return None if former is None else pipeline.store.version(champion.name, former)
    return champion


def judged_once(
    pipeline: OpenPipeline, key: str, challenger: str, judge: Callable[[], Verdict]
) -> Verdict:
    """Return the verdict of a training by which its version became champion already, or `judge`."""
    left = _left(pipeline, key, challenger)
    return left[0] if left is not None else judge()


def registered_once(
    pipeline: OpenPipeline, key: str, trained: Decision, register: Callable[[], ModelVersion]
) -> ModelVersion:
    """Return the version that became champion already, or what `register` makes so now."""
    left = _left(pipeline, key, str(trained.evidence["challenger"]))
    if left is not None:
        return left[1]
    write_whole(_file(pipeline, key), trained.model_dump_json())
    return register()


def forget_verdict(pipeline: Pipeline, key: str) -> None:
    """Remove the files of a training that is recorded."""
    _file(pipeline, key).unlink(missing_ok=True)


def _unrecorded(pipeline: Pipeline) -> Iterator[tuple[Path, Decision | None]]:
    for file in sorted((pipeline.work / "verdicts").glob("*.json")):
        kept = _read(file)
        if kept is None or kept.version is None or kept.kind != "trained":
            yield file, kept


def _made(pipeline: OpenPipeline, trained: Decision) -> ModelVersion | None:
    """Return the version that a training left: champion since then, or refused and verified."""
    key, family = str(trained.evidence["key"]), trained.evidence["challenger"]
    began = trained.at.replace(microsecond=0)
    promoted = verdict_of(trained).promoted
    recorded = frozenset() if promoted else recorded_versions(pipeline)
    for version in versions_of(pipeline):
        own = key.startswith(version.tags.get("keepfit.training_key", "none"))
        if not own or version.tags.get(FAMILY_TAG) != family:
            continue
        moved = version.tags.get(PROMOTED)
        if promoted and moved is not None and datetime.fromisoformat(moved) >= began:
            return version
        refused = version.tags.get("keepfit.verdict") == "refused" and VERIFIED in version.tags
        if not promoted and refused and version.version not in recorded:
            return version
    return None


def unfinished_version(pipeline: Pipeline, key: str) -> frozenset[str]:
    """Return the version that was recorded in place of a training that did not end."""
    kept = _read(_file(pipeline, key))
    return frozenset() if kept is None or kept.version is None else frozenset({kept.version})


def _left(pipeline: OpenPipeline, key: str, challenger: str) -> tuple[Verdict, ModelVersion] | None:
    if (trained := _read(_file(pipeline, key))) is None:
        return None
    verdict = verdict_of(trained)
    champion = pipeline.store.champion(pipeline.config.name)
    if champion is None or champion.version == verdict.champion_version:
        return None
    own = key.startswith(champion.tags.get("keepfit.training_key", "none"))
    same = champion.tags.get(FAMILY_TAG) == challenger
    return (verdict, champion) if own and same else None


def _read(file: Path) -> Decision | None:
    try:
        return Decision.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def _file(pipeline: Pipeline, key: str) -> Path:
    return pipeline.work / "verdicts" / f"{key[:32]}.json"
