"""Manual operations on keys: show and trust them, rotate the own one, sign versions again."""

from __future__ import annotations

from pathlib import Path

from tasks.base.errors import ModelRefusedError, UsageError
from tasks.base.text.commands import command
from tasks.base.training_records import ModelVersion
from tasks.registry.open_pipeline import OpenPipeline
from tasks.registry.signing import keys
from tasks.registry.signing.version_signature import SIGNATURE_TAG

ALL = "all"


def shown_keys() -> dict[str, object]:
    """Return the public key that this host signs by, where its secret is, and what is trusted."""
    return {"key": keys.own_key(), "from": keys.where(), "trusted": sorted(keys.trusted_keys())}


def trust_key(key: str) -> dict[str, object]:
    """Trust a public key from now on."""
    keys.trust(key)
    return {"trusted": key}


def distrust_key(key: str) -> dict[str, object]:
    """Trust a public key no longer."""
    return {"distrusted": key, "removed": keys.distrust(key)}


def sign_versions(pipeline: OpenPipeline, version: str) -> dict[str, object]:
    """Sign by this host's key `version`, thereby accepted, or ``all`` signed by a trusted key."""
    # Raises UsageError when there is none; ModelRefusedError when it is not what was signed.
    if version != ALL:
        found = _named(pipeline, version)
        pipeline.store.sign_version(found)
        return {"key": keys.own_key(), "signed": [found.version], "refused": {}}
    signed, refused = [], {}
    for one in pipeline.store.versions(pipeline.config.name):
        if SIGNATURE_TAG not in one.tags:
            refused[one.version] = "It was never signed: accept it by its number."
            continue
        try:
            pipeline.store.sign_version(one)
        except ModelRefusedError as error:
            refused[one.version] = error.message
        else:
            signed.append(one.version)
    return {"key": keys.own_key(), "signed": signed, "refused": refused}


def copy_version(pipeline: OpenPipeline, version: str, target: Path) -> dict[str, object]:
    """Copy the files of a version, compared with its signature, into the new folder `target`."""
    found = _named(pipeline, version)
    pipeline.store.copy_version(found, target)
    return {"model": found.name, "version": found.version, "folder": str(target)}


def _named(pipeline: OpenPipeline, version: str) -> ModelVersion:
    name = pipeline.config.name
    found = pipeline.store.found(name, version.removeprefix("v"))
    if found is None:
        raise UsageError(
            f"{name} has no version {version}.",
            f"See them with `{command('status', file=pipeline.path)}`.",
        )
    return found


def rotate_key(pipeline: OpenPipeline | None = None) -> dict[str, object]:
    """Sign by a new key from now on, and the versions of `pipeline` again."""
    # The former key stays trusted, as other pipelines' versions are signed by it.
    former, _ = keys.rotate()
    found: dict[str, object] = {"key": keys.own_key(), "signed": [], "refused": {}}
    if pipeline is not None:
        found = sign_versions(pipeline, ALL)
    return {**found, "former": former}
