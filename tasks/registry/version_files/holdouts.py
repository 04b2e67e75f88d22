"""Predictions of a version on rows it had not learned from: the reference of later windows.

Of the holdout, and of the training rows out of fold: forward in time where rows have a time, each
by a model of the rows before it. Together they are the reference of the version's performance and
predictions, over its training span.
"""

from __future__ import annotations

import json
import logging
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.base.arrays import spread
from tasks.base.errors import ModelRefusedError
from tasks.base.runtime.files import digest_of, read_unchanged
from tasks.base.runtime.libraries import pa, pd, pq
from tasks.base.runtime.temporary import temporary_folder
from tasks.base.training_records import Basis, CandidateResult, ModelVersion, Schema
from tasks.data.column_kinds import target_values
from tasks.data.ranking_groups import queries_of
from tasks.data.snapshots import read_frame
from tasks.evaluation.leaderboard import holdout_queries, holdout_target, read_predictions
from tasks.metrics.paired_bootstrap import Predictions
from tasks.models.persistence.artifacts import kept
from tasks.models.postprocessing.adjustment import as_served
from tasks.registry.mlflow.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = "holdout.parquet"
PLACE = "place"  # place of a row in the training's snapshot
DIGEST_TAG = "keepfit.holdout_digest"
MOST_ROWS = 200_000
OUT_OF_FOLD_FILE = "outoffold.parquet"
OUT_OF_FOLD_TAG = "keepfit.outoffold_digest"
MOST_OUT_OF_FOLD = 50_000
_LOGGER = logging.getLogger(__name__)


def keep_holdout(
    store: Store, basis: Basis, winner: CandidateResult, run_id: str, *, refitted: bool
) -> dict[str, str]:
    """Store what the judged model predicted, unseen, under the run; return tags for the version."""
    # A model that was `refitted` on the whole window has seen the holdout: the predictions are
    # always those of the model that had not.
    judged = (
        kept(Path(basis.prepared.folder) / "candidates", winner.candidate) if refitted else winner
    )
    if judged is None or not Path(judged.predictions_path).is_file():
        _LOGGER.warning("%s: no predictions of the holdout are left to keep", winner.candidate)
        return {}
    frames = {FILE: (DIGEST_TAG, _frame(basis, judged), basis.split.n_holdout)}
    of_training = _out_of_fold(basis, judged)
    if of_training is not None:
        frames[OUT_OF_FOLD_FILE] = (OUT_OF_FOLD_TAG, *of_training)
    with temporary_folder(store._scratch()) as folder:
        paths = {name: folder / name for name in frames}
        for name, (_, frame, rows) in frames.items():
            _write(frame, paths[name], rows)
        store.log_files(run_id, paths)
        return {tag: digest_of(paths[name]) for name, (tag, _, _) in frames.items()}


def holdout_of(store: Store, version: ModelVersion) -> pd.DataFrame | None:
    """Return the predictions of a version, not yet fitted on them, for its holdout rows.

    Columns: ``time`` (UTC, without a zone) where rows have one, ``id_<column>`` of the id columns,
    ``place`` in the snapshot of the training, ``label``, ``prediction`` and
    ``probability_<class>``: at most 200,000 rows, evenly spread over the holdout; ``attrs["rows"]``
    is their number. None for a version that was registered without them; ModelRefusedError for a
    file that is not its. The frame is shared: do not modify it.
    """
    return _stored(store, version, FILE, DIGEST_TAG)


def reference_predictions(
    store: Store, version: ModelVersion, *, even: bool = False
) -> pd.DataFrame | None:
    """Return the predictions of a version for unseen rows over its training span.

    Rows of the training out of fold (``attrs["out_of_fold"]`` of them), then those of the holdout.
    Of training rows in time the newer half is there, each row predicted by a model of the rows
    before its part. Calibration, weights of an ensemble and decisions are those of the version.
    `even` leaves out rows of the denser of the two, so that all are spread evenly over the span:
    for a distribution. Columns as of `holdout_of`; the holdout alone for a version registered
    without the rest; None without both.
    """
    holdout = holdout_of(store, version)
    earlier = _stored(store, version, OUT_OF_FOLD_FILE, OUT_OF_FOLD_TAG)
    if holdout is None or earlier is None:
        found = holdout if earlier is None else earlier
        if found is None:
            return None
        alone = found.copy()
        alone.attrs = {"out_of_fold": 0 if earlier is None else len(earlier)}
        return alone
    if even:
        group = version.roles.group
        rates = [len(frame) / max(1, frame.attrs["rows"]) for frame in (earlier, holdout)]
        earlier = _thinned(earlier, min(rates) / rates[0], group)
        holdout = _thinned(holdout, min(rates) / rates[1], group)
    both = pd.concat([earlier.assign(), holdout.assign()], ignore_index=True)
    both.attrs = {"out_of_fold": len(earlier)}
    return both


def _thinned(frame: pd.DataFrame, share: float, group: str | None) -> pd.DataFrame:
    """Return a share of the rows, evenly spread; of a ranking whole groups."""
    if share >= 1:
        return frame
    codes = None if group is None else pd.factorize(frame[f"id_{group}"])[0]
    units = len(frame) if codes is None else int(codes.max(initial=-1)) + 1
    chosen = spread(units, max(1, round(share * units)))
    return frame.iloc[chosen if codes is None else np.flatnonzero(np.isin(codes, chosen))]


def _stored(store: Store, version: ModelVersion, name: str, tag: str) -> pd.DataFrame | None:
    digest = version.tags.get(tag, "")
    if not digest:
        return None
    path = store.artifact(version.run_id, name)
    if path is None:
        raise ModelRefusedError(
            f"{version.name} version {version.version}: {name}, which was stored with it, is gone.",
            "Its performance is judged on nothing else: restore the file from a backup, or promote "
            "another version.",
        )
    seen = path.stat()
    changed = (seen.st_mtime_ns, seen.st_size)
    return _read(path, digest, f"{version.name} version {version.version}", changed)


@lru_cache(maxsize=4)
def _read(path: Path, digest: str, named: str, changed: tuple[int, int]) -> pd.DataFrame:  # noqa: ARG001
    """Return a stored holdout; one pass looks at it for drift, labels and probation."""
    # Written at another time (ns since 1970) or of other bytes than `changed`, it is read again.
    table = pq.read_table(pa.BufferReader(read_unchanged(path, digest, named)))
    frame: pd.DataFrame = table.to_pandas()
    metadata = json.loads((table.schema.metadata or {}).get(b"keepfit", b"{}"))
    frame.attrs["rows"] = int(metadata.get("rows", len(frame)))
    return frame


def _frame(basis: Basis, judged: CandidateResult) -> pd.DataFrame:
    predictions = read_predictions(judged.predictions_path)
    queries = holdout_queries(basis)
    rows = (
        spread(basis.split.n_holdout, MOST_ROWS) if queries is None else queries.sample(MOST_ROWS)
    )
    positions, labels = np.load(basis.split.holdout_path)[rows], holdout_target(basis)[rows]
    return _predicted(basis, positions, labels, predictions.only(rows))


def _out_of_fold(basis: Basis, judged: CandidateResult) -> tuple[pd.DataFrame, int] | None:
    """Return predictions of training rows out of fold, and how many rows their span holds."""
    folder = Path(judged.predictions_path).parent
    held = as_served(folder.parent, folder.name, basis.roles)
    if held is None or not len(held):
        return None
    train = np.load(basis.split.train_path)
    target = read_frame(basis.snapshot.path, columns=[basis.roles.target], rows=train)
    train = train[target_values(target, basis.roles)[1]]
    if held.rows.max() >= len(train):
        _LOGGER.warning("%s: its out-of-fold predictions are of other rows", judged.candidate)
        return None
    held = held.only(np.argsort(held.rows, kind="stable"))
    queries = queries_of(basis.snapshot.path, basis.roles, train[held.rows])
    taken = (
        spread(len(held), MOST_OUT_OF_FOLD) if queries is None else queries.sample(MOST_OUT_OF_FOLD)
    )
    kept, span = held.only(taken), int(held.rows[-1] - held.rows[0]) + 1
    predictions = Predictions(kept.predicted, kept.probability)
    return _predicted(basis, train[kept.rows], kept.y, predictions), span


def _predicted(
    basis: Basis, positions: NDArray[np.int64], labels: NDArray[Any], predictions: Predictions
) -> pd.DataFrame:
    """Return rows of the snapshot with their labels and what was predicted of them."""
    columns = _identity(basis, positions)
    columns["label"] = _plain(labels)
    columns["prediction"] = _plain(np.asarray(predictions.predicted))
    if predictions.probability is not None:
        for place, label in enumerate(basis.roles.classes):
            columns[f"probability_{label}"] = predictions.probability[:, place]
    return pd.DataFrame(columns)


def _identity(basis: Basis, positions: NDArray[np.int64]) -> dict[str, Any]:
    roles: Schema = basis.roles
    wanted = [c for c in (roles.time_column, *roles.id_columns) if c in basis.snapshot.kinds]
    place = {PLACE: positions}
    if not wanted:
        return place
    frame = read_frame(basis.snapshot.path, columns=list(dict.fromkeys(wanted)), rows=positions)
    columns: dict[str, Any] = {}
    if roles.time_column in wanted:
        columns["time"] = frame[roles.time_column].to_numpy(dtype="datetime64[us]")
    for name in roles.id_columns:
        if name in wanted:
            columns[f"id_{name}"] = frame[name].reset_index(drop=True)
    return columns | place


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(object) if values.dtype.kind == "U" else values


def _write(frame: pd.DataFrame, path: Path, rows: int) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    about = json.dumps({"rows": rows, "kept": len(frame), "evenly_spread": True}).encode()
    metadata = {**(table.schema.metadata or {}), b"keepfit": about}
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd")
