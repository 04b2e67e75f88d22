"""skops, imported fast in a process that has imported much.

On its import, skops names the module of every ufunc of NumPy and SciPy, for which it looks through
all modules of the process, 500 times: five seconds beside Prefect and MLflow, one beside NumPy.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_UTILS, _NAMING = "skops.io._utils", "skops.io._trusted_types"


def skops_io() -> Any:
    """Return `skops.io`."""
    if _NAMING not in sys.modules:
        narrowed = _Narrowed()
        sys.meta_path.insert(0, narrowed)
        try:
            with warnings.catch_warnings():
                # NumPy's old names are met on the way.
                warnings.simplefilter("ignore", DeprecationWarning)
                return importlib.import_module("skops.io")
        finally:
            sys.meta_path.remove(narrowed)
            narrowed.widen()
    return importlib.import_module("skops.io")


class _Narrowed(MetaPathFinder):
    """Has skops look for ufuncs where they are, in the order it would, while it imports."""

    def __init__(self) -> None:
        self._utils: ModuleType | None = None
        self._whichmodule: Any = None
        self._among = 0
        self._places: list[tuple[str, ModuleType]] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the module is, as without this finder."""
        utils = sys.modules.get(_UTILS)
        if fullname == _NAMING and utils is not None and self._utils is None:
            self._utils, self._whichmodule = utils, getattr(utils, "whichmodule", None)
            if callable(self._whichmodule):
                vars(utils)["whichmodule"] = self._where
        return PathFinder.find_spec(fullname, path, target) if fullname == _NAMING else None

    def _where(self, obj: Any, name: str) -> str:
        module = getattr(obj, "__module__", None)
        if isinstance(module, str):
            return module
        for place, near in self._near():
            if getattr(near, name, None) is obj:
                return place
        return str(self._whichmodule(obj, name))

    def _near(self) -> list[tuple[str, ModuleType]]:
        if len(sys.modules) != self._among:
            self._among = len(sys.modules)
            named = ((place, place.partition(".")[0]) for place in sys.modules.copy())
            near = [place for place, root in named if root in ("numpy", "scipy")]
            self._places = [(place, sys.modules[place]) for place in near]
        return self._places

    def widen(self) -> None:
        """Let skops look everywhere again."""
        if self._utils is not None and callable(self._whichmodule):
            vars(self._utils)["whichmodule"] = self._whichmodule
