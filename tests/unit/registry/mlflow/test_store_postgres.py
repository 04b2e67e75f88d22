from __future__ import annotations

from pathlib import Path

import pytest

from tasks.registry.mlflow.store import Store
from tests.postgres import Server, postgres_server
from tests.unit.registry.trained import SCHEMA, train

__all__ = ["postgres_server"]
pytestmark = [
    pytest.mark.postgres,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]


def test_a_store_on_postgresql_trains_registers_and_crowns(
    postgres_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres_server.url())
    trained = train(tmp_path)
    store = Store.open(tmp_path / "state")
    run_id = store.start_run(
        store.experiment("flights", metric="roc_auc"), "training", params={"a": "ü" * 7000}
    )
    store.log(run_id, metrics={"roc_auc": 0.9}, curves={"loss": [1.0, 0.5]})
    store.log_files(run_id, {"a/m.skops": trained.path})
    store.log_dataset(run_id, name="x", digest="e" * 64, rows=3, schema=SCHEMA, context="training")
    version = store.register(
        "flights", run_id=run_id, model=trained.path, sample=trained.X, schema=SCHEMA,
        predictions=trained.predicted, tags={"keepfit.schema": "x" * 120_000},
    )  # fmt: skip
    store.finish_run(run_id)
    version = store.verify(version, trained.X, trained.predicted)
    store.set_champion("flights", version.version, None)
    champion = Store.open(tmp_path / "state").champion("flights")
    assert champion is not None
    assert champion.version == "1"
    assert len(champion.tags["keepfit.schema"]) == 120_000
    assert (store.load(champion).predict(trained.X) == trained.predicted).all()
    assert postgres_server.password not in store.address
    assert store.champion("nobody") is None
    assert store.close_leftovers() == ()
