"""What somebody who writes to the artifact store, or to its database too, makes of a version."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.base.errors import KeepfitError, ModelRefusedError, UnsignedVersionError, UsageError
from tasks.base.pipeline_file import load_pipeline
from tasks.base.training_records import MODEL_DIGEST_TAG, SNAPSHOT_TAG, ModelVersion
from tasks.load import load_window
from tasks.registry.mlflow.store import Store
from tasks.registry.signing.version_check import MODEL_FILE, files_of
from tasks.registry.signing.version_signature import SIGNATURE_TAG, signature_of
from tests.unit.registry.trained import SCHEMA, Trained, train

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
NAME = "flights"


@dataclass(frozen=True)
class Registry:
    """A state folder with two verified versions of a model, to be copied and tampered with."""

    folder: Path
    trained: Trained

    def copy(self, to: Path) -> Victim:
        """Return a store of one's own with the same content."""
        shutil.copytree(self.folder, to)
        old, new = (f"file://{folder}" for folder in (self.folder, to))
        with closing(sqlite3.connect(to / "mlflow" / "mlflow.db")) as connection:
            for table, column in (
                ("model_versions", "source"), ("model_versions", "storage_location"),
                ("runs", "artifact_uri"), ("logged_models", "artifact_location"),
                ("experiments", "artifact_location"),
            ):  # fmt: skip
                connection.execute(
                    f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new)
                )
            connection.commit()
        store = Store.open(to)
        champion = store.champion(NAME)
        assert champion is not None
        return Victim(store, champion, store.model_file(champion).parent, to.parent / "ran")


@dataclass(frozen=True)
class Victim:
    store: Store
    version: ModelVersion
    folder: Path
    marker: Path

    @property
    def payload(self) -> str:
        """Code that leaves a file behind when it runs."""
        return f"open({str(self.marker)!r}, 'w').close()\n"

    def sql(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.store.state / "mlflow" / "mlflow.db")) as connection:
            connection.execute(statement, values)
            connection.commit()

    def rewrite_tag(self, key: str, value: str, version: str | None = None) -> None:
        where = "name = ? AND version = ? AND key = ?"
        given = (NAME, int(version or self.version.version), key)
        self.sql(f"UPDATE model_version_tags SET value = ? WHERE {where}", value, *given)

    def described(self, **flavors: dict[str, Any]) -> None:
        """Change what `MLmodel` says of the flavors."""
        text = json.loads((self.folder / "MLmodel").read_text())
        for name, values in flavors.items():
            text["flavors"][name] |= values
        (self.folder / "MLmodel").write_text(json.dumps(text))

    def rewrite_digests(self) -> None:
        """Write into the database what the files are now, as if they had been registered so."""
        digest = hashlib.sha256((self.folder / MODEL_FILE).read_bytes()).hexdigest()
        self.rewrite_tag(MODEL_DIGEST_TAG, digest)
        held = json.loads(self.version.tags[SIGNATURE_TAG])
        manifest = json.loads(base64.b64decode(held["payload"]))
        files = (p for p in self.folder.rglob("*") if p.is_file())
        manifest["files"] = {
            p.relative_to(self.folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
        }
        manifest["tags"][MODEL_DIGEST_TAG] = hashlib.sha256(digest.encode()).hexdigest()
        held["payload"] = base64.b64encode(json.dumps(manifest).encode()).decode()
        self.rewrite_tag(SIGNATURE_TAG, json.dumps(held))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root = tmp_path_factory.mktemp("signed")
    trained, other = train(root), train(root, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store = Store.open(root / "state")
        versions = []
        for one in (trained, other):
            run_id = store.start_run(store.experiment(NAME), "training")
            version = store.register(
                NAME, run_id=run_id, model=one.path, sample=one.X, predictions=one.predicted,
                schema=SCHEMA, tags={SNAPSHOT_TAG: "0" * 64},
            )  # fmt: skip
            store.finish_run(run_id)
            versions.append(store.verify(version, one.X, one.predicted))
        for version, before in zip(versions, (None, versions[0].version), strict=True):
            store.set_champion(NAME, version.version, before)
    return Registry(store.state, other)


@pytest.fixture
def victim(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Victim:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return registry.copy(tmp_path / "state")


def pickled(victim: Victim) -> None:
    """The format flipped to pickle, with a payload in the file."""
    victim.described(sklearn={"serialization_format": "cloudpickle", "pickled_model": "model.pkl"})
    data = f"cbuiltins\nexec\n(V{victim.payload.strip()}\ntR.".encode()
    (victim.folder / "model.pkl").write_bytes(data)


def loader(victim: Victim) -> None:
    """A loader module, with its code beside it."""
    (victim.folder / "code").mkdir()
    (victim.folder / "code" / "evil.py").write_text(victim.payload)
    victim.described(python_function={"loader_module": "evil", "code": "code"})


def traversal(victim: Victim) -> None:
    """Another folder, named by a path that leads out of the store."""
    elsewhere = victim.store.state.parent / "elsewhere"
    shutil.copytree(victim.folder, elsewhere)
    address = f"file://{victim.folder}/../../../../../../{elsewhere.name}"
    victim.sql(
        "UPDATE model_versions SET source = ?, storage_location = ? WHERE version = ?",
        address, address, int(victim.version.version),
    )  # fmt: skip


def gadget(victim: Victim) -> None:
    """A function in the schema of the skops file."""
    path = victim.folder / MODEL_FILE
    out = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename == "schema.json":
                schema = json.loads(data)
                schema["content"]["__class__"], schema["content"]["__module__"] = "system", "os"
                data = json.dumps(schema).encode()
            target.writestr(entry.filename, data)
    path.unlink()
    path.write_bytes(out.getvalue())


def another_version(victim: Victim) -> None:
    """The file of version 1 in the folder of version 2."""
    first = victim.store.version(NAME, "1")
    assert first is not None
    file = victim.store.model_file(first).read_bytes()
    (victim.folder / MODEL_FILE).unlink()
    (victim.folder / MODEL_FILE).write_bytes(file)


def flipped(victim: Victim) -> None:
    """One bit of the model."""
    path = victim.folder / MODEL_FILE
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


def requirements(victim: Victim) -> None:
    """A package of the attacker's among the requirements."""
    with (victim.folder / "requirements.txt").open("a") as file:
        file.write("evil @ file:///tmp/evil.whl\n")


NAMED = {
    pickled: "MLmodel|model.pkl",
    loader: "MLmodel|code/evil.py",
    traversal: "leads elsewhere",
    gadget: r"model\.skops",
    another_version: r"model\.skops",
    flipped: r"model\.skops",
    requirements: r"requirements\.txt",
}


def refusals(victim: Victim, trained: Trained) -> list[KeepfitError]:
    """Return how each way to a version ends; fail where one is accepted."""
    store, number = victim.store, victim.version.version

    def champion() -> ModelVersion:
        found = store.champion(NAME)
        assert found is not None
        return found

    ways: dict[str, Callable[[], Any]] = {
        "score": lambda: store.load(champion()).predict(trained.X),
        "gate": lambda: store.model_file(champion()),
        "status": lambda: store.require_intact(champion()),
        "promote": lambda: store.promote_by_hand(NAME, number),
    }
    found = []
    for way, act in ways.items():
        if way == "promote":
            store.point_alias(NAME, "1")
        try:
            act()
        except ModelRefusedError as error:
            found.append(error)
        else:
            pytest.fail(f"{way} accepted it")
    return found


@pytest.mark.parametrize("rewritten", [False, True], ids=["files", "files and database"])
@pytest.mark.parametrize("attack", NAMED, ids=lambda attack: attack.__name__)
def test_what_was_tampered_with_is_refused_by_name_and_never_run(
    attack: Callable[[Victim], None], rewritten: bool, victim: Victim, registry: Registry
) -> None:
    attack(victim)
    if rewritten:
        victim.rewrite_digests()
    named = (
        f"its signature is not of what it claims|{NAMED[attack]}" if rewritten else NAMED[attack]
    )
    for error in refusals(victim, registry.trained):
        assert re.search(named, error.message)
    assert not victim.marker.exists()
    # The version before it is there still.
    assert victim.store.promote_by_hand(NAME, "1").version.version == "1"


@pytest.mark.parametrize("moved", [False, True], ids=["flipped", "moved"])
def test_a_training_refuses_a_champion_that_is_not_what_was_signed_before_it_reads_a_row(
    moved: bool, victim: Victim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = victim.store.state
    if moved:
        state = state.rename(tmp_path / "moved")
    else:
        flipped(victim)
    (tmp_path / "keepfit.yaml").write_text(
        "name: flights\ntarget: y\nsource: {kind: csv, path: absent.csv}\n"
    )
    monkeypatch.setenv("KEEPFIT_STATE", str(state))
    with pytest.raises(ModelRefusedError) as refused:
        load_window(load_pipeline(tmp_path))
    assert ("keepfit restore" in refused.value.remedy) == moved


def test_the_signature_of_another_version_is_refused(victim: Victim, registry: Registry) -> None:
    first = victim.store.version(NAME, "1")
    assert first is not None
    shutil.rmtree(victim.folder)
    shutil.copytree(victim.store.model_file(first).parent, victim.folder)
    for key in (SIGNATURE_TAG, MODEL_DIGEST_TAG):
        victim.rewrite_tag(key, first.tags[key])
    for error in refusals(victim, registry.trained):
        assert "carries the signature of flights version 1" in error.message


@pytest.mark.parametrize("key", [SNAPSHOT_TAG, MODEL_DIGEST_TAG])
def test_a_rewritten_digest_in_the_database_is_refused(
    key: str, victim: Victim, registry: Registry
) -> None:
    victim.rewrite_tag(key, "f" * 64)
    for error in refusals(victim, registry.trained):
        assert f"its tag {key} is not the one that was signed" in error.message


def test_a_tag_that_nobody_signed_is_not_read(victim: Victim) -> None:
    victim.sql(
        "INSERT INTO model_version_tags (name, version, key, value) VALUES (?, 2, ?, ?)",
        NAME, "keepfit.outoffold_digest", "f" * 64,
    )  # fmt: skip
    champion = victim.store.champion(NAME)
    assert champion is not None
    assert "keepfit.outoffold_digest" not in champion.tags


def test_a_signature_by_a_key_that_is_not_trusted_is_refused_until_it_is(
    victim: Victim, registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    signer = json.loads(victim.version.tags[SIGNATURE_TAG])["signatures"][0]["keyid"]
    monkeypatch.setenv("KEEPFIT_SIGNING_KEY", "6" * 64)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for error in refusals(victim, registry.trained):
        assert signer in error.message
        assert f"keepfit keys trust {signer}" in error.remedy
    monkeypatch.setenv("KEEPFIT_TRUSTED_KEYS", signer)
    champion = victim.store.champion(NAME)
    assert champion is not None
    victim.store.load(champion)


def test_a_version_whose_signature_was_taken_away_is_refused(
    victim: Victim, registry: Registry
) -> None:
    victim.rewrite_tag(SIGNATURE_TAG, "")
    flipped(victim)
    for error in refusals(victim, registry.trained):
        assert isinstance(error, UnsignedVersionError)
    stored = victim.store.found(NAME, "2")
    assert stored is not None
    with pytest.raises(ModelRefusedError, match="not those that were registered"):
        victim.store.sign_version(stored)


def test_what_an_attacker_signs_by_a_key_of_theirs_is_refused(
    victim: Victim, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    flipped(victim)
    with monkeypatch.context() as theirs:
        theirs.setenv("KEEPFIT_SIGNING_KEY", "7" * 64)
        text = signature_of(victim.version, files_of(victim.folder))
    victim.rewrite_tag(SIGNATURE_TAG, text)
    for error in refusals(victim, registry.trained):
        assert "a key that is not trusted here" in error.message


def test_a_verified_copy_holds_what_was_signed_or_is_not_there(
    victim: Victim, registry: Registry, tmp_path: Path
) -> None:
    # MLflow's loaders leave it in the folder of a version that they read from the registry.
    (victim.folder / "registered_model_meta").write_text(
        "model_name: flights\nmodel_version: '2'\n"
    )
    victim.store.load(victim.version)
    victim.store.copy_version(victim.version, tmp_path / "copy")
    assert not (tmp_path / "copy" / "registered_model_meta").exists()
    assert files_of(tmp_path / "copy") == files_of(victim.folder)
    with pytest.raises(UsageError, match="is there already"):
        victim.store.copy_version(victim.version, tmp_path / "copy")
    loader(victim)
    with pytest.raises(ModelRefusedError, match="MLmodel is not the file"):
        victim.store.copy_version(victim.version, tmp_path / "second")
    assert not (tmp_path / "second").exists()
