from __future__ import annotations

from pathlib import Path

import pandas as pd

from tasks.base.pipeline_file import Pipeline
from tasks.base.training_records import SCHEMA_TAG, ModelVersion
from tasks.ledger.ledger import ledger_of
from tasks.lineage.after_training import beside_champion
from tasks.lineage.records import Known
from tests.unit.serving.served import WITH_IDS, frame, pipeline_file

REGISTERED = ModelVersion(
    name="mine", version="2", run_id="r2",
    tags={SCHEMA_TAG: WITH_IDS.model_dump_json(), "keepfit.metric": "roc_auc"},
)  # fmt: skip


def answered(pipeline: Pipeline, version: str, role: str, yes: pd.Series[float]) -> None:
    rows = frame(400)
    shares = pd.DataFrame(
        {
            "prediction": ["yes" if share > 0.5 else "no" for share in yes],
            "probability_no": 1 - yes,
            "probability_yes": yes,
        }
    )
    ledger_of(pipeline).write_predictions(
        "mine", shares, WITH_IDS, version=version, run_id=f"r{version}", batch="b",
        role=role, rows=rows,  # type: ignore[arg-type]
    )  # fmt: skip


def known(pipeline: Pipeline) -> Known:
    return Known(pipeline=pipeline, version="2", decisions=(), registered=REGISTERED)


def test_a_shadow_is_compared_with_the_champion_on_the_same_labelled_rows(tmp_path: Path) -> None:
    pipeline = pipeline_file(tmp_path, "scoring: {shadow: challenger}\n")
    truth = frame(400)["spät?"].eq("yes").astype(float)
    answered(pipeline, "1", "champion", 0.4 + 0.01 * (truth.index % 7))
    answered(pipeline, "2", "shadow", 0.2 + 0.5 * truth)
    labels = frame(400)[["no", "spät?"]]
    ledger_of(pipeline).write_labels("mine", labels, WITH_IDS)

    found = beside_champion(known(pipeline))

    assert found is not None
    assert (found.what, found.numbers["rows"], found.numbers["labelled"]) == ("shadow", 400, 400)
    assert float(str(found.numbers["difference"])) > 0.3


def test_without_labels_it_says_so_and_without_a_shadow_nothing(tmp_path: Path) -> None:
    plain = pipeline_file(tmp_path)
    answered(plain, "2", "shadow", pd.Series([0.5] * 400))

    assert beside_champion(known(plain)) is None
    found = beside_champion(known(pipeline_file(tmp_path, "scoring: {shadow: challenger}\n")))
    assert found is not None
    assert found.numbers["difference"] is None
