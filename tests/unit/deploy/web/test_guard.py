from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deploy.web.guard import Guard


def request(
    host: str = "127.0.0.1:4200",
    origin: str = "",
    method: str = "GET",
    path: str = "/api/health",
    kind: str = "http",
) -> dict[str, Any]:
    headers = [(b"host", host.encode())] if host else []
    if origin:
        headers.append((b"origin", origin.encode()))
    return {"type": kind, "method": method, "path": path, "headers": headers}


async def nothing(*_: object) -> Any:
    raise AssertionError("it was let through")


GUARD = Guard(nothing, 4200, {"assistant"})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:4200", "LOCALHOST:1", "[::1]:4200"])
def test_this_machine_by_its_own_names_is_let_through(host: str) -> None:
    assert GUARD.refusal(request(host)) == 0


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:4200", "127.0.0.1.evil.example", "127.0.0.1:x",
             "localhost@evil.example:80", "169.254.169.254"],
)  # fmt: skip
def test_a_foreign_name_that_points_here_is_refused(host: str) -> None:
    assert GUARD.refusal(request(host)) == 400


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost.evil:4200",
               "http://evil.example:4200", "http://[bad"],
)  # fmt: skip
def test_a_page_of_another_origin_may_neither_write_nor_open_a_web_socket(
    kind: str, origin: str
) -> None:
    assert GUARD.refusal(request(origin=origin, method="POST", kind=kind)) == 403


def test_its_own_page_and_programs_may_write() -> None:
    assert GUARD.refusal(request(origin="http://localhost:4200", method="POST")) == 0
    assert GUARD.refusal(request(method="DELETE")) == 0
    assert GUARD.refusal(request(kind="websocket")) == 0


@pytest.mark.parametrize(
    "path", ["/ajax-api/3.0/mlflow/assistant/message", "/x/ASSISTANT", "//assistant//"]
)
def test_a_closed_name_is_not_served_wherever_it_stands(path: str) -> None:
    assert GUARD.refusal(request(path=path)) == 404


def test_what_is_refused_never_reaches_the_application() -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(GUARD(request("evil.example"), nothing, send))
    asyncio.run(GUARD(request("evil.example", kind="websocket"), nothing, send))

    assert sent[0]["status"] == 400
    assert sent[-1] == {"type": "websocket.close", "code": 1008}
