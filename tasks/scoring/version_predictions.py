"""Predictions of one version for the rows of a snapshot."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import ModelVersion, Schema, Snapshot
from tasks.data.snapshots import places_of, read_frame
from tasks.plugins.versions import require_hooks
from tasks.registry.open_pipeline import OpenPipeline
from tasks.scoring.predictions import score_frame

if TYPE_CHECKING:
    from tasks.scoring.predictions import ScoringCounts


@dataclass(frozen=True)
class Predicted:
    """Predictions as `score_frame` gives them, its counts, and the rows they are of."""

    predictions: pd.DataFrame
    counts: ScoringCounts
    rows: pd.DataFrame


def load_version(pipeline: OpenPipeline, version: ModelVersion) -> Any:
    """Return the fitted pipeline of `version`, its signature checked first."""
    return pipeline.store.load(version, OwnCode.of(pipeline.config.hooks, pipeline.base))


def predictions_of(
    pipeline: OpenPipeline,
    snapshot: Snapshot,
    version: ModelVersion,
    known: Mapping[str, Collection[str]] | None = None,
) -> Predicted:
    """Return the predictions of `version` for every row; levels not `known` are counted."""
    require_hooks(pipeline.config, pipeline.base, version)
    roles = version.roles
    columns = [c for c in scored_columns(roles) if c in snapshot.kinds]
    frame = read_frame(snapshot.path, columns=columns)
    predictions, counts = score_frame(
        frame,
        roles,
        load_version(pipeline, version),
        version=version,
        run_id=version.run_id,
        batch=snapshot.digest,
        known=known,
        places=places_of(snapshot),
    )
    return Predicted(predictions, counts, frame)


def empty_predictions(
    pipeline: OpenPipeline, snapshot: Snapshot, version: ModelVersion
) -> pd.DataFrame:
    """Return predictions of no row: the columns that `predictions_of` gives, as it types them."""
    roles, columns = version.roles, scored_columns(version.roles)
    found = [c for c in columns if c in snapshot.kinds]
    frame = read_frame(snapshot.path, columns=found) if found else pd.DataFrame()
    empty = {c: frame[c] if c in frame else pd.Series(dtype="str") for c in columns}
    return score_frame(
        pd.DataFrame(empty),
        roles,
        load_version(pipeline, version),
        version=version,
        run_id=version.run_id,
        batch=snapshot.digest,
    )[0]


def scored_columns(roles: Schema) -> list[str]:
    """Return the columns that a prediction needs or keeps."""
    time = [roles.time_column] if roles.time_column else []
    group = [roles.group] if roles.group else []
    return list(dict.fromkeys([*roles.features, *roles.id_columns, *time, *group]))
