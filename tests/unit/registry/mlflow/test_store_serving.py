"""What other programs make of a registered champion: MLflow's loader, its server, its registry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tasks.base.servers.mlflow_pages import pages_of
from tasks.base.training_records import ModelVersion
from tasks.models.persistence.prediction import predict
from tasks.registry.mlflow.store import Store
from tests.ports import free_port
from tests.unit.registry.trained import SCHEMA, Trained, train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.e2e,
    pytest.mark.slow,
]
ROOT = Path(__file__).resolve().parents[4]
CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, trained: Trained) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        opened = Store.open(tmp_path_factory.mktemp("state") / "a state ü")
        crown(opened, trained)
        yield opened


def crown(store: Store, trained: Trained) -> ModelVersion:
    run_id = store.start_run(store.experiment("flights"), "training", params={"a": 1})
    version = store.register(
        "flights", run_id=run_id, model=trained.path, sample=trained.X,
        predictions=trained.predicted, schema=SCHEMA, metrics={"roc_auc": 0.9},
    )  # fmt: skip
    store.finish_run(run_id)
    before = store.champion("flights")
    version = store.verify(version, trained.X, trained.predicted)
    return store.set_champion("flights", version.version, before.version if before else None)


def environment(uri: str) -> dict[str, str]:
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    # MLflow starts its server by name: the environment's programs come first, activated or not.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {
        **os.environ, **quiet, "PATH": path, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)
    }  # fmt: skip


@contextmanager
def running(arguments: list[str], uri: str, port: int, ready: str, cwd: Path) -> Iterator[str]:
    """Run an MLflow program until it answers at `ready`; end it with all it started."""
    with (cwd / f"{port}.log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments, "--host", "127.0.0.1", "--port",
             str(port)],
            env=environment(uri), cwd=cwd, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 300
            while not answers(address + ready):
                log.seek(0)
                assert process.poll() is None, log.read()
                assert time.monotonic() < deadline, log.read()
                time.sleep(0.2)
            yield address
        finally:
            # A program that ended by itself has said why above.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=60)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def asked(address: str, body: str) -> list[Any]:
    request = urllib.request.Request(  # noqa: S310
        f"{address}/invocations", body.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310
        return list(json.loads(answer.read())["predictions"])


def texts_of(*pages_and_words: str) -> list[str]:
    """Return the text of each page in a browser, once the word after it is shown."""
    from playwright.sync_api import sync_playwright

    texts = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        for address, word in zip(pages_and_words[::2], pages_and_words[1::2], strict=True):
            page = browser.new_page(viewport={"width": 1800, "height": 1000})
            page.goto(address)
            page.get_by_text(word, exact=True).first.wait_for(timeout=60_000)
            texts.append(page.inner_text("body"))
        browser.close()
    return texts


def test_mlflows_loader_predicts_what_the_pipeline_predicts(
    store: Store, trained: Trained, tmp_path: Path
) -> None:
    trained.X.to_parquet(tmp_path / "rows.parquet")
    code = (
        "import sys, json, mlflow, pandas as pd\n"
        "model = mlflow.pyfunc.load_model('models:/flights@champion')\n"
        "rows = pd.read_parquet(sys.argv[1])\n"
        "print(json.dumps([list(model.predict(rows)), list(model.predict(model.input_example)),"
        " str(model.metadata.signature)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "rows.parquet")],
        env=environment(store.uri), cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    everything, example, signature = json.loads(done.stdout.splitlines()[-1])
    assert everything == trained.predicted.tolist()
    assert example == trained.predicted[:5].tolist()
    assert "'größe; DROP TABLE': Any (required)" in signature
    assert "'<b>cat</b>': Any (required)" in signature
    assert "'spät?': string (required)" in signature


def test_the_served_champion_answers(store: Store, trained: Trained, tmp_path: Path) -> None:
    champion = store.champion("flights")
    assert champion is not None
    example = (store.model_file(champion).parent / "serving_input_example.json").read_text()
    unseen = json.dumps(
        {"dataframe_records": [{
            "dep delay": None, "größe; DROP TABLE": 8, "<b>cat</b>": "never seen", "flag": True,
            "perhaps": None, "moment": "2020-01-01T02:00:00+02:00",
        }]}
    )  # fmt: skip
    port = free_port()
    arguments = ["models", "serve", "-m", "models:/flights@champion", "--env-manager", "local"]
    with running(arguments, store.uri, port, "/ping", tmp_path) as address:
        assert asked(address, example) == trained.predicted[:5].tolist()
        assert asked(address, unseen) == ["yes"]
        shares = asked(
            address, f'{example[:-1]}, "params": {{"predict_method": "predict_proba"}}}}'
        )
        _, expected = predict(trained.pipeline, trained.X.head(5))
        assert expected is not None
        assert [row["probability_yes"] for row in shares] == pytest.approx(expected[:, 1])


def test_a_store_behind_a_server_does_the_same(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    local = Store.open(tmp_path / "server")
    local.warm_up()
    port = free_port()
    arguments = [
        "server", "--backend-store-uri", local.uri, "--workers", "1",
        "--artifacts-destination", str(tmp_path / "remote"),
    ]  # fmt: skip
    with running(arguments, "", port, "/health", tmp_path) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        store = Store.open(tmp_path / "client")
        first, second = crown(store, trained), crown(store, trained)
        champion = store.champion("flights")
        assert champion is not None
        assert (first.version, champion.version) == ("1", second.version)
        file = store.model_file(champion)
        assert file.is_relative_to(tmp_path / "client" / "models")
        assert (store.load(champion).predict(trained.X) == trained.predicted).all()
        run_id = store.start_run(store.experiment("flights"), "files")
        store.log_files(run_id, {"a/b ü.skops": trained.path})
        store.log_text(run_id, "c.txt", "text")
        store.log_dataset(
            run_id, name="x", digest="e" * 64, rows=1, schema=SCHEMA, context="training"
        )
        store.finish_run(run_id)
        experiment = store.experiment("flights", metric="roc_auc")
        tags = {"keepfit.role": "candidate"}
        runs = {
            name: store.start_run(experiment, name, tags=tags, parent=run_id)
            for name in ("a tree", "a line")
        }
        for candidate in runs.values():
            store.log(candidate, metrics={"roc_auc": 0.8125, "cv_mean": 0.75})
        pages = pages_of(store.state, store.address, experiment, run_id, runs.values())
        if CHROMIUM.exists():
            shown = texts_of(pages.compare, "a line", pages.table, "cv_mean")
            assert "Comparing 2 Runs" in shown[0]
            assert all("a tree" in text and "roc_auc" in text for text in shown)
        stored = [p.name for p in (tmp_path / "remote").rglob("*") if p.is_file()]
        assert {"b ü.skops", "c.txt", "model.skops", "MLmodel"} <= set(stored)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
