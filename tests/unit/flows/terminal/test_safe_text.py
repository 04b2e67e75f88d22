"""What names and values could make a terminal do."""

from __future__ import annotations

import io
import json
import logging
import unicodedata

import pytest
from rich.table import Table
from rich.text import Text

from flows.terminal.output import echo, make_logs_safe, write
from flows.terminal.safe_console import SafeConsole, escape
from tasks.base.settings.yaml_document import parse_yaml
from tasks.base.text.terminal import know_names, visible

STEERING = "\x1b[2K\x1b]0;x\x07\x9b31m\x85\u202e\u2066\u2028\r\x00\x7f\u061c\ufeff"
NAME = f"price\nPromoted: v9{STEERING}"


def steers(text: str) -> list[str]:
    kinds = {"Cc", "Cf", "Zl", "Zp", "Cs"}
    return [mark for mark in text if mark != "\n" and unicodedata.category(mark) in kinds]


def printed(*renderables: object, width: int = 60) -> str:
    sink = io.StringIO()
    SafeConsole(file=sink, width=width, highlight=False, force_terminal=True).print(*renderables)
    return sink.getvalue()


def test_marks_that_steer_a_terminal_are_escaped_and_other_text_is_not() -> None:
    assert steers(visible(STEERING)) == []
    assert visible("Größe 価格 👩\u200d🔬 −3 ≤ x\nnext") == "Größe 価格 👩\u200d🔬 −3 ≤ x\nnext"
    assert visible("\udc80") == "\\udc80"


def test_json_stays_the_same_json() -> None:
    text = json.dumps({"a": STEERING}, ensure_ascii=False)
    assert steers(visible(text)) == []
    assert json.loads(visible(text)) == {"a": STEERING}


def test_a_name_ends_no_line_of_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    know_names([NAME, 3, "plain", "\n", "\t\n"])
    echo(f"2 rules broken\n  {NAME}: range")
    write(f"at fault: {NAME}")
    table = Table("column", "kind")
    table.add_row(NAME, Text(NAME, style="bold"))
    shown = "".join(capsys.readouterr()) + printed(
        table, escape(f"[red]{NAME}"), Text(f"near {NAME}"), width=200
    )

    assert not any(line.strip().startswith("Promoted") for line in shown.splitlines())
    assert steers(shown.replace("\x1b[1m", "").replace("\x1b[0m", "")) == []
    assert "2 rules broken\n  price\\nPromoted" in shown


def test_keys_and_values_of_yaml_are_known_names(tmp_path: object) -> None:
    parse_yaml('columns:\n  "size\\nDone.": {kind: numeric}\nexclude: ["a\\nOK"]\n', tmp_path)  # type: ignore[arg-type]
    assert visible("size\nDone. and a\nOK") == "size\\nDone. and a\\nOK"


def test_logs_without_a_handler_are_safe(capsys: pytest.CaptureFixture[str]) -> None:
    make_logs_safe()
    record = logging.makeLogRecord({"msg": STEERING, "levelno": logging.WARNING})
    assert logging.lastResort is not None
    assert steers(logging.lastResort.format(record)) == []
