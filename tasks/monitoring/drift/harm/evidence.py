"""Evidence that the measures of harm need from training: a sample of rows, and ordinary blocks."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import spread
from tasks.base.runtime.files import read_recorded, write_recorded
from tasks.base.text.durations import format_duration
from tasks.monitoring.drift.compared_rows import MOST_ROWS
from tasks.monitoring.drift.harm.impact import Predict
from tasks.monitoring.drift.harm.ordinary_blocks import OrdinaryBlocks, ordinary_blocks
from tasks.monitoring.drift.harm.verdict import Evidence
from tasks.monitoring.drift.reference_store import TrainingRows, training_rows
from tasks.monitoring.drift.reference_summary import Reference, cells_of
from tasks.monitoring.drift.seasons import cells_alike, season_of

if TYPE_CHECKING:
    from tasks.base.pipeline_file import Pipeline
    from tasks.base.training_records import ModelVersion

_LOGGER = logging.getLogger(__name__)
_FORMAT = 2
_LEAST_ROWS = 500


def evidence_of(
    pipeline: Pipeline,
    champion: ModelVersion,
    reference: Reference,
    watched: Mapping[str, float],
    *,
    times: NDArray[np.datetime64] | None,
    predict: Predict | None,
) -> Evidence:
    """Return the evidence for windows of `champion`; the ordinary blocks are measured once."""
    # `watched`: column that the champion depends on to its weight; `times`: of the window, UTC.
    rows = training_rows(pipeline, champion)
    alike = _alike(reference, rows, times)
    sample = rows.side(alike[spread(len(alike), MOST_ROWS)])
    return Evidence(sample, times, predict, _blocks(pipeline, champion, reference, rows, watched))


def _alike(
    reference: Reference, rows: TrainingRows, times: NDArray[np.datetime64] | None
) -> NDArray[np.int64]:
    """Return the places of the training rows in the window's season, or of all."""
    season = season_of(reference)
    known = None if times is None else times[~np.isnat(times)]
    cells = cells_of(rows.times, reference.length)
    everything = np.arange(rows.count)
    if season is None or known is None or not len(known) or cells.of_row is None:
        return everything
    inside = cells_alike(reference, season, known.min())
    if len(inside) != cells.n:
        return everything
    found = np.flatnonzero(inside[cells.of_row] & (cells.of_row >= 0))
    return found if len(found) >= _LEAST_ROWS else everything


def _blocks(
    pipeline: Pipeline,
    champion: ModelVersion,
    reference: Reference,
    rows: TrainingRows,
    watched: Mapping[str, float],
) -> OrdinaryBlocks:
    length = format_duration(pipeline.config.monitoring.window)
    path = pipeline.work / "references" / f"v{int(champion.version)}-{length}-blocks.json"
    made_of = json.dumps([_FORMAT, reference.source, sorted(watched.items())])
    key = hashlib.sha256(made_of.encode()).hexdigest()
    known = _stored(path, key)
    if known is not None:
        return known
    made = ordinary_blocks(reference, lambda at: rows.side(at).frame, rows.times, watched)
    write_recorded(path, json.dumps({"made_of": key, **asdict(made)}).encode("ascii"))
    return made


def _stored(path: Path, key: str) -> OrdinaryBlocks | None:
    try:
        known = json.loads(read_recorded(path))
        if known.pop("made_of") != key:
            return None
        return OrdinaryBlocks(**{n: tuple(map(float, values)) for n, values in known.items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        _LOGGER.warning("%s is not what was kept with this version; it is measured again", path)
        return None
