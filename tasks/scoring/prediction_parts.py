"""Predictions of a version for a table of any length: one part at a time is in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.base.runtime.libraries import pa, pd
from tasks.base.training_records import ModelVersion, Snapshot
from tasks.data.snapshots import places_of, read_frame
from tasks.plugins.versions import require_hooks
from tasks.registry.open_pipeline import OpenPipeline
from tasks.scoring.predictions import ScoringCounts, best, score_frame
from tasks.scoring.version_predictions import load_version, scored_columns

PART_ROWS = 100_000


@dataclass(frozen=True)
class PredictionParts:
    """Predictions of a version for a snapshot, in files of a part each to bound the memory."""

    snapshot: Snapshot
    columns: tuple[str, ...]
    # Arrow files of predictions as `score_frame` gives them, in the order of the rows.
    files: tuple[Path, ...]
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
    for rows in _parts(snapshot.rows, 1 if roles.group else max(1, -(-snapshot.rows // PART_ROWS))):
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
