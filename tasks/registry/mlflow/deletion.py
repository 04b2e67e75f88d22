"""Deletion from a store for good: a version, its runs, its models and their files.

A family is a training's run with its candidates' runs and the models that they logged. It goes
from its leaves to its parent, so that what a killed process left is found again by its parent and
the next pass ends it. Only what carries keepfit's tags is touched: a run of somebody else within
a family, or a registered version of somebody else that stands on one of its runs, keeps it whole.
"""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from tasks.base.runtime.failpoints import reach
from tasks.base.training_records import ModelVersion
from tasks.registry.alias import champion_alias
from tasks.registry.mlflow import sqlite_database, store_errors
from tasks.registry.mlflow.catalog import Catalog
from tasks.registry.mlflow.client import quoted
from tasks.registry.packaging import provenance
from tasks.registry.signing.version_check import local_folder

PIPELINE_TAG = "keepfit.pipeline"
ROLE_TAG = "keepfit.role"
_VERSION_TAG = "keepfit.model_version"
_MARKS = (PIPELINE_TAG, champion_alias.VERIFIED)
_PAGE = 500


@dataclass(frozen=True)
class Family:
    """A training's runs."""

    runs: tuple[Any, ...]  # MLflow's runs: the candidates' first, the training's last
    models: tuple[Any, ...]  # what they logged, MLflow's logged models

    @property
    def ids(self) -> frozenset[str]:
        """Ids of the runs."""
        return frozenset(str(run.info.run_id) for run in self.runs)

    def belongs_to(self, pipeline: str) -> bool:
        """Return whether all of it was made for `pipeline`, and is no longer being written."""
        return all(
            run.data.tags.get(PIPELINE_TAG) == pipeline and run.info.status != "RUNNING"
            for run in self.runs
        ) and all(provenance.PROCESS_TAG in model.tags for model in self.models)


class Collecting(Catalog):
    """The part of a store that removes for good."""

    @store_errors.guarded
    def retire_version(self, version: ModelVersion) -> bool:
        """Make sure that `version` can never be champion again; return whether it may go."""
        # Not where an alias points to it, a rollback would lead to it, or it is not keepfit's.
        self._client()
        with champion_alias.alone(self, self.state / "promotions", version.name, self._across):
            found = self.found(version.name, version.version)
            if found is None or found.tags.get(PIPELINE_TAG) != version.name:
                return False
            if version.version in self.aliased(version.name):
                return False
            champion = self.pointed(version.name)
            if champion and found in champion_alias.rolled_back_to(
                champion, partial(self.found, version.name)
            ):
                return False
            self.tag_version(found, {champion_alias.VERIFIED: "collected"})
            return True

    @store_errors.guarded
    def remove_version(self, version: ModelVersion) -> None:
        """Remove a retired version and its tags; MLflow never gives its number again."""
        client = self._client()
        try:
            found = client.get_model_version(version.name, version.version)
        except Exception as error:
            if not store_errors.is_absent(error):
                raise
        else:
            for key in (key for key in found.tags or {} if key not in _MARKS):
                client.delete_model_version_tag(version.name, version.version, key)
            reach("registry.collecting.before_version")
            client.delete_model_version(version.name, version.version)
        digest = version.model_digest
        copy = self.state / "models" / digest
        if digest and copy.is_dir() and digest not in {v.model_digest for v in self.versions()}:
            shutil.rmtree(copy, ignore_errors=True)

    @store_errors.guarded
    def families(self, pipeline: str, before: datetime) -> tuple[Family, ...]:
        """Return the trainings of `pipeline` that began before a moment and hold no version."""
        held = {version.run_id for version in self.versions()}
        found = []
        for parent in self._old_runs(pipeline, "training", before):
            family = self._family(parent)
            if family.belongs_to(pipeline) and not family.ids & held:
                found.append(family)
        return tuple(found)

    @store_errors.guarded
    def old_monitoring(
        self, pipeline: str, before: datetime, kept: Collection[str]
    ) -> tuple[Family, ...]:
        """Return the monitoring runs that began before a moment, of versions not `kept`."""
        families = []
        for run in self._old_runs(pipeline, "monitoring", before):
            family = self._family(run)
            if run.data.tags.get(_VERSION_TAG) not in kept and family.belongs_to(pipeline):
                families.append(family)
        return tuple(families)

    @store_errors.guarded
    def remove_family(self, family: Family) -> None:
        """Remove models and runs with their files; from a database at once, rows and all."""
        # On a server the files go, and the runs as far as its API goes: they are in MLflow's bin
        # until somebody runs `mlflow gc` there.
        for model in family.models:
            self._remove_files(str(model.artifact_location))
            reach("registry.collecting.after_model_files")
            self._remove_model(str(model.model_id))
        for run in family.runs:
            self._remove_files(str(run.info.artifact_uri))
            shutil.rmtree(self.state / "downloads" / str(run.info.run_id), ignore_errors=True)
            reach("registry.collecting.after_run_files")
            self._remove_run(str(run.info.run_id))
            reach("registry.collecting.after_run")

    @store_errors.guarded
    def shrink(self) -> None:
        """Give the free pages of a SQLite database back to the disk, if nobody holds it."""
        if (path := sqlite_database.sqlite_path(self.uri)) is not None:
            self._client()
            sqlite_database.shrink(path)

    def _old_runs(self, pipeline: str, role: str, before: datetime) -> Iterator[Any]:
        client = self._client()
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        wanted = (
            f"tags.`{PIPELINE_TAG}` = {quoted(pipeline)} and tags.`{ROLE_TAG}` = {quoted(role)} "
            f"and attributes.start_time < {int(before.timestamp() * 1000)}"
        )
        token: str | None = ""
        while token is not None:
            page = client.search_runs(
                experiments,
                filter_string=wanted,
                max_results=_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token or None,
            )
            yield from page
            token = page.token or None

    def _family(self, parent: Any) -> Family:
        client = self._client()
        experiment = str(parent.info.experiment_id)
        children = client.search_runs(
            [experiment],
            filter_string=f"tags.`mlflow.parentRunId` = {quoted(str(parent.info.run_id))}",
            max_results=1000,
        )
        runs = (*children, parent)
        models = [
            model
            for run in runs
            for model in client.search_logged_models(
                [experiment], filter_string=f"source_run_id = {quoted(str(run.info.run_id))}"
            )
        ]
        return Family(runs=runs, models=tuple(models))

    def _remove_files(self, place: str) -> None:
        """Remove a run's or a model's folder; on this disk only within the store's own."""
        folder = local_folder(place)
        if folder is None:
            self._delete_artifacts(place)
            return
        inside = self.artifacts is not None and _lies_within(folder, self.artifacts)
        if not inside or not folder.is_dir():
            return
        shutil.rmtree(folder, ignore_errors=True)
        if folder.name == "artifacts":
            with suppress(OSError):
                folder.parent.rmdir()

    @property
    @abstractmethod
    def _across(self) -> champion_alias.Across:
        """The lock that other hosts see too."""

    @abstractmethod
    def _delete_artifacts(self, address: str) -> None:
        """Remove files under an address that is no folder of this disk."""

    @abstractmethod
    def _remove_run(self, run_id: str) -> None:
        """Remove a run's rows."""

    @abstractmethod
    def _remove_model(self, model_id: str) -> None:
        """Remove a logged model's rows."""


def _lies_within(folder: Path, root: Path) -> bool:
    whole = folder.resolve()
    return root.resolve() in whole.parents and not folder.is_symlink()
