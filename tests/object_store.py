"""A real S3 server on loopback (moto's), and a line to it that can be cut."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from tests.ports import free_port

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    port: int

    def environ(self, port: int | None = None) -> dict[str, str]:
        """What a process needs to reach it, or a line to it."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}"}

    @property
    def files(self) -> Any:
        """Its objects, seen beside keepfit."""
        return pafs.S3FileSystem(
            access_key="testing", secret_key="x", region="us-east-1", scheme="http",
            endpoint_override=f"127.0.0.1:{self.port}", allow_bucket_creation=True,
        )  # fmt: skip

    def write(self, path: str, content: bytes) -> None:
        """Write an object."""
        with self.files.open_output_stream(path, compression=None) as sink:
            sink.write(content)

    def read(self, path: str) -> bytes:
        """Return an object's content."""
        content: bytes = self.files.open_input_stream(path, compression=None).read()
        return content

    def names(self, prefix: str) -> list[str]:
        """Return the names of the objects below a prefix."""
        found = self.files.get_file_info(pafs.FileSelector(prefix, recursive=True))
        return sorted(info.path for info in found if info.type == pafs.FileType.File)

    def demand_rights(self, *, wanted: bool = True) -> None:
        """Refuse every key that has no rights, which no key has; or accept all again."""
        self._post("reset-auth", b"0" if wanted else b"inf")

    def _post(self, name: str, body: bytes) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/moto-api/{name}",
            data=body,
            headers={"Content-Type": "text/plain"},
        )
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run a server in a process of its own, with the bucket ``sales``."""
    port = free_port()
    program = str(Path(sys.executable).parent / "moto_server")
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    try:
        _await(f"http://127.0.0.1:{port}/moto-api/", process)
        server = S3Server(port)
        server.files.create_dir("sales")
        yield server
    finally:
        process.kill()
        process.wait()


def _await(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(address, timeout=5).close()  # noqa: S310
            return
        time.sleep(0.05)
    raise RuntimeError("the S3 server did not start")


@contextmanager
def cut_line(port: int, after: int) -> Iterator[int]:
    """Yield a port that leads to another, until so many bytes went through; then it is dead."""
    left = [after]
    lock = threading.Lock()
    listener = socket.create_server(("127.0.0.1", 0))
    ends: list[socket.socket] = []

    def die() -> None:
        for end in (listener, *ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def carry(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                with lock:
                    left[0] -= len(data)
                if left[0] < 0:
                    die()
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                ends.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=carry, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        die()
