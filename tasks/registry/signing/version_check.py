"""The folder of a version: where it may lie, and whether its files are those that were signed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tasks.base.errors import ModelRefusedError
from tasks.base.runtime.files import Digests, digest_of
from tasks.base.training_records import ModelVersion
from tasks.registry.signing.version_signature import Manifest, manifest_of, refused

MODEL_FILE = "model.skops"
_ELSEWHERE = "Train and register again; look at who can write to the store."
_MOVED = (
    "If the state folder was moved or renamed: `keepfit backup moved.tar.gz FILE`, then `keepfit "
    "restore moved.tar.gz FILE --force`. If not: "
)
LEFT_BY_MLFLOW = "registered_model_meta"
"""File that MLflow's loaders write into the folder: name and version. Not signed or read here."""


def files_of(folder: Path) -> Digests:
    """Return every file below `folder` with its digest; a link has none."""
    left = folder / LEFT_BY_MLFLOW
    paths = (
        p for p in sorted(folder.rglob("*")) if p != left and (p.is_symlink() or not p.is_dir())
    )
    return {
        p.relative_to(folder).as_posix(): "" if p.is_symlink() or not p.is_file() else digest_of(p)
        for p in paths
    }


def confined(folder: Path, name: str = MODEL_FILE, root: Path | None = None) -> Path:
    """Return `folder/name`; refuse an absent file, a link, or one outside `folder` or `root`."""
    whole = folder.resolve()
    path = folder / name
    inside = root is None or whole.is_relative_to(root.resolve())
    if not inside or ".." in folder.parts or path.resolve().parent != whole or path.is_symlink():
        raise ModelRefusedError(
            f"{path}: a model must lie in its own folder in the store; this one leads elsewhere.",
            _ELSEWHERE if inside else _MOVED + _ELSEWHERE[0].lower() + _ELSEWHERE[1:],
        )
    if not path.is_file():
        raise ModelRefusedError(
            f"{path}: the registered version has no model file.", "Train and register again."
        )
    return path


def check_folder(version: ModelVersion, folder: Path) -> Manifest:
    """Compare the files of a version with its signature, or refuse it; return what was signed."""
    manifest = manifest_of(version)
    found = files_of(folder)
    for name in sorted(manifest.files.keys() | found.keys()):
        if found.get(name) != manifest.files.get(name):
            why = (
                "was not there when it was signed" if name not in manifest.files
                else "is absent" if name not in found
                else "is not the file that was signed"
            )  # fmt: skip
            raise refused(f"{version.name} version {version.version}: its {name} {why}")
    return manifest


def check_stored(version: ModelVersion, source: str, root: Path | None) -> Path | None:
    """Compare a version at `source` with its signature; return the model file if on this host."""
    # `root` is the folder that holds all versions; None where a server decides. What is not signed,
    # lies elsewhere or is not what was signed raises UnsignedVersionError or ModelRefusedError.
    local = local_folder(source)
    if local is None:
        manifest_of(version)
        return None
    path = confined(local, root=root)
    check_folder(version, local)
    return path


def local_folder(source: str) -> Path | None:
    """Return the folder of a ``file:`` address or path; None for another address.

    >>> local_folder("file:///srv/my%20models/m-1")
    PosixPath('/srv/my models/m-1')
    >>> local_folder("s3://bucket/m-1") is None
    True
    """
    parts = urlsplit(source)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(url2pathname(parts.path))
    return Path(source) if parts.scheme == "" else None
