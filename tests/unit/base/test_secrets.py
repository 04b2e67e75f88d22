"""A secret that the environment gives to the pipeline file is found nowhere afterwards."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest

from tests.ports import free_port
from tests.program import Ran, keepfit
from tests.receivers import http_receiver
from tests.tables import FAST, write_churn

CANARIES = {name: f"c4n4ry-{name.lower()}-5ecr3t" for name in ("ALERT", "SOURCE", "LEDGER", "SINK")}


def write_secret_pipeline(folder: Path, alert: str) -> dict[str, str]:
    """Write a pipeline whose every address is a secret; return the environment that it needs.

    The source's address has it in its path too.
    """
    secret = folder.with_name(f"{folder.name}-{CANARIES['SOURCE']}")
    secret.mkdir()
    with sqlite3.connect(secret / "source.db") as database:
        pd.read_csv(write_churn(folder / "rows.csv")).to_sql("rows", database, index=False)
    database.close()
    (folder / "keepfit.yaml").write_text(
        "name: churn\ntarget: Churned?\nid_columns: [customer]\nexclude: [when]\n"
        'source: {kind: sql, url: "${SOURCE_URL}", table: rows}\n'
        'scoring: {sink: {kind: sql, url: "${SINK_URL}", table: predictions}}\n'
        'ledger: {url: "${LEDGER_URL}"}\nalerts: ["${ALERT_URL}"]\n' + FAST,
        encoding="utf-8",
    )
    addresses = {
        f"{name}_URL": f"sqlite:///{folder / name.lower()}.db?cached_statements=100&x={canary}"
        for name, canary in CANARIES.items()
    }
    addresses["SOURCE_URL"] = f"sqlite:///{secret}/source.db?x={CANARIES['SOURCE']}"
    return {**addresses, "ALERT_URL": alert}


def assert_found_nowhere(folder: Path, *runs: Ran) -> None:
    """Search every byte that keepfit wrote, and every name, for any of the canaries."""
    for run in runs:
        assert "c4n4ry" not in run.out
        assert "c4n4ry" not in run.err
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert files
    for path in files:
        assert "c4n4ry" not in str(path.relative_to(folder))
        content = path.read_bytes()
        for canary in CANARIES.values():
            for written in (canary, quote(canary, safe=""), canary.encode("utf-16-le")):
                piece = written if isinstance(written, bytes) else written.encode()
                assert piece not in content, path


def dead(name: str) -> str:
    """An address where nothing listens, with its secret twice."""
    secret = CANARIES[name]
    return f"postgresql://me:{secret}@127.0.0.1:{free_port()}/db?application_name={secret}"


def absent(name: str) -> str:
    """An address where no database can be, so that nobody waits for one."""
    return f"sqlite:////dev/null/{name.lower()}.db?x={CANARIES[name]}"


@pytest.mark.slow
def test_no_secret_stays_after_training_and_scoring(tmp_path: Path) -> None:
    with http_receiver() as hook:
        environ = write_secret_pipeline(tmp_path, hook.apprise(f"/{CANARIES['ALERT']}"))
        ran = keepfit("run", tmp_path, **environ)
        scored = keepfit("score", tmp_path, "--all", "--json", **environ)
        status = keepfit("status", tmp_path, **environ)
        refused = keepfit("score", tmp_path, "--all", **{**environ, "SINK_URL": absent("SINK")})

    assert (ran.status, scored.status, status.status) == (0, 0, 0), ran.err + scored.err
    assert refused.status == 1
    assert_found_nowhere(tmp_path, ran, scored, status, refused)


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["SOURCE", "LEDGER"])
def test_no_secret_stays_where_an_address_does_not_answer(tmp_path: Path, broken: str) -> None:
    alert = f"json://me:{CANARIES['ALERT']}@127.0.0.1:{free_port()}/{CANARIES['ALERT']}"
    environ = write_secret_pipeline(tmp_path, alert)

    ran = keepfit("run", tmp_path, **{**environ, f"{broken}_URL": dead(broken)})

    assert ran.status != 0
    assert_found_nowhere(tmp_path, ran)
