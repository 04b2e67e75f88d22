from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.base.errors import TransientError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.servers.server_contact import first_contact
from tests.program import keepfit
from tests.tables import FAST, write_churn, write_pipeline


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def closed() -> Iterator[int]:
    """A port that is bound, so that nobody else takes it, and refuses."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def plan(folder: Path, extra: str = FAST) -> Pipeline:
    return load_pipeline(write_pipeline(folder, write_churn(folder / "c.csv", 20), extra))


def test_an_mlflow_server_that_refuses_is_named_without_its_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: int
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{closed}/mlflow")
    with pytest.raises(
        TransientError, match=f"No MLflow server answers at 127.0.0.1:{closed}"
    ) as e:
        first_contact(plan(tmp_path))
    assert "secret" not in e.value.message
    assert "unset MLFLOW_TRACKING_URI" in e.value.remedy


def test_a_server_that_takes_the_connection_is_left_to_the_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listening: int
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{listening}")
    first_contact(plan(tmp_path))


def test_the_ledgers_and_the_sources_databases_are_asked_too(tmp_path: Path, closed: int) -> None:
    ledger = f"{FAST}ledger: {{url: 'postgresql://me:x@127.0.0.1:{closed}/k'}}\n"
    with pytest.raises(TransientError, match="No database of the ledger answers"):
        first_contact(plan(tmp_path, ledger))
    source = tmp_path / "keepfit.yaml"
    source.write_text(
        "name: churn\ntarget: y\nsource: {kind: sql, table: t, url: "
        f"'postgresql+psycopg://127.0.0.1:{closed}/k'}}\n"
    )
    with pytest.raises(TransientError, match="No database of the source answers"):
        first_contact(load_pipeline(source))


@pytest.mark.parametrize(
    "uri", ["sqlite:////tmp/x.db", "postgresql://a,b/k", "postgresql:///k?host=/run", "databricks"]
)
def test_what_no_connection_can_be_tried_to_is_left_to_the_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    first_contact(plan(tmp_path))


def test_behind_a_proxy_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.invalid")
    first_contact(plan(tmp_path))


@pytest.mark.parametrize("command", ["run", "score", "monitor"])
def test_a_person_learns_of_a_wrong_address_before_any_server_is_started(
    tmp_path: Path, closed: int, command: str
) -> None:
    file = plan(tmp_path).path
    uri = f"http://127.0.0.1:{closed}"

    done = keepfit(command, file, "--json", MLFLOW_TRACKING_URI=uri, PREFECT_API_URL="")

    assert done.status == 1
    assert done.answer["error"]["message"].startswith("No MLflow server answers")
    assert not (tmp_path / ".keepfit" / "prefect").exists()
