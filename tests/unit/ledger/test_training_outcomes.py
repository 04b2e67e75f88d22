"""Trainings that were done are found by the digest of all that decides them."""

from __future__ import annotations

import shutil
from pathlib import Path

from tasks.ledger.training_outcomes import find_outcome, save_outcome
from tests.unit.lineage.test_evidence_chain import outcome


def test_the_record_of_another_training_is_not_taken_for_the_one_that_is_looked_for(
    tmp_path: Path,
) -> None:
    first, second = (outcome().model_copy(update={"key": key * 64}) for key in "ab")
    save_outcome(tmp_path, first)
    save_outcome(tmp_path, second)
    one, other = sorted((tmp_path / "trainings").iterdir())

    shutil.copy(one, other)

    assert find_outcome(tmp_path, first.key) == first
    assert find_outcome(tmp_path, second.key) is None
