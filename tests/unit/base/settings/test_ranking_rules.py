"""What does not go with a ranking, or only with one, is refused at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.base.errors import ConfigError
from tasks.base.pipeline_file import load_pipeline
from tasks.base.settings.evaluation import default_metric

HEAD = "name: films\ntarget: stars\nsource: {kind: csv, path: films.csv}\n"
RANKING = f"{HEAD}task: ranking\ngroup: user\nid_columns: [user, film]\n"


def load(folder: Path, text: str):
    file = folder / "keepfit.yaml"
    file.write_text(text, encoding="utf-8")
    return load_pipeline(file, {})


def test_a_ranking_is_read_with_its_columns(tmp_path: Path) -> None:
    config = load(
        tmp_path, f"{RANKING}item: film\nrelevant: 4\nscoring: {{top_k: 10}}\nmetric: map_at_10\n"
    ).config
    assert (config.group, config.item, config.relevant) == ("user", "film", 4.0)
    assert config.scoring.top_k == 10
    assert default_metric("ranking") == "ndcg_at_10"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (f"{HEAD}task: ranking\n", 4, "needs a `group`"),
        (f"{HEAD}group: user\n", 4, "add `task: ranking`"),
        (f"{HEAD}task: regression\nitem: film\n", 5, "`item` is for a ranking"),
        (f"{HEAD}relevant: 3\n", 4, "`relevant` is for a ranking"),
        (f"{HEAD}scoring:\n  top_k: 3\n", 5, "`scoring.top_k` is for a ranking"),
        (f"{HEAD}task: ranking\ngroup: user\n", 5, "write `id_columns: [user, what is ranked]`"),
        (f"{HEAD}task: ranking\ngroup: user\nid_columns: [film]\n", 6, "has to be among"),
        (f"{HEAD}task: ranking\ngroup: stars\nid_columns: [film]\n", 5, "stands in `target` too"),
        (f"{RANKING}exclude: [film]\nitem: film\n", 8, "the item 'film' stands in `exclude` too"),
        (f"{RANKING}item: user\n", 7, "both name 'user'"),
        (f"{RANKING}metric: rmse\n", 7, "ndcg_at_10, map_at_10"),
        (f"{HEAD}task: binary\nmetric: ndcg_at_10\n", 5, "not one for binary"),
        (f"{RANKING}objective: f1\n", 7, "`objective` is about classes"),
        (f"{RANKING}positive: 5\n", 7, "`positive` is about classes"),
        (f"{RANKING}training:\n  calibrate: auto\n", 8, "`training.calibrate` is about classes"),
        (f"{RANKING}training:\n  class_weight: balanced\n", 8, "is about classes"),
        (f"{RANKING}training:\n  ensemble: true\n", 8, "a scale of its own"),
        (f"{RANKING}training:\n  diagnosis: full\n", 8, "learning curve"),
        (f"{RANKING}report:\n  sensitive: [sex]\n", 8, "judged by groups"),
    ],
)
def test_what_does_not_go_together_is_refused_at_its_line(
    text: str, line: int, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    assert f"line {line}: " in refused.value.message
    assert said in refused.value.message
