"""keepfit from Python, on a real training."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import keepfit
import pandas as pd
import pyarrow as pa
import pytest

from flows.notebook import results
from flows.notebook.tables import append_table, read_predictions, write_table
from tasks.base.command_results import MonitoringOutcome, SeenWindow
from tasks.base.monitoring_records import DriftResult, PolicyDecision
from tests.tables import FAST, write_churn
from tests.unit.monitoring.decisions import drifted, week

ROWS, NEW = 300, 40


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return pd.read_csv(write_churn(tmp_path_factory.mktemp("table") / "c.csv", ROWS + NEW))


@pytest.fixture(scope="module")
def trained(
    frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> tuple[keepfit.Pipeline, results.Training]:
    folder = tmp_path_factory.mktemp("python") / "churn"
    made = keepfit.init(frame[:ROWS], "Churned?", folder=folder, time="when", id_columns="customer")
    made.file.write_text(made.file.read_text().split("\ntraining:")[0] + "\n" + FAST)

    async def in_a_running_loop() -> results.Training:
        return made.run()

    return made, asyncio.run(in_a_running_loop())


def test_a_table_in_memory_becomes_a_pipeline_and_a_champion(
    frame: pd.DataFrame, trained: tuple[keepfit.Pipeline, results.Training]
) -> None:
    pipeline, training = trained

    assert training.promoted
    assert list(training.leaderboard["candidate"][:1]) == [training.outcome.challenger]
    assert training.to_dict()["champion"] == "1"
    assert pipeline.name == "churn"
    assert "path: data}" in pipeline.file.read_text()
    champion = pipeline.champion()
    features = [c for c in frame if c in champion.feature_names_in_]
    scoring = pipeline.score(frame[ROWS:])
    assert scoring.predictions is not None
    found = champion.predict_proba(frame[ROWS:][features])[:, 1]
    assert scoring.predictions["probability_Yes"].to_numpy() == pytest.approx(found)
    assert len(scoring.predictions) == NEW
    assert "run_id" in scoring.predictions
    assert "run_id" not in scoring._repr_html_()
    with pytest.raises(keepfit.Error) as broken:
        pipeline.score(frame[ROWS:].drop(columns="Monthly fee"))
    assert "'Churned?'" not in broken.value.message
    assert "rows.parquet" not in broken.value.remedy


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/reference/python.md"])
def test_the_example_of_the_documentation_runs(
    page: str,
    frame: pd.DataFrame,
    trained: tuple[keepfit.Pipeline, results.Training],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (Path(__file__).parents[4] / page).read_text(encoding="utf-8")
    example = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    signature = inspect.signature(keepfit.init)

    def init(*given: object, **stated: object) -> keepfit.Pipeline:
        assert signature.bind(*given, **stated).arguments["data"] is frame
        return trained[0]

    monkeypatch.setattr(keepfit, "init", init, raising=False)
    left = {"frame": frame, "new_rows": frame[ROWS:]}
    exec(example, left)  # noqa: S102 - the documentation's own

    assert left["training"].outcome.unchanged  # type: ignore[attr-defined]
    for file in (trained[0].file.parent / "data").iterdir():
        if file.name != "0001.parquet":
            file.unlink()


def test_rows_that_are_appended_stand_in_the_table_that_the_pipeline_reads(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    pipeline = keepfit.init(frame[:ROWS], "Churned?", folder=tmp_path / "mine", time="when")
    folder = pipeline.file.parent / "data"

    file = pipeline.append(frame[ROWS:])

    assert {path.name for path in folder.iterdir()} == {"0001.parquet", file.name}
    assert len(pd.read_parquet(folder)) == len(frame)
    with pytest.raises(keepfit.Error, match="needed"):
        pipeline.append([1, 2])
    assert len(list(folder.iterdir())) == 2
    text = pipeline.file.read_text()
    pipeline.file.write_text(text.replace("path: data}", "path: data/0001.parquet}"))
    with pytest.raises(keepfit.Error, match="source"):
        pipeline.append(frame[ROWS:])


def test_answers_show_themselves_as_tables(
    trained: tuple[keepfit.Pipeline, results.Training],
) -> None:
    pipeline, training = trained
    contract, status, why = pipeline.contract, pipeline.status(), pipeline.why()

    assert "<table" in training._repr_html_()
    assert training.outcome.verdict.sentence in repr(training)
    assert "Monthly fee" in set(contract.columns["column"])
    assert status.outcome.champion is not None
    assert "training" in set(why.steps["what"])
    assert {"sentence", "at"} <= set(status.latest)


def test_a_training_draws_its_candidates_with_their_intervals(
    trained: tuple[keepfit.Pipeline, results.Training],
) -> None:
    training = trained[1]
    table = training.leaderboard.set_index("candidate")

    figure: Any = training.plot()

    axes = figure.axes[0]
    bars = [tuple(line.get_segments()[0][:, 0]) for line in axes.collections]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(table.index[:2])
    assert bars == [
        tuple(table.loc[name, ["holdout_low", "holdout_high"]]) for name in table[:2].index
    ]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_pipeline_shows_how_it_is_and_where_init_wrote_it(
    trained: tuple[keepfit.Pipeline, results.Training],
) -> None:
    pipeline = trained[0]
    pipeline.assumptions = ("<b> is no column.",)

    shown = pipeline._repr_html_()

    parts = ("churn: ", "v1 ", "trained", str(pipeline.file), "contracts/churn.yaml", "&lt;b&gt;")
    assert [part for part in parts if part not in shown] == []
    absent = pipeline.file.rename(pipeline.file.with_suffix(".away"))
    unread = pipeline._repr_html_()
    absent.rename(pipeline.file)
    assert "keepfit.yaml" in unread
    assert "<table" not in unread


def test_a_row_shows_what_pushed_its_prediction(
    trained: tuple[keepfit.Pipeline, results.Training], frame: pd.DataFrame
) -> None:
    why = trained[0].why_row(str(frame["customer"][0]))

    assert set(why.pushes["column"]) >= {"Monthly fee", "plan"}
    assert f"of row {frame['customer'][0]}." in repr(why)
    assert "Monthly fee" in why._repr_html_()


def test_a_look_at_windows_shows_each_window_and_draws_the_columns_that_moved() -> None:
    seen = SeenWindow(
        window=week(0), version="1", rows=900, alarm=True, drifted=("größe",), sentence="Moved."
    )
    drift = DriftResult(
        rows=900, reference_rows=5000, enough=True, alarm=True, false_alarms=0.05,
        columns=(drifted("größe"), drifted("carrier", statistic=0.06)),
    )  # fmt: skip
    looked = results.Monitoring(
        MonitoringOutcome(
            pipeline="flights", version="1", window=week(0), rows=900, alarm=True, correlation="c",
            drift=drift, windows=(seen,), report="/srv/report.html",
            decision=PolicyDecision(retrain=True, sentence="Trains."),
        )
    )  # fmt: skip

    figure: Any = looked.plot()

    shown = looked._repr_html_()
    assert all(
        part in shown for part in ("2026-01-05..2026-01-12", "größe", "Moved.", "/srv/report.html")
    )
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["carrier", "größe"]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_what_a_table_holds_is_escaped_where_it_is_shown() -> None:
    class Named:
        def answer(self) -> dict[str, object]:
            return {}

    class Hostile(results.Result):
        sentence = "<script>alert(1)</script>"

        def _tables(self) -> dict[str, pd.DataFrame]:
            return {"<b>": pd.DataFrame({"<i>": ["<img src=x>"]})}

    shown = Hostile(Named())._repr_html_()

    assert not any(tag in shown for tag in ("<script", "<img", "<i>", "<b><b>"))


def test_mistakes_are_errors_with_a_remedy(
    trained: tuple[keepfit.Pipeline, results.Training], frame: pd.DataFrame, tmp_path: Path
) -> None:
    pipeline, _ = trained

    for mistake in (
        lambda: pipeline.why(99),
        lambda: pipeline.champion(99),
        lambda: pipeline.score([1, 2]),
        lambda: keepfit.init(frame, "Churned?", folder=pipeline.file.parent),
        lambda: keepfit.init(frame, "nothing", folder=tmp_path / "new"),
        lambda: keepfit.init({"a": [1]}, "a", folder=tmp_path / "new"),
        lambda: keepfit.Pipeline(tmp_path / "absent.yaml"),
    ):
        with pytest.raises(keepfit.Error) as error:
            mistake()
        assert error.value.message
        assert error.value.remedy
    assert not (tmp_path / "new").exists()


def test_arrow_and_what_speaks_its_stream_are_tables(tmp_path: Path) -> None:
    class Stream:
        """As a Polars frame is read."""

        def __arrow_c_stream__(self, schema: object = None) -> object:
            return pa.table({"a": [1, 2]}).__arrow_c_stream__(schema)

    for number, table in enumerate((pa.table({"a": [1, 2]}), Stream())):
        write_table(table, tmp_path / f"{number}.parquet")
        assert pd.read_parquet(tmp_path / f"{number}.parquet")["a"].tolist() == [1, 2]
    views = pa.array(["x", "y", "x"], pa.string_view())
    held = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.uint32()), views[:2])
    write_table(pa.table({"a": views, "b": held}), tmp_path / "views.parquet")
    read = pd.read_parquet(tmp_path / "views.parquet")
    assert (read["a"].tolist(), read["b"].tolist()[:2]) == (["x", "y", "x"], ["x", "y"])


def test_an_index_with_a_name_is_a_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="customer"))
    plain = frame.rename_axis(None)
    for number, (table, columns) in enumerate(((frame, ["customer", "a"]), (plain, ["a"]))):
        write_table(table, tmp_path / f"{number}.parquet")
        assert list(pd.read_parquet(tmp_path / f"{number}.parquet")) == columns


def test_columns_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    mixed = pd.DataFrame({"a": [1, "x"], "b": [1, None]}, dtype=object)
    with pytest.raises(keepfit.Error, match=r"several types: 'a' \(int, str\)") as error:
        write_table(mixed, tmp_path / "mixed.parquet")
    assert "one type" in error.value.remedy
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(keepfit.Error, match="several columns called 'a'"):
        write_table(twice, tmp_path / "twice.parquet")
    for table in (pa.table([[1], [2]], names=["1", "1"]), pd.DataFrame({1: [1], "1": [2]})):
        with pytest.raises(keepfit.Error, match="several columns called '1'"):
            write_table(table, tmp_path / "twice.parquet")


def test_tables_that_are_appended_at_once_are_all_kept(tmp_path: Path) -> None:
    tables = [pd.DataFrame({"a": [number]}) for number in range(24)]

    with ThreadPoolExecutor(8) as pool:
        files = set(pool.map(partial(append_table, folder=tmp_path), tables))

    assert files == set(tmp_path.iterdir())
    assert sorted(pd.read_parquet(tmp_path)["a"]) == list(range(24))


def test_predictions_in_a_csv_file_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "scored.csv"
    path.write_text("id,note,prediction,probability_1\n007,NA,1,0.25\n010,,0,\n")

    found = read_predictions(str(path))

    assert found is not None
    assert found["id"].tolist() == ["007", "010"]
    assert found["note"].tolist() == ["NA", ""]
    assert found["prediction"].tolist() == [1, 0]
    assert found["probability_1"].isna().tolist() == [False, True]


def test_a_folder_that_hides_a_package_of_keepfit_is_named(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").touch()

    ended = subprocess.run(
        [sys.executable, "-c", "import keepfit"], cwd=tmp_path, capture_output=True, text=True
    )

    assert ended.returncode == 1
    assert str(tmp_path / "tasks") in ended.stderr
    assert "`tasks` is hidden" in ended.stderr


def test_importing_it_imports_nothing_heavy() -> None:
    heavy = {"pandas", "numpy", "mlflow", "prefect", "sklearn", "pydantic", "sqlalchemy"}
    code = f"import sys, keepfit; print(sorted({heavy!r} & set(sys.modules)))"

    said = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )

    assert said.stdout.strip() == "[]"
