"""One row of the source explained by the model that scores it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tasks.base.arrays import spread
from tasks.base.errors import UsageError
from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import Schema
from tasks.data.snapshots import read_frame
from tasks.evaluation.explanation.shap_values import RowExplanation, explain_frame
from tasks.models.execution.child_calls import call
from tasks.models.persistence.skops_io import load_model
from tasks.plugins.versions import require_hooks
from tasks.registry.open_pipeline import OpenPipeline
from tasks.scoring.batches import version_of
from tasks.training.row_windows import scoring_snapshot

_BACKGROUND = 200


def explain_row(pipeline: OpenPipeline, row: str, version: str | None = None) -> RowExplanation:
    """Return which columns pushed the prediction of one row of the scoring source."""
    # `row` is its id, of several id columns the values joined by commas in the file's order, or
    # without any its place in the source, from 0. Raises UsageError without such a version or row;
    # ModelRefusedError when the version needs a hook that the file does not name.
    explained = version_of(pipeline, version)
    require_hooks(pipeline.config, pipeline.base, explained)
    snapshot = scoring_snapshot(pipeline)
    ids = [c for c in explained.roles.id_columns if c in snapshot.kinds]
    place = _place(read_frame(snapshot.path, columns=ids) if ids else None, row, snapshot.rows, ids)
    own = OwnCode.of(pipeline.config.hooks, pipeline.base)
    others = spread(snapshot.rows, _BACKGROUND)
    with tempfile.TemporaryDirectory(prefix="keepfit-explain-") as folder:
        positions = Path(folder, "rows.npy")
        np.save(positions, others)
        found = call(
            explain,
            model=pipeline.store.model_file(explained),
            digest=explained.model_digest,
            snapshot=snapshot.path,
            roles=explained.roles.running(own),
            place=place,
            others=positions,
            name=row,
        )
    return found.model_copy(update={"pipeline": explained.name, "version": explained.version})


def explain(
    model: Path, snapshot: str, roles: Schema, place: int, others: Path, name: str, digest: str = ""
) -> RowExplanation:
    """Explain one row of a snapshot; runs where the model can be loaded."""
    columns = list(roles.features)
    row = read_frame(snapshot, columns=columns, rows=np.array([place]))
    background = read_frame(snapshot, columns=columns, rows=np.load(others))
    return explain_frame(load_model(model, roles.own, digest), row, background, roles, name)


def _place(frame: pd.DataFrame | None, row: str, rows: int, ids: list[str]) -> int:
    if frame is None:
        if row.isdecimal() and int(row) < rows:
            return int(row)
        raise UsageError(
            f"Without `id_columns` a row is named by its place from 0 to {rows - 1}; got {row!r}."
        )
    found = np.flatnonzero(frame.astype(str).agg(",".join, axis=1).to_numpy(dtype=object) == row)
    if not len(found):
        raise UsageError(
            f"No row of the source has {', '.join(ids)} = {row!r}.",
            "Give the id as it stands in the source; several id columns are joined by commas.",
        )
    return int(found[-1])
