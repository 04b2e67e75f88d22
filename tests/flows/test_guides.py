"""Every command of keepfit that README and site show is run, one after the other, as it stands."""

from __future__ import annotations

import csv
import shlex
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from flows.cli import main
from tests.receivers import http_receiver
from tests.tables import FAST
from tests.test_documentation import blocks, calls

# In the order in which their commands can follow each other on one table.
GUIDES = (
    "how-to/own-table", "how-to/keep-fit", "how-to/backfill", "how-to/contract", "how-to/alerts",
    "how-to/upgrade", "how-to/production", "explanation/state", "reference/pipeline-file",
    "how-to/backtest", "how-to/sql", "how-to/buckets", "how-to/http",
)  # fmt: skip
ELSEWHERE = {
    "tutorial.md": "followed as a whole in `tests/e2e/test_site.py`",
    "index.md": "the commands of `how-to/own-table.md`",
    "README.md": "the same, and the gate runs what installs and tests",
}
# Servers, a database, and what takes minutes, are run there.
OTHERS = {
    "up": "tests/e2e/test_stack.py",
    "serve": "tests/e2e/test_serving.py",
    "init orders": "tests/unit/data/sources",
    "init flights": "tests/unit/data/files/test_object_stores.py",
    "backtest": "tests/flows/test_backtesting.py",
}
# By the words that it starts with: where a command of another program is run, or why not.
SHELL = {
    "python3 -m venv": "the gate, in `.ci/run`",
    "pip install .": "the gate, in `.ci/run`",
    "pip install 'keepfit[dask]'": "not from here: the name on an index may be another's",
    "python flights.py": "tests/e2e/test_site.py",
    "echo 'policy:": "tests/e2e/test_site.py",
    "mv later/": "tests/e2e/test_site.py",
    "curl ": "tests/e2e/test_serving.py sends the same by Python",
    "mlflow ui ": "its options, below",
    "dask ": "its options, below; tests/unit/models/execution/test_dask_pool.py",
    "sed -i '1i # yaml-language-server": "a comment for editors",
    "docker compose ": "tests/e2e/test_compose.py",
    "docker build ": "pushes to a registry; tests/e2e/test_compose.py runs what the image holds",
    "kubectl ": "needs a cluster; tests/unit/deploy/test_shipping.py checks the manifests",
    "pod=$(kubectl ": "the same",
    "export ": "sets a variable",
    "mkdir ": "moves files", "chmod ": "moves files", "cp ": "moves files",
}  # fmt: skip
FIRST = datetime(2025, 11, 3)
TRAINED = datetime(2026, 2, 2)
LAST = datetime(2026, 3, 16)


def write(file: Path, start: datetime, end: datetime) -> None:
    """Write customers who signed up in [start, end), one every other hour, and who churned."""
    rng = np.random.default_rng(int(start.timestamp()))
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["customer", "signed_up", "age", "plan", "churned"])
        for k in range(int((end - start) / timedelta(hours=2))):
            age, plan = int(rng.integers(18, 80)), ("basic", "plus")[k % 2]
            churned = age + 20 * (plan == "basic") + rng.normal(0, 12) > 60
            when = start + timedelta(hours=2 * k)
            name = f"c{int(when.timestamp()) // 7200}"
            rows.writerow([name, when.isoformat(), age, plan, "yes" if churned else "no"])


def commands() -> list[tuple[str, list[str]]]:
    """Return page and words of every command in a block of shell, in the order of `GUIDES`."""
    found = [
        (page.removeprefix("docs/").removesuffix(".md"), words)
        for page, text in blocks("sh")
        if page.removeprefix("docs/") not in ELSEWHERE
        for line in text.replace("\\\n", " ").splitlines()
        for words in calls(line)
    ]
    unknown = {page for page, _ in found} - set(GUIDES)
    assert not unknown, f"{unknown} show commands: give each a place in GUIDES, or ELSEWHERE"
    return sorted(found, key=lambda one: GUIDES.index(one[0]))


def test_the_commands_of_every_guide_have_a_place() -> None:
    ran = [words for _, words in commands() if not " ".join(words).startswith(tuple(OTHERS))]

    assert len(ran) > 20


def other_commands() -> list[str]:
    """Return every line of shell without a command of keepfit."""
    lines = (line for _, text in blocks("sh") for line in text.replace("\\\n", " ").splitlines())
    return [line.partition("  #")[0] for line in lines if line.strip() and not any(calls(line))]


def test_the_commands_of_other_programs_have_a_place() -> None:
    lines = other_commands()

    assert [line for line in lines if not line.startswith(tuple(SHELL))] == []
    assert [start for start in SHELL if not any(x.startswith(start) for x in lines)] == []


@pytest.mark.parametrize(
    ("line", "module", "name"),
    [
        ("dask scheduler", "distributed.cli.dask_scheduler", "main"),
        ("dask worker", "distributed.cli.dask_worker", "main"),
        ("mlflow ui", "mlflow.cli", "server"),
    ],
)
def test_the_options_of_other_programs_are_theirs(line: str, module: str, name: str) -> None:
    command: click.Command = getattr(pytest.importorskip(module), name)
    written = [shlex.split(x)[2:] for x in other_commands() if x.startswith(line)]

    assert written
    for given in written:
        command.make_context(line, given)


@pytest.mark.slow
def test_every_command_of_the_guides_does_what_it_is_shown_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    write(Path("my.csv"), FIRST, TRAINED)
    shutil.copy("my.csv", "data/my.csv")
    write(Path("new.csv"), TRAINED, LAST)
    ran = []
    with http_receiver() as receiver:
        monkeypatch.setenv("KEEPFIT_ALERT_URL", receiver.apprise())
        for page, words in commands():
            line = " ".join(words)
            if line.startswith(tuple(OTHERS)):
                continue
            prepared(line)
            # Backups of the guide stand at the root of the machine.
            given = [str(tmp_path / w[1:]) if w.startswith("/backups") else w for w in words]
            given = given[: given.index(">")] if ">" in given else given
            ended = CliRunner().invoke(main, given)
            allowed = {0, 4} if "--check" in words else {0}
            assert ended.exit_code in allowed, f"{page}: keepfit {line}\n{ended.output}"
            ran.append(line)
        assert len(receiver.received) >= 1

    assert len(ran) > 20
    assert Path("scored.csv").is_file()
    assert (tmp_path / "served" / "MLmodel").is_file()


def prepared(line: str) -> None:
    """Do what the guide says in words before a command."""
    file = Path("mine/keepfit.yaml")
    if line == "run mine":
        kept = [x for x in file.read_text().splitlines() if not x.startswith("training:")]
        file.write_text("\n".join([*kept, FAST]), encoding="utf-8")
    elif line == "score mine":
        # What has come since; the third version, to which a guide goes back, is one more training.
        write(Path("my.csv"), FIRST, LAST)
    elif line.startswith("promote 3"):
        assert CliRunner().invoke(main, ["run", "mine", "--fresh"]).exit_code == 0
    elif line.startswith("doctor mine --alerts"):
        file.write_text(file.read_text() + 'alerts: ["${KEEPFIT_ALERT_URL}"]\n', encoding="utf-8")
    elif line.startswith("restore"):
        shutil.rmtree("mine/.keepfit")
