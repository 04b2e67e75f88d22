"""Every route of one server of the stack, in a process of its own: `routes.py KIND STATE`."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from deploy.stack.environments import common, of_mlflow, of_prefect
from deploy.stack.server_processes import KINDS

_VERSIONED = re.compile(r"^/(ajax-)?api/?\d\.\d/?")


def routes_of(kind: str, state: Path) -> list[str]:
    """Return the paths that a server answers at, those of web sockets too."""
    url = "http://127.0.0.1:4999"
    environ = {
        "prefect": lambda: of_prefect(state, url, "", timedelta(days=7)),
        "mlflow": lambda: of_mlflow(state, url, ""),
        "page": lambda: common(state),
    }[kind]()
    os.environ.update(environ)
    app: Any = KINDS[kind](state)
    found = set(_walked(app.routes, ""))
    if kind == "mlflow":
        from mlflow.server import app as flask

        found |= {rule.rule for rule in flask.url_map.iter_rules()}
    return sorted(found)


def _walked(routes: Iterable[Any], base: str) -> Iterator[str]:
    for route in routes:
        if hasattr(route, "effective_candidates"):
            # FastAPI keeps a router that was included as one route.
            parts = (*route.effective_candidates(), *route.effective_low_priority_routes())
            yield from _walked(parts, base)
            continue
        inner = list(getattr(getattr(route, "app", None), "routes", None) or ())
        if inner:
            yield from _walked(inner, base + route.path)
            continue
        if getattr(route, "path", None) is None:
            route = route.original_route
        if route.path or not hasattr(route, "app"):
            yield base + route.path


def group(path: str) -> str:
    """Return what a path is decided by: its first telling part.

    Examples
    --------
    >>> group("/ajax-api/3.0/mlflow/gateway/secrets/list"), group("/api/flow_runs/{id:uuid}")
    ('mlflow/gateway', 'api/flow_runs')
    """
    parts = _VERSIONED.sub("/", path).strip("/").split("/")
    two = parts[0] in {"api", "mlflow", "ajax-api", "gateway", "pipelines"}
    return "/".join(part for part in parts[: 1 + two] if not part.startswith(("{", "<")))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(routes_of(sys.argv[1], Path(sys.argv[2]))))
