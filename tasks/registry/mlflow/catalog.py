"""The registered versions, their tags, and the champion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tasks.base.errors import InfrastructureError
from tasks.base.runtime import process_identity
from tasks.base.text.commands import command
from tasks.base.training_records import ModelVersion
from tasks.registry.alias import champion_alias
from tasks.registry.mlflow import limits, sqlite_database, store_errors
from tasks.registry.mlflow.client import Connected, quoted
from tasks.registry.packaging import provenance
from tasks.registry.signing import version_check, version_signature

ALIAS = "champion"


class Catalog(Connected):
    """The registry part of a store: what is in it."""

    @store_errors.guarded
    def champion(self, name: str) -> ModelVersion | None:
        """Return the version that scores now or None; ModelRefusedError unless it is as signed."""
        found = self.pointed(name)
        return None if found is None else version_signature.trusted(found)

    @store_errors.guarded
    def version(self, name: str, version: str) -> ModelVersion | None:
        """Return one version or None; raises ModelRefusedError unless it is as signed."""
        found = self.found(name, version)
        return None if found is None else version_signature.trusted(found)

    @store_errors.guarded
    def pointed(self, name: str) -> ModelVersion | None:
        """Return the version that the alias points to, as it is stored: for who moves the alias."""
        return self._read(
            lambda reader: reader.champion(name, ALIAS),
            lambda client: _one(lambda: client.get_model_version_by_alias(name, ALIAS)),
        )

    @store_errors.guarded
    def found(self, name: str, version: str) -> ModelVersion | None:
        """Return one version, as it is stored: for who signs, moves or removes it."""
        return self._read(
            lambda reader: reader.version(name, version),
            lambda client: _one(lambda: client.get_model_version(name, version)),
        )

    @store_errors.guarded
    def versions(self, name: str | None = None) -> tuple[ModelVersion, ...]:
        """Return the versions of `name`, or of every model, newest first, as they are stored."""
        if name is None:
            return _all_versions(self._client(), "")
        return self._read(
            lambda reader: reader.versions(name),
            lambda client: _all_versions(client, f"name = {quoted(name)}"),
        )

    def _source(self, version: ModelVersion) -> str:
        found = self._read(
            lambda reader: reader.source(version),
            lambda client: client.get_model_version_download_uri(version.name, version.version),
        )
        return str(found)

    @store_errors.guarded
    def require_intact(self, version: ModelVersion) -> None:
        """Compare a version's tags and files on this host with its signature, or refuse it."""
        version_check.check_stored(version, self._source(version), self.artifacts)

    @store_errors.guarded
    def aliased(self, name: str) -> frozenset[str]:
        """Return the versions that an alias points to; a search for versions omits them."""
        try:
            model = self._client().get_registered_model(name)
        except Exception as error:
            if store_errors.is_absent(error):
                return frozenset()
            raise
        return frozenset(str(version) for version in model.aliases.values())

    @store_errors.guarded
    def tag_version(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        for key, value in limits.in_parts(tags).items():
            self._client().set_model_version_tag(version.name, version.version, key, value)

    @store_errors.guarded
    def describe(self, version: ModelVersion, text: str) -> None:
        """Describe a version in Markdown, on its page."""
        self._client().update_model_version(version.name, version.version, description=text)

    @store_errors.guarded
    def point_alias(self, name: str, version: str | None) -> None:
        """Move the alias without looking; only `promotion` calls this."""
        if version is None:
            self._client().delete_registered_model_alias(name, ALIAS)
        else:
            self._client().set_registered_model_alias(name, ALIAS, version)
        if (path := sqlite_database.sqlite_path(self.uri)) is not None:
            sqlite_database.settle(path)

    @store_errors.guarded
    def mark_unfinished(self) -> tuple[str, ...]:
        """Mark versions and models that a process left unfinished; return names."""
        # Versions it never verified get a tag, models it never finished become FAILED.
        client = self._client()
        marked = []
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        # MLflow cannot search by status; the newest models are looked through.
        for model in client.search_logged_models(experiments, max_results=200):
            ended = process_identity.has_ended(model.tags.get(provenance.PROCESS_TAG, ""))
            if ended and str(model.status) == "PENDING":
                client.finalize_logged_model(model.model_id, "FAILED")
                marked.append(model.model_id)
        for version in self.versions():
            known = {champion_alias.VERIFIED, "keepfit.incomplete"} & version.tags.keys()
            process = version.tags.get(provenance.PROCESS_TAG, "")
            if not known and process_identity.has_ended(process):
                self.tag_version(version, {"keepfit.incomplete": "its process never verified it"})
                marked.append(f"{version.name}/{version.version}")
        return tuple(marked)

    def _fresh(self, version: ModelVersion) -> ModelVersion:
        found = self.version(version.name, version.version)
        if found is None:
            raise InfrastructureError(
                f"{version.name} version {version.version} is no longer in the registry.",
                f"See what is there with `{command('status')}`.",
            )
        return found


def _one(ask: Callable[[], Any]) -> ModelVersion | None:
    try:
        return recorded(ask())
    except Exception as error:
        if store_errors.is_absent(error):
            return None
        raise


def _all_versions(client: Any, wanted: str) -> tuple[ModelVersion, ...]:
    found: list[ModelVersion] = []
    token: str | None = ""
    while token is not None:
        page = client.search_model_versions(wanted, max_results=1000, page_token=token or None)
        found.extend(recorded(version) for version in page)
        token = page.token or None
    return tuple(sorted(found, key=lambda v: (v.name, -int(v.version))))


def recorded(version: Any) -> ModelVersion:
    """Return MLflow's version as a record."""
    return ModelVersion(
        name=version.name,
        version=str(version.version),
        run_id=version.run_id or "",
        aliases=tuple(str(alias) for alias in version.aliases or ()),
        tags=limits.joined(version.tags or {}),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        description=version.description or "",
    )
