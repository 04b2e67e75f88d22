"""Fitted models of a replay: each span of rows is fitted once, kept, and shared by policies."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.backtest.history import History
from tasks.base.config import PipelineConfig
from tasks.base.runtime import progress
from tasks.base.runtime.files import changed_file, digests_of, write_whole
from tasks.base.settings.training import HERE, Engine, TrainingConfig
from tasks.base.text.durations import parse_duration
from tasks.base.training_records import Recipe, Record, Split
from tasks.evaluation.leaderboard import choose
from tasks.metrics.paired_bootstrap import Predictions
from tasks.models.fitting import fit_candidates, objective_of
from tasks.models.recipe import fit_recipe, recipe_of

_LOGGER = logging.getLogger(__name__)
Floats = NDArray[np.float64]

_QUICK = ("lightgbm", "logistic_regression")
_QUICK_BUDGET = "20s"


class FittedModel(Record):
    """A model of the rows [first, last), with what it predicts of all later rows."""

    key: str
    first: int
    last: int
    seconds: float
    predictions_path: str  # ``.npz`` as `CandidateResult` has it, of the rows from `last` on
    model_path: str = ""  # empty where the model itself was not kept
    importance: dict[str, float] = Field({})  # feature to its share of the model's own importance
    digests: dict[str, str] = Field({})  # of these two files, by name
    place: str = ""  # folder that it was kept in, named by what decides the fit

    def predictions(self, first: int, last: int) -> Predictions:
        """Return its predictions of rows [first, last).

        Raises ValueError when it was fitted on one of them.
        """
        if first < self.last:
            raise ValueError(f"rows from {first} are requested; it learned rows up to {self.last}")
        predicted, probability = _arrays(self.predictions_path)
        part = slice(first - self.last, last - self.last)
        return Predictions(predicted[part], None if probability is None else probability[part])


@lru_cache(maxsize=48)
def _arrays(path: str) -> tuple[NDArray[np.generic], Floats | None]:
    with np.load(path, allow_pickle=False) as kept:
        return kept["predicted"], kept["probability"] if "probability" in kept.files else None


class Fitter(Protocol):
    """Fits the recipe of the first training on other rows of the history."""

    @property
    def identity(self) -> str:
        """Changes with everything but the rows that decides a fit."""
        ...

    def __call__(self, history: History, first: int, last: int, folder: Path) -> FittedModel:
        """Fit rows [first, last) and predict the rows from `last` on; keep all in `folder`."""
        ...


class Fits:
    """The fits of a replay, in memory and in a folder, so that a killed replay goes on.

    `folder`: its name must change with data, settings and versions; `side_by_side`: how many the
    engine makes at a time.
    """

    def __init__(
        self, history: History, fitter: Fitter, folder: Path, *, side_by_side: int = 1
    ) -> None:
        self.history, self._fitter, self._folder = history, fitter, folder
        self._side_by_side = side_by_side
        self._known: dict[tuple[int, int], FittedModel] = {}

    @property
    def made(self) -> tuple[FittedModel, ...]:
        """All fits that were requested, each once."""
        return tuple(self._known.values())

    def of(self, first: int, last: int) -> FittedModel:
        """Return the model of rows [first, last)."""
        if (first, last) not in self._known:
            self._known[first, last] = self._kept(first, last) or self._fit(first, last)
        return self._known[first, last]

    def prepare(self, spans: Iterable[tuple[int, int]]) -> None:
        """Fit and keep the models of spans side by side, for `of` to find; nothing one by one."""
        if self._side_by_side < 2:
            return
        # What is trained after the last row scores nothing.
        later = [s for s in dict.fromkeys(spans) if s[1] < self.history.rows]
        wanted = [s for s in later if s not in self._known and not self._kept(*s)]
        threads = ThreadPoolExecutor(self._side_by_side)
        try:
            list(threads.map(lambda span: self._fit(*span), wanted))
        finally:
            # After an interrupt nobody waits: the engine is closed, and they end.
            threads.shutdown(wait=False, cancel_futures=True)

    def _place(self, first: int, last: int) -> Path:
        mark = hashlib.sha256(f"{self._fitter.identity} {first} {last}".encode()).hexdigest()
        return self._folder / mark[:24]

    def _kept(self, first: int, last: int) -> FittedModel | None:
        try:
            folder = self._place(first, last)
            found = FittedModel.model_validate_json((folder / "fit.json").read_bytes())
        except (OSError, ValueError):
            return None
        known = Path(found.predictions_path)
        own = found.place == folder.name and known.name in found.digests
        if own and not changed_file(known.parent, found.digests):
            return found
        _LOGGER.warning("%s is not what was kept of this fit; it is made again", folder)
        return None

    def _fit(self, first: int, last: int) -> FittedModel:
        folder = self._place(first, last)
        folder.mkdir(parents=True, exist_ok=True)
        fitted = self._fitter(self.history, first, last, folder)
        kept = Path(fitted.predictions_path)
        names = (kept.name, Path(fitted.model_path).name) if fitted.model_path else (kept.name,)
        known = {"digests": digests_of(kept.parent, names), "place": folder.name}
        fitted = fitted.model_copy(update=known)
        write_whole(folder / "fit.json", fitted.model_dump_json())
        return fitted


@dataclass(frozen=True)
class RecipeFitter:
    """Fits as production refits: in the worker process, by the first training's recipe."""

    recipe: Recipe
    training: TrainingConfig
    objective: str | dict[str, Any] | None = None
    engine: Engine = HERE

    @property
    def identity(self) -> str:
        """The digest of all but the rows that decides a fit."""
        settings = (self.recipe, self.training)
        parts = [one.model_dump(mode="json") for one in settings]
        text = json.dumps([*parts, self.objective], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def __call__(self, history: History, first: int, last: int, folder: Path) -> FittedModel:
        """Fit rows [first, last) and predict the rows from `last` on."""
        began = time.monotonic()
        result = fit_recipe(
            history.snapshot.path,
            split_of(history, first, last, history.rows, folder),
            history.roles,
            self.training,
            history.metric,
            self.recipe,
            folder / "model",
            objective=self.objective,
            engine=self.engine,
        )
        return FittedModel(
            key=f"{first}-{last}",
            first=first,
            last=last,
            seconds=time.monotonic() - began,
            predictions_path=result.predictions_path,
            model_path=result.model_path,
            importance=result.importance,
        )


def split_of(history: History, first: int, held: int, last: int, folder: Path) -> Split:
    """Return a split of rows [first, last) whose holdout starts at `held`."""
    train, holdout = folder / "train.npy", folder / "holdout.npy"
    np.save(train, np.arange(first, held, dtype=np.int64))
    np.save(holdout, np.arange(held, last, dtype=np.int64))
    return Split(
        train_path=str(train),
        holdout_path=str(holdout),
        rule="time",
        holdout=(last - held) / max(1, last - first),
        n_train=held - first,
        n_holdout=last - held,
        boundary=history.moment(held),
    )


def training_of(config: PipelineConfig, *, quick: bool = False) -> TrainingConfig:
    """Return the settings of the first training: as the file states, without an ensemble.

    An ensemble of all candidates would be fitted anew at each training of each policy.
    """
    training = config.competing.model_copy(update={"ensemble": False})
    if not quick:
        return training
    kept = tuple(c for c in training.candidates if c in _QUICK) or training.candidates[:1]
    few = {"candidates": kept, "cv": min(training.cv, 3), "tuning": None}
    return training.model_copy(update={**few, "budget": parse_duration(_QUICK_BUDGET)})


def search(
    history: History, config: PipelineConfig, training: TrainingConfig, folder: Path
) -> RecipeFitter:
    """Return what fits the candidate that validation on the first training's rows prefers.

    Raises FitError when no candidate could be fitted.
    """
    first, last = history.trained(history.windows[0].start, config.training.window)
    held = history.boundary(first, last, config.split.holdout)
    folder.mkdir(parents=True, exist_ok=True)
    split = split_of(history, first, held, last, folder)
    results = fit_candidates(
        history.snapshot.path,
        split,
        history.roles,
        training,
        history.metric,
        folder,
        progress=lambda moved: progress.report(
            progress.Step(
                "fit", f"{moved.candidate or 'all'}: {moved.stage}", moved.done, moved.total,
                moved.seconds_left,
            )
        ),
        objective=objective_of(config),
        engine=config.engine,
    )  # fmt: skip
    name = choose(results, history.metric)
    winner = next(result for result in results if result.candidate == name)
    return RecipeFitter(recipe_of(winner, folder), training, objective_of(config), config.engine)
