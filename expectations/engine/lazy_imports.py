"""Modules that a library imports for what is not asked of it here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """A module that is imported when something of it is first used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def only_when_used(*names: str) -> Iterator[None]:
    """Let each of the modules `names` that is imported meanwhile be run when it is first used."""
    deferred = {name: _Deferred(name) for name in names if name not in sys.modules}
    sys.modules.update(deferred)
    try:
        yield
    finally:
        # Whoever imports one from now on gets the module itself.
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
