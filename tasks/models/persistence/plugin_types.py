"""Types of plugin estimators in model files: allowed by the running pipeline file alone.

A file names a hook's classes by the module's own name (``my_models.Boost``), whatever Python
imports it as. Reading one imports a module only when the running pipeline file names it, from the
folder of that file and never from a path that a model file or the registry gives.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tasks.base.plugin_settings import OwnCode
from tasks.plugins.modules import PREFIX, import_hook


def nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every node of a skops schema."""
    waiting: list[Any] = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "__loader__" in value:
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def permitted(types: Collection[str], own: OwnCode | None) -> set[str]:
    """Return those of `types`, as a file names them, that the hooks of `own` allow."""
    # These are the classes that their modules define, and what ``types`` of a hook names.
    if own is None:
        return set()
    modules = _modules(own)
    stated = {name for hook in own.estimators.values() for name in hook.types}
    return {
        name
        for name in types
        if (_is_own(name, own) if name.rpartition(".")[0] in modules else name in stated)
    }


def _modules(own: OwnCode) -> set[str]:
    return {hook.call.partition(":")[0] for hook in own.estimators.values()}


def _is_own(name: str, own: OwnCode) -> bool:
    module_name, _, attribute = name.rpartition(".")
    module = import_hook(module_name, own.folder)
    found = getattr(module, attribute, None)
    return isinstance(found, type) and found.__module__ == module.__name__


def outward(data: bytes, own: OwnCode | None) -> bytes:
    """Return a model file that names the classes of hooks as their modules are named."""
    if own is None or PREFIX.encode() not in _schema_text(data):
        return data
    return renamed_modules(
        data, {known: name for name, known in _known(own, _modules(own)).items()}
    )


def inward(data: bytes, own: OwnCode | None, types: Collection[str]) -> tuple[bytes, set[str]]:
    """Return a model file that names the classes of hooks as Python imports them, and its types."""
    roots = {name.rpartition(".")[0] for name in types}
    named = roots & _modules(own) if own is not None else set()
    if own is None or not named:
        return data, set(types)
    known = _known(own, named)
    parts = [(name.rpartition(".")[0], name.rpartition(".")[2]) for name in types]
    return renamed_modules(data, known), {
        f"{known.get(m, m)}.{attribute}" for m, attribute in parts
    }


def _known(own: OwnCode, modules: Collection[str]) -> dict[str, str]:
    return {name: import_hook(name, own.folder).__name__ for name in modules}


def _schema_text(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return file.read("schema.json")


def renamed_modules(data: bytes, names: Mapping[str, str]) -> bytes:
    """Return a model file whose nodes name their modules by `names`, where those have them."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename == "schema.json":
                schema = json.loads(content)
                for node in nodes(schema):
                    module = str(node.get("__module__"))
                    node["__module__"] = names.get(module, node.get("__module__"))
                content = json.dumps(schema).encode()
            new.writestr(entry, content, compresslevel=1)
    return out.getvalue()
