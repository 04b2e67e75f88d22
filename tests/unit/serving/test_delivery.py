from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from sklearn.linear_model import LinearRegression

from tasks.base.errors import DataError, InfrastructureError
from tasks.base.pipeline_file import Pipeline
from tasks.ledger.ledger import ledger_of
from tasks.registry import open_pipeline
from tasks.serving import delivery
from tasks.serving.delivery import announce, deliver, record_of, spool_folder
from tasks.serving.served_model import ServedModel
from tasks.serving.spool import Spool, segments
from tests.opened import opened
from tests.unit.registry.trained import SCHEMA
from tests.unit.serving.served import (
    WITH_IDS,
    contract,
    fitted,
    frame,
    pipeline_file,
    records,
    served,
    version,
)


@pytest.fixture(scope="module")
def model() -> ServedModel:
    return served()


def answered(pipeline: Pipeline, model: ServedModel, *requests: list[dict[str, object]]) -> None:
    announce(pipeline, model)
    spool = Spool(spool_folder(pipeline))
    for number, rows in enumerate(requests):
        answer = model.answer(model.read_records(rows))
        spool.write([record_of(model, answer, f"q{number}")])
    spool.close()


def test_each_answered_row_is_in_the_ledger_once_under_the_key_of_a_scoring(
    tmp_path: Path, model: ServedModel
) -> None:
    pipeline, rows = pipeline_file(tmp_path), frame(20)
    answered(pipeline, model, records(rows[:12]), records(rows[8:]))

    assert deliver(opened(pipeline)).new == 20
    assert not segments(spool_folder(pipeline))

    ledger = ledger_of(pipeline)
    assert ledger.predicted_before("mine", rows, WITH_IDS, None).all()
    window = ledger.window_rows("mine", None, WITH_IDS)
    found = model.answer(model.read_records(records(rows)))
    shares = dict(zip(rows["no"], found.probability[:, 1], strict=True))  # type: ignore[index]
    assert dict(zip(window["key"], window["probability_yes"], strict=True)) == {
        f'["{no}"]': share for no, share in shares.items()
    }
    assert window["time"].tolist() == sorted(rows["moment"])


def test_rows_answered_over_http_do_not_say_how_far_the_source_was_scored(
    tmp_path: Path, model: ServedModel
) -> None:
    pipeline, rows = pipeline_file(tmp_path), frame(20)
    answered(pipeline, model, records(rows))
    assert deliver(opened(pipeline)).new == 20

    assert ledger_of(pipeline).ends("mine") == (None, None)


def test_rows_without_ids_have_the_key_of_their_content(tmp_path: Path) -> None:
    pipeline, rows = pipeline_file(tmp_path), frame(30)
    answered(pipeline, served(roles=SCHEMA), records(rows))
    deliver(opened(pipeline))

    assert ledger_of(pipeline).predicted_before("mine", rows, SCHEMA, None).all()


def test_a_delivery_that_was_killed_before_it_removed_the_segment_adds_nothing_twice(
    tmp_path: Path, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = pipeline_file(tmp_path)
    answered(pipeline, model, records(frame(7)))

    def killed(place: str) -> None:
        if place == "serving.deliver.after":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "reach", killed)
        with pytest.raises(KeyboardInterrupt):
            deliver(opened(pipeline))

    assert segments(spool_folder(pipeline))
    again = deliver(opened(pipeline))
    assert (again.rows, again.new) == (7, 0)
    assert ledger_of(pipeline).coverage("mine", None).rows == 7


def test_what_the_ledger_refuses_waits(
    tmp_path: Path, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = pipeline_file(tmp_path)
    answered(pipeline, model, records(frame(3)))

    def away(*_: object, **__: object) -> None:
        raise InfrastructureError("the ledger is away")

    with monkeypatch.context() as patch:
        patch.setattr(open_pipeline, "ledger_of", away)
        with pytest.raises(InfrastructureError):
            deliver(opened(pipeline))

    assert deliver(opened(pipeline)).new == 3


def test_rows_wait_where_the_facts_of_their_version_were_exchanged(
    tmp_path: Path, model: ServedModel
) -> None:
    pipeline = pipeline_file(tmp_path)
    answered(pipeline, model, records(frame(3)))
    (facts,) = (pipeline.work / "serving" / "versions").iterdir()
    known = facts.read_text()
    facts.write_text(known.replace(model.version.run_id, "run9"))

    # A later one of another version does not wait for it.
    answered(pipeline, served(number="7"), records(frame(9)[6:]))
    with pytest.raises(DataError, match=f"{facts.name}.* changed"):
        deliver(opened(pipeline))
    assert len(segments(spool_folder(pipeline))) == 1
    facts.write_text(known)
    assert deliver(opened(pipeline)).new == 3


def test_a_spool_of_an_earlier_keepfit_is_delivered(tmp_path: Path, model: ServedModel) -> None:
    pipeline = pipeline_file(tmp_path)
    folder = pipeline.work / "serving" / "versions"
    folder.mkdir(parents=True)
    (folder / f"{model.version.version}.json").write_text(model.facts)
    record = orjson.loads(record_of(model, model.answer(model.read_records(records(frame(3)))), ""))
    del record["facts"]
    spool = Spool(spool_folder(pipeline))
    spool.write([orjson.dumps(record)])
    spool.close()

    assert deliver(opened(pipeline)).new == 3


def test_a_row_without_its_id_is_answered_and_kept_under_its_request(
    tmp_path: Path, model: ServedModel
) -> None:
    pipeline = pipeline_file(tmp_path)
    rows = [{k: v for k, v in row.items() if k != "no"} for row in records(frame(2))]
    answered(pipeline, model, rows, rows)

    assert deliver(opened(pipeline)).new == 4


def numbers(task: str, **changes: object) -> ServedModel:
    """A version that predicts numbers."""
    given = {"task": task, "classes": (), "positive": None, "id_columns": ("no",), **changes}
    roles = SCHEMA.model_copy(update=given)
    fit = fitted()
    target = frame(300)["größe; DROP TABLE"].astype(float)
    fit.steps[-1] = ("model", LinearRegression().fit(fit[0].transform(frame(300)), target))
    return ServedModel.of(version("1", roles), fit, contract())


def test_values_are_answered_and_kept_as_numbers(tmp_path: Path) -> None:
    pipeline, model = pipeline_file(tmp_path), numbers("regression")
    answered(pipeline, model, records(frame(9)))

    assert deliver(opened(pipeline)).new == 9
    stored = ledger_of(pipeline).window_rows("mine", None, model.roles)
    found = model.answer(model.read_records(records(frame(9))))
    assert found.probability is None
    assert stored["prediction"].tolist() == found.predicted.tolist()


def test_rows_of_a_ranking_get_their_place_in_the_group() -> None:
    model = numbers("ranking", group="list", id_columns=("list", "no"), grades=(0.0, 1.0))
    rows = [{**row, "list": f"l{n % 2}"} for n, row in enumerate(records(frame(6)))]

    found = model.answer(model.read_records(rows))

    assert found.rank is not None
    best = {n % 2: found.predicted[n] for n in range(6) if found.rank[n] == 1}
    assert best == {half: max(found.predicted[half::2]) for half in (0, 1)}
    del rows[0]["list"]
    assert [f.column for f in model.answer(model.read_records(rows)).faults[0]] == ["list"]
