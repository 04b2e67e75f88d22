"""What the import contracts cannot say: importing does nothing, and `__init__` files are empty."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "expectations", "deploy")
DOORS = sorted((ROOT / "tasks").glob("[a-z]*.py"))


def test_every_init_file_is_empty() -> None:
    files = [f for package in PACKAGES for f in (ROOT / package).rglob("__init__.py")]

    assert [str(f) for f in files if f.read_text().strip()] == []


@pytest.mark.parametrize("door", DOORS, ids=lambda path: path.stem)
def test_a_door_holds_prefect_tasks_that_stay_short(door: Path) -> None:
    tree = ast.parse(door.read_text(encoding="utf-8"))
    tasks = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any("task" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]

    assert tasks
    for function in tasks:
        assert len(function.body) <= 10, function.name


def test_importing_the_front_door_creates_nothing(tmp_path: Path) -> None:
    code = "import flows.cli, tasks.base.config, tasks.base.pipeline_file, flows.orchestrator"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        check=True,
    )

    assert list(tmp_path.iterdir()) == []
