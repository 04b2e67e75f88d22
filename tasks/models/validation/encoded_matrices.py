"""Encoded matrices on disk: each encoding is computed once a fold, for all that use it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.base.arrays import Array, Matrix, subsample_evenly
from tasks.base.runtime.libraries import pd
from tasks.data.snapshots import read_frame
from tasks.metrics.ranking import RankingGroups
from tasks.models.estimators.candidates import Candidate, find
from tasks.models.features.preprocessing import Encoding, FeatureEncoder, build_encoder
from tasks.models.persistence.skops_io import save_model
from tasks.models.run_context import FitRun
from tasks.models.splitters import Fold, Positions

CHUNK_ROWS = 200_000
_REARRANGED_BYTES = 128 * 2**20
LEARN_ROWS = 1_000_000
"""Most rows on which an encoding without a target is learnt."""


@dataclass(frozen=True)
class Rows:
    """Rows that are fitted on, in the order of the training file."""

    positions: Positions  # in the snapshot
    y: Array  # labels or values
    groups: Positions | None = None
    queries: RankingGroups | None = None  # rows ranked together

    def of_groups(self, chosen: Positions) -> Positions | None:
        """Return the groups of the `chosen` rows."""
        return None if self.groups is None else self.groups[chosen]

    def __len__(self) -> int:
        return len(self.y)


def read_rows(run: FitRun) -> Rows:
    """Return the training rows as ``prepare`` left them."""
    groups = None if run.split.group is None else np.load(run.at("groups.npy"))
    queries = None
    if run.schema.group is not None:
        queries = RankingGroups.of(np.load(run.at("queries.npy")), run.schema)
    rows, y = np.load(run.at("rows.npy"), mmap_mode="r"), np.load(run.at("y.npy"))
    return Rows(rows, y, groups, queries)


def read_folds(run: FitRun) -> list[Fold]:
    """Return the folds that ``prepare`` made; positions among the training rows."""
    with np.load(run.at("folds.npz")) as kept:
        count = len(kept.files) // 2
        return [Fold(kept[f"train{i}"], kept[f"valid{i}"]) for i in range(count)]


def encode(run: FitRun, encoding: Encoding, report_progress: Callable[[str], None]) -> None:
    """Write every matrix of one encoding: two for each fold, the final one, the holdout's."""
    rows, folds = read_rows(run), read_folds(run)
    for number, fold in enumerate(folds):
        report_progress(f"encoding for {_users(run, encoding)}, fold {number + 1} of {len(folds)}")
        _encode_fold(run, encoding, rows, fold, number)
    report_progress(f"encoding for {_users(run, encoding)}")
    encoder = _encode_training(run, encoding, rows)
    started = time.perf_counter()
    holdout = np.load(run.split.holdout_path, mmap_mode="r")
    _transform(run, encoder, holdout, _path(run, encoding, "holdout"))
    seconds = time.perf_counter() - started
    save_model(encoder, run.at(str(encoding), "encoder.skops"), compress=False)
    _path(run, encoding, "holdout").with_suffix(".json").write_text(json.dumps(seconds))


def _users(run: FitRun, encoding: Encoding) -> str:
    return ", ".join(name for name in run.names if find(name).encoding == encoding)


def _path(run: FitRun, encoding: Encoding, name: str) -> Path:
    path = run.at(str(encoding), f"{name}.npy")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _encode_fold(run: FitRun, encoding: Encoding, rows: Rows, fold: Fold, number: int) -> None:
    X, y = _frame(run, rows.positions[fold.train]), rows.y[fold.train]
    encoder = build_encoder(encoding, run.schema, X, run.training.seed)
    np.save(_path(run, encoding, f"train{number}"), encoder.fit_transform(X, y))
    X = _frame(run, rows.positions[fold.valid])
    np.save(_path(run, encoding, f"valid{number}"), encoder.transform(X))


def _encode_training(run: FitRun, encoding: Encoding, rows: Rows) -> FeatureEncoder:
    users = [find(name) for name in run.names if find(name).encoding == encoding]
    taken = subsample_evenly(len(rows), _most(users, len(rows), len(run.schema.features)))
    np.save(_path(run, encoding, "taken"), taken)
    learnt = taken[subsample_evenly(len(taken), LEARN_ROWS)] if encoding == "native" else taken
    X = _frame(run, rows.positions[learnt])
    encoder = build_encoder(encoding, run.schema, X, run.training.seed)
    path = _path(run, encoding, "train")
    if encoding == "native":
        # Nothing in it depends on the target, so rows can be encoded a part at a time.
        encoder.fit(X)
        del X
        _transform(run, encoder, rows.positions[taken], path)
    else:
        np.save(path, encoder.fit_transform(X, rows.y[learnt]))
    return encoder


def _most(users: list[Candidate], rows: int, columns: int) -> int:
    return max(user.rows_for(rows, columns) for user in users)


def _frame(run: FitRun, positions: Positions) -> pd.DataFrame:
    chosen = np.ascontiguousarray(positions, dtype=np.int64)
    return read_frame(run.snapshot_path, columns=list(run.schema.features), rows=chosen)


def _transform(run: FitRun, encoder: FeatureEncoder, positions: Positions, path: Path) -> None:
    """Encode rows a chunk at a time, so that the frame is never in memory whole.

    They are read in the order of the snapshot, and put in theirs afterwards: where that is not the
    order of time, as with a file for each shop, every chunk of neighbours in time would touch every
    page of the snapshot.
    """
    shape = (len(positions), len(encoder.outputs_))
    order = np.argsort(positions, kind="stable")
    chunks = (order[start : start + CHUNK_ROWS] for start in range(0, len(order), CHUNK_ROWS))
    _write(path, shape, (encoder.transform(_frame(run, positions[chunk])) for chunk in chunks))
    if not bool((np.diff(order) == 1).all()):
        as_read = path.replace(path.with_suffix(".read"))
        _write(path, shape, _rearranged(np.load(as_read, mmap_mode="r"), order))
        as_read.unlink()


def _write(path: Path, shape: tuple[int, int], parts: Iterable[Matrix]) -> None:
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(part.astype("<f4", copy=False).data)


def _rearranged(values: Matrix, order: Positions) -> Iterator[Matrix]:
    """Yield `values`, read in `order`, in their own order, so many rows at a time."""
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    rows = max(1, _REARRANGED_BYTES // max(1, values.shape[1] * values.itemsize))
    for start in range(0, len(places), rows):
        part = places[start : start + rows]
        near = np.argsort(part)
        found = np.empty((len(part), values.shape[1]), values.dtype)
        found[near] = values[part[near]]
        yield found


def matrix(run: FitRun, encoding: str, name: str) -> Matrix:
    """Return a matrix that ``encode`` wrote, read from disk as it is needed."""
    values: Matrix = np.load(run.at(encoding, f"{name}.npy"), mmap_mode="r")
    return values
