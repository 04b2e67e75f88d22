"""`keepfit init`: what it writes, and who may read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.projects.drafting import Request, draft_project
from tests.tables import write_churn


@pytest.fixture
def loose_umask() -> object:
    before = os.umask(0o022)
    yield
    os.umask(before)


def draft(folder: Path, **options: object) -> object:
    data = options.pop("data", None) or write_churn(folder / "churn.csv")
    return draft_project(
        Request(folder=folder / "mine", data=data, target="Churned?", **options)  # type: ignore[arg-type]
    )


@pytest.mark.usefixtures("loose_umask")
def test_only_the_owner_may_read_the_state_folder(tmp_path: Path) -> None:
    draft(tmp_path)
    assert (tmp_path / "mine" / ".keepfit").stat().st_mode & 0o777 == 0o700
