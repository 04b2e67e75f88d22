"""How the steps of the work are shown while it goes on."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from flows.terminal.progress import progress
from tasks.base.runtime.progress import Step, report


def test_below_a_notebooks_cell_finished_steps_stay_and_one_line_moves(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    published = []

    def publish(data: dict[str, str], *, transient: dict[str, str], update: bool) -> None:
        published.append((data["text/plain"].splitlines(), transient["display_id"], update))

    shell = SimpleNamespace(kernel=object(), display_pub=SimpleNamespace(publish=publish))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))

    with progress():
        report(Step("load", "9 rows\x1b[2J"))
        for done in (1, 2):
            report(Step("fit", f"mlp: fold {done}", done, 3))
        report(Step("fit", "mlp: done", 3, 3))

    texts, ids, updates = zip(*published, strict=True)
    assert [len(text) for text in texts] == [1, 2, 2, 2]
    assert texts[-1][0].endswith(r"load      9 rows\u001b[2J")
    assert texts[-1][1].endswith("mlp: done")
    assert len(set(ids)) == 1
    assert updates == (False, True, True, True)
    assert "".join(capfd.readouterr()) == ""


def test_in_a_log_a_step_that_moves_is_written_every_few_seconds(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with progress():
        for done in (1, 2, 3):
            report(Step("fit", f"fold {done}", done, 3))

    out, err = capfd.readouterr()
    assert out == ""
    assert [line.split()[2:] for line in err.splitlines()] == [
        ["fold", "1", "(1", "of", "3", "steps)"], ["fold", "3"],
    ]  # fmt: skip
