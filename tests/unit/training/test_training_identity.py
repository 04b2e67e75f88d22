"""The identity of a training changes with the code of a person's own, and with nothing else."""

from __future__ import annotations

from pathlib import Path

from tasks.base.pipeline_file import load_pipeline
from tasks.base.training_records import Snapshot
from tasks.training.training_identity import fit_key, training_key

SNAPSHOT = Snapshot(path="rows.arrow", digest="ab", rows=3, kinds={})
PLAIN = "name: p\ntarget: y\nsource: {kind: demo, name: credit}\n"


def keys(folder: Path, text: str) -> tuple[str, str]:
    (folder / "keepfit.yaml").write_text(text, encoding="utf-8")
    pipeline = load_pipeline(folder / "keepfit.yaml", {})
    return fit_key(pipeline, SNAPSHOT), training_key(pipeline, SNAPSHOT, "contract")


def test_changed_code_is_another_training_and_unchanged_code_is_not(tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    for hooks in (
        "hooks: {estimators: {near: 'mine:C'}}\n",
        "hooks: {metrics: {profit: {call: 'mine:f', greater_is_better: true}}}\n",
    ):
        module.write_text("C = 1\n", encoding="utf-8")
        first = keys(tmp_path, PLAIN + hooks)
        assert keys(tmp_path, PLAIN + hooks) == first

        module.write_text("C = 2\n", encoding="utf-8")
        later = keys(tmp_path, PLAIN + hooks)

        assert all(a != b for a, b in zip(first, later, strict=True))


def test_a_module_that_no_hook_names_changes_nothing(tmp_path: Path) -> None:
    first = keys(tmp_path, PLAIN)
    (tmp_path / "mine.py").write_text("C = 1\n", encoding="utf-8")

    assert keys(tmp_path, PLAIN) == first
