"""The guide's example of one's own code: it trains, decides, and is loaded back only by name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tasks.base.errors import ModelRefusedError
from tasks.base.pipeline_file import load_pipeline
from tasks.base.plugin_settings import OwnCode
from tasks.data.sources.source import read_source
from tasks.registry.mlflow.store import Store
from tasks.serving.served_model import ServedModel
from tests.opened import opened
from tests.program import Ran, keepfit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

GUIDE = (Path(__file__).parents[2] / "docs/how-to/own-code.md").read_text(encoding="utf-8")
PLAIN = (
    "name: loans\ntarget: status\npositive: bad\nid_columns: [row_id]\n"
    "source: {kind: demo, name: credit}\n"
)
TRAINING = "training: {candidates: [nearest, decision_tree], cv: 2}\n"


def block(language: str, start: str) -> str:
    """Return the guide's block of code that begins with `start`."""
    found = re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)
    return next(str(text) for text in found if text.startswith(start))


@dataclass(frozen=True)
class Loans:
    """A pipeline of the guide's example, trained once."""

    folder: Path
    hooks: str
    ran: Ran

    @property
    def file(self) -> Path:
        """The pipeline file."""
        return self.folder / "keepfit.yaml"

    def write(self, text: str) -> Path:
        """Write another pipeline file over the same state."""
        (self.folder / "other.yaml").write_text(text, encoding="utf-8")
        return self.folder / "other.yaml"


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Loans:
    folder = tmp_path_factory.mktemp("loans")
    (folder / "my_code.py").write_text(block("python", "import numpy"), encoding="utf-8")
    hooks = block("yaml", "hooks:")
    (folder / "keepfit.yaml").write_text(PLAIN + TRAINING + hooks, encoding="utf-8")
    return Loans(folder, hooks, keepfit("run", folder, "--json"))


def test_it_trains_is_chosen_and_is_loaded_back_only_by_name(loans: Loans) -> None:
    ran = loans.ran
    assert ran.status == 0, ran.err
    board = {row["candidate"]: row["cv_mean"] for row in ran.answer["leaderboard"]}
    assert board.keys() == {"baseline", "nearest", "decision_tree"}
    assert ran.answer["challenger"] == max(board, key=lambda name: board[name]) == "nearest"
    assert "profit" in ran.answer["verdict"]["reason"]
    assert ran.answer["metrics"]["profit"] > 0
    store = Store.open(loans.folder / ".keepfit")
    champion = store.champion("loans")
    assert champion is not None
    assert "left" in champion.roles.features
    assert "my_code:add_features" in champion.tags["keepfit.hooks"]
    assert champion.roles.own is None
    own = OwnCode.of(load_pipeline(loans.file, {}).config.hooks, loans.folder)
    assert type(store.load(champion, own)[-1]).__name__ == "Nearest"
    with pytest.raises(ModelRefusedError, match=r"my_code\.Nearest"):
        store.load(champion)


def test_it_scores_where_the_file_names_it_and_nowhere_else(loans: Loans) -> None:
    scored = keepfit("score", loans.file, "--output", loans.folder / "scored.csv")
    assert scored.status == 0, scored.err

    other = "estimators: {other: 'my_code:Other'}"
    hooks = loans.hooks.replace("estimators: {nearest: 'my_code:Nearest'}", other)
    refused = keepfit("score", loans.write(PLAIN + hooks))

    assert refused.status == 1
    assert "{nearest: 'my_code:Nearest'}" in refused.err


def test_over_http_it_makes_its_columns_and_answers_as_a_scoring(loans: Loans) -> None:
    output = loans.folder / "all.parquet"
    scored = keepfit("score", loans.file, "--all", "--output", output)
    assert scored.status == 0, scored.err
    pipeline = load_pipeline(loans.file, {})
    store = Store.open(loans.folder / ".keepfit")
    champion = store.champion("loans")
    assert champion is not None
    model = ServedModel.load(opened(pipeline), champion)
    rows = read_source(pipeline.config.source, pipeline.base).table.drop_columns(["status"])
    assert "left" not in rows.column_names

    found = model.answer(model.read_records(rows.to_pylist()))

    table = (
        pd.read_parquet(output).set_index("row_id").loc[list(map(str, rows["row_id"].to_pylist()))]
    )
    assert not found.faults
    assert found.predicted.tolist() == table["prediction"].tolist()
    assert found.probability is not None
    for place, label in enumerate(champion.roles.classes):
        assert found.probability[:, place].tolist() == table[f"probability_{label}"].tolist()


def test_mlflow_s_own_loader_is_not_told_to_trust_it(loans: Loans) -> None:
    assert "my_code.Nearest" in _by_mlflow(loans.ran.answer["mlflow_uri"], loans.folder)


def test_broken_code_is_told_before_data_is_read(loans: Loans) -> None:
    (loans.folder / "broken.py").write_text("raise RuntimeError('no licence')", encoding="utf-8")
    hooks = "hooks: {estimators: {mine: 'broken:Mine'}}\n"

    broken = keepfit("run", loans.write(PLAIN + hooks))

    assert broken.status == 2
    assert "RuntimeError: no licence" in broken.err
    assert "rows" not in broken.err


def _by_mlflow(uri: str, folder: Path) -> str:
    """Return what MLflow's own loader says of the champion, the module in reach of it."""
    code = "import mlflow; mlflow.pyfunc.load_model('models:/loans@champion')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    return done.stderr
