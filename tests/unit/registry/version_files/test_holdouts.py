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
from tasks.base.training_records import (
    SCHEMA_TAG,
    Basis,
    CandidateResult,
    ContractResult,
    ModelVersion,
    Prepared,
    Schema,
    Split,
)
from tasks.data.snapshots import write_snapshot
from tasks.models.out_of_fold import OutOfFold
from tasks.models.persistence.artifacts import keep_result
from tasks.models.postprocessing.adjustment import Adjustment
from tasks.models.postprocessing.calibration import Calibration
from tasks.models.postprocessing.decision_thresholds import Decision
from tasks.registry.mlflow.store import Store
from tasks.registry.version_files import holdouts
from tasks.registry.version_files.holdouts import (
    FILE,
    holdout_of,
    keep_holdout,
    reference_predictions,
)
from tests.ports import free_port
from tests.unit.registry.mlflow.test_store_serving import running

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
    np.save(folder / "train.npy", np.arange(rows // 2))
    roles = Schema(
        target="y",
        task="multiclass" if classes else "regression",
        features={},
        classes=CLASSES if classes else (),
        time_column="moment" if time else None,
        id_columns=(ID,),
    )
    split = Split(
        train_path=str(folder / "train.npy"), holdout_path=str(folder / "holdout.npy"),
        rule="time" if time else "hash",
        holdout=0.5, n_train=rows // 2, n_holdout=len(positions),
    )  # fmt: skip
    return Basis(
        snapshot=snapshot,
        contract=ContractResult(passed=True, contract_digest="", data_digest="", rows=0, rules=()),
        prepared=Prepared(
            roles=roles, split=split, metric="log_loss", key="", folder=str(folder),
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
    columns = [
        "time",
        f"id_{ID}",
        "place",
        "label",
        "prediction",
        *(f"probability_{c}" for c in CLASSES),
    ]
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
    assert list(found.columns) == [f"id_{ID}", "place", "label", "prediction"]
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


def validated(
    folder: Path, rows: list[int], chances: list[float], *, adjustment: Adjustment | None = None
) -> None:
    """Leave out-of-fold predictions of training rows, in two parts in time."""
    first = np.asarray(chances)
    OutOfFold(
        rows=np.asarray(rows, dtype=np.int64),
        y=np.asarray(["no"] * len(rows)),
        predicted=np.asarray(["no"] * len(rows)),
        probability=np.column_stack([first, (1 - first) / 2, (1 - first) / 2]),
        part=np.arange(len(rows), dtype=np.int64) * 2 // len(rows),
        ordered=True,
    ).save(folder / "lightgbm")
    (adjustment or Adjustment()).save(folder / "lightgbm")


def test_the_reference_holds_training_rows_out_of_fold_and_the_holdout(
    store: Store, tmp_path: Path
) -> None:
    basis = basis_of(tmp_path)
    winner = candidate(basis, tmp_path / "candidates", first_class=0.4)
    validated(tmp_path / "candidates", [30, 31, 48, 49], [0.7, 0.7, 0.2, 0.8])
    version = stored(store, basis, winner)
    found = reference_predictions(store, version)
    assert found is not None
    assert found.attrs["out_of_fold"] == 4
    assert list(found[f"id_{ID}"].iloc[:5]) == ["f30", "f31", "f48", "f49", "f50"]
    assert found["time"].iloc[0] == pd.Timestamp("2026-01-01") + pd.Timedelta(hours=30)
    assert found["time"].is_monotonic_increasing
    assert list(found["probability_no"].iloc[:5]) == pytest.approx([0.7, 0.7, 0.2, 0.8, 0.4])
    assert list(found["prediction"].iloc[:3]) == ["no", "no", CLASSES[1]]
    assert len(found) == 54


def test_a_reference_spread_evenly_has_the_holdout_as_sparse_as_the_training_rows(
    store: Store, tmp_path: Path
) -> None:
    basis = basis_of(tmp_path)
    winner = candidate(basis, tmp_path / "candidates", first_class=0.4)
    validated(tmp_path / "candidates", [31, 34, 37, 40, 43, 46, 49], [0.5] * 7)
    version = stored(store, basis, winner)
    tagged = version.model_copy(
        update={"tags": {**version.tags, SCHEMA_TAG: basis.roles.model_dump_json()}}
    )
    found = reference_predictions(store, tagged, even=True)
    assert found is not None
    # 7 of the 19 rows from the first to the last of them; 50 in the holdout.
    assert (found.attrs["out_of_fold"], len(found)) == (7, 7 + 18)


def test_out_of_fold_predictions_are_those_after_calibration_and_decision(
    store: Store, tmp_path: Path
) -> None:
    basis = basis_of(tmp_path)
    winner = candidate(basis, tmp_path / "candidates", first_class=0.4)
    costs = np.zeros((3, 3))
    costs[0, 1:] = costs[1, [0, 2]] = 1.0
    costs[2, :2] = 20.0
    table = np.array([[0.0, 1.0], [0.5, 0.5]])
    adjustment = Adjustment(Calibration("isotonic", {"no": table}, 0.0), Decision(costs=costs))
    # The first part had no earlier one: it was kept as the model gave it.
    validated(
        tmp_path / "candidates", [46, 47, 48, 49], [0.9, 0.9, 0.5, 0.5], adjustment=adjustment
    )
    found = reference_predictions(store, stored(store, basis, winner))
    assert found is not None
    first = 0.5 / (0.5 + 0.1)
    assert list(found["probability_no"].iloc[:4]) == pytest.approx([first, first, 0.5, 0.5])
    assert set(found["prediction"].iloc[:4]) == {CLASSES[2]}


def test_without_out_of_fold_predictions_the_reference_is_the_holdout(
    store: Store, tmp_path: Path
) -> None:
    basis = basis_of(tmp_path)
    version = stored(store, basis, candidate(basis, tmp_path / "candidates", first_class=0.4))
    found, holdout = reference_predictions(store, version), holdout_of(store, version)
    assert found is not None
    assert holdout is not None
    assert found.attrs == {"out_of_fold": 0}
    pd.testing.assert_frame_equal(found, holdout, check_dtype=True)


def test_versions_from_before_have_none(store: Store) -> None:
    before = ModelVersion(name="flights", version="1", run_id="gone")
    assert holdout_of(store, before) is None
    assert reference_predictions(store, before) is None


def test_a_file_that_is_gone_or_another_one_is_refused_by_name(
    store: Store, tmp_path: Path
) -> None:
    basis = basis_of(tmp_path)
    version = stored(store, basis, candidate(basis, tmp_path / "candidates", first_class=0.4))
    file = store.artifact(version.run_id, FILE)
    assert file is not None
    file.chmod(0o600)
    content = file.read_bytes()
    file.unlink()
    for read in (holdout_of, reference_predictions):
        with pytest.raises(ModelRefusedError, match=f"version 1: {FILE}, .* is gone"):
            read(store, version)
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
