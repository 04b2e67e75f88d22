"""Scheduler of one run: starts tasks as cores come free, and stops them at the deadline."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.base.errors import ConfigError, DataError, InfrastructureError, OwnMetricError
from tasks.base.text.durations import format_duration
from tasks.base.training_records import CandidateResult, Trial
from tasks.models.estimators.candidates import find
from tasks.models.execution import worker_pool
from tasks.models.execution.engines import Workers, borrowed, capacity
from tasks.models.execution.time_budget import Budget
from tasks.models.persistence.artifacts import kept
from tasks.models.run_context import BASELINE, FitRun
from tasks.models.task_graph import Task, foremost, plan, ready, seconds_left
from tasks.models.tuning.study import read_trial
from tasks.models.tuning.tuning_schedule import Tuning

_POLL_SECONDS = 1.0
_LAST_SECONDS = 300.0
"""By the clock, for a fit on few rows, however short the budget."""


@dataclass(frozen=True)
class Progress:
    """Progress of the fits."""

    candidate: str  # empty for work that several share
    stage: str
    done: int  # tasks
    total: int
    seconds_left: float | None  # None before there is anything to estimate from


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Report to nobody."""


class Fits:
    """Scheduler of one run: starts tasks as cores come free, and stops them at the deadline."""

    def __init__(
        self,
        run: FitRun,
        budget: Budget,
        report: Report,
        *,
        champion: Callable[[], str | None] | None = None,
        needed: bool = True,
    ) -> None:
        """Plan the tasks; `needed`: one candidate has to be fitted even beyond the budget."""
        # `champion` returns the candidate that the champion is, which goes first.
        self._run, self._budget, self._report = run, budget, report
        self._champion, self._needed = champion, needed
        cores, widest = capacity(run.engine)
        self._threads = run.training.threads or cores
        self._widest = widest or self._threads
        self._tasks = list(plan(run.names, self._threads, self._widest))
        self._tuning = Tuning(run, self._threads, budget.seconds)
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._done: set[int] = set()
        self._failed: dict[int, tuple[str, str]] = {}
        self._stopped: set[int] = set()
        self._put_off: set[int] = set()
        self._processes: dict[int, int] = {}
        self._sent: dict[int, dict[str, Any]] = {}
        self._again: set[int] = set()
        self._first: str | None = None
        self._sole: Task | None = None
        self._sampled = 0.0

    def results(self) -> dict[str, CandidateResult]:
        """Do all tasks and return what became of each candidate."""
        with self._champion_lookup() as champion:
            try:
                self._perform(champion)
            except worker_pool.WorkerEndedError:
                self._perform(champion)
        first = self._failed.get(0)
        if first is not None:
            raise _error_of(*first)
        for status, reason in self._failed.values():
            if status == OwnMetricError.__name__:
                raise ConfigError(reason)
        named = (BASELINE, *self._run.names)
        return {name: self._result(name) for name in named}

    def _perform(self, champion: Future[str | None]) -> None:
        plain = self._run.plain()
        with borrowed(self._run.engine, self._run.work) as worker:
            self._resume(worker)
            while not self._over():
                if self._first is None and champion.done():
                    self._first = champion.result()
                for task, more in self._startable():
                    self._begun.add(task.number)
                    self._sent[task.number] = {**self._command(task), **more, "run": plain}
                    worker.send(self._sent[task.number])
                for message in worker.hear(self._patience()):
                    self._heard(message, worker)
                processes = (*worker.processes, *self._processes.values())
                self._budget.count(processes, worker.elsewhere)
                self._keep_to_time(worker)

    def _resume(self, worker: Workers) -> None:
        """Start again what a worker process left when it died; nothing was begun at first."""
        self._processes.clear()
        for number in sorted(self._begun - self._ended):
            if self._is_stopped(number):
                killed = {"event": "ended", "task": number, "code": -signal.SIGKILL}
                self._heard(killed, worker)
            else:
                worker.send(self._sent[number])

    def _is_stopped(self, number: int) -> bool:
        """Return whether this side ended the process of a task, or wants it ended."""
        return number in self._put_off | self._stopped or number in self._failed

    def _keep_to_time(self, worker: Workers) -> None:
        if self._tuning.due(self._elapsed()):
            self._cut(worker)
        if self._tuning.pressing(self._unfitted(), self._elapsed()):
            self._make_room(worker)
        if self._late():
            self._overrun(worker)

    @contextmanager
    def _champion_lookup(self) -> Iterator[Future[str | None]]:
        """Look up the champion's candidate beside the first tasks."""
        asking = ThreadPoolExecutor(1)
        try:
            yield asking.submit(self._champion or (lambda: None))
        finally:
            asking.shutdown(wait=False, cancel_futures=True)

    def _startable(self) -> list[tuple[Task, dict[str, Any]]]:
        """Return the tasks to start now, with the extra fields of their commands."""
        self._tuning.settle({task.about for task in self._on_trial()}, self._elapsed())
        held = {task.number for task in self._waiting()} | self._held_back()
        failed = set(self._failed)
        tasks = foremost(tuple(self._tasks), self._first)
        now = ready(tasks, self._done, failed | held, self._begun, self._threads)
        running = [task for task in tasks if task.number in self._begun - self._done - failed]
        free = self._threads - sum(task.threads for task in (*running, *now))
        return [(task, {}) for task in now] + self._next_trials(free)

    def _held_back(self) -> set[int]:
        """Return the tasks that wait while one candidate has the machine to itself."""
        sole = self._sole
        if sole is None:
            return set()
        return {t.number for t in self._tasks if t.number not in {0, sole.number, *sole.needs}}

    def _waiting(self) -> list[Task]:
        searched = self._tuning.open
        return [task for task in self._tasks if task.do == "fit" and task.about in searched]

    def _next_trials(self, free: int) -> list[tuple[Task, dict[str, Any]]]:
        names = {t.about for t in self._waiting() if self._done.issuperset(t.needs)}
        started: list[tuple[Task, dict[str, Any]]] = []
        while names and free > 0 and not self._late() and self._sole is None:
            found = self._tuning.next(names)
            if found is None:
                break
            name, trial = found
            cost, number = find(name).cost, int(trial["number"])
            # Nothing runs beside the untuned trial of a candidate that is alone.
            share = max(1, self._threads // len(self._run.names)) if number == 0 else 1
            threads = min(share, free, self._widest)
            task = Task(len(self._tasks), "trial", name, (), threads, cost, number)
            free -= threads
            self._tasks.append(task)
            started.append((task, {"trial": trial, "answer": str(self._answer(task))}))
        return started

    def _on_trial(self) -> list[Task]:
        return [t for t in self._tasks if t.do == "trial" and t.number not in self._ended]

    def _answer(self, task: Task) -> Path:
        return self._run.at(f"trial-{task.about}-{task.trial}.json")

    def _command(self, task: Task) -> dict[str, Any]:
        given = {"task": task.number, "do": task.do, "about": task.about, "threads": task.threads}
        return {**given, "log": str(self._log(task))}

    def _log(self, task: Task) -> Path:
        number = "" if task.trial is None else f"-{task.trial}"
        return self._run.at(f"{task.do}-{task.about}{number}.log")

    def _over(self) -> bool:
        # Children that were stopped are waited for: the worker's next run numbers its tasks anew.
        ended = len(self._done) + len(self._failed) == len(self._tasks)
        return ended and self._ended == self._begun

    def _elapsed(self) -> float:
        return self._budget.elapsed

    def _late(self) -> bool:
        return self._budget.over

    def _patience(self) -> float:
        left = self._budget.left
        return min(_POLL_SECONDS, left) if left > 0 else _POLL_SECONDS

    def _heard(self, message: dict[str, Any], worker: Workers) -> None:
        if message["event"] == "step":
            about = message["candidate"]
            stage = message["stage"]
            shared = about not in (BASELINE, *self._run.names)
            self._note("" if shared else about, stage)
        elif message["event"] == "started":
            self._processes[int(message["task"])] = int(message["process"])
        elif message["event"] == "ended":
            task = self._tasks[int(message["task"])]
            self._processes.pop(task.number, None)
            first = task.number not in self._again
            if message["code"] < 0 and first and not self._is_stopped(task.number):
                self._again.add(task.number)
                worker.send(self._sent[task.number])
                return
            put_off = task.number in self._put_off
            self._put_off.discard(task.number)
            if put_off and message["code"]:
                self._begun.discard(task.number)
                return
            self._ended.add(task.number)
            if task.do == "trial":
                self._finish_trial(task, int(message["code"]))
            elif task.number not in self._failed:
                self._finish(task, int(message["code"]))

    def _finish_trial(self, task: Task, code: int) -> None:
        assert task.trial is not None  # noqa: S101 - a trial has a number
        self._done.add(task.number)
        trial = read_trial(self._answer(task)) if code == 0 else None
        if trial is None and task.number in self._stopped:
            self._tuning.drop(task.about, task.trial)
            return
        if trial is None:
            _, reason = self._why(task, code)
            params = self._tuning.params_of(task.about, task.trial)
            trial = Trial(number=task.trial, params=params, state="failed", reason=reason)
        self._tuning.tell(task.about, trial)
        if trial.number == 0 and trial.state == "failed":
            fit = next(t for t in self._tasks if t.do == "fit" and t.about == task.about)
            self._fail(fit, "failed", trial.reason)
        score = "" if trial.score is None else f", {self._run.metric} {trial.score:.4g}"
        self._note(task.about, f"trial {trial.number} {trial.state}{score}")

    def _cut(self, worker: Workers, *, all_of_them: bool = False) -> None:
        """Stop the trials, but not a candidate's untuned one in time: it is its validation."""
        for task in self._on_trial():
            if (task.trial != 0 or all_of_them) and task.number not in self._stopped:
                self._stopped.add(task.number)
                worker.send({"do": "kill", "task": task.number})

    def _unfitted(self) -> list[str]:
        return [t.about for t in self._tasks if t.do == "fit" and t.number not in self._begun]

    def _make_room(self, worker: Workers) -> None:
        """Give up what is still being validated: a candidate that is validated has to be fitted."""
        for task in self._on_trial():
            if task.trial == 0 and task.number not in self._stopped:
                fit = next(t for t in self._tasks if t.do == "fit" and t.about == task.about)
                self._fail(fit, "skipped", self._too_late())
        self._cut(worker, all_of_them=True)

    def _finish(self, task: Task, code: int) -> None:
        if code == 0:
            self._done.add(task.number)
            self._note(task.about if task.do == "fit" else "", "done")
            return
        self._fail(task, *self._why(task, code))

    def _fail(self, task: Task, status: str, reason: str) -> None:
        self._failed[task.number] = (status, reason)
        self._tuning.give_up(task.about)
        if task.do == "fit" and self._log(task).is_file():
            # Beside the candidates' folders: the whole traceback, for who wants to know.
            shutil.copyfile(self._log(task), Path(self._run.folder) / f"{task.about}.log")
        for other in self._tasks:
            if task.number in other.needs and other.number not in self._failed:
                self._fail(other, status, reason)

    def _why(self, task: Task, code: int) -> tuple[str, str]:
        if code < 0:
            return "failed", f"its process was ended twice by {worker_pool.ended_by(code)}"
        try:
            error = json.loads(self._log(task).with_suffix(".error").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return "failed", f"its process ended with status {code}"
        if error["name"] == OwnMetricError.__name__:
            return error["name"], error["text"]
        if error["kind"]:
            return error["kind"], error["text"]
        return "failed", f"{error['name']}: {error['text']}"

    def _overrun(self, worker: Workers) -> None:
        """End tasks over time, unless nothing is fitted yet: then one candidate goes on alone."""
        fits = [t for t in self._tasks if t.do == "fit"]
        if not self._needed or any(t.number in self._done for t in fits):
            self._stop(worker)
            return
        sole = self._sole
        if sole is None or sole.number in self._failed:
            self._go_on_alone(worker, [t for t in fits if t.number not in self._failed])
        elif self._budget.capped and not self._run.sampled and sole.number in self._begun:
            self._run.hurry(sample=True)
            self._sampled = self._budget.wall
            self._put_aside(worker, sole)
            self._sole = self._alone(sole)
        elif self._run.sampled and self._budget.wall > self._sampled + _LAST_SECONDS:
            self._fail(sole, "skipped", self._too_late())
            worker.send({"do": "kill", "task": sole.number})

    def _go_on_alone(self, worker: Workers, fits: list[Task]) -> None:
        """Give the machine to the candidate that is begun, or else first in turn."""
        if not fits:
            self._stop(worker)
            return
        self._run.hurry()
        self._sampled = self._budget.wall
        turn = foremost(tuple(fits), self._first)
        self._sole = next((t for t in turn if t.number in self._begun), turn[0])
        if self._sole.number not in self._begun:
            self._sole = self._alone(self._sole)
        if self._sole.about in self._tuning.open:
            self._tuning.give_up(self._sole.about)
        self._cut(worker, all_of_them=True)
        for number in self._held_back() & self._begun - self._ended:
            if self._tasks[number].do != "trial":
                self._put_aside(worker, self._tasks[number])

    def _alone(self, task: Task) -> Task:
        """Give a task that is not begun, or will be anew, all threads."""
        self._tasks[task.number] = replace(task, threads=self._widest)
        return self._tasks[task.number]

    def _put_aside(self, worker: Workers, task: Task) -> None:
        if task.number not in self._put_off:
            self._put_off.add(task.number)
            worker.send({"do": "kill", "task": task.number})

    def _stop(self, worker: Workers) -> None:
        """Stop what would overrun the budget; the baseline costs next to nothing and goes on."""
        reason = self._too_late()
        self._cut(worker, all_of_them=True)
        for task in self._tasks:
            if task.number in {0} | self._done | set(self._failed) or task.do == "trial":
                continue
            self._failed[task.number] = ("skipped", reason)
            self._tuning.give_up(task.about)
            if task.number in self._begun - self._put_off:
                worker.send({"do": "kill", "task": task.number})

    def _too_late(self) -> str:
        return (
            f"would overrun the time budget of {format_duration(self._run.training.budget)}; "
            "raise training.budget, lower training.cv, or leave it out of training.candidates"
        )

    def _note(self, candidate: str, stage: str) -> None:
        over = self._done | set(self._failed)
        tasks = (*self._tasks, *self._tuning.to_come(len(self._tasks)))
        budget = self._budget
        left = seconds_left(tasks, over, budget.elapsed, self._threads, budget.seconds)
        if left is not None:
            left = round(min(left * budget.pace, budget.wall_left), 1)
        self._report(Progress(candidate, stage, len(over), len(tasks), left))

    def _result(self, name: str) -> CandidateResult:
        for task in self._tasks:
            if task.do != "trial" and task.about == name and task.number in self._failed:
                status, reason = self._failed[task.number]
                late = status == "skipped"
                given = {"status": "skipped" if late else "failed", "out_of_time": late}
                return CandidateResult.model_validate(
                    {"candidate": name, "reason": reason, **given}
                )
        found = kept(Path(self._run.folder), name)
        if found is None:
            return CandidateResult(
                candidate=name, status="failed", reason="its files are not complete"
            )
        return found.model_copy(update={"cached": False})


def _error_of(status: str, reason: str) -> ConfigError | DataError | InfrastructureError:
    if status in {ConfigError.kind, OwnMetricError.__name__}:
        return ConfigError(reason)
    if status == DataError.kind:
        return DataError(reason)
    return InfrastructureError(f"the training rows could not be read: {reason}.")
