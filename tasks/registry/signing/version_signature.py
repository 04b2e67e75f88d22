"""The signature of a version: over its name, number, run, tags and every file of its folder.

Kept in a tag of the version as a DSSE envelope, so that it is read with the version, changed in
one write, and other tools can check it. Tags that are written after the registration are not
signed; what is neither signed nor one of these is not read.

References
----------
DSSE, Dead Simple Signing Envelope, protocol version 1: https://github.com/secure-systems-lab/dsse
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from pydantic import ValidationError

from tasks.base.errors import ModelRefusedError, UnsignedVersionError
from tasks.base.runtime.files import digest_of_bytes
from tasks.base.text.commands import command
from tasks.base.training_records import ModelVersion, Record
from tasks.registry.signing import keys

SIGNATURE_TAG = "keepfit.signature"
UNSIGNED_TAGS = frozenset({
    SIGNATURE_TAG, "keepfit.verified", "keepfit.incomplete", "keepfit.promoted_at",
    "keepfit.replaced", "keepfit.rolled_back_at", "keepfit.returned_at", "keepfit.model_id",
})  # fmt: skip
"""Set after registration by anyone with write access to the store."""
_TYPE = "application/vnd.keepfit.version+json"


class Manifest(Record):
    """Content of a signature."""

    schema_version: int = 1
    name: str
    version: str
    run_id: str
    files: dict[str, str]  # path in the version's folder to SHA-256; the folder holds no other file
    tags: dict[str, str]  # tag to SHA-256 of its value: digests, columns, recipe, holdout


def signature_of(version: ModelVersion, files: Mapping[str, str]) -> str:
    """Return the signature of a version with such tags and files, by this host's key."""
    signed = {k: v for k, v in version.tags.items() if k not in UNSIGNED_TAGS}
    tags = {k: digest_of_bytes(v.encode()) for k, v in signed.items()}
    manifest = Manifest(
        name=version.name, version=version.version, run_id=version.run_id, files=dict(files),
        tags=tags,
    )  # fmt: skip
    payload = manifest.model_dump_json().encode()
    key, signature = keys.sign(_encoded(payload))
    return json.dumps({
        "payloadType": _TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": key, "sig": base64.b64encode(signature).decode()}],
    })  # fmt: skip


def manifest_of(version: ModelVersion) -> Manifest:
    """Return the signed manifest of a version; UnsignedVersionError without a signature."""
    # Raises ModelRefusedError when it is not by a trusted key, or is of something else.
    named = f"{version.name} version {version.version}"
    text = version.tags.get(SIGNATURE_TAG, "")
    if not text:
        raise UnsignedVersionError(
            f"{named} is not signed: it is of a keepfit that did not sign yet, or of others.",
            f"If nobody else can write to the store, accept it by name: "
            f"`{command('keys', 'sign', version.version)}`.",
        )
    manifest = _opened(text, named)
    found = (manifest.name, manifest.version, manifest.run_id)
    if found != (version.name, version.version, version.run_id):
        raise refused(
            f"{named} carries the signature of {manifest.name} version {manifest.version}"
        )
    for tag, digest in manifest.tags.items():
        value = version.tags.get(tag)
        if value is None or digest_of_bytes(value.encode()) != digest:
            raise refused(f"{named}: its tag {tag} is not the one that was signed")
    return manifest


def trusted(version: ModelVersion) -> ModelVersion:
    """Return a version with only what was signed and what is written afterwards, or refuse it."""
    known = manifest_of(version).tags.keys() | UNSIGNED_TAGS
    return version.model_copy(
        update={"tags": {k: v for k, v in version.tags.items() if k in known}}
    )


def _opened(text: str, named: str) -> Manifest:
    try:
        envelope = json.loads(text)
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = [(str(s["keyid"]), base64.b64decode(s["sig"])) for s in envelope["signatures"]]
        if envelope["payloadType"] != _TYPE:
            raise ValueError("another type")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise refused(f"{named}: its signature cannot be read") from None
    known = keys.trusted_keys()
    usable = [(key, signature) for key, signature in signatures if key in known]
    if not usable:
        by = signatures[0][0][:64] if signatures else "nobody"
        raise ModelRefusedError(
            f"{named} was signed by {by}, a key that is not trusted here.",
            f"If it is yours or a colleague's: `keepfit keys trust {by}`.",
        )
    if not any(keys.is_signed(_encoded(payload), key, signature) for key, signature in usable):
        raise refused(f"{named}: its signature is not of what it claims")
    try:
        return Manifest.model_validate_json(payload)
    except ValidationError:
        raise refused(f"{named}: its signature is of another keepfit") from None


def _encoded(payload: bytes) -> bytes:
    """Return the bytes to sign: DSSE's pre-authentication encoding of type and payload."""
    return b"DSSEv1 %d %s %d %s" % (len(_TYPE), _TYPE.encode(), len(payload), payload)


def refused(what: str) -> ModelRefusedError:
    """Return the error of a version that is not what was signed."""
    return ModelRefusedError(
        f"{what}.",
        "Nothing of it was loaded. Look at who can write to the store. Promote another version; "
        "where there is none, delete the alias in MLflow, then train.",
    )
