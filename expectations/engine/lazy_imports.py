"""Modules that are imported when they are used, or not at all."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class Deferred(ModuleType):
    """A module that is imported when something of it is first used."""

    # Unlike a module under `importlib.util.LazyLoader` it is known to nobody but who holds it, so
    # that other libraries import theirs as ever, and two threads may use it at once.

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = _imported(self.__name__)
        try:
            return getattr(module, name)  # not kept: what a test puts in its place is seen
        except AttributeError:
            return _submodule(module, name)


def _imported(name: str) -> ModuleType:
    if name in sys.modules:
        return importlib.import_module(name)
    with uncollected():
        return importlib.import_module(name)


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage meanwhile: imports make next to none, and pass over all they made."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _submodule(module: ModuleType, name: str) -> ModuleType:
    """Import what lies in the package `module` but which importing that does not bring."""
    if not hasattr(module, "__path__") or not importlib.util.find_spec(f"{module.__name__}.{name}"):
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{module.__name__}.{name}")


@contextmanager
def only_when_used(*names: str) -> Iterator[None]:
    """Let each of the modules `names` that is imported meanwhile be run when it is first used."""
    deferred = {name: Deferred(name) for name in names if name not in sys.modules}
    sys.modules.update(deferred)
    try:
        yield
    finally:
        # Imports from now on get the module itself.
        for name, module in deferred.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let the packages `names` count as absent meanwhile, unless they were imported before."""
    absent = [name for name in names if name not in sys.modules]
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    modules.update(dict.fromkeys(absent))  # as Python marks an absent module
    try:
        yield
    finally:
        for name in absent:
            del modules[name]
