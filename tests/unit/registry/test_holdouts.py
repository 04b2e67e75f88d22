"""What a version predicted of its holdout is kept with it, whole, and read back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.base.errors import ModelRefusedError
from tasks.base.records import (
    Basis,
    CandidateResult,
    ContractResult,
    ModelVersion,
    Prepared,
    Schema,
    Split,
)
from tasks.data.snapshots import write_snapshot
from tasks.models.keeping import keep_result
from tasks.registry import holdouts
from tasks.registry.holdouts import FILE, holdout_of, keep_holdout
from tasks.registry.store import Store
from tests.unit.registry.test_store_serving import free_port, running

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
CLASSES = ("no", "</script>", "größe; DROP TABLE")
ID = 'flight "id"'


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Store.open(tmp_path_factory.mktemp("state"))


def basis_of(folder: Path, rows: int = 100, *, time: bool = True, classes: bool = True) -> Basis:
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "y": rng.choice(CLASSES, rows) if classes else rng.normal(size=rows),
            "moment": pd.date_range("2026-01-01", periods=rows, freq="h").astype("datetime64[us]"),
            ID: [f"f{n}" for n in range(rows)],
        }
    )
    kinds = {"y": "categorical" if classes else "numeric", "moment": "datetime", ID: "identifier"}
    snapshot = write_snapshot(
        table, kinds, folder, time_column="moment" if time else None, assumptions=()  # type: ignore[arg-type]
    )  # fmt: skip
    positions = np.arange(rows // 2, rows)
    np.save(folder / "holdout.npy", positions)
    roles = Schema(
        target="y",
        task="multiclass" if classes else "regression",
        features={},
        classes=CLASSES if classes else (),
        time_column="moment" if time else None,
        id_columns=(ID,),
    )
    split = Split(
        train_path="", holdout_path=str(folder / "holdout.npy"), rule="time" if time else "hash",
        holdout=0.5, n_train=rows // 2, n_holdout=len(positions),
    )  # fmt: skip
    return Basis(
        snapshot=snapshot,
        contract=ContractResult(passed=True, contract_digest="", data_digest="", rows=0, rules=()),
        prepared=Prepared(
            roles=roles, split=split, metric="log_loss", key="", fit_key="", folder=str(folder),
            refit=True,
        ),
    )  # fmt: skip


def candidate(basis: Basis, folder: Path, *, first_class: float) -> CandidateResult:
    """Return a candidate that gives the first class such a probability on every row."""
    rows, k = basis.split.n_holdout, len(basis.roles.classes)
    place = folder / "lightgbm"
    place.mkdir(parents=True)
    if k:
        probability = np.full((rows, k), (1 - first_class) / (k - 1))
        probability[:, 0] = first_class
        np.savez(place / "holdout.npz", predicted=np.full(rows, "no"), probability=probability)
    else:
        np.savez(place / "holdout.npz", predicted=np.full(rows, first_class))
    (place / "model.skops").write_bytes(b"m")
    result = CandidateResult(
        candidate="lightgbm", status="ok", model_bytes=1, model_path=str(place / "model.skops"),
        predictions_path=str(place / "holdout.npz"),
    )  # fmt: skip
    keep_result(folder, result)
    return result


def stored(
    store: Store, basis: Basis, winner: CandidateResult, *, refitted: bool = False
) -> ModelVersion:
    """Return a version as registration leaves it, with what was kept of its holdout."""
    run_id = store.start_run(store.experiment("flights"), "lightgbm")
    tags = keep_holdout(store, basis, winner, run_id, refitted=refitted)
    return ModelVersion(name="flights", version="1", run_id=run_id, tags=tags)


def test_times_ids_labels_and_predictions_come_back(store: Store, tmp_path: Path) -> None:
    basis = basis_of(tmp_path)
    version = stored(store, basis, candidate(basis, tmp_path / "candidates", first_class=0.4))
    found = holdout_of(store, version)
    assert found is not None
    columns = ["time", f"id_{ID}", "label", "prediction", *(f"probability_{c}" for c in CLASSES)]
    assert list(found.columns) == columns
    assert len(found) == found.attrs["rows"] == 50
    assert found["time"].iloc[0] == pd.Timestamp("2026-01-01") + pd.Timedelta(hours=50)
    assert list(found[f"id_{ID}"].iloc[:2]) == ["f50", "f51"]
    assert set(found["label"]) <= set(CLASSES)
    assert (found["prediction"] == "no").all()
    assert found["probability_no"].iloc[0] == pytest.approx(0.4)


def test_a_model_fitted_once_more_keeps_what_the_judged_one_predicted(
    store: Store, tmp_path: Path
) -> None:
    basis = basis_of(tmp_path)
    candidate(basis, tmp_path / "candidates", first_class=0.4)
    again = candidate(basis, tmp_path / "refit", first_class=0.9)
    found = holdout_of(store, stored(store, basis, again, refitted=True))
    assert found is not None
    assert found["probability_no"].iloc[0] == pytest.approx(0.4)


def test_a_refitted_model_without_a_judged_one_keeps_nothing(store: Store, tmp_path: Path) -> None:
    basis = basis_of(tmp_path)
    again = candidate(basis, tmp_path / "refit", first_class=0.9)
    version = stored(store, basis, again, refitted=True)
    assert version.tags == {}
    assert holdout_of(store, version) is None


def test_a_regression_without_time_keeps_values(store: Store, tmp_path: Path) -> None:
    basis = basis_of(tmp_path, time=False, classes=False)
    found = holdout_of(
        store, stored(store, basis, candidate(basis, tmp_path / "candidates", first_class=2.5))
    )
    assert found is not None
    assert list(found.columns) == [f"id_{ID}", "label", "prediction"]
    assert found["label"].dtype == np.float64
    assert (found["prediction"] == 2.5).all()


def test_of_a_large_holdout_evenly_spread_rows_are_kept_and_it_is_said(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdouts, "MOST_ROWS", 10)
    basis = basis_of(tmp_path)
    version = stored(store, basis, candidate(basis, tmp_path / "candidates", first_class=0.4))
    found = holdout_of(store, version)
    assert found is not None
    assert (len(found), found.attrs["rows"]) == (10, 50)
    assert found[f"id_{ID}"].iloc[[0, -1]].tolist() == ["f50", "f99"]
    file = store.artifact(version.run_id, FILE)
    assert file is not None
    said = pq.read_schema(file).metadata[b"keepfit"]
    assert said == b'{"rows": 50, "kept": 10, "evenly_spread": true}'


def test_versions_from_before_have_none(store: Store) -> None:
    assert holdout_of(store, ModelVersion(name="flights", version="1", run_id="gone")) is None


def test_a_file_that_is_gone_or_another_one_is_not_read(store: Store, tmp_path: Path) -> None:
    basis = basis_of(tmp_path)
    version = stored(store, basis, candidate(basis, tmp_path / "candidates", first_class=0.4))
    file = store.artifact(version.run_id, FILE)
    assert file is not None
    file.chmod(0o600)
    content = file.read_bytes()
    file.unlink()
    assert holdout_of(store, version) is None
    file.write_bytes(content + b" ")
    with pytest.raises(ModelRefusedError, match="not the file that was stored"):
        holdout_of(store, version)


def test_one_file_is_opened_once_and_another_in_its_place_is_refused(
    store: Store, tmp_path: Path
) -> None:
    basis = basis_of(tmp_path)
    version = stored(store, basis, candidate(basis, tmp_path / "candidates", first_class=0.4))
    first = holdout_of(store, version)
    assert first is not None
    assert holdout_of(store, version) is first
    file = store.artifact(version.run_id, FILE)
    assert file is not None
    file.chmod(0o600)
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(ModelRefusedError, match="not the file that was stored"):
        holdout_of(store, version)


def test_an_artifact_cannot_lead_out_of_its_run(store: Store, tmp_path: Path) -> None:
    basis = basis_of(tmp_path)
    version = stored(store, basis, candidate(basis, tmp_path / "candidates", first_class=0.4))
    file = store.artifact(version.run_id, FILE)
    assert file is not None
    file.unlink()
    file.symlink_to("/etc/hostname")
    assert store.artifact(version.run_id, FILE) is None


@pytest.mark.e2e
@pytest.mark.slow
def test_from_a_server_it_is_fetched_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = f"sqlite:///{tmp_path / 'server.db'}"
    port = free_port()
    arguments = [
        "server", "--backend-store-uri", database, "--workers", "1",
        "--artifacts-destination", str(tmp_path / "artifacts"), "--serve-artifacts",
    ]  # fmt: skip
    with running(arguments, database, port, "/health", tmp_path) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        remote = Store.open(tmp_path / "state")
        basis = basis_of(tmp_path)
        version = stored(remote, basis, candidate(basis, tmp_path / "candidates", first_class=0.4))
        first = holdout_of(remote, version)
        assert first is not None
        assert len(first) == 50
        assert remote.artifact(version.run_id, "nothing/there.txt") is None
        assert remote.artifact(version.run_id, "there.txt") is None
    # The server is gone; what was fetched is not asked for again.
    again = holdout_of(Store.open(tmp_path / "state"), version)
    assert again is not None
    pd.testing.assert_frame_equal(first, again)
