"""Keep tabular models fit for use, from Python.

The build maps this file to the package `keepfit`. The packages underneath are private; what is
named here is the public face.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.notebook.pipeline import Error, Pipeline, init

__all__ = ["Error", "Pipeline", "init"]

_PARTS = {
    "expectations": "contract.py",
    "tasks": "train.py",
    "flows": "cli.py",
    "deploy": "commands.py",
}


def _require_own_packages() -> None:
    """Refuse a folder or module of the user's that hides a package of keepfit."""
    for name, file in _PARTS.items():
        spec = find_spec(name)
        places = list(spec.submodule_search_locations or ()) if spec is not None else []
        if not any((Path(place) / file).is_file() for place in places[:1]):
            found = places[0] if places else spec.origin if spec is not None else "nothing"
            raise ImportError(
                f"keepfit's own package `{name}` is hidden: Python finds {found} in its place. "
                f"Rename it, or start Python in a folder that has no `{name}`."
            )


_require_own_packages()


def __getattr__(name: str) -> Any:
    """Import what is behind a name when it is first used: pandas and the commands take a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flows.notebook import pipeline  # defers pandas

    return getattr(pipeline, name)


def __dir__() -> list[str]:
    return __all__
