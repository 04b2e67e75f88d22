"""Monitoring of a champion in one window of a replay, by production's own functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.backtest.fits import Fits, FittedModel
from tasks.backtest.history import History
from tasks.base.arrays import spread
from tasks.base.config import PipelineConfig
from tasks.base.monitoring_records import DriftResult, Performance
from tasks.base.runtime.files import read_recorded, write_recorded
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import NUMBERS, Record
from tasks.metrics.paired_bootstrap import Predictions
from tasks.models.persistence.prediction import predict
from tasks.models.persistence.skops_io import load_model
from tasks.monitoring.drift.compared_rows import MOST_ROWS, Side
from tasks.monitoring.drift.detector import measure, watched
from tasks.monitoring.drift.harm.ordinary_blocks import ordinary_blocks
from tasks.monitoring.drift.harm.verdict import Evidence
from tasks.monitoring.drift.reference_summary import build_reference
from tasks.monitoring.performance.estimation.covariate_shift import CovariateShift
from tasks.monitoring.performance.realised import assess_window

if TYPE_CHECKING:
    from tasks.monitoring.drift.harm.ordinary_blocks import OrdinaryBlocks
    from tasks.monitoring.drift.reference_summary import Reference

Found = TypeVar("Found", bound=Record)


class Champion(Record):
    """A model that scores, and what it was judged by."""

    model: FittedModel
    # The same settings fitted without the rows [held, model.last), which it was judged on; None
    # where no gate needed it.
    judged: FittedModel | None = None
    held: int = 0
    since: int = 0  # the first window that it is looked at in: that it scores, or came back after

    @property
    def version(self) -> str:
        """Its name among the versions of the replay."""
        return f"{self.model.key}/{self.held}"


@dataclass
class Monitor:
    """Drift and performance of champions, each window looked at once and kept on disk."""

    history: History
    config: PipelineConfig
    folder: Path  # where findings are kept; its name must change with data, settings and versions
    fits: Fits  # what predicts a champion's training rows out of fold

    def __post_init__(self) -> None:
        """Start without references."""
        self._references: dict[str, Reference] = {}
        self._blocks: dict[str, OrdinaryBlocks] = {}

    def drift(self, champion: Champion, window: int) -> DriftResult:
        """Return the drift of the window's rows from the champion's training rows."""
        path = self._path("drift", champion, window, "")
        return _kept(path, DriftResult, lambda: self._measured(champion, window))

    def performance(
        self, champion: Champion, window: int, now: datetime, *, labelled: bool
    ) -> Performance:
        """Return the champion's performance in a window.

        `labelled`: whether its labels are known at `now`; without them performance is estimated.
        """
        path = self._path("performance", champion, window, "known" if labelled else "estimated")
        return _kept(path, Performance, lambda: self._assessed(champion, window, now, labelled))

    def mature(self, window: int, now: datetime) -> bool:
        """Return whether all labels of a window are known."""
        return now >= self.history.windows[window].end + self.history.delay

    def _path(self, what: str, champion: Champion, window: int, more: str) -> Path:
        name = f"{what}-{champion.version.replace('/', '-')}-{window}{more and '-'}{more}.json"
        return self.folder / name

    def _measured(self, champion: Champion, window: int) -> DriftResult:
        history, monitoring = self.history, self.config.monitoring
        first, last = history.bounds(window)
        reference, importance = self._reference(champion), champion.model.importance
        held, theirs = champion.held < champion.model.last, None
        if held and champion.judged is not None:
            theirs = self._scores(champion.judged, champion.held, champion.model.last)
        held = theirs is not None
        frame = history.frame.iloc[first:last].reset_index(drop=True)
        return measure(
            reference,
            frame,
            false_alarms=monitoring.false_alarms,
            min_rows=monitoring.min_rows,
            importance=importance,
            predictions=self._scores(champion.model, first, last) if held else None,
            reference_predictions=theirs,
            reference_prediction_times=(
                history.stamps(champion.held, champion.model.last) if held else None
            ),
            evidence=self._evidence(champion, reference, window),
        )

    def _evidence(self, champion: Champion, reference: Reference, window: int) -> Evidence:
        """Return the evidence for whether what moved could hurt."""
        history, model = self.history, champion.model
        times = history.stamps(model.first, model.last)
        frame = history.frame.iloc[model.first : model.last].reset_index(drop=True)
        chosen = spread(len(frame), MOST_ROWS)
        if model.key not in self._blocks:
            weights = watched(reference, model.importance)
            self._blocks[model.key] = ordinary_blocks(
                reference, lambda at: frame.iloc[at].reset_index(drop=True), times, weights
            )
        return Evidence(
            Side(frame.iloc[chosen].reset_index(drop=True), times[chosen]),
            history.stamps(*history.bounds(window)),
            self._predictor(model) if model.model_path else None,
            self._blocks[model.key],
        )

    def _predictor(self, model: FittedModel) -> Callable[[pd.DataFrame], NDArray[Any]]:
        """Return a function that scores rows as the model does."""
        loaded: Any = None

        def scores(rows: pd.DataFrame) -> NDArray[Any]:
            nonlocal loaded
            if loaded is None:
                loaded = load_model(model.model_path, self.history.roles.own)
            return self._scored(
                Predictions(*predict(loaded, rows[list(self.history.roles.features)]))
            )

        return scores

    def _reference(self, champion: Champion) -> Reference:
        model, history = champion.model, self.history
        if model.key not in self._references:
            rows = slice(model.first, model.last)
            self._references[model.key] = build_reference(
                history.frame.iloc[rows].reset_index(drop=True),
                history.roles.watched,
                history.stamps(model.first, model.last),
                history.length,
            )
        return self._references[model.key]

    def _scores(self, model: FittedModel, first: int, last: int) -> NDArray[Any]:
        """Return the positive class's probability, the predicted class, or the value."""
        return self._scored(model.predictions(first, last))

    def _scored(self, found: Predictions) -> NDArray[Any]:
        roles = self.history.roles
        if roles.task == "binary" and found.probability is not None:
            positive = roles.positive or roles.classes[-1]
            return found.probability[:, list(roles.classes).index(positive)]
        if roles.task in NUMBERS:
            return np.asarray(found.predicted, dtype=np.float64)
        return np.asarray(found.predicted).astype(str).astype(object)

    def _assessed(
        self, champion: Champion, window: int, now: datetime, labelled: bool
    ) -> Performance:
        history, monitoring = self.history, self.config.monitoring
        first, last = history.bounds(window)
        holdout = reference = shift = None
        if champion.judged is not None:
            holdout = self.rows(champion.judged, champion.held, champion.model.last, known=True)
            parts = self._out_of_fold(champion)
            reference = pd.concat([*(self.rows(*p, known=True) for p in parts), holdout])
            shift = self._shift(champion, parts[0][1] if parts else champion.held, first, last)
        return assess_window(
            self.rows(champion.model, first, last, known=labelled),
            roles=history.roles,
            metric=history.metric,
            version=champion.version,
            window=history.windows[window],
            holdout=holdout,
            reference=reference,
            shift=shift,
            label_delay=history.delay,
            now=now,
            false_alarms=monitoring.false_alarms,
            length=history.length,
            seed=self.config.training.seed,
            min_rows=monitoring.min_rows,
        )

    def _out_of_fold(self, champion: Champion) -> list[tuple[FittedModel, int, int]]:
        """Return models of older rows of the champion's, each with the rows that it predicts.

        They are those of `tasks.models.recipe.fit_forward`; none where parts would be small.
        """
        first, held = champion.model.first, champion.held
        if held - first < 8 * self.config.monitoring.min_rows:
            return []
        middle = self.history.boundary(first, held, 0.5)
        cuts = (middle, self.history.boundary(middle, held, 0.5), held)
        return [(self.fits.of(first, start), start, end) for start, end in pairwise(cuts)]

    def _shift(self, champion: Champion, start: int, first: int, last: int) -> CovariateShift:
        """Return the features of the champion's reference, from row `start` on, and of a window."""
        frame = self.history.frame
        return CovariateShift(
            frame.iloc[first:last],
            frame.iloc[start : champion.model.last],
            self.history.roles.watched,
        )

    def rows(self, model: FittedModel, first: int, last: int, *, known: bool) -> pd.DataFrame:
        """Return predictions with labels as the ledger keeps them."""
        history = self.history
        found = model.predictions(first, last)
        columns: dict[str, Any] = {
            "time": history.stamps(first, last),
            "label": _plain(history.y[first:last]) if known else [None] * (last - first),
            "prediction": _plain(np.asarray(found.predicted)),
        }
        if found.probability is not None:
            for place, label in enumerate(history.roles.classes):
                columns[f"probability_{label}"] = found.probability[:, place]
        return pd.DataFrame(columns)


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(object) if values.dtype.kind == "U" else values


def _kept(path: Path, kind: type[Found], make: Callable[[], Found]) -> Found:
    """Return the record in a file; where it is not what was written there, it is made and kept."""
    try:
        return kind.model_validate_json(read_recorded(path))
    except (OSError, ValueError):
        found = make()
    write_recorded(path, found.model_dump_json().encode())
    return found
