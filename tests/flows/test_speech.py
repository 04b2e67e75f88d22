"""Recordings become a model: the bundled feature hook in training and scoring, by new voices."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.program import keepfit
from tests.voices import recorded

HOOK = Path(__file__).parents[2] / "deploy" / "pipelines" / "audio_features.py"
PIPELINE = """\
name: vowels
target: vowel
source: {kind: csv, path: spoken.csv}
id_columns: [audio]
split: {group: speaker, holdout: 0.35}
hooks: {features: audio_features:add_features}
training: {candidates: [logistic_regression, random_forest], cv: 3}
metric: accuracy
scoring: {source: {kind: csv, path: new.csv}}
"""


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_vowels_of_new_voices_are_told_apart_by_their_recordings(tmp_path: Path) -> None:
    rows = recorded(tmp_path, speakers=45, each=2)
    known = ~rows["speaker"].isin(["s42", "s43", "s44"])
    rows[known].to_csv(tmp_path / "spoken.csv", index=False)
    rows[~known].to_csv(tmp_path / "new.csv", index=False)
    shutil.copy(HOOK, tmp_path)
    (tmp_path / "keepfit.yaml").write_text(PIPELINE, encoding="utf-8")

    ran = keepfit("run", tmp_path, "--json")

    assert ran.status == 0, ran.err
    assert ran.answer["verdict"]["promoted"] is True
    # Four vowels: chance is 0.25. A child's are learnt from other children.
    assert ran.answer["metrics"]["accuracy"] > 0.8
    scored = keepfit("score", tmp_path, "--output", tmp_path / "scored.csv")
    assert scored.status == 0, scored.err
    said = pd.read_csv(tmp_path / "scored.csv").merge(rows, on="audio")
    assert len(said) == int((~known).sum())
    assert np.mean(said["prediction"] == said["vowel"]) > 0.8

    rows[~known].assign(audio="sounds/none.wav").head(1).to_csv(tmp_path / "new.csv", index=False)
    lost = keepfit("score", tmp_path, "--output", tmp_path / "other.csv")
    assert lost.status == 2
    assert "sounds/none.wav" in lost.err
    assert not (tmp_path / "other.csv").exists()
