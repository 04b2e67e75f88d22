"""A mark tells the store that was meant from another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.projects.reachability import Reach, columns_digest, marked, reach
from tests.tables import FAST, write_churn, write_pipeline

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def plan(tmp_path: Path) -> Pipeline:
    file = write_pipeline(tmp_path, write_churn(tmp_path / "c.csv", 20), FAST)
    return load_pipeline(file, {"KEEPFIT_STATE": str(tmp_path / "state")})


def same(found: Reach) -> dict[str, bool]:
    return {one.store: one.same for one in found.stores}


def test_who_has_the_same_stores_finds_every_mark_while_it_stands(plan: Pipeline) -> None:
    with marked(plan, "m1"):
        assert all(same(reach(plan, "m1", columns_digest(plan))).values())
        assert not any(list(same(reach(plan, "other", "")).values())[:3])

    assert not same(reach(plan, "m1", ""))["state"]
    assert not same(reach(plan, "m1", ""))["ledger"]
    assert not list(plan.work.glob("mark-*"))


def test_another_state_folder_or_source_is_seen(plan: Pipeline, tmp_path: Path) -> None:
    elsewhere = load_pipeline(plan.path, {"KEEPFIT_STATE": str(tmp_path / "elsewhere")})
    columns = columns_digest(plan)
    with marked(plan, "m1"):
        (tmp_path / "c.csv").write_text("a,b\n1,2\n")
        found = reach(elsewhere, "m1", columns)

    assert same(found) == {"state": False, "MLflow": False, "ledger": False, "source": False}
    assert str(tmp_path / "elsewhere") in found.stores[0].address


def test_a_store_that_does_not_answer_is_named_without_its_password(
    plan: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = plan.path
    file.write_text(file.read_text("utf-8") + 'ledger: {url: "${LEDGER}"}\n', "utf-8")
    url = "postgresql://me:c4n4ry@127.0.0.1:9/ledger"
    other = load_pipeline(file, {"KEEPFIT_STATE": str(plan.state), "LEDGER": url})

    (ledger,) = (one for one in reach(other, "m1", "").stores if one.store == "ledger")

    assert not ledger.same
    assert "127.0.0.1" in ledger.address
    assert ledger.fault
    assert "c4n4ry" not in ledger.model_dump_json()
