"""Slices of the holdout on which a challenger may not be significantly worse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from tasks.base.config import PipelineConfig
from tasks.base.training_records import Basis
from tasks.data.ranking_groups import queries_of
from tasks.data.snapshots import read_frame
from tasks.metrics.bootstrap import independent
from tasks.metrics.paired_bootstrap import Predictions, paired_evidence

LEAST_ROWS = 200
MOST_LEVELS = 20


def worse_slices(
    config: PipelineConfig,
    basis: Basis,
    y_true: NDArray[np.generic],
    models: tuple[Predictions, Predictions, Predictions],
    times: NDArray[np.datetime64] | None,
    rows: NDArray[np.int64],
    *,
    groups: NDArray[np.int64] | None = None,
) -> list[str]:
    """Return the slices of ``gate.slices`` on which the challenger is worse beyond doubt."""
    # The interval of each slice is widened for the number of slices looked at (Dunn 1961, Multiple
    # comparisons among means), so that many slices do not refuse a good challenger by chance.
    # `y_true`, `times`, `rows` (positions in the snapshot) and `groups` are those of the rows that
    # are judged on; `models`: predictions of challenger, champion and baseline for them.
    slices = list(_slices(config.gate.slices, basis, rows))
    if not slices:
        return []
    queries = queries_of(basis.snapshot.path, basis.roles, rows)
    doubt = (1 - config.gate.confidence) / len(slices)
    gate = config.gate.model_copy(
        update={
            "confidence": 1 - doubt,
            "replicates": min(10_000, max(config.gate.replicates, ceil(40 / doubt))),
        }
    )
    challenger, champion, baseline = models
    found = []
    for name, mask in slices:
        evidence = paired_evidence(
            basis.prepared.metric,
            y_true[mask],
            challenger.only(mask),
            champion.only(mask),
            baseline.only(mask),
            basis.roles,
            blocks=independent(
                None if times is None else times[mask], None if groups is None else groups[mask]
            ),
            gate=gate,
            seed=config.training.seed,
            queries=None if queries is None else queries.only(mask),
        )
        if evidence.high is not None and evidence.high < 0 and evidence.difference is not None:
            found.append(
                f"worse where {name}: {evidence.difference:.4g} on {evidence.rows:,} rows, "
                f"interval up to {evidence.high:.4g}"
            )
    return found


def _slices(
    columns: Sequence[str], basis: Basis, rows: NDArray[np.int64]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the levels of each column that have rows enough, the commonest first."""
    if not columns:
        return
    frame = read_frame(basis.snapshot.path, columns=list(dict.fromkeys(columns)), rows=rows)
    for column in frame.columns:
        values = frame[column].astype("str")
        counts = values.value_counts()
        for level in counts[counts >= LEAST_ROWS].index[:MOST_LEVELS]:
            yield f"{column} = {level}", (values == level).to_numpy(dtype=bool, na_value=False)
