"""I1 to I6, read from files and databases by code that shares nothing with what it checks.

Nothing of keepfit is imported: SQLite files are read with `sqlite3`, signatures are verified with
`cryptography` as DSSE and decision record 22 describe them, models are loaded with `skops`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_TYPE = b"application/vnd.keepfit.version+json"
_LATER = {
    "keepfit.signature", "keepfit.verified", "keepfit.incomplete", "keepfit.promoted_at",
    "keepfit.replaced", "keepfit.rolled_back_at", "keepfit.returned_at", "keepfit.model_id",
}  # fmt: skip
"""Tags that are written after the signature."""
_PENDING_MODEL = 1
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_LOADED: set[str] = set()
"""Digests of model files that were loaded and gave finite predictions."""


@dataclass(frozen=True)
class Place:
    """What is checked.

    Parameters
    ----------
    state
        The state folder of one pipeline.
    seed
        Of the Ed25519 key that versions must be signed by, 64 hex digits.
    canary
        A secret that was given to keepfit and must be in no file.
    outputs
        Files and folders besides the state in which it must not be either.
    before
        Digest of each file that must stay as it is, from `digests`.
    champion
        Whether there must be one.
    """

    state: Path
    seed: str
    canary: str = ""
    outputs: Sequence[Path] = ()
    before: dict[str, str] = field(default_factory=dict)
    champion: bool = True

    @property
    def registry(self) -> Path:
        """MLflow's database."""
        return self.state / "mlflow" / "mlflow.db"

    @property
    def ledger(self) -> Path:
        """keepfit's own."""
        return self.state / "ledger.db"


def check(place: Place, *, at_once: bool = False) -> list[str]:
    """Return a sentence for each invariant that does not hold, which begins with its name.

    `at_once`: only what must hold at every moment, whatever the next command mends.
    """
    found = [f"{file.name}: {fault}" for file in (place.registry, place.ledger)
             for fault in damage(file)]  # fmt: skip
    if found:
        return [f"I1 {fault}" for fault in found]
    checks = [("I1", champion_faults), ("I2", batch_faults), ("I5", exposed), ("I6", changed)]
    if not at_once:
        checks += [("I1", half_promoted), ("I2", half_delivered), ("I3", training_faults),
                   ("I4", unfinished)]  # fmt: skip
    return [f"{name} {fault}" for name, faults in checks for fault in faults(place)]


def damage(database: Path) -> list[str]:
    """Return what SQLite itself finds wrong with a file."""
    if not database.is_file():
        return []
    try:
        answers = [row[0] for row in _rows(database, "PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if answers == ["ok"] else answers


def champion_faults(place: Place) -> Iterator[str]:
    """I1: the champion is complete, signed, verified, can be loaded and predicts."""
    pointed = _rows(place.registry, "SELECT name, version FROM registered_model_aliases "
                    "WHERE alias = 'champion'")  # fmt: skip
    if place.champion and not pointed:
        yield "there is no champion"
    for name, version in pointed:
        query = "SELECT status, run_id, storage_location, source FROM model_versions"
        found = _rows(place.registry, f"{query} WHERE name = ? AND version = ?", name, version)
        if not found:
            yield f"the alias points to version {version}, which is not there"
            continue
        status, run, location, source = found[0]
        tags = _tags(place, name, version)
        if status != "READY":
            yield f"version {version} is {status}"
        if tags.get("keepfit.verified") != "true":
            yield f"version {version} was not verified"
        ended = _rows(place.registry, "SELECT status FROM runs WHERE run_uuid = ?", run)
        if ended != [("FINISHED",)]:
            yield f"the run of version {version} is {ended}"
        folder = Path(unquote(urlsplit(location or source).path))
        yield from _signature_faults(place, (name, str(version), run), tags, folder)
        yield from _model_faults(folder)


def half_promoted(place: Place) -> Iterator[str]:
    """I1: no promotion is half done."""
    yield from (f"a promotion is half done: {journal.name}"
                for journal in place.state.glob("promotions/*.journal"))  # fmt: skip


def batch_faults(place: Place) -> Iterator[str]:
    """I2: each batch of predictions is whole or absent, and names its version and data."""
    for number, batch, version, run, new in _rows(
        place.ledger, "SELECT id, batch, version, run_id, new FROM keepfit_batches"
    ):
        held = _rows(place.ledger, "SELECT version, count(*) FROM keepfit_predictions "
                     "WHERE batch = ? GROUP BY version", number)  # fmt: skip
        if held != ([(version, new)] if new else []):
            yield f"batch {number} holds {held}, and states {new} rows of version {version}"
        if len(batch) != 64:
            yield f"batch {number} names no data: {batch!r}"
        if not _rows(place.registry, "SELECT 1 FROM model_versions WHERE version = ? "
                     "AND run_id = ?", version, run):  # fmt: skip
            yield f"batch {number} is of version {version} of run {run}, which is not registered"
    orphans = _rows(place.ledger, "SELECT count(*) FROM keepfit_predictions "
                    "WHERE batch NOT IN (SELECT id FROM keepfit_batches)")  # fmt: skip
    if orphans[:1] not in ([], [(0,)]):
        yield f"{orphans[0][0]} predictions are of no batch"
    for file in _outputs(place):
        yield from _torn(file)


def half_delivered(place: Place) -> Iterator[str]:
    """I2: each output holds the rows of its batches in the ledger, and none is half written."""
    for file in sorted(place.state.glob("pipelines/*/predictions/.*")):
        yield f"{file.name} is left of an output that was not finished"
    for file in _outputs(place):
        if not list(_torn(file)):
            yield from _output_faults(place, file)


def training_faults(place: Place) -> Iterator[str]:
    """I3: one training and one promotion by the gate at most for the same data and settings."""
    trained, promoted = Counter[str](), Counter[str]()
    moved = set()
    for kind, version, text in _rows(
        place.ledger, "SELECT kind, version, body FROM keepfit_decisions"
    ):
        body = json.loads(text)
        evidence = body["evidence"]
        if kind == "trained":
            trained[evidence["key"]] += 1
        elif kind == "promoted" and evidence.get("by") == "gate":
            promoted[f"{body['data_digest']}/{body['config_digest']}/{version}"] += 1
        if kind in ("promoted", "rolled_back"):
            moved.add((body["pipeline"], str(version)))
    registered = Counter(value for (value,) in _rows(
        # What was given up before it was verified is marked so, and is no training.
        place.registry, "SELECT value FROM model_version_tags t WHERE key = 'keepfit.training_key' "
        "AND NOT EXISTS (SELECT 1 FROM model_version_tags o WHERE o.key = 'keepfit.incomplete' "
        "AND o.name = t.name AND o.version = t.version)"
    ))  # fmt: skip
    for what, counts in (("trained", trained), ("promoted", promoted), ("registered", registered)):
        yield from (f"{key[:16]} was {what} {n} times" for key, n in counts.items() if n > 1)
    for name, version in _rows(
        place.registry,
        "SELECT name, version FROM registered_model_aliases WHERE alias = 'champion'",
    ):
        if (name, str(version)) not in moved:
            yield f"version {version} of {name} became champion and no decision says so"


def unfinished(place: Place) -> Iterator[str]:
    """I4: nothing that ended counts as running, in any of the three databases."""
    for run, name in _rows(place.registry, "SELECT run_uuid, name FROM runs WHERE status IN "
                           "('RUNNING', 'SCHEDULED') AND lifecycle_stage = 'active'"):  # fmt: skip
        yield f"MLflow's run {run[:8]} ({name}) still runs"
    for version, status in _rows(place.registry, "SELECT version, status FROM model_versions "
                                 "WHERE status LIKE 'PENDING%'"):  # fmt: skip
        yield f"version {version} is {status}"
    for (model,) in _rows(place.registry, "SELECT model_id FROM logged_models WHERE status = ? "
                          "AND lifecycle_stage = 'active'", _PENDING_MODEL):  # fmt: skip
        yield f"the logged model {model} is pending"
    for run, state in _rows(
        place.state / "prefect" / "prefect.db", "SELECT name, state_type FROM flow_run "
        "WHERE state_type IN ('RUNNING', 'PENDING', 'CANCELLING')",
    ):  # fmt: skip
        yield f"Prefect's run {run} is {state}"
    for mark in place.state.glob("runs/*.json"):
        yield f"the run {mark.stem} is marked as running"


def exposed(place: Place) -> Iterator[str]:
    """I5: the secret is in no file, and no file is a pickle."""
    for path in (place.state, *place.outputs):
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if not file.is_file():
                continue
            content = file.read_bytes()
            if place.canary and place.canary.encode() in content:
                yield f"{file.name} holds the secret"
            if content.startswith(_PICKLES) or _holds_pickle(file, content):
                yield f"{file.name} holds a pickle"


def changed(place: Place) -> Iterator[str]:
    """I6: what was there before is there byte for byte."""
    now = digests(place.state)
    for name, digest in place.before.items():
        if now.get(name) != digest:
            yield f"{name} is {'another file' if name in now else 'gone'}"


def digests(state: Path) -> dict[str, str]:
    """Return the SHA-256 of the champion's files and of every output, by path below `state`."""
    kept = [*state.glob("mlflow/artifacts/*/models/*/artifacts/*"),
            *state.glob("pipelines/*/predictions/*")]  # fmt: skip
    return {str(file.relative_to(state)): _digest(file) for file in kept if file.is_file()}


def _signature_faults(
    place: Place, named: tuple[str, str, str], tags: dict[str, str], folder: Path
) -> Iterator[str]:
    try:
        envelope = json.loads(tags["keepfit.signature"])
        payload = base64.b64decode(envelope["payload"])
        signature = base64.b64decode(envelope["signatures"][0]["sig"])
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(place.seed)).public_key()
        key.verify(signature, b"DSSEv1 %d %s %d %s" % (len(_TYPE), _TYPE, len(payload), payload))
    except (KeyError, ValueError, IndexError, InvalidSignature) as error:
        yield f"version {named[1]} is not signed ({type(error).__name__})"
        return
    signed = json.loads(payload)
    if (signed["name"], signed["version"], signed["run_id"]) != named:
        yield f"version {named[1]} carries the signature of version {signed['version']}"
    stored = {k: hashlib.sha256(v.encode()).hexdigest() for k, v in tags.items()
              if k.startswith("keepfit.") and k not in _LATER}  # fmt: skip
    if stored != signed["tags"]:
        yield f"tags differ from the signed ones: {sorted(stored.items() ^ signed['tags'].items())}"
    files = {str(f.relative_to(folder)): _digest(f) for f in folder.rglob("*") if f.is_file()}
    if files != signed["files"]:
        differing = sorted({name for name, _ in files.items() ^ signed["files"].items()})
        yield f"files of version {named[1]} differ from the signed ones: {differing}"


def _model_faults(folder: Path) -> Iterator[str]:
    """Load a model with skops and let it predict its own example."""
    import numpy as np
    import pandas as pd
    import skops.io

    file = folder / "model.skops"
    if not file.is_file():
        yield f"there is no model in {folder.name}"
        return
    if (digest := _digest(file)) in _LOADED:
        return
    try:
        model = skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))
        example = json.loads((folder / "input_example.json").read_text("utf-8"))
        kinds = json.loads((folder / "columns.json").read_text("utf-8"))["columns"]
        rows = pd.DataFrame(example["data"], columns=example["columns"])
        for column, kind in kinds.items():
            if kind["kind"] == "datetime":
                rows[column] = pd.to_datetime(rows[column])
        if not np.isfinite(model.predict_proba(rows)).all():
            yield "the model predicts what is not finite"
        _LOADED.add(digest)
    except Exception as error:  # noqa: BLE001 - whatever it is, the champion cannot be used
        yield f"the model cannot be used: {type(error).__name__}: {error}"


def _outputs(place: Place) -> list[Path]:
    return sorted(place.state.glob("pipelines/*/predictions/[!.]*"))


def _torn(file: Path) -> Iterator[str]:
    """Look at one output by itself."""
    import pandas as pd

    try:
        rows = pd.read_parquet(file)
    except Exception as error:  # noqa: BLE001 - torn, however it shows
        yield f"{file.name} cannot be read: {type(error).__name__}"
        return
    missing = {"model_version", "run_id", "batch"} - set(rows.columns)
    if missing or not len(rows):
        yield f"{file.name} has {len(rows)} rows and lacks {sorted(missing)}"
    elif rows[rows.columns[0]].duplicated().any():
        yield f"{file.name} holds rows twice"


def _output_faults(place: Place, file: Path) -> Iterator[str]:
    """Compare one output with the ledger's batches of the same data."""
    import pandas as pd

    rows = pd.read_parquet(file)
    names = rows.columns[0]
    for (batch, version), part in rows.groupby(["batch", "model_version"]):
        held = _rows(
            place.ledger,
            "SELECT p.key FROM keepfit_predictions p JOIN keepfit_batches b ON p.batch = b.id "
            "WHERE b.role = 'champion' AND b.batch = ? AND p.version = ?", batch, version,
        )  # fmt: skip
        keys = {json.loads(key)[0] for (key,) in held}
        if keys != set(part[names]):
            yield (f"{file.name} holds {len(part)} rows of a batch of which the ledger holds "
                   f"{len(keys)}")  # fmt: skip


def _holds_pickle(file: Path, content: bytes) -> bool:
    if not content.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith((".pkl", ".pickle")) for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _tags(place: Place, name: str, version: int) -> dict[str, str]:
    return dict(_rows(place.registry, "SELECT key, value FROM model_version_tags "
                      "WHERE name = ? AND version = ?", name, version))  # fmt: skip


def _rows(database: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query; none where there is no such file or table yet."""
    if not database.is_file():
        return []
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        try:
            return connection.execute(query, values).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
