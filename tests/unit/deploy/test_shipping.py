"""Dockerfile, compose file, manifests and units: what they name and run exists."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.shipped import (
    DEPLOY,
    KUBERNETES,
    compose,
    containers,
    example,
    filled,
    kustomization,
    manifests,
    order,
    pods,
    units,
)

COMPOSE = compose()
SERVICES: dict[str, Any] = COMPOSE["services"]
MANIFESTS = manifests()
PODS = list(pods(MANIFESTS))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
# What the pipeline file of the documentation names.
VARIABLES = {"WAREHOUSE_URL", "LEDGER_URL", "KEEPFIT_ALERT_URL"}


def _commands() -> list[tuple[str, str, list[str]]]:
    """Return where each command stands, its name there, and its words without the shell's."""
    found = [("Dockerfile", "CMD", _listed(re.findall(r"^CMD (.+)$", DOCKERFILE, re.M)[-1]))]
    for name, one in SERVICES.items():
        if "command" in one:
            found += [("compose", name, words) for words in _plain(one["command"])]
    for _, _, pod in PODS:
        for one in containers(pod):
            if "command" in one:
                found += [("kubernetes", one["name"], words) for words in _plain(one["command"])]
    for path in units():
        for line in re.findall(r"^ExecStart(?:Pre)?=(.+)$", path.read_text("utf-8"), re.M):
            found += [("systemd", path.stem, words) for words in _plain(shlex.split(line))]
    return found


def _listed(text: str) -> list[str]:
    return shlex.split(text.strip("[]").replace(",", " "))


def _plain(command: list[str]) -> list[list[str]]:
    if command[0] not in ("sh", "/bin/sh"):
        return [_without_folder(command)]
    parts = re.split(r"\|\|", command[2].replace(">/dev/null 2>&1", ""))
    return [_without_folder(shlex.split(part.strip().removeprefix("exec "))) for part in parts]


def _without_folder(words: list[str]) -> list[str]:
    return [words[0].removeprefix("/opt/keepfit/bin/"), *words[1:]]


def test_the_image_copies_all_that_its_wheel_is_built_from() -> None:
    wheel = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text("utf-8"))
    wheel = wheel["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {path.split("/")[0] for path in [*wheel["packages"], *wheel["force-include"]]}

    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.split("--no-editable")[0], re.M)
    assert needed <= {name for names in copied for name in names.split()}


@pytest.mark.parametrize(
    ("place", "name", "command"), _commands(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_command_exists_and_takes_its_options(
    place: str, name: str, command: list[str]
) -> None:
    program, *arguments = command
    if program == "cp":
        return
    assert shutil.which(program, path=str(Path(sys.executable).parent)) is not None

    options = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    verbs = [word for word in arguments if re.fullmatch(r"[a-z][a-z-]*", word)]
    assert options <= _options(program, verbs)


def _options(program: str, verbs: list[str]) -> set[str]:
    """Return the options of the command that `verbs` name."""
    if program == "keepfit":
        command = getattr(import_module("deploy.commands"), verbs[0])
        return {name for option in command.params for name in option.opts}
    # Read, not imported: these modules take seconds.
    package = Path(next(iter(find_spec(program).submodule_search_locations)))  # type: ignore[union-attr,arg-type]
    modules = {"mlflow": ("cli/__init__.py", "utils/cli_args.py")}.get(
        program, (f"cli/{verbs[0].replace('-', '_')}.py",)
    )
    text = "".join((package / module).read_text(encoding="utf-8") for module in modules)
    return set(re.findall(r"\"(--[a-z-]+)\"", text))


@pytest.mark.parametrize(
    "name", ["prefect", "mlflow", "pool", "worker", "deploy", "page", "predict"]
)
def test_what_is_tried_of_the_compose_file_is_what_kubernetes_runs(name: str) -> None:
    shipped = {(place, n): words for place, n, words in _commands()}

    assert shipped["kubernetes", name] == shipped["compose", name]


def test_the_image_is_locked_not_roots_and_sends_no_telemetry() -> None:
    from tasks.base.runtime.environment import turn_telemetry_off

    lines = DOCKERFILE.splitlines()
    syncs = [line for line in lines if "uv sync" in line]
    environment = next(line for line in lines if line.startswith("ENV PATH"))
    wanted: dict[str, str] = {}
    turn_telemetry_off(wanted)

    assert [line.split()[1] for line in lines if line.startswith("USER ")][-1] == "keepfit"
    assert syncs
    for line in syncs:
        assert {"--locked", "--no-dev"} <= set(line.split())
    for name in ("DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED", "MLFLOW_DISABLE_TELEMETRY"):
        assert f"{name}={wanted[name]}" in environment
    assert "HEALTHCHECK" in DOCKERFILE


def test_the_image_gets_every_package_and_extra_and_no_secret() -> None:
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8"))
    ignored = (DEPLOY.parent / ".dockerignore").read_text(encoding="utf-8").split()

    for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert f"COPY {package} {package}" in DOCKERFILE
    built, offered = re.findall(r'EXTRAS="([\w ]+)"', DOCKERFILE)[::-1]
    extras = set(project["project"]["optional-dependencies"])
    assert set(built.split()) == extras - {"delta"}
    assert set(offered.split()) == extras
    assert {"**/.env", "**/secrets.env", ".keepfit"} <= set(ignored)


@pytest.mark.parametrize("extras", ["", "postgres", "postgres servers"])
def test_the_image_is_built_with_the_extras_that_are_named_or_with_none(extras: str) -> None:
    steps = re.findall(r"^RUN (uv sync .*)$", DOCKERFILE, re.MULTILINE)
    named = [word for extra in extras.split() for word in ("--extra", extra)]

    assert len(steps) == 2
    for step in steps:
        told = subprocess.run(
            ["sh", "-c", f'uv() {{ echo "$*"; }}; {step}'],
            env={**os.environ, "EXTRAS": extras}, capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        assert told[:3] + told[3 : 3 + len(named)] == ["sync", "--locked", "--no-dev", *named]
        assert told.count("--extra") == len(extras.split())


def test_the_compose_file_keeps_to_its_schema() -> None:
    # github.com/compose-spec/compose-spec, of 2026-06-23. The gate checks the manifests likewise.
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text(encoding="utf-8"))

    assert [error.message for error in Draft7Validator(schema).iter_errors(COMPOSE)] == []


def test_compose_names_only_what_it_has() -> None:
    variables = example(DEPLOY / "environment.example", KEEPFIT_PASSWORD="p", MLFLOW_SECRET="s",
                        POSTGRES_PASSWORD="q", KEEPFIT_SIGNING_KEY="k")  # fmt: skip
    for name, service in SERVICES.items():
        full = filled(service, variables)  # raises for a variable that nobody sets
        for needed, how in full.get("depends_on", {}).items():
            healthy = how["condition"] == "service_healthy"
            ends = how["condition"] == "service_completed_successfully"
            assert (healthy and "test" in SERVICES[needed]["healthcheck"]) or ends, (name, needed)
        for volume in full.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or source.startswith("../")
        for one in full.get("configs", ()):
            assert one["source"] in COMPOSE["configs"]
    databases = re.findall(r"CREATE DATABASE (\w+)", COMPOSE["configs"]["databases"]["content"])
    text = (DEPLOY / "compose.yaml").read_text() + (DEPLOY / "environment.example").read_text()
    assert [name for name in databases if f"@postgres/{name}" not in text] == []


def test_compose_starts_each_service_after_what_it_needs() -> None:
    started = order(SERVICES)

    assert started.index("pool") < started.index("worker") < started.index("deploy")
    assert started.index("postgres") < started.index("prefect") < started.index("pool")
    assert started.index("mlflow") < started.index("worker")


def test_compose_gives_worker_and_deploy_the_same_files_stores_and_variables() -> None:
    worker, deploy = (SERVICES[name] for name in ("worker", "deploy"))

    for key in ("environment", "env_file", "volumes"):
        assert worker[key] == deploy[key]
    assert worker["env_file"] == [".env"]
    assert set(example(DEPLOY / "environment.example")) >= VARIABLES


def test_compose_publishes_on_loopback_only_and_every_server_asks_for_a_password() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
    login = "${KEEPFIT_USER}:${KEEPFIT_PASSWORD}"
    assert (
        "KEEPFIT_PASSWORD:?" in SERVICES["prefect"]["environment"]["PREFECT_SERVER_API_AUTH_STRING"]
    )
    assert SERVICES["page"]["environment"]["KEEPFIT_PAGE_AUTH"] == login
    assert "basic-auth" in SERVICES["mlflow"]["command"]
    assert "basic-auth" in next(c for p, n, c in _commands() if (p, n) == ("kubernetes", "mlflow"))
    empty = example(DEPLOY / "environment.example")
    assert [empty[name] for name in ("KEEPFIT_PASSWORD", "POSTGRES_PASSWORD")] == ["", ""]


def _named(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in MANIFESTS if one["kind"] == kind}


def test_what_a_pod_names_is_there() -> None:
    secrets = {one["name"] for one in kustomization()["secretGenerator"]}
    keys = set(example(KUBERNETES / "secrets.env.example"))
    configured = {one["name"] for one in kustomization()["configMapGenerator"]}
    claims = set(_named("PersistentVolumeClaim"))
    files = {f.partition("=")[0] for one in kustomization()["configMapGenerator"]
             for f in one.get("files", ())}  # fmt: skip

    for name, _, pod in PODS:
        own = {t["metadata"]["name"] for t in _claimed(name)}
        volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            elif "configMap" in volume:
                assert volume["configMap"]["name"] in configured
                assert {item["key"] for item in volume["configMap"].get("items", ())} <= files
        for one in containers(pod):
            assert {m["name"] for m in one.get("volumeMounts", ())} <= set(volumes) | own
            known = set(keys) if "envFrom" in one else set()
            assert {s["secretRef"]["name"] for s in one.get("envFrom", ())} <= secrets
            for variable in one.get("env", ()):
                if "valueFrom" in variable:
                    source = variable["valueFrom"]["secretKeyRef"]
                    assert source["name"] in secrets
                    assert source["key"] in keys
                else:
                    assert set(re.findall(r"\$\((\w+)\)", variable["value"])) <= known
                known.add(variable["name"])
    assert keys >= VARIABLES


def _claimed(name: str) -> list[dict[str, Any]]:
    return next(
        (one["spec"].get("volumeClaimTemplates", []) for one in MANIFESTS
         if one["metadata"]["name"] == name and "template" in one["spec"]),
        [],
    )  # fmt: skip


def test_every_server_has_a_service_whose_port_it_listens_on_and_names_no_other() -> None:
    services = _named("Service")
    for name, service in services.items():
        assert service["spec"].get("type", "ClusterIP") == "ClusterIP"
        pod = next(p for _, labels, p in PODS if labels == service["spec"]["selector"])
        ports = {
            p["name"]: p["containerPort"] for c in pod["containers"] for p in c.get("ports", ())
        }
        for port in service["spec"]["ports"]:
            assert ports[port["name"]] == port["port"], name
    values = [
        v.get("value", "") for _, _, p in PODS for c in containers(p) for v in c.get("env", ())
    ]
    called = {
        (host, int(port or 5432))
        for host, port in re.findall(
            r"(?:@|http://)([a-z]+)(?::(\d+))?(?=/|\s|$)", " ".join(values)
        )
        if host != "localhost"
    }
    offered = {(n, port["port"]) for n, s in services.items() for port in s["spec"]["ports"]}
    assert {("prefect", 4200), ("mlflow", 5000), ("postgres", 5432)} <= called <= offered


def test_what_calls_a_server_may_reach_it() -> None:
    allowed = {
        (caller, policy["spec"]["podSelector"]["matchLabels"]["app"])
        for name, policy in _named("NetworkPolicy").items()
        for rule in policy["spec"].get("ingress", ())
        for source in rule["from"]
        for caller in source["podSelector"]["matchExpressions"][0]["values"]
    }
    calls = {
        (labels["app"], host)
        for _, labels, pod in PODS
        for one in containers(pod)
        for variable in one.get("env", ())
        for host in re.findall(
            r"(?:@|http://)(postgres|prefect|mlflow)\b", variable.get("value", "")
        )
    }
    assert calls <= allowed
    assert _named("NetworkPolicy")["closed"]["spec"]["podSelector"] == {}


@pytest.mark.parametrize(("name", "pod"), [(n, p) for n, _, p in PODS], ids=lambda v: str(v)[:12])
def test_pods_run_without_root_and_say_when_they_are_well(name: str, pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    # A service named `mlflow` would set MLFLOW_PORT.
    assert pod["enableServiceLinks"] is False
    for one in containers(pod):
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} <= set(one["resources"])
    if name != "deploy":
        for one in pod["containers"]:
            assert {"readinessProbe", "livenessProbe"} <= set(one)


def test_a_configmap_gives_each_file_the_place_that_init_gave_it() -> None:
    generated = next(g for g in kustomization()["configMapGenerator"] if g["name"] == "pipelines")
    lies = dict(entry.split("=") for entry in generated["files"])
    for name in ("worker", "deploy"):
        pod = next(p for n, _, p in PODS if n == name)
        volume = next(v for v in pod["volumes"] if v["name"] == "configured")
        placed = {item["key"]: item["path"] for item in volume["configMap"]["items"]}
        assert {key: f"pipelines/{path}" for key, path in placed.items()} == lies
    assert "mine/contracts/mine.yaml" in placed.values()


@pytest.mark.parametrize("path", units(), ids=lambda path: path.name)
def test_services_are_confined_and_restart(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    for line in ("User=keepfit", "NoNewPrivileges=true", "ProtectSystem=strict", "UMask=0077"):
        assert line in text.splitlines()
    assert re.search(r"^Restart=(on-failure|always)$", text, re.M)
    assert re.search(r"^EnvironmentFile=-?/etc/keepfit/environment$", text, re.M)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_reads_the_units_without_a_complaint(tmp_path: Path) -> None:
    bin_ = Path(sys.executable).parent
    copies = [tmp_path / path.name for path in units()]
    for path, copy in zip(units(), copies, strict=True):
        text = path.read_text(encoding="utf-8").replace("/opt/keepfit/bin", str(bin_))
        copy.write_text(text, encoding="utf-8")

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, copies)],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
