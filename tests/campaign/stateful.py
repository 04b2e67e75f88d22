"""Ledger and registry against a dictionary: random commands, kills, backups and restores.

Every command works in a forked process of its own, as on a command line, and opens both stores
anew; of a killed one the model knows from the failpoint whether it counts. After each command
what the stores answer must be what the dictionary holds.
"""

from __future__ import annotations

import ast
import atexit
import copy
import importlib
import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from deploy.retention.backups import backup, restore
from tasks.base.errors import KeepfitError
from tasks.registry.alias.champion_alias import REPLACED, ROLLED_BACK
from tasks.registry.mlflow.store import Store
from tests.campaign.table import Options, Row
from tests.campaign.trials import KEY
from tests.unit.ledger.made import NAME, Forked, decision, opened, predictions, schema
from tests.unit.registry.trained import SCHEMA, Trained, train

_MOST = 5
_REFUSED = "refused"
_BEFORE, _AFTER = "registry.journal.before_write", "registry.alias.before_move"
_versions = st.integers(1, _MOST)


@dataclass
class Version:
    """What the registry knows of one version."""

    replaced: str | None = None
    rolled_back: bool = False


@dataclass
class Model:
    """Both stores, as simply as can be."""

    versions: dict[str, Version] = field(default_factory=dict)
    made: int = 0
    champion: str | None = None
    rows: dict[int, str] = field(default_factory=dict)
    decisions: set[str] = field(default_factory=set)

    def promote(self, version: str) -> str:
        if version not in self.versions:
            return _REFUSED
        if self.champion != version:
            self.versions[version].replaced = self.champion or "none"
            self.champion = version
        return version

    def rollback(self) -> str:
        seen, here = set(), self.champion
        while here is not None and here not in seen:
            seen.add(here)
            here = self.versions[here].replaced
            if here is None or here not in self.versions or here in seen:
                return _REFUSED
            if not self.versions[here].rolled_back:
                assert self.champion is not None
                self.versions[self.champion].rolled_back = True
                self.champion = here
                return here
        return _REFUSED

    def delete(self, version: str) -> bool:
        held = self.champion and self.versions[self.champion].replaced
        if version not in self.versions or version in (self.champion, held):
            return False
        del self.versions[version]
        return True

    def answer(self) -> dict[str, Any]:
        return {
            "champion": self.champion,
            "versions": {n: (v.replaced, v.rolled_back) for n, v in self.versions.items()},
            "rows": sorted(self.rows.items()),
            "decisions": sorted(self.decisions),
        }


@cache
def _prepared() -> tuple[Path, Trained]:
    """Return a folder with an empty ``template`` of both stores, and a model to register.

    Databases hold absolute paths: every example works at ``state`` beside the template.
    """
    os.environ["KEEPFIT_SIGNING_KEY"] = KEY
    for name in ("mlflow", "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store"):
        importlib.import_module(name)
    folder = Path(tempfile.mkdtemp(prefix="keepfit-stateful-"))
    atexit.register(shutil.rmtree, folder)
    Forked(lambda: _answer(folder / "state")).answer()
    (folder / "state").rename(folder / "template")
    return folder, train(folder)


class Stores(RuleBasedStateMachine):
    """The real stores beside their model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder, self.trained = _prepared()
        self.state = self.folder / "state"
        shutil.copytree(self.folder / "template", self.state)
        self.model = Model()
        self.saved: Model | None = None

    def teardown(self) -> None:
        """Remove what the example made."""
        shutil.rmtree(self.state)

    @precondition(lambda self: self.model.made < _MOST)
    @rule()
    def train(self) -> None:
        made = self._do(lambda: _register(self.state, self.trained))
        self.model.made += 1
        assert made == str(self.model.made)
        self.model.versions[made] = Version()

    @rule(version=_versions)
    def promote(self, version: int) -> None:
        done = self._do(lambda: Store.open(self.state).promote_by_hand(NAME, str(version)))
        assert done == self.model.promote(str(version))

    @rule(version=_versions, expected=st.one_of(st.none(), _versions.map(str)))
    def promote_if(self, version: int, expected: str | None) -> None:
        """Promote what was judged against a champion: it must still be champion."""
        wanted = str(version)
        done = self._do(lambda: Store.open(self.state).set_champion(NAME, wanted, expected))
        known = wanted in self.model.versions
        if known and self.model.champion not in (wanted, expected):
            assert done == _REFUSED
        else:
            assert done == self.model.promote(wanted)

    @rule()
    def rollback(self) -> None:
        assert self._do(lambda: Store.open(self.state).rollback(NAME)) == self.model.rollback()

    @rule(version=_versions)
    def delete(self, version: int) -> None:
        done = self._do(lambda: _delete(self.state, str(version)))
        assert done == self.model.delete(str(version))

    @precondition(lambda self: self.model.champion)
    @rule(start=st.integers(0, 40), rows=st.integers(1, 20))
    def score(self, start: int, rows: int) -> None:
        self._do(lambda: _score(self.state, self.model.champion, start, rows))
        self._scored(start, rows)

    @rule(number=st.integers(0, 9))
    def record(self, number: int) -> None:
        done = self._do(lambda: opened(self.state).record(decision(number)))
        assert done is (f"d{number}" not in self.model.decisions)
        self.model.decisions.add(f"d{number}")

    @rule(version=_versions, place=st.sampled_from((_BEFORE, _AFTER, "registry.alias.after_move",
          "registry.journal.before_removal")))  # fmt: skip
    def killed_promotion(self, version: int, place: str) -> None:
        killed = Forked(
            lambda: Store.open(self.state).promote_by_hand(NAME, str(version)), place
        ).killed()
        changes = str(version) in self.model.versions and self.model.champion != str(version)
        assert killed == changes
        if killed and place != _BEFORE:
            self.model.promote(str(version))

    @precondition(lambda self: self.model.champion)
    @rule(start=st.integers(0, 40), place=st.sampled_from(("before", "before_commit",
          "after_commit")))  # fmt: skip
    def killed_score(self, start: int, place: str) -> None:
        opened(self.state).engine.dispose()
        killed = Forked(
            lambda: _score(self.state, self.model.champion, start, 7), f"ledger.predictions.{place}"
        ).killed()
        assert killed
        if place == "after_commit":
            self._scored(start, 7)

    @precondition(lambda self: self.model.made)
    @rule()
    def back_up(self) -> None:
        target = self.folder / "backup.tar.gz"
        target.unlink(missing_ok=True)
        backup(self.state, target)
        self.saved = copy.deepcopy(self.model)

    @precondition(lambda self: self.saved)
    @rule()
    def restore(self) -> None:
        kept = restore(self.folder / "backup.tar.gz", self.state, force=True).kept
        shutil.rmtree(kept)
        assert self.saved is not None
        self.model = copy.deepcopy(self.saved)

    @invariant()
    def they_agree(self) -> None:
        assert self._do(lambda: _answer(self.state)) == self.model.answer()
        assert _stored(self.state) == self.model.answer()

    def _scored(self, start: int, rows: int) -> None:
        assert self.model.champion is not None
        for row in range(start, start + rows):
            self.model.rows.setdefault(row, self.model.champion)

    def _do(self, work: Callable[[], Any]) -> Any:
        def said() -> Any:
            try:
                done = work()
            except KeepfitError:
                return _REFUSED
            done = getattr(done, "version", done)
            return getattr(done, "version", done)

        return ast.literal_eval(Forked(said).answer())


def _register(state: Path, trained: Trained) -> Any:
    store = Store.open(state)
    run_id = store.start_run(store.experiment(NAME), "training")
    version = store.register(
        NAME, run_id=run_id, model=trained.path, sample=trained.X, predictions=trained.predicted,
        schema=SCHEMA, tags={"keepfit.pipeline": NAME},
    )  # fmt: skip
    store.finish_run(run_id)
    return store.confirm(version)


def _delete(state: Path, number: str) -> bool:
    store = Store.open(state)
    found = next((v for v in store.versions(NAME) if v.version == number), None)
    if found is None or not store.retire_version(found):
        return False
    store.remove_version(found)
    return True


def _score(state: Path, version: str | None, start: int, rows: int) -> None:
    opened(state).write_predictions(
        NAME, predictions(rows, start), schema(), version=str(version), run_id="r",
        batch=f"{version} {start} {rows}",
    )  # fmt: skip


def _stored(state: Path) -> dict[str, Any]:
    """Return what the databases hold, read without keepfit."""
    tags = f"""SELECT version,
        max(CASE key WHEN 'keepfit.replaced' THEN value END),
        max(key = 'keepfit.rolled_back_at') FROM model_versions v
        LEFT JOIN model_version_tags t USING (name, version)
        WHERE name = '{NAME}' AND current_stage != 'Deleted_Internal' GROUP BY version"""
    with closing(sqlite3.connect(state / "mlflow" / "mlflow.db")) as registry:
        alias = registry.execute("SELECT version FROM registered_model_aliases").fetchall()
        versions = registry.execute(tags).fetchall()
    with closing(sqlite3.connect(state / "ledger.db")) as ledger:
        rows = ledger.execute("SELECT key, version FROM keepfit_predictions").fetchall()
        decisions = ledger.execute("SELECT id FROM keepfit_decisions").fetchall()
    return {
        "champion": str(alias[0][0]) if alias else None,
        "versions": {str(v): (replaced, bool(back)) for v, replaced, back in versions},
        "rows": sorted((int(json.loads(key)[0]), version) for key, version in rows),
        "decisions": sorted(identity for (identity,) in decisions),
    }


def _answer(state: Path) -> dict[str, Any]:
    """Return what the stores answer once they mended what killed commands left."""
    store, ledger = Store.open(state), opened(state)
    store.warm_up()
    champion = store.champion(NAME)
    with ledger.reading() as connection:
        rows = connection.exec_driver_sql("SELECT key, version FROM keepfit_predictions").fetchall()
    return {
        "champion": champion.version if champion else None,
        "versions": {
            v.version: (v.tags.get(REPLACED), ROLLED_BACK in v.tags) for v in store.versions(NAME)
        },
        "rows": sorted((int(json.loads(key)[0]), version) for key, version in rows),
        "decisions": sorted(d.id for d in ledger.decisions(NAME)),
    }


def run(options: Options) -> list[Row]:
    """Try as many sequences of commands as asked for, a tenth of the other parts' trials."""
    examples = 1 if options.share else max(1, options.trials // 10)
    steps = 8 if options.share else 20
    given = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    failures, began = [], time.monotonic()
    try:
        run_state_machine_as_test(seed(options.seed)(Stores), settings=given)
    except AssertionError as error:
        failures.append("\n    ".join([str(error), *getattr(error, "__notes__", [])])[:2_000])
    figure = f"{steps} commands each"
    took = time.monotonic() - began
    return [
        Row("stateful", "ledger and registry against a model", examples, failures, figure, took)
    ]
