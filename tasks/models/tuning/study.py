"""The search of one candidate: batches of trials, and the journal that outlives a kill."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.base.settings.evaluation import greater_is_better
from tasks.base.settings.search_spaces import Value
from tasks.base.training_records import Trial
from tasks.models.persistence.artifacts import trial_folder, trials_file
from tasks.models.run_context import FitRun
from tasks.models.tuning.pruner import Bars, bars, best_trial
from tasks.models.tuning.sampler import propose, spaces_for

BATCH = 4
"""Trials that are proposed together. Fixed, so that how many run at once changes nothing."""


class Search:
    """The trials of one candidate, in batches; the untuned settings come first, by themselves."""

    # The trials of a batch are proposed and judged by those of earlier batches only. It is `over`
    # when no more trials are to be made.

    def __init__(self, run: FitRun, name: str, most: int) -> None:
        self._run, self.name = run, name
        self._asked = self._most = most
        self._greater = greater_is_better(run.metric)
        self._spaces = spaces_for(run, name)
        self._folds = run.training.cv
        self._journal = trials_file(run, name)
        self._done = {trial.number: trial for trial in _read(self._journal)}
        self._running: set[int] = set()
        self._batch: dict[int, dict[str, Value]] | None = None
        self._bars: Bars = {}
        self._first = 0
        self.over = False

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Trials that ended, by number."""
        return tuple(self._done[number] for number in sorted(self._done))

    @property
    def untuned(self) -> Trial | None:
        """The first trial, once it ended."""
        return self._done.get(0)

    @property
    def spent(self) -> float:
        """Seconds of the trials that ended."""
        return sum(trial.seconds for trial in self._done.values())

    @property
    def to_come(self) -> int:
        """Trials that may still be started."""
        return max(0, self._most - len(self._done) - len(self._running))

    @property
    def best(self) -> float | None:
        """The best score of a complete trial, greater is better."""
        found = best_trial(self.trials, greater=self._greater)
        sign = 1.0 if self._greater else -1.0
        return None if found is None or found.score is None else sign * found.score

    def next(self) -> dict[str, Any] | None:
        """Return the next trial to start; None while others have to end first, or at the end."""
        if self.over:
            return None
        while True:
            batch = self._proposed()
            for number, params in batch.items():
                waits = number not in self._done and number not in self._running
                if waits and number < self._most:
                    self._running.add(number)
                    return {"number": number, "params": params, "bars": self._bars}
            if self._running:
                return None
            self._first, self._batch = self._first + self._size, None
            if not batch or self._first >= self._most:
                self.close()
                return None

    def _proposed(self) -> dict[int, dict[str, Value]]:
        if self._batch is not None:
            return self._batch
        if self._first == 0:
            self._batch = {0: {}}
            return self._batch
        earlier = [trial for trial in self.trials if trial.number < self._first]
        numbers = range(self._first, min(self._first + BATCH, self._asked))
        made = propose(
            self._spaces,
            earlier,
            len(numbers),
            seed=self._run.training.seed,
            batch=self._first,
            name=self.name,
            greater=self._greater,
        )
        self._bars = bars(earlier, self._folds, greater=self._greater)
        self._batch = dict(zip(numbers, made, strict=False))
        return self._batch

    @property
    def _size(self) -> int:
        return BATCH if self._first > 0 else 1

    def params_of(self, number: int) -> dict[str, Value]:
        """Return the proposed parameters of a trial of the current batch."""
        return dict((self._batch or {}).get(number, {}))

    def tell(self, trial: Trial) -> None:
        """Note what became of a trial, for good."""
        self._running.discard(trial.number)
        self._done[trial.number] = trial
        line = trial.model_dump_json().encode()
        with self._journal.open("ab") as file:
            file.write(_mark(self._journal, line) + b" " + line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._forget_others()

    def drop(self, number: int) -> None:
        """Forget a trial that was stopped before its end."""
        self._running.discard(number)

    def close(self) -> None:
        """Start no more trials, but the untuned one if it has not ended."""
        self._most = 1
        self.over = self.untuned is not None

    def _forget_others(self) -> None:
        """Remove predictions that no fit can need: neither the untuned trial's nor the best's."""
        best = best_trial(self.trials, greater=self._greater)
        for trial in self.trials:
            scored = trial.state == "complete" and trial.score is not None
            if scored and trial.number > 0 and trial is not best:
                shutil.rmtree(trial_folder(self._run, self.name, trial.number), ignore_errors=True)


def read_trial(answer: Path) -> Trial | None:
    """Return a trial's result; None where it wrote nothing whole."""
    try:
        return Trial.model_validate_json(answer.read_bytes())
    except (OSError, ValueError):
        return None


def _read(journal: Path) -> Iterator[Trial]:
    """Yield the trials of a journal; a line cut short or of another journal is not written."""
    with contextlib.suppress(FileNotFoundError):
        content = journal.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            journal.write_bytes(whole)
        for mark, _, line in (each.partition(b" ") for each in whole.splitlines()):
            if mark == _mark(journal, line):
                with contextlib.suppress(ValueError):
                    yield Trial.model_validate_json(line)


def _mark(journal: Path, line: bytes) -> bytes:
    """Return what ties a line to the fits and the candidate that it is of."""
    owner = "/".join(journal.parts[-3:]).encode()
    return hashlib.sha256(owner + b"\n" + line).hexdigest().encode()
