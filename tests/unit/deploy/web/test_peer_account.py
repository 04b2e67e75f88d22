"""Who is at the other end, asked of the kernel over real connections."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from deploy.web.request_guard import Guard, is_of_this_user, owner_of
from deploy.web.session_access import Access


@pytest.fixture(params=["127.0.0.1", "127.0.0.2", "::1"])
def scope(request: pytest.FixtureRequest) -> Any:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    try:
        listener = socket.create_server((request.param, 0), family=family)
    except OSError:
        pytest.skip("this machine has no such address")
    address = listener.getsockname()[:2]
    with listener, socket.create_connection(address) as client:
        accepted, _ = listener.accept()
        with accepted:
            host = f"[{address[0]}]" if ":" in address[0] else address[0]
            yield {
                "type": "http", "method": "POST", "path": "/", "server": address,
                "client": client.getsockname()[:2],
                "headers": [(b"host", f"{host}:{address[1]}".encode())],
            }  # fmt: skip


async def nothing(*_: object) -> Any:
    raise AssertionError("it was let through")


def test_without_a_key_only_this_account_is_let_through(
    scope: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = Guard(nothing, scope["server"][1], access=None)

    assert owner_of(scope["client"], scope["server"]) == os.getuid()
    assert guard.refusal(scope) == 0
    monkeypatch.setattr("deploy.web.request_guard._ROOT", -1)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert guard.refusal(scope) == 403
    assert guard.refusal({**scope, "method": "GET", "path": "/health"}) == 0


def test_a_cookie_that_another_account_got_hold_of_lets_it_in_nowhere(
    scope: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = Access(tmp_path)
    guard = Guard(nothing, scope["server"][1], access)
    code = access.new_link("").rpartition("/")[2]
    cookie = access.redeemed(code, os.getuid()).partition(";")[0].encode()
    asked = {**scope, "headers": [*scope["headers"], (b"cookie", cookie)]}

    assert guard.refusal(asked) == 0
    monkeypatch.setattr("deploy.web.request_guard.owner_of", lambda *_: os.getuid() + 1)
    assert guard.refusal(asked) == 401


def test_a_connection_that_the_kernel_does_not_know_is_nobodys(scope: Any) -> None:
    unknown = (scope["client"][0], 1)

    assert owner_of(unknown, scope["server"]) is None
    for client in (unknown, ("testclient", 50_000), None):
        assert not is_of_this_user({**scope, "client": client})


def test_who_asks_and_closes_at_once_is_not_taken_for_root(scope: Any) -> None:
    address = scope["server"]
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.create_server((address[0], 0), family=family) as listener:
        server = listener.getsockname()[:2]
        client = socket.create_connection(server)
        ends, (accepted, _) = (client.getsockname()[:2], server), listener.accept()
        with accepted:
            client.sendall(b"POST / HTTP/1.1\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
            assert owner_of(*ends) == os.getuid()
            client.close()

            assert owner_of(*ends) is None
            assert accepted.recv(4) == b"POST"
