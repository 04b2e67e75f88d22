"""Plugin modules: found beside the pipeline file, imported, and distinguished by content.

A module runs as it is imported, with the rights of keepfit's user: the pipeline file's own
folder is trusted. It is known to Python under a name made of its content, so that it shadows
nothing, and a changed one is another one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from tasks.base.errors import ConfigError
from tasks.base.plugin_settings import HookName

PREFIX = "keepfit_hook_"


def hook_object(key: str, name: HookName, base: Path) -> Any:
    """Return what ``module:object`` of the `key` of ``hooks`` names in the folder `base`."""
    module_name, _, attribute = name.partition(":")
    module = import_hook(module_name, base)
    found = getattr(module, attribute, None)
    if not callable(found):
        near = ", ".join(n for n, v in vars(module).items() if callable(v) and n[0] != "_")
        kind = "class or function" if key.startswith("estimators") else "function"
        raise ConfigError(
            f"`hooks.{key}: {name}`: {module_name} has no {kind} {attribute!r}.",
            f"It has: {near[:200] or 'none'}.",
        )
    return found


def check_call(
    key: str, name: HookName, function: Callable[..., Any], given: Sequence[str], remedy: str
) -> None:
    """Refuse a function that cannot be called with what it is `given`, argument by argument."""
    try:
        inspect.signature(function).bind(*given)
    except (TypeError, ValueError) as error:
        count = {0: "no argument", 1: "one argument", 2: "two arguments"}[len(given)]
        inputs = f", {' and '.join(given)}" if given else ""
        raise ConfigError(
            f"`hooks.{key}: {name}` is called with {count}{inputs}; {error}.", remedy
        ) from None


def path_of(module_name: str, base: Path) -> Path:
    """Return the file of a module; ConfigError when it is absent, or leads out of the folder."""
    path = base.joinpath(*module_name.split(".")).with_suffix(".py")
    if not path.is_file():
        raise ConfigError(
            f"`hooks` names the module {module_name}, and there is no {path.name} in "
            f"{path.parent}.",
            "A module lies beside the pipeline file.",
        )
    if not path.resolve().is_relative_to(base.resolve()):
        raise ConfigError(f"`hooks`: {path.name} leads out of the pipeline file's folder.")
    return path


def import_hook(module_name: str, base: Path) -> ModuleType:
    """Return a module of the folder `base`; it runs once for each of its contents."""
    path = path_of(module_name, base)
    # Two folders may hold the same modules, which are others where they are.
    place = hashlib.sha256(f"{path.resolve()}\0{digest_of(path)}".encode()).hexdigest()
    known = f"{PREFIX}{place[:16]}"
    if known in sys.modules:
        return sys.modules[known]
    spec = importlib.util.spec_from_file_location(known, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"`hooks`: {path.name} is no Python module.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[known] = module
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[known]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ConfigError(
            f"`hooks`: {path.name} cannot be imported: {words(error)}.", f"Try: python {path.name}"
        ) from None
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a module import its neighbours at its top; last, so that they shadow nothing."""
    # They are forgotten afterwards: other pipelines' may have the same name, or they change.
    before = set(sys.modules)
    sys.path.append(str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).parent == folder and not name.startswith(PREFIX):
                del sys.modules[name]


def digest_of(path: Path) -> str:
    """Return a digest of a module and of the modules beside it, which it may import."""
    digest = hashlib.sha256()
    for file in sorted({path, *path.parent.glob("*.py")}):
        digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def words(error: BaseException) -> str:
    """Return an error of a person's code in one line."""
    text = re.sub(r"\s+", " ", str(error)).strip()[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
