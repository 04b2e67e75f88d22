"""What one version predicts of the rows of a snapshot."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.base.own_code import OwnCode
from tasks.base.pipeline_file import Pipeline
from tasks.base.records import ModelVersion, Snapshot
from tasks.registry.stores import store_of

if TYPE_CHECKING:
    import pandas as pd

    from tasks.scoring.predict import ScoringCounts


@dataclass(frozen=True)
class Predicted:
    """Predictions as `score_frame` gives them, its counts, and the rows they are of."""

    predictions: pd.DataFrame
    counts: ScoringCounts
    rows: pd.DataFrame


def predictions_of(
    pipeline: Pipeline,
    snapshot: Snapshot,
    version: ModelVersion,
    known: Mapping[str, Collection[str]] | None = None,
) -> Predicted:
    """Return what `version` predicts of every row of `snapshot`.

    Parameters
    ----------
    known
        Categorical column to its levels in the training window; others are counted.
    """
    from tasks.data.snapshots import read_frame
    from tasks.models.hook_versions import require_hooks
    from tasks.scoring.predict import score_frame

    require_hooks(pipeline.config, pipeline.base, version)
    roles = version.roles
    wanted = [*roles.features, *roles.id_columns]
    if roles.time_column and roles.time_column not in wanted:
        wanted.append(roles.time_column)
    frame = read_frame(snapshot.path, columns=[c for c in wanted if c in snapshot.kinds])
    predictions, counts = score_frame(
        frame,
        roles,
        store_of(pipeline.state).load(version, OwnCode.of(pipeline.config.hooks, pipeline.base)),
        version=version,
        run_id=version.run_id,
        batch=snapshot.digest,
        known=known,
    )
    return Predicted(predictions, counts, frame)
