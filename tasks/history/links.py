"""Addresses that may stand in a page: of servers that run, and of pages in the state folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from tasks.base.monitoring_records import Decision
from tasks.base.pipeline_file import Pipeline
from tasks.base.servers.stack_file import mlflow_server, prefect_run_page

_WORDS = {
    "report": "Report",
    "evidently": "Evidently's report",
    "prefect": "Prefect run",
    "mlflow": "MLflow run",
    "compare": "Candidates compared",
    "table": "Candidates of every training",
    "contract": "Contract page",
    "page": "Contract page",
}


def named(name: str) -> str:
    """Return the word under which a link is shown."""
    return _WORDS.get(name, name)


def addresses(pipeline: Pipeline, decision: Decision) -> dict[str, str]:
    """Return the links of `decision`, by name, as absolute paths and addresses."""
    # Ports change between two starts of the stack: a running server's address is made anew.
    found = {name: target for name, target in decision.links.items() if target}
    if isinstance(page := decision.evidence.get("page"), str) and page:
        found.setdefault("page", page)
    if run := prefect_run_page(pipeline.state, decision.prefect_run):
        found["prefect"] = run
    for name in {"mlflow", "compare", "table"} & found.keys():
        found[name] = mlflow_address(pipeline.state, found[name])
    return found


def mlflow_address(state: Path, stored: str) -> str:
    """Return the address of one of MLflow's pages on the server that is there now."""
    base, mark, path = stored.partition("/#/")
    return f"{mlflow_server(state) or base}{mark}{path}"


def href(target: str, folder: Path, root: Path) -> str | None:
    """Return `target` as a page in `folder` may link to it; None when it may not.

    `root`: the state folder: pages in it are linked relatively, other files not at all.

    >>> href("/srv/k/pipelines/a/x y.html", Path("/srv/k"), Path("/srv/k"))
    'pipelines/a/x%20y.html'
    >>> href("/etc/passwd", Path("/srv/k"), Path("/srv/k")) is None
    True
    >>> href("javascript:alert(1)", Path("/srv/k"), Path("/srv/k")) is None
    True
    """
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    if parts.scheme in ("http", "https"):
        return target if parts.netloc and len(target.split()) == 1 else None
    path = os.path.normpath(root / target)
    inside = Path(path).is_relative_to(os.path.normpath(root)) and "\0" not in path
    if parts.scheme or not inside or not path.endswith(".html"):
        return None
    return quote(os.path.relpath(path, folder))


def openable(target: str, folder: Path, root: Path) -> str | None:
    """Return `href`, for a file only while it is there: old reports are removed."""
    found = href(target, folder, root)
    gone = found is not None and not urlsplit(target).scheme and not (root / target).is_file()
    return None if gone else found


def hrefs(
    targets: Mapping[str, str], folder: Path, root: Path
) -> tuple[tuple[str, str | None, str], ...]:
    """Return word, address and target of each; the address is None where it may not be a link."""
    return tuple((named(k), openable(v, folder, root), v) for k, v in targets.items())
