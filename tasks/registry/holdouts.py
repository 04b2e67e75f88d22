"""What a version predicted of the holdout, kept beside it: later windows are compared with it."""

from __future__ import annotations

import json
import logging
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.base.errors import ModelRefusedError
from tasks.base.records import Basis, CandidateResult, ModelVersion, Schema
from tasks.registry import packaging
from tasks.registry.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

FILE = "holdout.parquet"
DIGEST_TAG = "keepfit.holdout_digest"
MOST_ROWS = 200_000
_LOGGER = logging.getLogger(__name__)


def keep_holdout(
    store: Store, basis: Basis, winner: CandidateResult, run_id: str, *, refitted: bool
) -> dict[str, str]:
    """Store the predictions that the gate judged under the run; return tags for the version.

    A model that was fitted once more has seen the holdout: the predictions are always those of
    the model that had not.

    Parameters
    ----------
    run_id
        The challenger's own run.
    refitted
        Whether `winner` was fitted once more on the whole window.
    """
    judged = _judged(basis, winner) if refitted else winner
    if judged is None or not Path(judged.predictions_path).is_file():
        _LOGGER.warning("%s: no predictions of the holdout are left to keep", winner.candidate)
        return {}
    frame = _frame(basis, judged)
    with tempfile.TemporaryDirectory(prefix=".keepfit-", dir=store._scratch()) as folder:
        path = Path(folder) / FILE
        _write(frame, path, basis.split.n_holdout)
        store.log_files(run_id, {FILE: path})
        return {DIGEST_TAG: packaging.digest_of(path)}


def holdout_of(store: Store, version: ModelVersion) -> pd.DataFrame | None:
    """Return what a version, not yet fitted on them, predicted of its holdout rows.

    Returns
    -------
    pandas.DataFrame or None
        ``time`` (UTC, without a zone) where rows have one, ``id_<column>`` of the id columns,
        ``label``, ``prediction`` and ``probability_<class>``: at most 200,000 rows, evenly
        spread over the holdout; ``attrs["rows"]`` says of how many. None for a version that was
        registered without them. All who ask share it and leave it as it is.

    Raises
    ------
    ModelRefusedError
        When the file is not the one that was stored with the version.
    """
    digest = version.tags.get(DIGEST_TAG, "")
    if not digest:
        return None
    path = store.artifact(version.run_id, FILE)
    if path is None:
        _LOGGER.warning("%s version %s: its holdout is gone", version.name, version.version)
        return None
    seen = path.stat()
    changed = (seen.st_mtime_ns, seen.st_size)
    return _read(path, digest, f"{version.name} version {version.version}", changed)


@lru_cache(maxsize=2)
def _read(path: Path, digest: str, named: str, changed: tuple[int, int]) -> pd.DataFrame:  # noqa: ARG001
    """Return a stored holdout; one pass looks at it for drift, labels and probation.

    Parameters
    ----------
    changed
        When the file was written, ns since 1970, and its bytes: another one is read again.
    """
    if packaging.digest_of(path) != digest:
        raise ModelRefusedError(
            f"{named}: {FILE} is not the file that was stored with it.",
            "Look at who can write to the store; train and register again.",
        )
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    frame: pd.DataFrame = table.to_pandas()
    said = json.loads((table.schema.metadata or {}).get(b"keepfit", b"{}"))
    frame.attrs["rows"] = int(said.get("rows", len(frame)))
    return frame


def _judged(basis: Basis, winner: CandidateResult) -> CandidateResult | None:
    from tasks.models.keeping import kept

    return kept(Path(basis.prepared.folder) / "candidates", winner.candidate)


def _frame(basis: Basis, judged: CandidateResult) -> pd.DataFrame:
    import pandas as pd

    from tasks.evaluation.assessing import holdout_queries, holdout_target, read_predictions

    predictions = read_predictions(judged.predictions_path)
    queries = holdout_queries(basis)
    rows = (
        spread(basis.split.n_holdout, MOST_ROWS) if queries is None else queries.sample(MOST_ROWS)
    )
    columns: dict[str, Any] = _identity(basis, rows)
    columns["label"] = _plain(holdout_target(basis)[rows])
    columns["prediction"] = _plain(np.asarray(predictions.predicted)[rows])
    if predictions.probability is not None:
        for place, label in enumerate(basis.roles.classes):
            columns[f"probability_{label}"] = predictions.probability[rows, place]
    return pd.DataFrame(columns)


def _identity(basis: Basis, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Return time and ids of holdout rows."""
    from tasks.data.snapshots import read_frame

    roles: Schema = basis.roles
    wanted = [c for c in (roles.time_column, *roles.id_columns) if c in basis.snapshot.kinds]
    if not wanted:
        return {}
    positions = np.load(basis.split.holdout_path)[rows]
    frame = read_frame(basis.snapshot.path, columns=list(dict.fromkeys(wanted)), rows=positions)
    columns: dict[str, Any] = {}
    if roles.time_column in wanted:
        columns["time"] = frame[roles.time_column].to_numpy(dtype="datetime64[us]")
    for name in roles.id_columns:
        if name in wanted:
            columns[f"id_{name}"] = frame[name].reset_index(drop=True)
    return columns


def spread(rows: int, most: int) -> NDArray[np.int64]:
    """Return at most so many positions, evenly spread and in order, shape (n,).

    Examples
    --------
    >>> spread(5, 3), spread(2, 3)
    (array([0, 2, 4]), array([0, 1]))
    """
    return np.linspace(0, max(0, rows - 1), min(rows, most)).astype(np.int64)


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(object) if values.dtype.kind == "U" else values


def _write(frame: pd.DataFrame, path: Path, rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    said = json.dumps({"rows": rows, "kept": len(frame), "evenly_spread": True}).encode()
    metadata = {**(table.schema.metadata or {}), b"keepfit": said}
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd")
