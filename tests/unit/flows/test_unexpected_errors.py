"""What the system refuses is told in words, not as a bug."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from flows.cli import _unexpected, answering
from flows.commands import _require_memory
from tasks.base.errors import ConfigError, InfrastructureError, NoNewerRowsError
from tasks.base.settings.yaml_document import parse_yaml
from tasks.contracts.snapshot_check import _error


@pytest.mark.parametrize(
    ("number", "word"),
    [(errno.EROFS, "read-only"), (errno.ENOSPC, "full"), (errno.EDQUOT, "full"),
     (errno.ENOENT, "vanished"), (errno.EACCES, "permitted"), (errno.ENOMEM, "Memory"),
     (errno.EMFILE, "files"), (errno.ENAMETOOLONG, "long"), (errno.EIO, "failed")],
)  # fmt: skip
def test_each_refusal_of_the_system_has_its_sentence_and_remedy(number: int, word: str) -> None:
    kind, message, remedy, status = _unexpected(OSError(number, "no", "/state/x"))
    assert (kind, status) == ("infrastructure", 1)
    assert word in message
    assert "/state/x" in message
    assert remedy


def test_the_refusal_of_a_checkers_process_keeps_its_remedy() -> None:
    found = {"errno": errno.ENOSPC, "strerror": "no", "filename": "/state/x"}
    error = _error({"type": "OSError", "text": "anything", "system": found})
    assert (type(error), "/state/x" in str(error)) == (InfrastructureError, True)
    assert "Free some space" in str(error)
    assert "boom" in str(_error({"type": "ValueError", "text": "boom"}))


@pytest.mark.parametrize("error", [MemoryError(), pa.ArrowMemoryError("realloc of size 9 failed")])
def test_memory_that_ran_out_is_no_bug(error: Exception) -> None:
    assert _unexpected(error)[0] == "infrastructure"
    assert _unexpected(ValueError("x"))[0] == "internal"


@pytest.mark.parametrize("text", ['state: "a\\0b"', '"a\\0": 1', 'x: ["\\0"]'])
def test_a_nul_in_a_file_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ConfigError, match="line 2: a NUL"):
        parse_yaml(f"name: a\n{text}\n", Path("keepfit.yaml"))


def test_a_limit_below_what_the_libraries_take_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (600_000_000, resource.RLIM_INFINITY))

    with pytest.raises(InfrastructureError, match="600 MB"):
        _require_memory()


def test_a_refit_without_newer_rows_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    def nothing_new(**_: object) -> None:
        raise NoNewerRowsError("0 labelled rows are newer.", "Wait.")

    for as_json in (False, True):
        with pytest.raises(SystemExit) as ended:
            answering(nothing_new)(as_json=as_json)
        assert ended.value.code == 0

    assert '{"skipped": {"kind": "rows"' in capsys.readouterr().out


def test_a_reader_who_wants_no_more_ends_a_command_without_an_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    run = [sys.executable, "-m", "flows.cli", "config", "explain"]
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(run, stdout=closed, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, b"")
