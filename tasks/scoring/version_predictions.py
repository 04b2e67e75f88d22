"""Predictions of one version for the rows of a snapshot."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime.libraries import pa, pd
from tasks.base.runtime.progress import reported
from tasks.base.text.phrases import plural
from tasks.base.training_records import ModelVersion, Schema, Snapshot
from tasks.data.snapshots import places_of, read_frame
from tasks.plugins.versions import require_hooks
from tasks.registry.open_pipeline import OpenPipeline
from tasks.scoring.predictions import ScoringCounts, best, score_frame

PART_ROWS = 100_000


@dataclass(frozen=True)
class Predicted:
    """Predictions as `score_frame` gives them, its counts, and the rows they are of."""

    predictions: pd.DataFrame
    counts: ScoringCounts
    rows: pd.DataFrame


def load_version(pipeline: OpenPipeline, version: ModelVersion) -> Any:
    """Return the fitted pipeline of `version`, its signature checked first."""
    return pipeline.store.load(version, OwnCode.of(pipeline.config.hooks, pipeline.base))


def predictions_of(pipeline: OpenPipeline, snapshot: Snapshot, version: ModelVersion) -> Predicted:
    """Return the predictions of `version` for every row."""
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


@dataclass(frozen=True)
class PredictionParts:
    """Predictions of a version for a snapshot, in files of a part each to bound the memory."""

    snapshot: Snapshot
    columns: tuple[str, ...]
    files: tuple[Path, ...]  # Arrow files as `score_frame` gives them, in the rows' order
    counts: ScoringCounts

    def frames(self) -> Iterator[pd.DataFrame]:
        """Yield the predictions of each part."""
        for file in self.files:
            with pa.OSFile(str(file)) as source:
                yield pa.ipc.open_file(source).read_all().to_pandas()

    def best(
        self, top_k: int | None, chosen: Sequence[NDArray[np.bool_]] | None = None
    ) -> Iterator[pd.DataFrame]:
        """Yield the predictions of each part, or the `chosen` of them; the best of each group."""
        for place, frame in enumerate(self.frames()):
            kept = frame if chosen is None else frame[chosen[place]].reset_index(drop=True)
            yield best(kept, top_k)

    def rows(self) -> Iterator[pd.DataFrame]:
        """Yield the rows of each part, under their own names."""
        for places in _parts(self.snapshot.rows, len(self.files)):
            yield read_frame(self.snapshot.path, columns=self.columns, rows=places)


def predicted_parts(
    pipeline: OpenPipeline,
    snapshot: Snapshot,
    version: ModelVersion,
    folder: Path,
    known: Mapping[str, Collection[str]] | None = None,
) -> PredictionParts:
    """Predict every row of `snapshot`, part by part, into files in `folder`."""
    # Of a ranking there is one part: a row's rank is among all of its group.
    require_hooks(pipeline.config, pipeline.base, version)
    roles, model = version.roles, load_version(pipeline, version)
    columns = tuple(c for c in scored_columns(roles) if c in snapshot.kinds)
    places = places_of(snapshot)
    counts = ScoringCounts(rows=0)
    files: list[Path] = []
    parts = _parts(snapshot.rows, 1 if roles.group else max(1, -(-snapshot.rows // PART_ROWS)))
    for rows in reported(parts, len(parts), "predict", plural(snapshot.rows, "row")):
        found, counted = score_frame(
            read_frame(snapshot.path, columns=columns, rows=rows), roles, model,
            version=version, run_id=version.run_id, batch=snapshot.digest,
            known=known, places=places[rows],
        )  # fmt: skip
        counts += counted
        files.append(folder / f"{version.version}-{len(files)}.arrow")
        table = pa.Table.from_pandas(found, preserve_index=False)
        with pa.OSFile(str(files[-1]), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
            out.write_table(table)
    return PredictionParts(snapshot, columns, tuple(files), counts)


def _parts(rows: int, number: int) -> list[NDArray[np.int64]]:
    return np.array_split(np.arange(rows, dtype=np.int64), number)
