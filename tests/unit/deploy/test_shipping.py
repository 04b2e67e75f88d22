"""Dockerfile, compose file, manifests and units: they parse, and what they run exists."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def _commands() -> list[tuple[str, list[str]]]:
    found = [("Dockerfile", ["keepfit", "--help"])]
    found += [
        (f"compose {name}", one["command"])
        for name, one in COMPOSE["services"].items()
        if "command" in one
    ]
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            found += [(path.name, c["command"]) for c in _containers(document)]
    for path in UNITS:
        line = re.search(r"^ExecStart=(.+)$", path.read_text(encoding="utf-8"), re.M)
        assert line is not None
        words = shlex.split(line[1])
        words = shlex.split(words[2])[1:] if words[0] == "/bin/sh" else words
        found.append((path.name, [words[0].removeprefix("/opt/keepfit/bin/"), *words[1:]]))
    return found


def _containers(document: Any) -> list[dict[str, Any]]:
    template = document.get("spec", {}).get("template", {}).get("spec", {})
    containers: list[dict[str, Any]] = template.get("containers", [])
    return containers


@pytest.mark.parametrize(
    ("place", "command"), _commands(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_command_exists_and_takes_its_options(place: str, command: list[str]) -> None:
    program, *arguments = command
    assert shutil.which(program, path=str(Path(sys.executable).parent)) is not None

    options = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    verbs = [word for word in arguments if re.fullmatch(r"[a-z][a-z-]*", word)]
    assert options <= _options(program, verbs) | {"--help"}


def _options(program: str, verbs: list[str]) -> set[str]:
    """Return the options of the command that `verbs` name."""
    if program == "keepfit":
        if not verbs:
            return set()
        command = getattr(import_module("deploy.commands"), verbs[0])
        return {name for option in command.params for name in option.opts}
    # Read, not imported: these modules take seconds.
    package = Path(next(iter(find_spec(program).submodule_search_locations)))  # type: ignore[union-attr,arg-type]
    modules = {"mlflow": ("cli/__init__.py", "utils/cli_args.py")}.get(
        program, (f"cli/{verbs[0]}.py",)
    )
    text = "".join((package / module).read_text(encoding="utf-8") for module in modules)
    return set(re.findall(r"\"(--[a-z-]+)\"", text))


def test_the_image_is_not_roots_and_sends_no_telemetry() -> None:
    from tasks.base.environment import turn_telemetry_off

    lines = DOCKERFILE.replace("\\\n", " ").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    environment = next(line for line in lines if line.startswith("ENV "))
    wanted: dict[str, str] = {}
    turn_telemetry_off(wanted)

    assert users[-1] not in ("root", "0")
    assert "compileall" in DOCKERFILE
    for name in ("DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED", "MLFLOW_DISABLE_TELEMETRY"):
        assert f"{name}={wanted[name]}" in environment


def test_the_image_gets_every_package() -> None:
    import tomllib

    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

    for package in packages:
        assert f"COPY {package} /src/{package}" in DOCKERFILE
    extras = re.search(r"/src\[(\w+)\]", DOCKERFILE)
    assert extras is not None
    assert extras[1] in project["project"]["optional-dependencies"]


def test_compose_publishes_on_loopback_only_and_holds_no_password() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")

    for service in COMPOSE["services"].values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
        for needed in service.get("depends_on", {}):
            assert needed in COMPOSE["services"]
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or source.startswith("../")
    assert "${POSTGRES_PASSWORD:?" in text
    assert "PREFECT_SERVER_API_AUTH_STRING: ${PREFECT_AUTH}" in text


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_pods_run_without_root(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        assert {"apiVersion", "kind", "metadata"} <= set(document)
        template = document.get("spec", {}).get("template")
        if template is None:
            continue
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in template["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in template["spec"]["volumes"]}


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_services_are_confined_and_restart(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    for line in ("User=keepfit", "NoNewPrivileges=true", "ProtectSystem=strict", "UMask=0077"):
        assert line in text.splitlines()
    assert re.search(r"^Restart=(on-failure|always)$", text, re.M)
