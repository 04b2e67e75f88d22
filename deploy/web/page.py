"""keepfit's page and the reports that it links to, read-only; addresses mirror the state folder."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from tasks.dashboard.page_environment import script_source

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
# The pages of a pipeline: no snapshots, fits, outcomes or locks.
_ROOMS = frozenset({"reports", "monitoring", "contracts"})

_OWN = (
    f"default-src 'none'; script-src {script_source()}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Reports hold values of the data, and Evidently's run scripts: in an origin of their own they reach
# neither this page nor anything else.
_REPORT = (
    "sandbox allow-scripts allow-popups; default-src 'none'; "
    "script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; worker-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_NOTHING_YET = "Nothing has run yet. This page is written after the first run."


def page_app(state: Path) -> Starlette:
    """Return the application that serves `state`'s dashboard and reports, GET and HEAD only."""
    root = state.resolve()

    async def first(_: Request) -> Response:
        return RedirectResponse("/dashboard/", headers={**_HEADERS})

    async def health(_: Request) -> Response:
        return PlainTextResponse("OK", headers=_HEADERS)

    async def dashboard(request: Request) -> Response:
        name = request.path_params["path"] or "index.html"
        found = served_file(root / "dashboard", name)
        if found is None and name == "index.html":
            return PlainTextResponse(_NOTHING_YET, headers=_headers(_OWN))
        return _answer(found, _OWN)

    async def report(request: Request) -> Response:
        name, room, path = (request.path_params[key] for key in ("name", "room", "path"))
        if room not in _ROOMS or not _NAME.fullmatch(name):
            return _answer(None, _REPORT)
        return _answer(served_file(root / "pipelines" / name / room, path), _REPORT)

    return Starlette(
        routes=[
            Route("/", first),
            Route("/health", health),
            Route("/dashboard/{path:path}", dashboard),
            Route("/pipelines/{name}/{room}/{path:path}", report),
        ]
    )


def served_file(folder: Path, path: str) -> Path | None:
    """Return the file that `path` names below `folder`; None when it may not be served."""
    # Hidden files, folders, other types than pages and pictures, and what lies outside are not.
    parts = path.split("/")
    if "\0" in path or "\\" in path or any(part.startswith(".") or not part for part in parts):
        return None
    found = folder.joinpath(*parts)
    if found.suffix.lower() not in _TYPES:
        return None
    try:
        whole = found.resolve()
        inside = whole.is_relative_to(folder.resolve())
        return whole if inside and whole.is_file() else None
    except (OSError, ValueError):
        return None


def _answer(found: Path | None, policy: str) -> Response:
    if found is None:
        return PlainTextResponse("Not found.", 404, headers=_headers(policy))
    return FileResponse(found, media_type=_TYPES[found.suffix.lower()], headers=_headers(policy))


def _headers(policy: str) -> dict[str, str]:
    return {**_HEADERS, "Content-Security-Policy": policy}
