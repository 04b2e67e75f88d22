"""Fitted pipelines as skops files, checked against keepfit's own list on both ways.

skops trusts every estimator of scikit-learn by default and reads several ways to rebuild an
object; keepfit's pipelines need few of either. A file is judged by its text before anything in it
is imported, and types listed by the file itself are never trusted.
"""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import zipfile
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np

from tasks.base.errors import InfrastructureError, ModelRefusedError
from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime.files import read_unchanged, write_whole
from tasks.models.persistence.plugin_types import inward, nodes, outward, permitted, renamed_modules
from tasks.models.persistence.trusted_types import ALLOWED_LOADERS, ALLOWED_TYPES, FORMER_MODULES

OLDEST_PROTOCOL = 2
MAX_SCHEMA_BYTES = 200_000_000
_RETRAIN = "Train again with this version of keepfit; do not load the file by other means."
_OWN = "Types of an estimator of your own are allowed by its name in `hooks.estimators` alone."


def save_model(
    pipeline: Any, path: str | Path, *, compress: bool = True, own: OwnCode | None = None
) -> None:
    """Write `pipeline` to `path`, whole or not at all."""
    # A type that is neither on keepfit's list nor allowed by the running pipeline file (`own`) is a
    # ModelRefusedError; nothing is written then.
    if compress:
        # The least effort already halves trees; more of it is slower than the disk.
        data = skops_io().dumps(pipeline, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
    else:
        data = skops_io().dumps(pipeline)
    data = outward(data, own)
    _check(_schema(io.BytesIO(data), Path(path)), Path(path), own)
    write_whole(Path(path), data)


def load_model(path: str | Path, own: OwnCode | None = None, digest: str = "") -> Any:
    """Return the fitted pipeline in `path`, whose SHA-256 must be `digest` unless that is empty."""
    # A file that is no skops file, is damaged, or holds a type that is neither on keepfit's list
    # nor allowed by the running pipeline file (`own`) is a ModelRefusedError. Nothing in it is
    # imported or built in that case.
    file = Path(path)
    # Read once: what is checked is what is loaded.
    data = read_unchanged(file, digest, "the model") if digest else _read(file)
    schema = _schema(io.BytesIO(data), file)
    types = _check(schema, file, own)
    try:
        if any(node.get("__module__") in FORMER_MODULES for node in nodes(schema)):
            data = renamed_modules(data, FORMER_MODULES)
        data, types = inward(data, own, types)
        model = skops_io().loads(data, trusted=sorted(types))
    except ModelRefusedError:
        raise
    except (MemoryError, ImportError) as error:
        # Of the process, not of the file.
        reason = " ".join(str(error).split())[-200:] or "memory ran out"
        raise InfrastructureError(
            f"{file.name}: cannot be loaded in this process: {reason}.",
            "Give it more memory; `keepfit doctor` looks at the libraries.",
        ) from None
    except Exception as error:  # noqa: BLE001 - a damaged file may fail in any way
        raise _damaged(file, error) from None
    _check_trees(model, file)
    return model


def types_of(path: str | Path, own: OwnCode | None = None) -> list[str]:
    """Return the types in a model file that skops does not trust by itself, or refuse them."""
    types = _check(_schema(Path(path), Path(path)), Path(path), own)
    return sorted(t for t in types if not t.startswith(("builtins.", "numpy.nd")))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelRefusedError(f"{path}: cannot be read ({error.strerror}).") from None


def _schema(source: io.BytesIO | Path, path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(source) as file:
            if file.getinfo("schema.json").file_size > MAX_SCHEMA_BYTES:
                raise ValueError("its schema is too large")
            schema = json.loads(file.read("schema.json"))
        protocol = schema["protocol"]
        if isinstance(protocol, bool) or protocol < OLDEST_PROTOCOL:
            raise ValueError(f"protocol {protocol!r}")
    except Exception as error:  # noqa: BLE001 - a damaged file may fail in any way
        raise _damaged(path, error) from None
    return dict(schema)


def _check(schema: dict[str, Any], path: Path, own: OwnCode | None) -> set[str]:
    """Return every type named in `schema`, by today's name, or refuse."""
    types, loaders = set(), set()
    for node in nodes(schema):
        module = str(node.get("__module__"))
        types.add(f"{FORMER_MODULES.get(module, module)}.{node.get('__class__')}")
        loaders.add(str(node["__loader__"]))
    strange = types - ALLOWED_TYPES
    strange -= permitted(strange, own)
    refused = sorted(strange) + sorted(loaders - ALLOWED_LOADERS)
    if refused or not types:
        named = ", ".join(refused[:5]) or "nothing"
        raise ModelRefusedError(
            f"{path.name}: a model may only hold types on keepfit's list; it holds {named}.",
            f"{_RETRAIN} {_OWN}" if strange else _RETRAIN,
        )
    return types


def _damaged(path: Path, error: BaseException) -> ModelRefusedError:
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return ModelRefusedError(f"{path.name}: not a model file keepfit can read ({text}).", _RETRAIN)


def _check_trees(model: Any, path: Path) -> None:
    """Refuse trees that point outside themselves, or back."""
    # scikit-learn follows the numbers in a tree without looking: crafted ones read memory that is
    # not theirs, or go round for ever. Children always follow their parent.
    for tree in _trees(model):
        nodes = tree.node_count
        left, right, feature = tree.children_left, tree.children_right, tree.feature
        inner = np.flatnonzero(left != -1)
        sound = (
            (left[inner] > inner).all()
            and (left[inner] < nodes).all()
            and (right[inner] > inner).all()
            and (right[inner] < nodes).all()
            and (feature[inner] >= 0).all()
            and (feature[inner] < tree.n_features).all()
            and len(tree.value) >= nodes
        )
        if not sound:
            raise _damaged(path, ValueError("a tree in it points outside itself or back"))


def _trees(model: Any) -> Iterator[Any]:
    """Yield every tree in `model`, however deep it lies."""
    waiting, seen = [model], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if type(value).__name__ == "Tree" and hasattr(value, "children_left"):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
        elif isinstance(value, np.ndarray):
            waiting.extend(value if value.dtype == object else ())
        elif hasattr(value, "__dict__"):
            waiting.extend(vars(value).values())


_IMPORTING = threading.Lock()
_COPY = "keepfit_skops_io"
"""Name of the copy: an entry of `sys.modules` that is nobody else's."""


def skops_io() -> Any:
    """Return keepfit's own copy of `skops.io`, which trusts no type that is not listed.

    To list what it trusts by default skops imports all of scikit-learn, with the modules of its
    tests, and Dask's: half a second of a core. The skops of others in the process stays as it is,
    also in threads that import it meanwhile.
    """
    with _IMPORTING:
        return _own_copy()


@cache
def _own_copy() -> ModuleType:
    original = find_spec("skops.io")
    if original is None or original.origin is None:
        raise ImportError("skops.io has no file")
    loader = _CopyLoader(_COPY, original.origin)
    spec = ModuleSpec(_COPY, loader, origin=original.origin, is_package=True)
    spec.submodule_search_locations = original.submodule_search_locations
    copy = module_from_spec(spec)
    sys.modules[_COPY] = copy
    sys.modules[f"{_COPY}._trusted_types"] = _Nothing(f"{_COPY}._trusted_types")
    # It stays: a finder that is removed lets threads that go through the list skip the next one.
    sys.meta_path.insert(0, _CopyFinder())
    loader.exec_module(copy)
    return copy


class _CopyFinder(MetaPathFinder):
    """Finds the modules of the copy in the folder of skops."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, _: ModuleType | None = None
    ) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path) if fullname.startswith(f"{_COPY}.") else None
        if found is not None and found.origin is not None:
            found.loader = _CopyLoader(fullname, found.origin)
        return found


class _CopyLoader(SourceFileLoader):
    """Lets what imports `skops.io` by its full name import the copy."""

    def get_code(self, fullname: str) -> CodeType | None:
        source, named = _BY_FULL_NAME.subn(_COPY.encode(), self.get_data(self.path))
        # The bytecode that is kept beside the file is the original's.
        return self.source_to_code(source, self.path) if named else super().get_code(fullname)


_BY_FULL_NAME = re.compile(rb'(?:(?<=^from )|(?<=package="))skops\.io\b', re.MULTILINE)


class _Nothing(ModuleType):
    """Module whose lists are empty."""

    def __getattr__(self, name: str) -> list[str]:
        if name.startswith("__"):
            raise AttributeError(name)
        return []
