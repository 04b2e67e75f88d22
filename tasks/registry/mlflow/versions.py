"""Versions of a model: registered whole, loaded back only through keepfit's own checks."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.errors import ModelRefusedError, UnsignedVersionError, UsageError
from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime import process_identity
from tasks.base.runtime.files import changed_file, digest_of, read_unchanged, write_whole
from tasks.base.runtime.libraries import pd
from tasks.base.runtime.postgres_lock import is_postgresql
from tasks.base.runtime.temporary import temporary_folder
from tasks.base.training_records import MODEL_DIGEST_TAG, ModelVersion, Schema
from tasks.models.persistence.prediction import predict
from tasks.models.persistence.skops_io import load_model, types_of
from tasks.models.persistence.trusted_types import ALLOWED_TYPES
from tasks.registry.alias import champion_alias, champion_lock
from tasks.registry.mlflow import limits, sqlite_database, store_errors
from tasks.registry.mlflow.catalog import Catalog, recorded
from tasks.registry.mlflow.sqlite_reader import PROMOTIONS
from tasks.registry.packaging import model_folder, provenance
from tasks.registry.packaging.mlmodel import COLUMNS_FILE, mlmodel, served_columns, signature_of
from tasks.registry.signing import version_check, version_signature
from tasks.registry.signing.version_check import local_folder
from tasks.registry.signing.version_signature import SIGNATURE_TAG

ROUNDING = 1e-6  # of single precision: how many rows are predicted at once changes the last digits


class Versions(Catalog):
    """The registry part of a store: what changes it."""

    @store_errors.guarded
    def register(
        self,
        name: str,
        *,
        run_id: str,
        model: str | Path,
        sample: pd.DataFrame,
        predictions: NDArray[Any],
        schema: Schema,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float | None] | None = None,
        description: str = "",
    ) -> ModelVersion:
        """Store a fitted pipeline as an MLflow model and register it as a version of `name`.

        Called again for the same file and run, it returns the version that is there. `model`: a
        skops file; a type that is not allowed raises ModelRefusedError; `sample`: feature rows,
        with nulls where the columns have some: they record how columns are stored and, the first
        few, are the input example; `predictions`, of `sample`, give the signature's output;
        `metrics`, of the holdout, are shown on the model's own page.
        """
        # Plugin types are left out, so no other loader is made to trust them.
        types = sorted(set(types_of(model, schema.own)) & ALLOWED_TYPES)
        file = Path(model)
        digest = digest_of(file)
        for version in self.versions(name):
            same = version.model_digest == digest
            # One that is not signed was left by a process that ended before it could.
            if version.run_id == run_id and same and SIGNATURE_TAG in version.tags:
                return version_signature.trusted(version)
        mine = {provenance.PROCESS_TAG: process_identity.this_process()}
        given = {**mine, **(tags or {}), MODEL_DIGEST_TAG: digest}
        logged = self._log_model(name, run_id, schema, given)
        columns = served_columns(sample, schema)
        with temporary_folder(self._scratch()) as scratch:
            model_folder.fill_folder(scratch, file, sample, types)
            text = mlmodel(
                model_id=logged.model_id, run_id=run_id, location=logged.artifact_location,
                size=file.stat().st_size, types=types,
                signature=signature_of(predictions, columns), columns=columns,
            )  # fmt: skip
            write_whole(scratch / COLUMNS_FILE, columns.model_dump_json(indent=1))
            write_whole(scratch / "MLmodel", text)
            files = version_check.files_of(scratch)
            self._client().log_model_artifacts(logged.model_id, str(scratch))
        self._finish_model(run_id, logged.model_id, metrics or {})
        version = self._create_version(name, run_id, logged, given, description)
        # The signature covers what this process wrote, not what the store returns.
        stated = version.model_copy(update={"tags": given})
        self.tag_version(version, {SIGNATURE_TAG: version_signature.signature_of(stated, files)})
        return self._fresh(version)

    def _log_model(self, name: str, run_id: str, schema: Schema, tags: dict[str, str]) -> Any:
        client = self._client()
        try:
            client.create_registered_model(
                name,
                tags={"keepfit.task": schema.task, "keepfit.target": schema.target},
                description=f"Predicts `{schema.target}` ({schema.task}); kept fit by keepfit.",
            )
        except Exception as error:
            if not store_errors.exists_already(error):
                raise
        run = client.get_run(run_id)
        return client.create_logged_model(
            run.info.experiment_id,
            name=name,
            source_run_id=run_id,
            tags={k: v for k, v in tags.items() if len(v) <= limits.MAX_TAG},
            params=dict(run.data.params),
            model_type=schema.task,
        )

    def _finish_model(
        self, run_id: str, model_id: str, metrics: Mapping[str, float | None]
    ) -> None:
        client = self._client()
        finite, _ = limits.finite_metrics(metrics)
        points = [(name, 0, value) for name, value in finite.items()]
        held = self._holdout(run_id)
        self._write(run_id, self._points(points, int(time.time() * 1000), model_id, held), [], [])
        client.log_outputs(run_id, models=[self._entities.LoggedModelOutput(model_id, step=0)])
        client.finalize_logged_model(model_id, "READY")

    def _holdout(self, run_id: str) -> tuple[str, str] | None:
        """Return name and digest of the holdout that the run recorded, where it did."""
        for used in self._client().get_run(run_id).inputs.dataset_inputs:
            if any(tag.value == "holdout" for tag in used.tags):
                return used.dataset.name, used.dataset.digest
        return None

    def _create_version(
        self, name: str, run_id: str, logged: Any, tags: dict[str, str], description: str
    ) -> ModelVersion:
        client = self._client()
        made = client.create_model_version(
            name,
            source=logged.artifact_location,
            run_id=run_id,
            tags=limits.in_parts({**tags, "keepfit.model_id": logged.model_id}),
            description=description or None,
            model_id=logged.model_id,
            await_creation_for=0,
        )
        link = json.dumps([{"name": name, "version": str(made.version)}])
        client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": link})
        return recorded(made)

    @store_errors.guarded
    def model_file(self, version: ModelVersion) -> Path:
        """Return the local path of a version's skops file, unchanged since it was registered."""
        # Nothing else of the stored folder is read: `MLmodel` could name any loader. Raises
        # ModelRefusedError when the file is absent, another, or leads out of its folder.
        source, fresh = self._source(version), self._fresh(version)
        path = version_check.check_stored(fresh, source, self.artifacts)
        if path is not None:
            return path
        digest = version_signature.manifest_of(fresh).files.get(version_check.MODEL_FILE, "none")
        folder = sqlite_database.private_folder(self.state / "models" / digest)
        if changed_file(folder, {version_check.MODEL_FILE: digest}):
            self._download(f"{source.rstrip('/')}/{version_check.MODEL_FILE}", folder)
        path = version_check.confined(folder)
        read_unchanged(path, digest, f"{version.name} version {version.version}")
        return path

    @store_errors.guarded
    def copy_version(self, version: ModelVersion, target: Path) -> None:
        """Copy the signed folder of a version to a new folder `target`, all of it or nothing."""
        if target.exists():
            raise UsageError(f"{target} is there already.", "Name a folder that is not.")
        source = self._source(version)
        local = local_folder(source)
        with temporary_folder(target.absolute().parent) as beside:
            folder = beside / "copy"
            if local is None:
                folder.mkdir()
                self._download(source, folder)
            else:
                self.require_intact(version)
                shutil.copytree(local, folder)
            (folder / version_check.LEFT_BY_MLFLOW).unlink(missing_ok=True)
            # What is checked is the copy, which nobody else writes to.
            version_check.check_folder(version, folder)
            folder.rename(target)

    @store_errors.guarded
    def sign_version(self, version: ModelVersion) -> ModelVersion:
        """Sign what is stored as `version` by this host's key; it is thereby accepted."""
        # It was never signed, or by a trusted key; signed as something else it is refused.
        with contextlib.suppress(UnsignedVersionError):
            self.require_intact(version)
        source = self._source(version)
        local = local_folder(source)
        with temporary_folder() as scratch:
            if local is None:
                self._download(source, scratch)
                local = scratch
            else:
                version_check.confined(local, root=self.artifacts)
            files = version_check.files_of(local)
        recorded_digest = version.model_digest
        if files.get(version_check.MODEL_FILE) != recorded_digest or "" in files.values():
            raise ModelRefusedError(
                f"{version.name} version {version.version}: its files are not those that were "
                "registered.",
                "It cannot be accepted; train and register again.",
            )
        self.tag_version(version, {SIGNATURE_TAG: version_signature.signature_of(version, files)})
        return self._fresh(version)

    def load(self, version: ModelVersion, own: OwnCode | None = None) -> Any:
        """Return a version's fitted pipeline, checked against allow-list and `own` estimators."""
        return load_model(self.model_file(version), own, self._fresh(version).model_digest)

    def verify(
        self, version: ModelVersion, sample: pd.DataFrame, expected: NDArray[Any]
    ) -> ModelVersion:
        """Load a version back, check that it predicts the same and mark it, or refuse it."""
        predicted, _ = predict(self.load(version), sample)
        if not same_predictions(np.asarray(predicted), np.asarray(expected)):
            raise ModelRefusedError(
                f"{version.name} version {version.version}, loaded back, does not predict what "
                "the fitted pipeline predicted.",
                "It cannot become champion; run the training again with --fresh.",
            )
        return self.confirm(version)

    def confirm(self, version: ModelVersion) -> ModelVersion:
        """Mark a version as verified: loaded back, it predicts what it was judged by."""
        self.tag_version(version, {champion_alias.VERIFIED: "true"})
        return self._fresh(version)

    @store_errors.guarded
    def set_champion(self, name: str, version: str, expected_previous: str | None) -> ModelVersion:
        """Make a verified `version` champion if the champion is still `expected_previous`."""
        # Raises EvidenceError otherwise.
        self._client()
        return champion_alias.promote(
            self, self._promotions, name, version, expected_previous, self._across
        )

    @store_errors.guarded
    def promote_by_hand(self, name: str, version: str) -> champion_alias.Moved:
        """Let any verified `version` be the champion of `name`; EvidenceError otherwise."""
        self._client()
        return champion_alias.promote_by_hand(self, self._promotions, name, version, self._across)

    @store_errors.guarded
    def rollback(
        self, name: str, expected: str | None = None, to: str | None = None
    ) -> champion_alias.Moved:
        """Let what the champion replaced, or `to`, be champion; see `champion_alias.rollback`."""
        self._client()
        return champion_alias.rollback(self, self._promotions, name, expected, self._across, to)

    @store_errors.guarded
    def recover(self) -> tuple[str, ...]:
        """Complete or revert alias moves that killed processes left; return the models' names."""
        found = champion_alias.recover(self, self._promotions, self._across)
        return tuple(intent.name for intent in found)

    @property
    def _across(self) -> champion_alias.Across:
        """The lock that other hosts see too: the ledger's, else the store's, where one has it."""
        address = self.ledger or self.uri
        if not is_postgresql(address):
            return champion_alias.on_this_host
        return partial(champion_lock.held, address)

    @property
    def _promotions(self) -> Path:
        return self.state / PROMOTIONS


def same_predictions(first: NDArray[np.generic], second: NDArray[np.generic]) -> bool:
    """Return whether two models predict the same: labels equal, numbers within rounding.

    >>> same_predictions(np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-9]))
    True
    >>> same_predictions(np.array([1.0, 2.0]), np.array([1.0, 2.1]))
    False
    >>> same_predictions(np.array(["a"]), np.array(["b"]))
    False
    """
    if first.shape != second.shape:
        return False
    if first.dtype.kind == "f" and second.dtype.kind == "f":
        scale = float(np.nanmax(np.abs(first), initial=0.0))
        return bool(
            np.allclose(first, second, rtol=ROUNDING, atol=ROUNDING * scale, equal_nan=True)
        )
    return bool(np.array_equal(first.astype(str), second.astype(str)))
