from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import httpx
import pytest

from deploy.web.page_server import AUTHENTICATION, guarded_page, page_credentials, serve_page
from tasks.base.errors import UsageError


def status(
    path: Path,
    credentials: str | None,
    *,
    host: str = "keepfit.example",
    at: str = "/health",
    **headers: str,
) -> int:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=guarded_page(path, 4280, credentials))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.get(at, headers=headers)

    return asyncio.run(ask()).status_code


def basic(credentials: bytes) -> str:
    return f"Basic {base64.b64encode(credentials).decode()}"


def test_beyond_loopback_a_password_is_required() -> None:
    for host in ("0.0.0.0", "::", "192.168.0.7", "keepfit.example"):  # noqa: S104 - refused
        with pytest.raises(UsageError, match="no password") as refused:
            page_credentials(host, {})
        assert AUTHENTICATION in refused.value.remedy
        assert page_credentials(host, {AUTHENTICATION: "a:b"}) == "a:b"
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        assert page_credentials(host, {}) is None


@pytest.mark.parametrize("value", ["admin", "admin:", ":secret"])
def test_a_password_without_a_user_is_refused_even_on_loopback(value: str) -> None:
    with pytest.raises(UsageError, match="a user, a colon and a password"):
        page_credentials("127.0.0.1", {AUTHENTICATION: value})


def test_with_a_password_only_those_who_know_it_see_the_page(tmp_path: Path) -> None:
    page = "/dashboard/"
    given = "admin:größe:2"

    assert status(tmp_path, given, at=page) == 401
    assert status(tmp_path, given, at=page, Authorization=basic(given.encode())) == 200
    for wrong in (basic(b"admin:gr"), basic(b"admin"), "Basic ***", "Bearer x", "Basic"):
        assert status(tmp_path, given, at=page, Authorization=wrong) == 401
    assert status(tmp_path, given, at="/health") == 200
    assert status(tmp_path, given, at="/health/../dashboard/") == 401


def test_without_a_password_only_this_machine_by_its_own_names_sees_it(tmp_path: Path) -> None:
    assert status(tmp_path, None, host="127.0.0.1:4280") == 200
    assert status(tmp_path, None, host="127.0.0.1:4280", at="/dashboard/") == 401
    assert status(tmp_path, None, host="evil.example:4280") == 400


def test_an_address_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1:{port} can.t be used"):
            serve_page(tmp_path, "127.0.0.1", port)
