"""What a connection may send before anybody is known, to a server in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

SERVER = """
import socket, sys
from deploy.web import uvicorn_server
from deploy.web.uvicorn_server import run_server

uvicorn_server.HEAD_SECONDS = 2.0

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message["body"]), message["more_body"]
    body = f"{length} from {scope['client'][1]}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

run_server(app, socket.socket(fileno=int(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(listener.fileno())], pass_fds=(listener.fileno(),)
        )
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.terminate()
            server.wait()


def answered(port: int, *pieces: bytes, first: bytes = b"") -> bytes:
    """Return all that a connection answers until it is closed, the answer to `first` awaited."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        answer = b""
        if first:
            connection.sendall(first)
            answer = connection.recv(65_536)
        try:
            for piece in pieces:
                connection.sendall(piece)
            while data := connection.recv(65_536):
                answer += data
        except ConnectionError:
            pass
    return answer


HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([HEAD + b"X: ", b"a" * 300_000, b"a" * 300_000], id="one long header"),
        pytest.param([HEAD, b"X: a\r\n" * 100_000], id="many headers"),
        pytest.param([b"GET /" + b"a" * 300_000, b"a" * 300_000], id="a long path"),
        pytest.param([HEAD + b"X"], id="one that never ends"),
        pytest.param([b""], id="none at all"),
    ],
)
def test_a_head_that_is_too_long_or_too_slow_is_not_waited_for(
    port: int, pieces: list[bytes]
) -> None:
    assert answered(port, *pieces) == b""


def test_a_body_is_not_counted_as_a_head_nor_is_the_next_request(port: int) -> None:
    with httpx.Client(timeout=120, base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(2):
            assert client.post("/", content=b"a" * 1_000_000).text.startswith("1000000 from ")
    piped = HEAD + b"\r\n" + HEAD + b"Connection: close\r\n\r\n"
    assert answered(port, piped).count(b"0 from ") == 2


def test_a_second_head_is_bounded_too(port: int) -> None:
    said = answered(port, HEAD + b"X: ", b"a" * 300_000, b"a" * 300_000, first=HEAD + b"\r\n")
    assert said.count(b"HTTP/1.1 200") == 1


def test_nobody_states_whose_connection_theirs_is(port: int) -> None:
    stated = {"x-forwarded-for": "127.0.0.1:9", "forwarded": "for=127.0.0.1:9"}
    assert httpx.get(f"http://127.0.0.1:{port}", headers=stated, timeout=120).text != "0 from 9"
