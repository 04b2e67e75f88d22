"""Where alerts arrive in tests: a real HTTP receiver and a real mail server, on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.ports import free_port


@dataclass(frozen=True)
class Request:
    """What was posted."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as JSON."""
        answer: dict[str, Any] = json.loads(self.body)
        return answer


@dataclass
class HttpReceiver:
    """A running receiver of webhooks."""

    port: int
    received: list[Request] = field(default_factory=list)

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def apprise(self, path: str = "/hook", scheme: str = "json") -> str:
        """Apprise's address of `path` here."""
        return f"{scheme}://{self.host}{path}"


@contextmanager
def http_receiver(answers: Sequence[int] = (), *, hang: bool = False) -> Iterator[HttpReceiver]:
    """Run a receiver on a free port.

    Parameters
    ----------
    answers
        Status of the first, second … request; 200 afterwards.
    hang
        Accept, read, and never answer until the receiver is closed.
    """
    left, closing, lock = list(answers), threading.Event(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                receiver.received.append(
                    Request(self.command, self.path, dict(self.headers.items()), body)
                )
                status = left.pop(0) if left else 200
            if hang:
                closing.wait(600)
                return
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its signature
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = HttpReceiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class MailReceiver:
    """A running mail server."""

    port: int = 0
    received: list[EmailMessage] = field(default_factory=list)

    def apprise(self, to: str = "ops@example.org", user: str = "") -> str:
        """Apprise's address for mail through this server, without TLS."""
        at = f"{user}@" if user else ""
        return f"mailto://{at}127.0.0.1:{self.port}?from=keepfit@example.org&to={to}"


@contextmanager
def mail_receiver() -> Iterator[MailReceiver]:
    """Run a mail server on a free port."""
    from aiosmtpd.controller import Controller

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: ARG002, N802
            parsed = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(parsed, EmailMessage)
            receiver.received.append(parsed)
            return "250 taken"

    receiver = MailReceiver(free_port())
    controller = Controller(Handler(), hostname="127.0.0.1", port=receiver.port, ready_timeout=300)
    controller.start()
    try:
        yield receiver
    finally:
        controller.stop()
