"""Commands that are printed name the file that they need, as the person gave it."""

from __future__ import annotations

import re
from pathlib import Path

from tasks.base.text.commands import command, working_on

ROOT = Path(__file__).resolve().parents[4]


def test_a_folder_a_file_and_none_are_named_as_given() -> None:
    assert command("run", file=Path("mine/keepfit.yaml")) == "keepfit run mine"
    assert command("why", "3", file="/srv/a b/x.yaml") == "keepfit why 3 '/srv/a b/x.yaml'"
    assert command("status", file=Path("keepfit.yaml")) == "keepfit status"
    assert command("status") == "keepfit status"


def test_an_error_deep_in_the_work_names_the_pipeline_that_is_worked_on() -> None:
    with working_on(Path("mine/keepfit.yaml")):
        assert command("status") == "keepfit status mine"
        assert command("run", file="other.yaml") == "keepfit run other.yaml"
    assert command("status") == "keepfit status"


def test_no_remedy_writes_a_command_by_hand() -> None:
    """Commands that need a pipeline are made by `command`, not written out."""
    verbs = "run|score|monitor|why|status|promote|rollback"
    written = re.compile(rf'"[^"\n]*keepfit (?:{verbs})(?! *[{{a-z])[^"\n]*"')
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for room in ("tasks", "flows")
        for path in (ROOT / room).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if written.search(line) and '"""' not in line
    ]
    allowed = ("flows/cli.py", "tasks/base/text/commands.py", "tasks/contracts/contract_files.py")
    assert [line for line in found if not line.startswith(allowed)] == []
