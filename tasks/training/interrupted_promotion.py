"""A promotion by the gate whose process was killed before the training's record was written.

The verdict is kept while the alias moves. Done again, the training finds its own version as
champion, on rows that the gate can learn nothing new from: what was decided then holds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tasks.base.pipeline_file import Pipeline
from tasks.base.records import FAMILY_TAG, ModelVersion, Verdict
from tasks.base.runtime.files import write_whole
from tasks.registry.mlflow.shared_stores import champion_if_any

if TYPE_CHECKING:
    from tasks.registry.mlflow.store import Store


def settled_champion(pipeline: Pipeline, store: Store) -> ModelVersion | None:
    """Return the champion, or the one before it where no training is recorded for it yet.

    Done again, that training finds the champion that it was planned against, and so itself.
    """
    champion = champion_if_any(pipeline)
    if champion is None or not (key := champion.tags.get("keepfit.training_key", "")):
        return champion
    for file in (pipeline.work / "verdicts").glob(f"{key}*.json"):
        left = _left(pipeline, store, file.stem, champion.tags.get(FAMILY_TAG, ""))
        if left is not None:
            former = left[0].champion_version
            return None if former is None else store.version(champion.name, former)
    return champion


def judged_once(
    pipeline: Pipeline, store: Store, key: str, challenger: str, judge: Callable[[], Verdict]
) -> Verdict:
    """Return the verdict of a training by which its version became champion already, or `judge`."""
    left = _left(pipeline, store, key, challenger)
    return left[0] if left is not None else judge()


def registered_once(
    pipeline: Pipeline,
    store: Store,
    key: str,
    challenger: str,
    verdict: Verdict,
    register: Callable[[], ModelVersion],
) -> ModelVersion:
    """Return the version that became champion already, or what `register` makes so now."""
    left = _left(pipeline, store, key, challenger)
    if left is not None:
        return left[1]
    if verdict.promoted:
        write_whole(_file(pipeline, key), verdict.model_dump_json())
    return register()


def forget_verdict(pipeline: Pipeline, key: str) -> None:
    """Remove the verdict of a training that is recorded."""
    _file(pipeline, key).unlink(missing_ok=True)


def _left(
    pipeline: Pipeline, store: Store, key: str, challenger: str
) -> tuple[Verdict, ModelVersion] | None:
    try:
        verdict = Verdict.model_validate_json(_file(pipeline, key).read_bytes())
    except (OSError, ValidationError):
        return None
    champion = store.champion(pipeline.config.name)
    if champion is None or champion.version == verdict.champion_version:
        return None
    own = key.startswith(champion.tags.get("keepfit.training_key", "none"))
    same = champion.tags.get(FAMILY_TAG) == challenger
    return (verdict, champion) if own and same else None


def _file(pipeline: Pipeline, key: str) -> Path:
    return pipeline.work / "verdicts" / f"{key[:32]}.json"
