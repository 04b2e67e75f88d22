from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deploy.web.request_guard import Guard
from deploy.web.session_access import LINK_SECONDS, Access
from tasks.base.errors import InfrastructureError
from tasks.base.servers.stack_file import (
    KEY,
    prediction_token,
    prefect_login,
    program_credentials,
    stack_key,
)

LOGIN = {b"authorization": b"the owner's"}


class Owner(Access):
    """Admits whoever says so."""

    def __init__(self) -> None:
        pass

    def admits(self, headers: Mapping[bytes, bytes], account: int | None = None) -> bool:  # noqa: ARG002
        return LOGIN.items() <= headers.items()


def request(
    host: str = "127.0.0.1:4200",
    origin: str = "",
    method: str = "GET",
    path: str = "/api/health",
    kind: str = "http",
    login: Mapping[bytes, bytes] = LOGIN,
    **more: str,
) -> dict[str, Any]:
    headers = [(b"host", host.encode())] if host else []
    if origin:
        headers.append((b"origin", origin.encode()))
    headers += login.items()
    headers += [(name.replace("_", "-").encode(), v.encode()) for name, v in more.items()]
    return {"type": kind, "method": method, "path": path, "headers": headers}


async def nothing(*_: object) -> Any:
    raise AssertionError("it was let through")


GUARD = Guard(nothing, 4200, Owner(), {"assistant"})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:4200", "LOCALHOST:1", "[::1]:4200",
                                  "127.0.0.2:4200"])  # fmt: skip
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
               "http://evil.example:4200", "http://[bad", "http://127.0.0.2:4200"],
)  # fmt: skip
def test_a_page_of_another_origin_may_neither_write_nor_open_a_web_socket(
    kind: str, origin: str
) -> None:
    assert GUARD.refusal(request(origin=origin, method="POST", kind=kind)) == 403


def test_its_own_page_and_programs_may_write() -> None:
    assert GUARD.refusal(request(origin="http://localhost:4200", method="POST")) == 0
    there = request("127.0.0.2:4200", origin="http://127.0.0.2:4200", method="POST")
    assert GUARD.refusal(there) == 0
    assert GUARD.refusal(request(method="DELETE")) == 0
    assert GUARD.refusal(request(kind="websocket")) == 0


@pytest.mark.parametrize(
    "path", ["/ajax-api/3.0/mlflow/assistant/message", "/x/ASSISTANT", "//assistant//"]
)
def test_a_closed_name_is_not_served_wherever_it_stands(path: str) -> None:
    assert GUARD.refusal(request(path=path)) == 404


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("path", ["/api/flow_runs/filter", "/", "/api/health/x", "//api/health"])
def test_nobody_but_the_owner_is_let_through(kind: str, path: str) -> None:
    assert GUARD.refusal(request(path=path, kind=kind)) == 0
    assert GUARD.refusal(request(path=path, kind=kind, login={})) == 401


def test_health_is_open_to_be_read_only() -> None:
    assert GUARD.refusal(request(path="/api/health", login={})) == 0
    assert GUARD.refusal(request(path="/api/health", login={}, method="POST")) == 401
    assert GUARD.refusal(request(path="/api/health", login={}, kind="websocket")) == 401


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
def test_a_page_of_another_port_or_site_may_link_here_and_embed_nothing(site: str) -> None:
    assert GUARD.refusal(request(sec_fetch_site=site, sec_fetch_dest="document")) == 0
    for embedded in ("iframe", "image", "empty", "script"):
        assert GUARD.refusal(request(sec_fetch_site=site, sec_fetch_dest=embedded)) == 403
    form = request(sec_fetch_site=site, sec_fetch_dest="document", method="POST")
    assert GUARD.refusal(form) == 403  # of a browser that states no origin


def asked(guard: Guard, scope: dict[str, Any]) -> tuple[int, dict[str, str], str]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(guard(scope, nothing, send))
    headers = {name.decode(): value.decode() for name, value in sent[0].get("headers", ())}
    return sent[0].get("status", 0), headers, str(sent[-1].get("body", ""))


def test_a_link_lets_one_browser_in_once(tmp_path: Path) -> None:
    access = Access(tmp_path)
    guard = Guard(nothing, 4280, access)
    path = access.new_link("http://127.0.0.1:4280").removeprefix("http://127.0.0.1:4280")

    status, headers, body = asked(guard, request(path=path, login={}))
    again, without, _ = asked(guard, request(path=path, login={}))

    assert status == 200
    assert 'content="0;url=/"' in body
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(headers["set-cookie"].split("; "))
    assert (again, "set-cookie" in without) == (401, False)
    cookie = headers["set-cookie"].partition(";")[0].encode()
    for port in (4200, 5000, 4280):
        other = Guard(nothing, port, Access(tmp_path))
        assert other.refusal(request(path="/", login={b"cookie": b"a=b; " + cookie})) == 0
    assert asked(guard, request(path=path, login={b"cookie": cookie}))[0] == 200


def test_a_link_or_cookie_that_is_old_or_made_up_lets_nobody_in(tmp_path: Path) -> None:
    access = Access(tmp_path)
    access.new_link("")
    (link,) = (tmp_path / "links").iterdir()
    os.utime(link, (0, link.stat().st_mtime - LINK_SECONDS - 1))
    for code in (link.name, "", "..", "x" * 5_000, "\0", "\udc80"):
        assert access.redeemed(code) == ""
    name = access.cookie
    now = int(time.time())
    for value in ("", "x", f"{now}.", f"{now}.{'0' * 64}", f"²{now}.x", f"{'9' * 5000}.x"):
        assert not access.admits({b"cookie": f"{name}={value}".encode()}), value
    # Signed with another key.
    theirs = Access(tmp_path / "theirs")
    given = theirs.redeemed(theirs.new_link("").rpartition("/")[2]).partition(";")[0]
    value = given.partition("=")[2]
    assert theirs.admits({b"cookie": given.encode()})
    assert not access.admits({b"cookie": f"{name}={value}".encode()})


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: stack_key(tmp_path / "state"), range(16)))

    (key,) = keys
    file = tmp_path / "state" / KEY
    assert len(key) >= 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [p.name for p in file.parent.iterdir()] == [KEY]
    for credentials, known in (
        (program_credentials(file.parent), True), (f"keepfit:{key}", False),
        (f"keepfit:{prediction_token(file.parent)}", False),
    ):  # fmt: skip
        header = json.loads(prefect_login(credentials)["PREFECT_CLIENT_CUSTOM_HEADERS"])
        basic = {b"authorization": header["Authorization"].encode()}
        assert Access(file.parent).admits(basic) is known
    assert not Access(file.parent).admits({b"authorization": b"Basic !"})
    file.chmod(0o640)
    with pytest.raises(InfrastructureError, match="not yours alone"):
        stack_key(file.parent)


def test_a_link_in_a_message_is_followed_by_the_stack_itself(tmp_path: Path) -> None:
    guard = Guard(nothing, 4280, Access(tmp_path))
    scope = request(
        path='/x"><script>', login={}, sec_fetch_site="cross-site", sec_fetch_dest="document"
    )
    scope["query_string"] = b'a=1&b="'

    status, _, body = asked(guard, scope)

    assert status == 200
    assert "url=/x%22%3E%3Cscript%3E?a=1&amp;b=&quot;" in body
    inner = {**scope, "path": "//evil.example/"}
    assert "url=/evil.example/" in asked(guard, inner)[2]


def test_applications_see_no_secret_and_are_framed_by_nobody_else() -> None:
    seen: list[Any] = []

    async def app(scope: Any, _: Any, send: Any) -> None:
        seen.extend(scope["headers"])
        own = [(b"Content-Security-Policy", b"default-src 'none'")]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b""})

    _, headers, _ = asked(Guard(app, 4200, Owner()), request())

    assert [name for name, _ in seen] == [b"host"]
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["Content-Security-Policy"] == "default-src 'none'"
    assert "content-security-policy" not in headers


def test_what_is_refused_never_reaches_the_application() -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(GUARD(request("evil.example"), nothing, send))
    asyncio.run(GUARD(request("evil.example", kind="websocket"), nothing, send))

    assert sent[0]["status"] == 400
    assert sent[-1] == {"type": "websocket.close", "code": 1008}
