"""Context of one run of fits: its parameters, and the files that its tasks share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tasks.base.runtime.temporary import temporary_folder
from tasks.base.settings.training import HERE, Engine, TrainingConfig
from tasks.base.training_records import NUMBERS, Recipe, Schema, Split

BASELINE = "baseline"
ENSEMBLE = "ensemble"
BLEND_FILE = "blend.json"
"""Weights of an ensemble beside its model; 0 of a candidate it was weighed without."""
_HURRY, _SAMPLE = "hurry", "sample"


@dataclass(frozen=True)
class FitRun:
    """Input of one run of fits."""

    snapshot_path: str
    split: Split
    schema: Schema
    training: TrainingConfig
    metric: str
    folder: str  # of candidates, a folder each
    work: str  # of what is of no use afterwards
    names: tuple[str, ...]  # candidates to fit
    whole: bool = False  # fits on holdout rows as well
    objective: str | dict[str, Any] | None = None  # decision rule
    recipe: Recipe | None = None  # known settings: nothing is searched
    engine: Engine = HERE  # what runs the tasks; they do not know

    @property
    def ordered(self) -> bool:
        """Whether rows are in time order."""
        return self.split.rule == "time"

    @cached_property
    def classification(self) -> bool:
        """Whether the target is a class."""
        return self.schema.task not in NUMBERS

    def candidate(self, name: str) -> Path:
        """Return the folder of a candidate."""
        return Path(self.folder) / name

    def at(self, *parts: str) -> Path:
        """Return a path among the shared files."""
        return Path(self.work).joinpath(*parts)

    @property
    def hurried(self) -> bool:
        """Whether the budget is used up: no more folds than a score needs."""
        return self.at(_HURRY).exists()

    @property
    def sampled(self) -> bool:
        """Whether the clock is used up too: no more rows than a model needs."""
        return self.at(_SAMPLE).exists()

    def hurry(self, *, sample: bool = False) -> None:
        """Let what goes on end soon; `sample`: what starts from now on learns from few rows."""
        self.at(_SAMPLE if sample else _HURRY).touch()

    def plain(self) -> dict[str, Any]:
        """Return the run as JSON values."""
        values: dict[str, Any] = _JSON.dump_python(self, mode="json", exclude={"engine"})
        return values

    @classmethod
    def of(cls, values: dict[str, Any]) -> FitRun:
        """Return the run that `plain` wrote."""
        return _JSON.validate_python(values)


_JSON = TypeAdapter(FitRun)


@contextmanager
def shared_files(
    snapshot_path: str,
    split: Split,
    schema: Schema,
    training: TrainingConfig,
    metric: str,
    folder: Path,
    names: tuple[str, ...],
    **given: Any,
) -> Iterator[FitRun]:
    """Yield a run with a folder for its shared files, which is removed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    data = (str(snapshot_path), split, schema, training, metric)
    with temporary_folder(folder.resolve()) as work:
        yield FitRun(*data, str(folder.resolve()), str(work), names, **given)
