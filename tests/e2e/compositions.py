"""The compose file's services as processes of this machine: their commands, variables, checks."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.stacks import until
from tests.ports import free_port
from tests.shipped import DEPLOY, compose, example, filled, order

_ROOT = Path(__file__).parents[2]
_PORTS = ("4200", "4280", "5000", "8080")
_FOLDERS = ("pipelines", "data", "state", "mlflow")
_PATIENCE = 900.0


class Composition:
    """Services started in the order of the compose file.

    What the network and the mounts of containers do is done by replacing: a service's name by
    loopback, a port by a free one, ``/state`` by a folder.

    Parameters
    ----------
    folder
        Holds what is mounted: ``pipelines``, ``data``, ``state``, ``mlflow``.
    postgres
        ``host:port`` of a running server that stands for the service ``postgres``.
    given
        What a person fills in of `environment.example`.
    """

    def __init__(self, folder: Path, postgres: str, **given: str) -> None:
        self.folder = folder
        self._postgres = postgres
        self._ports = {port: str(free_port()) for port in _PORTS}
        self.variables = {
            name: self._placed(value)
            for name, value in example(DEPLOY / "environment.example", **given).items()
        }
        self._services = compose()["services"]
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._home = folder / "home"
        for name in (*_FOLDERS, "home"):
            (folder / name).mkdir(exist_ok=True)

    def address(self, port: int) -> str:
        """Return where the service with that port of the compose file listens."""
        return f"http://127.0.0.1:{self._ports[str(port)]}"

    def environment(self, name: str) -> dict[str, str]:
        """Return the variables of a service: the image's, those of its file, its own."""
        service = self._services[name]
        own = filled(self._placed(service.get("environment", {})), self.variables)
        file = self.variables if "env_file" in service else {}
        bin_ = Path(sys.executable).parent
        return {
            "HOME": str(self._home),
            "PATH": f"{bin_}:{os.environ['PATH']}",
            # The worktree's packages, wherever a service works.
            "PYTHONPATH": str(_ROOT),
            **{key: self._placed(value) for key, value in image_environment().items()},
            "PREFECT_WORKER_WEBSERVER_PORT": self._ports["8080"],
            **file,
            **own,
        }

    def start(self) -> None:
        """Start what compose starts, but PostgreSQL, each when what it depends on is as it asks."""
        for name in order(self._services):
            if name == "postgres" or self._services[name].get("profiles"):
                continue
            for needed, how in self._services[name].get("depends_on", {}).items():
                if needed != "postgres":
                    self._await(needed, how["condition"])
            self._start(name)
        for name in self._running:
            self._await(name, "service_healthy")

    def stop(self) -> None:
        """End the services, the last one first; what does not end is killed."""
        for process in reversed(self._running.values()):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(timeout=60)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def log(self, name: str) -> str:
        """Return the end of what a service wrote."""
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")[-3000:]

    def _start(self, name: str) -> None:
        service = self._services[name]
        with (self.folder / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                self._placed(service["command"]),
                cwd=self._placed(service.get("working_dir", "/pipelines")),
                env=self.environment(name), stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def _await(self, name: str, condition: str) -> None:
        process = self._running[name]
        check = self._services[name]["healthcheck"]
        if condition == "service_completed_successfully" or check.get("disable"):
            assert process.wait(_PATIENCE) == 0, f"{name}: {self.log(name)}"
            return
        kind, *command = self._placed(check["test"])
        assert kind == "CMD"
        environ = self.environment(name)

        def well() -> bool:
            assert process.poll() is None, f"{name}: {self.log(name)}"
            done = subprocess.run(command, env=environ, capture_output=True, check=False)
            return done.returncode == 0

        try:
            until(well, _PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}\n{self.log(name)}") from None

    def _placed(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._placed(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._placed(one) for one in value]
        text = str(value).replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - replaced
        text = re.sub(r"@postgres/(\w+)", rf"@{self._postgres}/composed_\1", text)
        text = re.sub(r"\b(prefect|mlflow):(?=\d{4})", "127.0.0.1:", text)
        for port, free in self._ports.items():
            text = re.sub(rf"(?<![\w$]){port}\b", free, text)
        folders = "|".join(_FOLDERS)
        return re.sub(rf"(?<![\w/.])/(?=(?:{folders})\b)", f"{self.folder}/", text)


def image_environment() -> dict[str, str]:
    """Return the variables that the Dockerfile sets, but for the path of programs."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    line = re.findall(r"^ENV (PATH=.+)$", text, re.M)[0]
    pairs = (word.partition("=") for word in shlex.split(line))
    return {name: value for name, _, value in pairs if name != "PATH"}


def databases() -> list[str]:
    """Return the statements that PostgreSQL runs at its first start, its own database first."""
    service, text = compose()["services"]["postgres"], compose()["configs"]["databases"]["content"]
    names = [service["environment"]["POSTGRES_DB"], *re.findall(r"CREATE DATABASE (\w+);", text)]
    return [f"CREATE DATABASE composed_{name}" for name in names]


@contextmanager
def composed(folder: Path, postgres: str, **given: str) -> Iterator[Composition]:
    """Yield the running services; afterwards none of them is left."""
    services = Composition(folder, postgres, **given)
    try:
        services.start()
        yield services
    finally:
        services.stop()
