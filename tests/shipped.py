"""The files of `deploy/` that other programs read, as those programs read them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
_VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")


def compose() -> dict[str, Any]:
    """Return the compose file, nothing of it filled in."""
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return read


def example(path: Path, **given: str) -> dict[str, str]:
    """Return the variables of an example file, those of `given` instead of its own."""
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name] = given.get(name) or filled(value, found)
    return found


def filled(value: Any, variables: Mapping[str, str]) -> Any:
    """Return `value` with its ``${…}`` replaced, as Compose replaces them.

    Raises
    ------
    KeyError
        For a variable that is not there and has no default.
    """
    if isinstance(value, dict):
        return {key: filled(one, variables) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, variables) for one in value]
    if not isinstance(value, str):
        return value

    def of(match: re.Match[str]) -> str:
        name, rule, rest = match.groups()
        return variables.get(name) or (rest if rule == "-" else variables[name])

    return _VARIABLE.sub(of, value)


def order(services: Mapping[str, Any]) -> list[str]:
    """Return the names of services, each after those that it depends on."""
    ordered: list[str] = []

    def add(name: str, above: tuple[str, ...] = ()) -> None:
        assert name not in above, f"{name} depends on itself"
        for needed in services[name].get("depends_on", {}):
            add(needed, (*above, name))
        if name not in ordered:
            ordered.append(name)

    for name in services:
        add(name)
    return ordered


def kustomization() -> dict[str, Any]:
    """Return `kustomization.yaml`."""
    text = (KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8")
    read: dict[str, Any] = yaml.safe_load(text)
    return read


def manifests() -> list[dict[str, Any]]:
    """Return what `kubectl apply -k` makes of the resources: read, and patched."""
    settings = kustomization()
    found = [
        document
        for name in settings["resources"]
        for document in yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8"))
    ]
    for patch in settings["patches"]:
        key, _, value = patch["target"]["labelSelector"].partition("=")
        for one in found:
            if one["metadata"].get("labels", {}).get(key) == value:
                _apply(one, yaml.safe_load(patch["patch"]))
    return found


def _apply(document: Any, operations: list[dict[str, Any]]) -> None:
    for operation in operations:
        assert operation["op"] == "add", operation
        *parents, last = operation["path"].strip("/").split("/")
        place = document
        for parent in parents:
            place = place[parent]
        assert last == "-", "appended to a list"
        place.append(operation["value"])


def pods(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield name, labels and specification of every pod that the manifests make."""
    for one in documents:
        template = one.get("spec", {}).get("template")
        if template is not None:
            yield one["metadata"]["name"], template["metadata"]["labels"], template["spec"]


def containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the containers of a pod, those that run before it too."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def units() -> list[Path]:
    """Return the units of systemd."""
    return sorted((DEPLOY / "systemd").glob("*.service"))
