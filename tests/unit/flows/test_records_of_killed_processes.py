"""Whatever command comes next records what a killed process had decided."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from deploy.prefect.deployments import tags_of
from deploy.runner import reaper
from flows import cli_actions, run_lifecycle
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.ledger.ledger import ledger_of
from tasks.registry import open_pipeline
from tasks.registry.alias.journal import Intent, close_journal, journal_file
from tasks.registry.mlflow.sqlite_reader import PROMOTIONS
from tasks.training import interrupted_promotion
from tasks.training.interrupted_promotion import registered_once
from tests.opened import opened
from tests.tables import FAST, write_churn, write_pipeline
from tests.unit.training.test_interrupted_promotion import KEY, TRAINED, Store, version


class Registry(Store):
    """A registry as doors and flows see it."""

    def __init__(self, state: Path) -> None:
        super().__init__(version("2"))
        self.state = state

    def reap(self) -> None:
        """End what killed processes left open."""

    def found(self, name: str, number: str) -> Any:
        return self.version(name, number)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    plan = load_pipeline(write_pipeline(tmp_path, write_churn(tmp_path / "c.csv", 20), FAST))
    store: Any = Registry(plan.state)
    monkeypatch.setattr(open_pipeline, "store_of", lambda _: store)
    monkeypatch.setattr(interrupted_promotion, "versions_of", lambda _: tuple(store.all))
    monkeypatch.setattr(interrupted_promotion, "champion_if_any", lambda _: None)
    monkeypatch.setattr(run_lifecycle, "run_id", lambda: str(UUID(int=1)))
    monkeypatch.setattr(run_lifecycle, "refresh", lambda _: None)
    registered_once(
        opened(plan, store=store),
        KEY,
        TRAINED.model_copy(update={"pipeline": "churn"}),
        lambda: store.held,
    )
    return plan


def by_command(plan: Pipeline) -> AbstractContextManager[object]:
    return cli_actions.steered(plan.path)


def by_flow(plan: Pipeline) -> AbstractContextManager[object]:
    return run_lifecycle.answerable(opened(plan), "scoring", None)


@contextmanager
def by_reaper(plan: Pipeline) -> Iterator[None]:
    client: Any = SimpleNamespace(read_flow=lambda _: SimpleNamespace(name="inspection"))
    run: Any = SimpleNamespace(
        id="r", flow_id="f", idempotency_key=None, deployment_id=None, tags=tags_of("churn"),
        parameters={}, start_time=None, state=None, created=datetime.now(UTC),
        expected_start_time=None,
    )  # fmt: skip
    reaper.Reaper(plan.state, [plan], 1)._tell(client, run)
    yield


@pytest.mark.parametrize("way", [by_command, by_flow, by_reaper])
def test_a_promotion_without_a_record_is_recorded(plan: Pipeline, way: Any) -> None:
    with way(plan):
        found = {d.kind for d in ledger_of(plan).decisions("churn")}

    assert {"promoted", "trained"} <= found


@pytest.mark.parametrize("way", [by_command, by_flow])
def test_a_move_by_hand_without_a_record_is_recorded(plan: Pipeline, way: Any) -> None:
    intent = Intent(
        name="churn", version="2", previous="3", written=datetime.now(UTC), reason="rollback",
        by_hand=True,
    )  # fmt: skip
    journal = journal_file(plan.state / PROMOTIONS, "churn")
    journal.parent.mkdir(parents=True)
    journal.write_text(intent.model_dump_json())
    close_journal(journal, intent)

    with way(plan):
        pass

    (back,) = ledger_of(plan).decisions("churn", kinds=("rolled_back",))
    assert (back.version, back.evidence["by"]) == ("2", "hand")
