"""Try the lowest and the highest versions of the ranges in pyproject.toml; say what holds one back.

    .venv/bin/python .ci/versions.py

On each, a bundled pipeline is trained, scored and monitored, and a share of the quick suite
runs: tests at keepfit's edges, where a library's behaviour would show. Their environments are
kept in KEEPFIT_CI_CACHE, ~/.cache/keepfit-ci when absent: made once on a machine, then brought
up to date. A resolution that is what `.venv` holds is tried by all other tests. In the end
every library is named of which there is a newer version than the ranges allow, with the
requirement that forbids it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
UV = str(Path(sys.executable).parent / "uv")
CACHE = Path(os.environ.get("KEEPFIT_CI_CACHE") or Path.home() / ".cache" / "keepfit-ci")
TOOLS = ("pytest", "pytest-xdist", "pytest-timeout", "hypothesis")
SHARE = (
    "tests/unit/registry/mlflow",
    "tests/unit/models/persistence",
    "tests/unit/history/test_schedule.py",
)


def uv(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run uv; its output is kept."""
    return subprocess.run(
        [UV, *words], cwd=ROOT, input=text, capture_output=True, text=True, check=False
    )


def compiled(resolution: str, *requirements: str) -> subprocess.CompletedProcess[str]:
    """Resolve requirements, those of pyproject.toml when none are given."""
    source = "-" if requirements else "pyproject.toml"
    return uv(
        "pip", "compile", source, "--resolution", resolution, "--python", sys.executable,
        "--no-header", "--no-annotate", "-q", text="\n".join(requirements),
    )  # fmt: skip


def ran(*words: str) -> None:
    """Run uv; where it fails, its reason is the end."""
    done = uv(*words)
    if done.returncode:
        sys.exit(done.stderr)


def environment(resolution: str, versions: str) -> str:
    """Bring the environment of a resolution up to date; return its Python."""
    folder = CACHE / resolution
    folder.mkdir(parents=True, exist_ok=True)
    listed, python = folder / "versions.txt", str(folder / "env" / "bin" / "python")
    listed.write_text(versions, encoding="utf-8")
    if not Path(python).exists():
        ran("venv", "--clear", "--python", sys.executable, str(folder / "env"))
    ran("pip", "install", "--python", python, "-r", str(listed), *TOOLS)
    ran("pip", "install", "--python", python, "--no-deps", "-e", str(ROOT))
    return python


def tried(resolution: str) -> bool:
    """Return whether the share passes on a resolution."""
    began = time.monotonic()
    done = compiled(resolution)
    if done.returncode:
        sys.exit(f"{resolution}: {done.stderr}")
    installed = {canonicalize_name(one.metadata["Name"]): one.version for one in distributions()}
    wanted = dict(line.split("==") for line in done.stdout.split() if "==" in line)
    if all(installed.get(canonicalize_name(name)) == v for name, v in wanted.items()):
        print(f"{resolution}: what is locked", flush=True)
        return True
    python = environment(resolution, done.stdout)
    made = time.monotonic()
    whole = commands(Path(python).with_name("keepfit"))
    # Warnings of other versions are no faults.
    command = [python, "-m", "pytest", "-q", "-n", "0", "-W", "default", *SHARE]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    seconds = time.monotonic() - made
    print(f"{resolution}: environment {made - began:.0f} s, tests {seconds:.0f} s", flush=True)
    return status == 0 and whole


def commands(keepfit: Path) -> bool:
    """Return whether a pipeline can be trained, scored and monitored, servers aside."""
    file = str(ROOT / "deploy" / "pipelines" / "breast_cancer.yaml")
    with tempfile.TemporaryDirectory(prefix="keepfit-versions-") as state:
        own = {**os.environ, "KEEPFIT_STATE": state}
        return all(
            subprocess.run([keepfit, verb, file], env=own, check=False).returncode == 0
            for verb in ("run", "score", "monitor")
        )


def held_back() -> list[str]:
    """Return a line for every library that is newer than the ranges allow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {Requirement(one).name: Requirement(one) for one in project["dependencies"]}
    listed = uv("pip", "list", "--outdated", "--format", "json", "--python", sys.executable)
    found = []
    for one in json.loads(listed.stdout or "[]"):
        name, latest = one["name"], one["latest_version"]
        if name not in ours or ours[name].specifier.contains(latest):
            continue
        others = [f"{other}>={least(r)}" for other, r in ours.items() if other != name]
        done = compiled("highest", f"{name}=={latest}", *others)
        why = done.stderr.strip() or f"nothing but keepfit's own range, {ours[name].specifier}"
        found.append(f"{name} {one['version']}, not {latest}: {' '.join(why.split())}")
    return found


def least(requirement: Requirement) -> str:
    """Return the least version that a requirement allows."""
    return next((s.version for s in requirement.specifier if s.operator == ">="), "0")


def main() -> None:
    """Try both, and say what holds keepfit back."""
    failed = [name for name in ("lowest-direct", "highest") if not tried(name)]
    for line in held_back():
        print(line)
    if failed:
        sys.exit(f"failed on the versions of: {', '.join(failed)}")


if __name__ == "__main__":
    main()
