"""The prediction server: the champion predicts, and predictions are recorded before they leave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.serving.limits import RateLimit, TooLargeError, body_of
from deploy.serving.metrics import Metrics
from deploy.serving.openapi import openapi, request_schema
from expectations.text.phrases import shorten
from tasks.base.errors import DataError, KeepfitError
from tasks.base.text.commands import command
from tasks.serving.current_champion import CurrentChampion
from tasks.serving.delivery import record_of, spool_folder
from tasks.serving.request_columns import RequestColumns
from tasks.serving.row_rules import Broken
from tasks.serving.served_model import Answer, ServedModel
from tasks.serving.spool import Spool

logger = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/health", "/ready"})
_AT_ONCE = 500  # rows that are predicted between two other requests; more go to a thread
_MOST_NAMES = 20
_MOST_SHADOWED = 100  # requests that wait for a version which predicts into the ledger only
_REST_SECONDS = 0.5
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_JSON = "application/json"
_BODY_SECONDS = 30.0


@dataclass(frozen=True)
class Limits:
    """Limits of one request."""

    rows: int = 10_000
    body_bytes: int = 8_000_000
    rate: float | None = None  # requests a second and client; None: no limit
    check_seconds: float = 2.0  # how often the registry is queried for the champion


class RefusedError(Exception):
    """A request that fails with a response."""

    def __init__(
        self, status: int, kind: str, message: str, remedy: str = "", *, close: bool = False
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.remedy = status, kind, message, remedy
        self.headers = {"connection": "close"} if close else {}


class PredictionServer:
    """Predictions of `champions`; `background` brings the spool to the ledger meanwhile."""

    def __init__(
        self,
        champions: Sequence[CurrentChampion],
        limits: Limits | None = None,
        *,
        token: bool = False,
        background: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._champions = {one.name: one for one in champions}
        self._limits = limits or Limits()
        self._token = token
        self._background = background
        self._rate = RateLimit(self._limits.rate)
        self._metrics = Metrics()
        self._spools: dict[str, Spool] = {}
        self._refused_by_disk: dict[str, str] = {}  # pipeline to why nothing can be recorded
        self._shadowing: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="predict")

    def app(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route("/pipelines/{name}/predict", self._predict, methods=["POST"]),
                Route("/pipelines/{name}", self._describe),
                Route("/health", self._health),
                Route("/ready", self._ready),
                Route("/metrics", self._count),
                Route("/openapi.json", self._openapi),
            ],
            exception_handlers={HTTPException: _no_such_address},
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        for name, one in self._champions.items():
            self._spools[name] = Spool(spool_folder(one.pipeline))
        running = [asyncio.create_task(self._watch()), asyncio.create_task(self._rest())]
        if self._background is not None:
            running.append(asyncio.create_task(self._background()))  # type: ignore[arg-type]
        try:
            yield
        finally:
            await asyncio.gather(*self._shadowing, return_exceptions=True)
            for spool in self._spools.values():
                spool.close()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _watch(self) -> None:
        """Follow the registry, off the thread that serves requests."""
        while True:
            for one in self._champions.values():
                await asyncio.to_thread(one.look)
                if one.model is not None:
                    await asyncio.to_thread(self._check_disk, one.name)
            await asyncio.sleep(self._limits.check_seconds)

    def _check_disk(self, name: str) -> None:
        try:
            self._spools[name].check()
        except OSError as error:
            self._refused_by_disk[name] = _unrecorded(error)
        else:
            self._refused_by_disk.pop(name, None)

    async def _rest(self) -> None:
        """Give up what was written, so that it is delivered."""
        while True:
            await asyncio.sleep(_REST_SECONDS)
            for name, spool in self._spools.items():
                give_up = spool.finished()
                try:
                    if give_up is not None:
                        await asyncio.to_thread(give_up)
                except OSError as error:
                    logger.warning("%s: the disk refuses predictions (%s)", name, error.strerror)

    async def _predict(self, request: Request) -> Response:
        began = time.perf_counter()
        name = request.path_params["name"]
        stated = request.headers.get("x-request-id", "")
        identity = stated if _REQUEST_ID.fullmatch(stated) else uuid.uuid4().hex
        try:
            if name not in self._champions:
                known = ", ".join(sorted(self._champions))
                raise RefusedError(
                    404, "usage", f"No pipeline {shorten(name, 60)!r} is served.",
                    f"Served here: {known}.",
                )  # fmt: skip
            body, status = await self._answered(request, self._champions[name], identity)
        except RefusedError as error:
            body, status = _error(error.kind, error.message, error.remedy, identity), error.status
            headers = error.headers
        except ClientDisconnect:
            return Response(status_code=400)
        else:
            headers = {}
        label = name if name in self._champions else ""
        self._metrics.requests.labels(label, str(status)).inc()
        self._metrics.seconds.labels(label).observe(time.perf_counter() - began)
        return _json(body, status, {**headers, "x-request-id": identity})

    async def _answered(
        self, request: Request, champion: CurrentChampion, identity: str
    ) -> tuple[dict[str, Any], int]:
        rows, lists = await self._read(request)
        model = champion.model
        if model is None:
            problem = champion.problem or KeepfitError("The champion is being loaded.")
            remedy = problem.remedy or "Try again in a few seconds."
            raise RefusedError(503, problem.kind, problem.message, remedy)
        count = len(rows) if rows is not None else len(next(iter(lists.values())))
        try:
            if count <= _AT_ONCE and model.encoder is not None and model.hook is None:
                answer = _answer(model, rows, lists, count)
            else:
                loop = asyncio.get_running_loop()
                answer = await loop.run_in_executor(
                    self._threads, _answer, model, rows, lists, count
                )
        except DataError as error:
            raise RefusedError(422, error.kind, error.message, error.remedy) from None
        if answer.places:
            self._record(champion.name, record_of(model, answer, identity))
            if (shadow := champion.shadow) is not None:
                self._let_answer(champion.name, shadow, rows, lists, count, identity)
        self._count_rows(champion.name, answer)
        return _body(model, answer, count, identity), 200 if answer.places else 422

    async def _read(
        self, request: Request
    ) -> tuple[list[dict[str, Any]] | None, dict[str, list[Any]]]:
        wait = self._rate.seconds_to_wait(request.client.host if request.client else "")
        if wait:
            raise RefusedError(
                429, "rate", f"More than {self._limits.rate:g} requests a second.",
                f"Try again in {wait:.1f} s, or send more rows a request.", close=True,
            )  # fmt: skip
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
            raise RefusedError(
                415, "usage", "The body must be JSON.", f"Send Content-Type: {_JSON}.", close=True
            )
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await body_of(request, self._limits.body_bytes)
        except TimeoutError:
            raise RefusedError(
                408, "usage", f"The body did not come within {_BODY_SECONDS:g} s.",
                "Send it at once.", close=True,
            ) from None  # fmt: skip
        except TooLargeError:
            raise RefusedError(
                413, "usage", f"The body has more than {self._limits.body_bytes:,} bytes.",
                "Send fewer rows a request.", close=True,
            ) from None  # fmt: skip
        try:
            given = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise RefusedError(
                400, "usage", f"The body is no JSON: {error.msg} at character {error.pos + 1}.",
                'Send {"rows": [{"column": value, …}, …]}, with null where a value is not known: '
                "JSON has neither NaN nor infinity.",
            ) from None  # fmt: skip
        return _shaped(given, self._limits.rows)

    def _let_answer(
        self,
        name: str,
        shadow: ServedModel,
        rows: list[dict[str, Any]] | None,
        lists: Mapping[str, list[Any]],
        count: int,
        identity: str,
    ) -> None:
        """Let a version predict into the ledger only; when many wait, some are left out."""
        if len(self._shadowing) >= _MOST_SHADOWED:
            self._metrics.rows.labels(name, "not shadowed").inc(count)
            return

        async def answered() -> None:
            loop = asyncio.get_running_loop()
            try:
                answer = await loop.run_in_executor(
                    self._threads, _answer, shadow, rows, lists, count
                )
                if answer.places:
                    self._spools[name].write([record_of(shadow, answer, identity, "shadow")])
            except (DataError, OSError):
                self._metrics.rows.labels(name, "not shadowed").inc(count)
            else:
                self._metrics.rows.labels(name, "shadowed").inc(len(answer.places))

        task = asyncio.create_task(answered())
        self._shadowing.add(task)
        task.add_done_callback(self._shadowing.discard)

    def _record(self, name: str, record: bytes) -> None:
        """Record predictions; without that they do not leave."""
        try:
            self._spools[name].write([record])
        except OSError as error:
            logger.warning("%s: predictions cannot be recorded (%s)", name, error.strerror)
            self._refused_by_disk[name] = _unrecorded(error)
            raise RefusedError(
                503, "infrastructure", self._refused_by_disk[name],
                "Free space in the server's state folder, or mount it for writing; then try again.",
            ) from None  # fmt: skip

    def _count_rows(self, name: str, answer: Answer) -> None:
        self._metrics.rows.labels(name, "answered").inc(len(answer.places))
        if answer.faults:
            self._metrics.rows.labels(name, "refused").inc(len(answer.faults))
            for faults in answer.faults.values():
                for fault in faults:
                    self._metrics.broken.labels(name, fault.column or "", fault.rule, "error").inc()
        for one in answer.warnings:
            self._metrics.broken.labels(name, one.column or "", one.rule, "warning").inc(
                len(one.rows)
            )

    async def _describe(self, request: Request) -> Response:
        name = request.path_params["name"]
        one = self._champions.get(name)
        if one is None or one.model is None:
            message = "is not served" if one is None else "has no version that predicts"
            status = 404 if one is None else 503
            return _json(_error("usage", f"{shorten(name, 60)!r} {message}.", ""), status)
        model = one.model
        return _json(
            {
                "pipeline": name,
                "version": model.version.version,
                "run_id": model.version.run_id,
                "target": model.roles.target,
                "task": model.roles.task,
                "classes": list(model.roles.classes),
                "contract": model.contract_digest,
                "checked_by_scoring_only": list(model.rules.unchecked),
                "through_a_frame": model.encoder is None,
                "request": request_schema(model),
            }
        )

    async def _health(self, _: Request) -> Response:
        return _json({"status": "ok"})

    async def _ready(self, _: Request) -> Response:
        missing = {
            name: (one.problem.message if one.problem else "its champion is being loaded")
            for name, one in self._champions.items()
            if one.model is None
        } | self._refused_by_disk
        versions = {n: o.model.version.version for n, o in self._champions.items() if o.model}
        return _json(
            {"ready": not missing, "versions": versions, "missing": missing},
            503 if missing else 200,
        )

    async def _count(self, _: Request) -> Response:
        text = await asyncio.to_thread(self._metrics.text, list(self._champions.values()))
        return Response(text, media_type="text/plain; version=0.0.4")

    async def _openapi(self, _: Request) -> Response:
        return _json(openapi(self._champions.values(), token=self._token))


def _unrecorded(error: OSError) -> str:
    return f"The predictions could not be recorded ({error.strerror}): none is returned."


def _no_such_address(request: Request, error: Exception) -> Response:
    """Respond to a path or a method that is not served in the format of every error."""
    if not isinstance(error, HTTPException):
        raise error
    message = f"{request.method} {shorten(request.url.path, 60)}: {error.detail}."
    remedy = "What is served stands in /openapi.json; rows go by POST to /pipelines/NAME/predict."
    return _json(_error("usage", message, remedy), error.status_code, error.headers)


def _shaped(given: Any, most: int) -> tuple[list[dict[str, Any]] | None, dict[str, list[Any]]]:
    """Return rows as objects, or columns as lists of one length."""
    form = 'Send {"rows": [{"column": value, …}, …]} or {"columns": {"column": [value, …], …}}.'
    if not isinstance(given, dict) or len(given) != 1 or not {"rows", "columns"} & set(given):
        raise RefusedError(
            400, "usage", "The body must be an object with `rows` or `columns`.", form
        )
    if "rows" in given:
        rows = given["rows"]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise RefusedError(400, "usage", "`rows` must be a list of objects.", form)
        _require_rows(len(rows), most)
        return rows, {}
    lists = given["columns"]
    if not isinstance(lists, dict) or not all(isinstance(v, list) for v in lists.values()):
        raise RefusedError(400, "usage", "`columns` must be an object of lists.", form)
    lengths = set(map(len, lists.values()))
    if len(lengths) > 1:
        raise RefusedError(
            400, "usage", f"All columns must be of one length; got {sorted(lengths)[:5]}.", form
        )
    _require_rows(next(iter(lengths), 0), most)
    return None, lists


def _require_rows(count: int, most: int) -> None:
    if not count:
        raise RefusedError(400, "usage", "The request holds no row.", "Send at least one.")
    if count > most:
        raise RefusedError(
            413, "usage", f"A request may hold {most:,} rows; got {count:,}.",
            f"Send several requests, or score a file: {command('score')} --input FILE.",
        )  # fmt: skip


def _answer(
    model: ServedModel,
    rows: list[dict[str, Any]] | None,
    lists: Mapping[str, list[Any]],
    count: int,
) -> Answer:
    given: RequestColumns = (
        model.read_lists(lists, count) if rows is None else model.read_records(rows)
    )
    return model.answer(given)


def _body(model: ServedModel, answer: Answer, count: int, identity: str) -> dict[str, Any]:
    rows: list[dict[str, Any] | None] = [None] * count
    predicted = answer.predicted.tolist()
    labels = model.roles.classes
    shares = [] if answer.probability is None else answer.probability.tolist()
    for place, row in enumerate(answer.places):
        entry: dict[str, Any] = {"prediction": predicted[place]}
        if shares:
            entry["probability"] = dict(zip(labels, shares[place], strict=True))
        if answer.rank is not None:
            entry["rank"] = int(answer.rank[place])
        rows[row] = entry
    for row, faults in answer.faults.items():
        rows[row] = {"errors": [vars(fault) for fault in faults[:_MOST_NAMES]]}
    body: dict[str, Any] = {
        "request_id": identity,
        "pipeline": model.version.name,
        "version": model.version.version,
        "answered": len(answer.places),
        "refused": len(answer.faults),
        "rows": rows,
    }
    if answer.warnings:
        body["warnings"] = [_warning(one) for one in answer.warnings]
    if answer.ignored:
        body["ignored"] = [shorten(name, 60) for name in answer.ignored[:_MOST_NAMES]]
    return body


def _warning(one: Broken) -> dict[str, Any]:
    return {
        "column": one.column, "rule": one.rule, "expected": one.expected, "rows": len(one.rows),
    }  # fmt: skip


def _error(kind: str, message: str, remedy: str, identity: str = "") -> dict[str, Any]:
    body: dict[str, Any] = {"error": {"kind": kind, "message": message, "remedy": remedy}}
    return {"request_id": identity, **body} if identity else body


def _json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(body), status, {"x-content-type-options": "nosniff", **(headers or {})}, _JSON
    )
