"""The training flow as a person meets it: run, run again, score, new rows, bad rows, a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from tests.e2e.faults import Going
from tests.e2e.stacks import until
from tests.program import Ran, keepfit
from tests.tables import write_churn, write_pipeline


@dataclass(frozen=True)
class Trained:
    """A pipeline that was trained once."""

    folder: Path
    data: Path
    first: Ran

    @property
    def file(self) -> Path:
        """The pipeline file."""
        return self.folder / "keepfit.yaml"


SHADOWING = ("tasks", "flows", "expectations", "sklearn")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("churn")
    data = write_churn(folder / "rows.csv", rows=600)
    write_pipeline(folder, data)
    # Started where a person's packages have the names of keepfit's: Python itself does not look
    # there (PYTHONSAFEPATH), and no process that keepfit starts may.
    working = tmp_path_factory.mktemp("working")
    for name in SHADOWING:
        (working / name).mkdir()
        (working / name / "__init__.py").write_text("raise SystemExit('shadowed')")
    first = keepfit("run", folder, "--json", cwd=working, PYTHONSAFEPATH="1")
    return Trained(folder, data, first)


def scores(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the leaderboard without what depends on the clock."""
    return [{k: v for k, v in row.items() if k != "fit_seconds"} for row in answer["leaderboard"]]


def test_the_first_training_ends_with_a_champion(trained: Trained) -> None:
    assert trained.first.status == 0, trained.first.err
    answer = trained.first.answer

    assert answer["task"] == "binary"
    assert answer["rows"]["train"] + answer["rows"]["holdout"] == 600
    assert {row["candidate"] for row in answer["leaderboard"]} == {
        "baseline", "logistic_regression", "decision_tree",
    }  # fmt: skip
    assert answer["challenger"] == "logistic_regression"
    assert answer["metrics"]["roc_auc"] > 0.9
    assert answer["verdict"]["promoted"] is True
    assert answer["verdict"]["interval"][0] > 0
    assert answer["model"] == {"name": "churn", "version": "1"}


def test_files_of_the_working_folder_shadow_nothing(trained: Trained) -> None:
    assert "shadowed" not in trained.first.err
    assert trained.first.status == 0, trained.first.err


def test_progress_goes_to_stderr_and_nothing_else_to_stdout(trained: Trained) -> None:
    assert trained.first.out.count("\n") == 1
    for stage in ("load", "contract", "split", "fit", "gate", "register", "report"):
        assert stage in trained.first.err
    assert "Traceback" not in trained.first.err
    assert "Warning" not in trained.first.err


def test_the_report_needs_nothing_but_itself(trained: Trained) -> None:
    page = Path(trained.first.answer["report"]).read_text(encoding="utf-8")

    assert "logistic_regression" in page
    assert "<script" not in page
    assert 'src="http' not in page
    assert trained.first.answer["verdict"]["sentence"].split(":")[0] in page


def test_mlflow_holds_a_parent_a_child_each_and_the_champion(trained: Trained) -> None:
    from tasks.registry.mlflow.store import Store

    store = Store.open(trained.folder / ".keepfit")
    parent = trained.first.answer["mlflow_run_id"]
    found = store.find_run({"keepfit.role": "training", "keepfit.pipeline": "churn"})
    children = store.children(parent)
    champion = store.champion("churn")

    assert found is not None
    assert found.run_id == parent
    assert found.tags["keepfit.prefect_flow_run"] == trained.first.answer["prefect_flow_run_id"]
    assert {c.tags["keepfit.candidate"] for c in children} == {
        "baseline", "logistic_regression", "decision_tree",
    }  # fmt: skip
    artifacts = trained.folder / ".keepfit/mlflow/artifacts"
    for child in children:
        figures = {path.name for path in artifacts.rglob(f"{child.run_id}/artifacts/figures/*")}
        assert {"confusion_matrix.svg", "roc.svg", "calibration.svg"} <= figures
    assert champion is not None
    assert champion.version == "1"
    assert champion.tags["keepfit.verdict"] == "promoted"
    assert champion.run_id in {c.run_id for c in children}


@pytest.mark.slow
def test_mlflow_s_own_loader_answers_with_the_champion(trained: Trained) -> None:
    code = (
        "import mlflow, pandas as pd\n"
        f"rows = pd.read_csv({str(trained.data)!r})[['Monthly fee', 'plan', 'größe']]\n"
        "model = mlflow.pyfunc.load_model('models:/churn@champion')\n"
        "print(sorted(set(map(str, model.predict(rows)))))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "MLFLOW_TRACKING_URI": trained.first.answer["mlflow_uri"]},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.strip() == "['False', 'True']", done.stderr


@pytest.mark.slow
def test_why_tells_what_pushed_the_prediction_of_one_row(trained: Trained) -> None:
    told = keepfit("why", trained.file, "--row", "c00003", "--json")

    assert told.status == 0, told.err
    assert told.answer["version"] == trained.first.answer["model"]["version"]
    assert told.answer["prediction"] in {"True", "False"}
    pushes = {part["column"]: part["push"] for part in told.answer["pushes"]}
    assert pushes.keys() == {"Monthly fee", "plan", "größe"}
    assert any(pushes.values())


def test_an_unchanged_rerun_computes_nothing_and_says_so(trained: Trained) -> None:
    again = keepfit("run", trained.folder)
    answer = keepfit("run", trained.folder, "--json").answer

    assert again.status == 0, again.err
    assert "nothing was computed again" in again.out.replace("\n", " ")
    assert max(len(line) for line in again.out.splitlines() if "/" not in line) <= 80
    assert answer["unchanged"] is True
    assert answer["mlflow_run_id"] == trained.first.answer["mlflow_run_id"]
    assert answer["model"] == trained.first.answer["model"]


@pytest.mark.slow
def test_fresh_is_computed_once_for_all_who_ask_at_once_with_a_record_of_its_own(
    trained: Trained,
) -> None:
    both = [Going(trained.folder, "run", trained.folder, "--fresh", "--json") for _ in range(2)]
    joined, answer = sorted((g.ended().answer for g in both), key=lambda a: not a["unchanged"])

    assert joined["unchanged"] is True
    assert joined["model"] == answer["model"] == {"name": "churn", "version": "2"}
    trainings = keepfit("status", trained.folder, "--json").answer["trainings"]
    assert [one["model"]["version"] for one in trainings] == ["2", "1"]
    assert len({one["report"] for one in trainings}) == 2
    assert scores(answer) == scores(trained.first.answer)
    assert answer["metrics"] == trained.first.answer["metrics"]
    assert answer["unchanged"] is False
    assert answer["verdict"]["promoted"] is False
    assert "champion v1" in answer["verdict"]["sentence"]


def test_scoring_writes_one_row_each_with_version_and_probability(
    trained: Trained, tmp_path: Path
) -> None:
    new = write_churn(tmp_path / "new.csv", rows=50, seed=9, start=5000)
    output = tmp_path / "out" / "scored.parquet"

    ran = keepfit("score", trained.folder, "--input", new, "--output", output, "--json")

    assert ran.status == 0, ran.err
    table = pq.read_table(output)
    assert ran.answer["rows"] == table.num_rows == 50
    assert table["customer"].to_pylist()[0] == "c05000"
    assert set(table["model_version"].to_pylist()) == {ran.answer["version"]}
    probability = table["probability_True"].to_numpy()
    assert ((probability >= 0) & (probability <= 1)).all()


def test_rows_to_score_need_no_target_and_no_order(trained: Trained, tmp_path: Path) -> None:
    new = write_churn(tmp_path / "new.csv", rows=40, seed=3, start=9000)
    lines = [line.split(",") for line in new.read_text(encoding="utf-8").splitlines()]
    turned = "\n".join(",".join([r[4], r[3], r[2], r[0]]) for r in lines)
    new.write_text(turned + "\n", encoding="utf-8")

    ran = keepfit("score", trained.folder, "--input", new, "--output", tmp_path / "o.csv", "--json")

    assert ran.status == 0, ran.err
    assert ran.answer["rows"] == 40


@pytest.mark.slow
def test_rows_without_a_feature_are_refused_by_name(trained: Trained, tmp_path: Path) -> None:
    new = write_churn(tmp_path / "new.csv", rows=40, seed=3)
    new.write_text(new.read_text(encoding="utf-8").replace("Monthly fee", "Fee"), encoding="utf-8")

    ran = keepfit("score", trained.folder, "--input", new, "--output", tmp_path / "o.parquet")

    assert ran.status == 3
    assert "Monthly fee" in ran.err
    assert not (tmp_path / "o.parquet").exists()


@pytest.mark.slow
def test_an_unseen_category_is_scored_and_counted(trained: Trained, tmp_path: Path) -> None:
    new = write_churn(tmp_path / "new.csv", rows=200, seed=4)
    text = new.read_text(encoding="utf-8").split("\n")
    text[1] = text[1].replace("basic", "gold").replace("plus", "gold").replace("pro", "gold")
    new.write_text("\n".join(text), encoding="utf-8")

    ran = keepfit("score", trained.folder, "--input", new, "--json")

    assert ran.status == 0, ran.err
    assert ran.answer["unseen"] == {"plan": 1}
    assert ran.answer["contract_warnings"] >= 1


@pytest.mark.slow
def test_status_shows_champion_and_trainings(trained: Trained) -> None:
    text = keepfit("status", trained.folder)
    answer = keepfit("status", trained.folder, "--json").answer

    assert "champion    v1 logistic_regression" in text.out
    assert answer["champion"]["version"] == "1"
    assert answer["trainings"]


def test_a_broken_contract_stops_before_anything_is_fitted(tmp_path: Path) -> None:
    data = write_churn(tmp_path / "rows.csv", rows=300)
    file = write_pipeline(tmp_path, data)
    assert keepfit("contract", "infer", file, "--output", tmp_path / "c.yaml").status == 0
    file.write_text(file.read_text(encoding="utf-8") + "contract: c.yaml\n", encoding="utf-8")
    rows = data.read_text(encoding="utf-8").splitlines()
    broken = [rows[0], *(",".join([*r.split(",")[:2], "", *r.split(",")[3:]]) for r in rows[1:])]
    data.write_text("\n".join(broken) + "\n", encoding="utf-8")

    ran = keepfit("run", file, "--json")

    assert ran.status == 3
    assert ran.answer["error"]["kind"] == "contract"
    assert "Monthly fee" in ran.answer["error"]["message"]
    assert "300 rows" in ran.answer["error"]["message"]
    assert not list((tmp_path / ".keepfit").rglob("model.skops"))


@pytest.mark.slow
def test_a_refit_is_judged_by_the_champion_on_new_rows_and_old_ones_are_no_evidence(
    tmp_path: Path,
) -> None:
    data = write_churn(tmp_path / "rows.csv", rows=900)
    file = write_pipeline(tmp_path, data, time=True)
    first = keepfit("run", file, "--json")
    file.write_text(file.read_text(encoding="utf-8").replace("cv: 2", "cv: 3"), encoding="utf-8")
    same_rows = keepfit("run", file, "--json")
    nothing_newer = keepfit("run", file, "--refit", "--json")
    later = write_churn(tmp_path / "later.csv", rows=600, seed=5, start=900)
    more = later.read_text(encoding="utf-8").split("\n", 1)[1]
    data.write_text(data.read_text(encoding="utf-8") + more, encoding="utf-8")
    refit = keepfit("run", file, "--refit", "--json")
    told = keepfit("why", refit.answer["model"]["version"], file, "--json")

    assert first.answer["verdict"]["promoted"] is True, first.err
    assert same_rows.answer["verdict"]["promoted"] is False
    assert "no new evidence" in same_rows.answer["verdict"]["reason"]
    assert nothing_newer.status == 0
    assert nothing_newer.answer["skipped"]["kind"] == "rows"
    assert "0 labelled rows" in nothing_newer.answer["skipped"]["message"]
    assert (refit.answer["training"], refit.answer["recipe_of"]) == ("refit", "1"), refit.err
    assert len(refit.answer["leaderboard"]) == 2
    assert refit.answer["challenger"] == first.answer["challenger"]
    assert refit.answer["verdict"]["difference"] is not None
    assert refit.answer["verdict"]["margin"] > 0
    assert "champion v1" in refit.answer["verdict"]["sentence"]
    assert "recipe of v1" in Path(refit.answer["report"]).read_text(encoding="utf-8")
    training = next(link for link in told.answer["steps"] if link["what"] == "training")
    assert training["numbers"]["training"] == "refit"
    assert training["numbers"]["recipe_of"] == "1"


@pytest.mark.slow
def test_a_killed_training_leaves_no_server_and_no_child_and_the_rerun_goes_on(
    tmp_path: Path,
) -> None:
    data = write_churn(tmp_path / "rows.csv", rows=3000)
    extra = "training: {budget: 120s, cv: 5, candidates: [logistic_regression, random_forest]}\n"
    file = write_pipeline(tmp_path, data, extra)
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", str(file)],
        cwd=Path(__file__).parents[2],
        env={name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    done = tmp_path / ".keepfit/pipelines/churn/fits"
    until(lambda: bool(list(done.glob("*/candidates/logistic_regression/result.json"))), every=0.05)
    tree = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    until(lambda: not any(_alive(child) for child in tree))
    again = keepfit("run", file, "--json")

    assert again.status == 0, again.err
    assert any(
        "logistic_regression" in text or "all fits" in text for text in again.answer["reused"]
    )
    assert again.answer["verdict"]["promoted"] is True


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
