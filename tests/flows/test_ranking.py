"""A ranking from training to monitoring: the bundled MovieLens pipeline on its later years."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tasks.data.sources.demos import demo_table
from tasks.metrics.ranking import RankingGroups, by_group
from tasks.registry.mlflow.store import Store
from tests.program import Ran, keepfit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

BUNDLED = Path(__file__).parents[2] / "deploy" / "pipelines" / "movielens.yaml"
SOURCE = "source: {kind: demo, name: movielens}"
ROWS, NEW = 25_000, 2_500


@dataclass(frozen=True)
class Project:
    """A trained project, the rows that came after, and what the training printed."""

    file: Path
    new: pd.DataFrame
    ran: Ran


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("films")
    whole = demo_table("movielens").slice(demo_table("movielens").num_rows - ROWS)
    times = whole["asked_at"].to_pandas()
    (folder / "data").mkdir()
    cut = int((times < times.iloc[ROWS - NEW]).sum())
    pq.write_table(whole.slice(0, cut), folder / "data" / "old.parquet")
    text = BUNDLED.read_text(encoding="utf-8")
    assert SOURCE in text
    text = text.replace(SOURCE, "source: {kind: parquet, path: data/*.parquet}")
    text = text.replace("[logistic_regression, lightgbm]", "[lightgbm]").replace("cv: 3", "cv: 2")
    text = text.replace("../../expectations/contracts/", "").replace("../../", "")
    contract = BUNDLED.parents[2] / "expectations" / "contracts" / "movielens.yaml"
    (folder / "movielens.yaml").write_text(contract.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "keepfit.yaml").write_text(text, encoding="utf-8")
    ran = keepfit("run", folder, "--json", seconds=600)
    assert ran.status == 0, ran.err
    pq.write_table(whole.slice(cut), folder / "data" / "new.parquet")
    # Ids are kept as text.
    new = whole.slice(cut).to_pandas().astype({"list_id": "str", "movie_id": "str"})
    return Project(folder / "keepfit.yaml", new, ran)


def test_lambdarank_beats_popularity_and_is_registered(project: Project) -> None:
    answer = project.ran.answer
    board = {row["candidate"]: row["holdout"] for row in answer["leaderboard"]}

    assert answer["task"] == "ranking"
    assert 0.83 < answer["metrics"]["ndcg_at_10"] < 0.90
    assert 0.4 < answer["metrics"]["map_at_10"] < 0.75
    assert board["lightgbm"] > board["baseline"] + 0.003
    assert answer["verdict"]["promoted"] is True
    assert answer["verdict"]["interval"][0] > 0
    store = Store.open(project.file.parent / ".keepfit")
    champion = store.champion("movielens")
    assert champion is not None
    assert champion.roles.group == "list_id"
    assert type(store.load(champion)[-1]).__name__ == "LGBMRanker"
    report = Path(answer["report"]).read_text(encoding="utf-8")
    assert "NDCG at 10" in report
    assert "How good the first places are" in report


def test_the_ten_best_of_each_list_are_written_and_are_good(
    project: Project, tmp_path: Path
) -> None:
    new = project.file.parent / "data" / "new.parquet"
    out = tmp_path / "top.parquet"

    scored = keepfit("score", project.file, "--input", new, "--output", out, "--json")

    assert scored.status == 0, scored.err
    rows = pd.read_parquet(out)
    assert scored.answer["rows"] == len(project.new)
    assert scored.answer["written"] == len(rows) < len(project.new)
    assert rows["rank"].between(1, 10).all()
    by_list = rows.groupby("list_id")
    assert (by_list["rank"].max() == by_list.size()).all()
    assert set(rows["list_id"]) == set(project.new["list_id"])
    ordered = rows.sort_values(["list_id", "rank"])
    assert (ordered.groupby("list_id")["prediction"].diff().dropna() <= 0).all()
    told = project.new.merge(rows, on=["list_id", "movie_id"], how="left")
    kept, left = told["rank"].notna(), told["rank"].isna()
    assert told.loc[kept, "rating"].mean() > told.loc[left, "rating"].mean() + 0.2


def test_realised_performance_is_the_ndcg_of_the_window(project: Project) -> None:
    start, end = project.new["asked_at"].min(), project.new["asked_at"].max()
    window = f"{start.isoformat()}..{(end + pd.Timedelta('1s')).isoformat()}"

    watched = keepfit("monitor", project.file, "--window", window, "--json")

    assert watched.status == 0, watched.err
    performance: dict[str, Any] = watched.answer["performance"]
    assert performance["metric"] == "ndcg_at_10"
    assert performance["labelled"] == len(project.new)
    store = Store.open(project.file.parent / ".keepfit")
    champion = store.champion("movielens")
    assert champion is not None
    expected = _ndcg(project.new, store.load(champion).predict(project.new), champion.roles)
    assert performance["realised"]["value"] == pytest.approx(expected, abs=1e-6)
    assert performance["realised"]["low"] < expected < performance["realised"]["high"]
    assert performance["estimated"] is None
    assert watched.answer["columns"]


def _ndcg(rows: pd.DataFrame, predicted: np.ndarray, roles: Any) -> float:
    queries = RankingGroups.of(pd.factorize(rows["list_id"])[0], roles)
    (ndcg, _), telling, _ = by_group(rows["rating"].to_numpy(), np.asarray(predicted), queries)
    return float(ndcg[telling].mean())
