"""The campaign's judge reports each invariant that is broken, and nothing of a sound state."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sklearn.linear_model import LogisticRegression

from tests.campaign.invariants import Place, check, digests

SEED, OTHER, CANARY = "5" * 64, "7" * 64, "the-canary"
_TYPE = "application/vnd.keepfit.version+json"
_REGISTRY = """
CREATE TABLE registered_model_aliases (alias TEXT, version INTEGER, name TEXT);
CREATE TABLE model_versions (name TEXT, version INTEGER, status TEXT, run_id TEXT, source TEXT,
                             storage_location TEXT);
CREATE TABLE model_version_tags (key TEXT, value TEXT, name TEXT, version INTEGER);
CREATE TABLE runs (run_uuid TEXT, name TEXT, status TEXT, lifecycle_stage TEXT);
CREATE TABLE logged_models (model_id TEXT, status INTEGER, lifecycle_stage TEXT);
INSERT INTO registered_model_aliases VALUES ('champion', 1, 'churn');
INSERT INTO runs VALUES ('r1', 'training', 'FINISHED', 'active');
INSERT INTO logged_models VALUES ('m-1', 2, 'active');
"""
_LEDGER = """
CREATE TABLE keepfit_batches (id INTEGER, role TEXT, batch TEXT, version TEXT, run_id TEXT,
                              new INTEGER);
CREATE TABLE keepfit_predictions (key TEXT, version TEXT, batch INTEGER);
CREATE TABLE keepfit_decisions (kind TEXT, version TEXT, body TEXT);
"""
BATCH = "b" * 64


def signature(seed: str, files: dict[str, str], tags: dict[str, str], version: str = "1") -> str:
    digests = {k: hashlib.sha256(v.encode()).hexdigest() for k, v in tags.items()}
    signed = {
        "name": "churn", "version": version, "run_id": "r1", "files": files, "tags": digests,
    }  # fmt: skip
    payload = json.dumps(signed).encode()
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    seal = key.sign(b"DSSEv1 %d %s %d %s" % (len(_TYPE), _TYPE.encode(), len(payload), payload))
    return json.dumps({
        "payloadType": _TYPE, "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": "k", "sig": base64.b64encode(seal).decode()}],
    })  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a state with one champion, one batch, its output and two decisions."""
    state = tmp_path / "state"
    folder = state / "mlflow" / "artifacts" / "churn" / "models" / "m-1" / "artifacts"
    folder.mkdir(parents=True)
    X = pd.DataFrame({"fee": [1.0, 2.0, 3.0, 4.0]})
    skops.io.dump(LogisticRegression().fit(X, [0, 0, 1, 1]), folder / "model.skops")
    (folder / "input_example.json").write_text(json.dumps({"columns": ["fee"], "data": [[1.5]]}))
    (folder / "columns.json").write_text(json.dumps({"columns": {"fee": {"kind": "numeric"}}}))
    tags = {"keepfit.training_key": "k1"}
    files = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir()}
    run(state / "mlflow" / "mlflow.db", _REGISTRY)
    add(state / "mlflow" / "mlflow.db", "model_versions",
        ("churn", 1, "READY", "r1", folder.as_uri(), None))  # fmt: skip
    for key, value in {
        **tags, "keepfit.verified": "true", "keepfit.signature": signature(SEED, files, tags),
    }.items():  # fmt: skip
        add(state / "mlflow" / "mlflow.db", "model_version_tags", (key, value, "churn", 1))
    run(state / "ledger.db", _LEDGER)
    add(state / "ledger.db", "keepfit_batches", (1, "champion", BATCH, "1", "r1", 2))
    for key in ("a", "b"):
        add(state / "ledger.db", "keepfit_predictions", (json.dumps([key]), "1", 1))
    body = {
        "pipeline": "churn",
        "data_digest": "d",
        "config_digest": "c",
        "evidence": {"key": "k1", "by": "gate"},
    }
    for kind in ("trained", "promoted"):
        add(state / "ledger.db", "keepfit_decisions", (kind, "1", json.dumps(body)))
    output(state, ["a", "b"])
    return Place(state, SEED, CANARY, before=digests(state))


def run(database: Path, script: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(script)


def add(database: Path, table: str, row: tuple[object, ...]) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def output(state: Path, keys: list[str], name: str = "bbbb") -> None:
    folder = state / "pipelines" / "churn" / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    rows = pd.DataFrame({"customer": keys, "prediction": np.ones(len(keys))})
    rows.assign(model_version="1", run_id="r1", batch=BATCH).to_parquet(folder / f"{name}.parquet")


def registry(script: str) -> Callable[[Place], None]:
    return lambda place: run(place.registry, script)


def ledger(script: str) -> Callable[[Place], None]:
    return lambda place: run(place.ledger, script)


def model(place: Place) -> Path:
    return next(place.state.glob("mlflow/artifacts/churn/models/m-1/artifacts"))


def torn(place: Place) -> None:
    file = next(place.state.glob("pipelines/churn/predictions/*"))
    file.write_bytes(file.read_bytes()[:200])


def signed_by_another(place: Place) -> None:
    files = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in model(place).iterdir()}
    forged = signature(OTHER, files, {"keepfit.training_key": "k1"})
    with closing(sqlite3.connect(place.registry)) as connection, connection:
        connection.execute(
            "UPDATE model_version_tags SET value = ? WHERE key = 'keepfit.signature'", (forged,)
        )


def prefect(place: Place) -> None:
    (place.state / "prefect").mkdir()
    database = place.state / "prefect" / "prefect.db"
    run(database, "CREATE TABLE flow_run (name TEXT, state_type TEXT)")
    add(database, "flow_run", ("training churn", "RUNNING"))


BROKEN: dict[str, tuple[str, Callable[[Place], None]]] = {
    "no champion": ("I1", registry("DELETE FROM registered_model_aliases")),
    "an alias into the void": ("I1", registry("UPDATE registered_model_aliases SET version = 9")),
    "a pending version": ("I1", registry("UPDATE model_versions SET status = 'PENDING'")),
    "no verification": ("I1", registry("DELETE FROM model_version_tags WHERE key LIKE '%fied'")),
    "no signature": ("I1", registry("DELETE FROM model_version_tags WHERE key LIKE '%ture'")),
    "another tag": ("I1", registry("UPDATE model_version_tags SET value = '2' WHERE value = 'k1'")),
    "another key": ("I1", signed_by_another),
    "a failed run": ("I1", registry("UPDATE runs SET status = 'FAILED'")),
    "a torn model": ("I1", lambda place: (model(place) / "model.skops").write_bytes(b"PK")),
    "no model": ("I1", lambda place: (model(place) / "model.skops").unlink()),
    "one more file": ("I1", lambda place: (model(place) / "loader.py").write_text("")),
    "a damaged database": ("I1", lambda place: place.ledger.write_bytes(
        place.ledger.read_bytes()[:9000] + b"x" * 3000)),
    "a journal": ("I1", lambda place: (place.state / "promotions").mkdir()
                  or (place.state / "promotions" / "churn.journal").write_text("{}")),
    "half a batch": ("I2", ledger("DELETE FROM keepfit_predictions WHERE key LIKE '%a%'")),
    "predictions of no batch": ("I2", ledger("DELETE FROM keepfit_batches")),
    "a batch of another version": ("I2", ledger("UPDATE keepfit_batches SET version = '9'")),
    "a batch of no data": ("I2", ledger("UPDATE keepfit_batches SET batch = ''")),
    "a torn output": ("I2", torn),
    "half an output": ("I2", lambda place: output(place.state, ["a"])),
    "rows twice": ("I2", lambda place: output(place.state, ["a", "a", "b"])),
    "two trainings": ("I3", ledger("INSERT INTO keepfit_decisions SELECT * FROM keepfit_decisions "
                                   "WHERE kind = 'trained'")),
    "two promotions": ("I3", ledger("INSERT INTO keepfit_decisions SELECT * FROM keepfit_decisions "
                                    "WHERE kind = 'promoted'")),
    "two versions": ("I3", registry("INSERT INTO model_version_tags VALUES "
                                    "('keepfit.training_key', 'k1', 'churn', 2)")),
    "a move without record": ("I3", ledger("DELETE FROM keepfit_decisions")),
    "a run that goes on": ("I4", registry("INSERT INTO runs VALUES ('r2', 'x', 'RUNNING', "
                                          "'active')")),
    "a version half registered": ("I4", registry(
        "INSERT INTO model_versions VALUES ('churn', 2, 'PENDING_REGISTRATION', 'r2', '', '')")),
    "a model half logged": ("I4", registry("INSERT INTO logged_models VALUES ('m-2', 1, "
                                           "'active')")),
    "a run of Prefect": ("I4", prefect),
    "a secret": ("I5", lambda place: (place.state / "log").write_text(f"url {CANARY}@host")),
    "a pickle": ("I5", lambda place: (place.state / "x.bin").write_bytes(b"\x80\x04K\x01.")),
    "an earlier output gone": ("I6", lambda place: next(
        place.state.glob("pipelines/churn/predictions/*")).unlink()),
    "another champion file": ("I6", lambda place: (model(place) / "columns.json").write_text("{}")),
}  # fmt: skip


def test_a_sound_state_breaks_nothing(place: Place) -> None:
    assert check(place) == []


@pytest.mark.parametrize("what", BROKEN)
def test_each_break_is_reported_under_its_invariant(place: Place, what: str) -> None:
    invariant, spoil = BROKEN[what]

    spoil(place)

    assert invariant in {fault.split()[0] for fault in check(place)}


MENDED = {
    "a journal", "two trainings", "two promotions", "two versions",
    "a move without record", "a run that goes on", "a version half registered",
    "a model half logged", "a run of Prefect",
}  # fmt: skip
"""What the next command may find and mend; that it did not is seen after that command."""


@pytest.mark.parametrize("what", BROKEN)
def test_what_nothing_mends_is_reported_at_once(place: Place, what: str) -> None:
    BROKEN[what][1](place)

    assert bool(check(place, at_once=True)) is (what not in MENDED)


def test_all_six_are_broken_by_some_state() -> None:
    assert {invariant for invariant, _ in BROKEN.values()} == {f"I{n}" for n in range(1, 7)}
