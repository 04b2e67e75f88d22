"""A secret that the environment gives is found nowhere afterwards, nor is a part of one.

The flows run in Prefect, whose database keeps states, logs and parameters of its own.
"""

from __future__ import annotations

import sqlite3
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from flows.cli import main
from tests.ports import free_port
from tests.prefect_api import prefect_api_in
from tests.program import Ran, keepfit
from tests.receivers import http_receiver
from tests.tables import FAST, write_churn

# Every part of a secret holds it, and nothing else does.
MARK = "c4n4ry"
TOKENS = {
    **{name: f"{MARK}-{name.lower()}" for name in (
        "KEEPFIT_SERVE_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
        "AZURE_STORAGE_ACCOUNT_KEY", "MLFLOW_TRACKING_PASSWORD",
    )},
    "AZURE_STORAGE_SAS_TOKEN": f"sv=2020&sig={MARK}%2Fsas%3D",
    "KEEPFIT_PAGE_AUTH": f"me:{MARK}-page",
}  # fmt: skip
CANARIES = {name: f"{MARK}-{name.lower()}-5ecr3t" for name in ("ALERT", "SOURCE", "LEDGER", "SINK")}


def write_secret_pipeline(folder: Path, alert: str) -> dict[str, str]:
    """Write a pipeline whose every address is a secret; return the environment that it needs.

    The source's address has it in its path too.
    """
    secret = folder.with_name(f"{folder.name}-{CANARIES['SOURCE']}")
    secret.mkdir()
    with sqlite3.connect(secret / "source.db") as database:
        pd.read_csv(write_churn(folder / "rows.csv")).to_sql("rows", database, index=False)
    database.close()
    write_pipeline_of_secrets(folder)
    addresses = {
        f"{name}_URL": f"sqlite:///{folder / name.lower()}.db?cached_statements=100&x={canary}"
        for name, canary in CANARIES.items()
    }
    addresses["SOURCE_URL"] = f"sqlite:///{secret}/source.db?x={CANARIES['SOURCE']}"
    return {**addresses, **TOKENS, "ALERT_URL": alert}


def write_pipeline_of_secrets(folder: Path) -> None:
    """Write a pipeline file whose every address is a variable."""
    (folder / "keepfit.yaml").write_text(
        "name: churn\ntarget: Churned?\nid_columns: [customer]\nexclude: [when]\n"
        'source: {kind: sql, url: "${SOURCE_URL}", table: rows}\n'
        'scoring: {sink: {kind: sql, url: "${SINK_URL}", table: predictions}}\n'
        'ledger: {url: "${LEDGER_URL}"}\nalerts: ["${ALERT_URL}"]\n' + FAST,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the folder of the Prefect API that runs the flows."""
    home = tmp_path_factory.mktemp("prefect") / "home"
    with prefect_api_in(home):
        yield home


def assert_found_nowhere(*folders: Path, runs: Sequence[Ran]) -> None:
    """Search every byte that was written, and every name, for a part of any secret."""
    for run in runs:
        assert MARK not in run.out
        assert MARK not in run.err
    files = [(folder, p) for folder in folders for p in folder.rglob("*") if p.is_file()]
    assert files
    for folder, path in files:
        assert MARK not in str(path.relative_to(folder))
        content = path.read_bytes()
        if content.startswith(b"SQLite format 3"):
            # As rows: long texts are cut at the ends of pages.
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
                content += "\n".join(database.iterdump()).encode("utf-8", "replace")
        for mark in (MARK.encode(), MARK.encode("utf-16-le"), b64encode(f"me:{MARK}"[:9].encode())):
            assert mark not in content, path


def states(home: Path) -> set[str]:
    """Return the states that flow and task runs came to."""
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        found = database.execute(
            "SELECT name FROM flow_run_state UNION SELECT name FROM task_run_state"
        )
        return {name for (name,) in found}


def dead(name: str) -> str:
    """An address where nothing listens, with its secret twice."""
    secret = CANARIES[name]
    return f"postgresql://me:{MARK}%40{secret}@127.0.0.1:{free_port()}/db?application_name={secret}"


def absent(name: str) -> str:
    """An address where no database can be, so that nobody waits for one."""
    return f"sqlite:////dev/null/{name.lower()}.db?x={CANARIES[name]}"


@pytest.mark.slow
def test_no_secret_stays_after_training_and_scoring(tmp_path: Path, prefect: Path) -> None:
    with http_receiver() as hook:
        environ = write_secret_pipeline(tmp_path, hook.apprise(f"/{CANARIES['ALERT']}"))
        ran = keepfit("run", tmp_path, **environ)
        scored = keepfit("score", tmp_path, "--all", "--json", **environ)
        status = keepfit("status", tmp_path, **environ)
        refused = keepfit("score", tmp_path, "--all", **{**environ, "SINK_URL": absent("SINK")})

    assert (ran.status, scored.status, status.status) == (0, 0, 0), ran.err + scored.err
    assert refused.status == 1
    assert {"Completed", "Failed"} <= states(prefect)
    assert_found_nowhere(tmp_path, prefect, runs=(ran, scored, status, refused))


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["SOURCE", "LEDGER"])
def test_no_secret_stays_where_an_address_does_not_answer(
    tmp_path: Path, prefect: Path, broken: str
) -> None:
    alert = f"json://me:{CANARIES['ALERT']}@127.0.0.1:{free_port()}/{CANARIES['ALERT']}"
    environ = write_secret_pipeline(tmp_path, alert)

    ran = keepfit("run", tmp_path, **{**environ, f"{broken}_URL": dead(broken)})

    assert ran.status != 0
    assert_found_nowhere(tmp_path, prefect, runs=[ran])


@pytest.mark.slow
def test_no_secret_stays_that_a_driver_raises_in_a_task(tmp_path: Path, prefect: Path) -> None:
    environ = write_secret_pipeline(tmp_path, f"json://127.0.0.1:{free_port()}")
    file = tmp_path / "keepfit.yaml"
    (tmp_path / "faulty.py").write_text(
        "import os\n"
        "def add(X):\n"
        "    raise ValueError(os.environ['SOURCE_URL'] + os.environ['AWS_SECRET_ACCESS_KEY'])\n"
    )
    file.write_text(file.read_text() + "hooks: {features: faulty:add}\n")

    ran = keepfit("run", tmp_path, **environ)

    assert ran.status != 0
    assert_found_nowhere(tmp_path, prefect, runs=[ran])


@pytest.mark.parametrize("place", ["SOURCE", "LEDGER", "SINK"])
def test_a_password_that_is_not_escaped_is_refused_without_a_part_of_it(
    tmp_path: Path, place: str
) -> None:
    environ = {f"{name}_URL": "sqlite:///x.db" for name in CANARIES} | {"ALERT_URL": "json://h"}
    write_pipeline_of_secrets(tmp_path)
    password = f"{MARK}@{MARK}:{MARK}#{MARK}/{MARK}?{MARK}"
    environ[f"{place}_URL"] = f"postgresql://me:{password}@127.0.0.1:5432/db?sslmode={MARK}"

    ran = CliRunner().invoke(main, ["config", "check", str(tmp_path), "--json"], env=environ)

    assert ran.exit_code == 2
    assert MARK not in ran.output
