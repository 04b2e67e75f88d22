from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lightgbm import LGBMClassifier

from deploy.serving.app import OPEN_PATHS, Limits
from deploy.serving.limits import RateLimit
from deploy.serving.server import BearerAuthentication, guarded, token_for
from tasks.base.errors import UsageError
from tasks.ledger.ledger import ledger_of
from tasks.serving import spool
from tasks.serving.delivery import deliver, spool_folder
from tasks.serving.served_model import ServedModel
from tasks.serving.spool import Spool
from tests.opened import opened
from tests.unit.serving.served import (
    WITH_IDS,
    TestClient,
    client,
    frame,
    pipeline_file,
    records,
    served,
)

PATH = "/pipelines/mine/predict"


@pytest.fixture(scope="module")
def model() -> ServedModel:
    return served()


@pytest.fixture
def asking(tmp_path: Path, model: ServedModel) -> Iterator[TestClient]:
    with client(tmp_path, model) as found:
        yield found


def test_every_answered_row_reaches_the_ledger(tmp_path: Path, model: ServedModel) -> None:
    with client(tmp_path, model) as asking:
        said = asking.post(PATH, json={"rows": records(frame(5))}).json()
    rows = said.pop("rows")

    assert said.pop("request_id")
    assert said == {"pipeline": "mine", "version": "1", "answered": 5, "refused": 0}
    assert [set(row) for row in rows] == [{"prediction", "probability"}] * 5
    assert abs(sum(rows[0]["probability"].values()) - 1) < 1e-12
    assert deliver(opened(pipeline_file(tmp_path))).new == 5


def test_a_shadow_answers_the_same_rows_into_the_ledger_and_is_not_returned(
    tmp_path: Path, model: ServedModel
) -> None:
    other = served(LGBMClassifier(n_estimators=3, verbose=-1), "native", number="2")
    with client(tmp_path, model, shadow=other) as asking:
        said = asking.post(PATH, json={"rows": records(frame(6))}).json()
    pipeline = pipeline_file(tmp_path)
    deliver(opened(pipeline))

    ledger = ledger_of(pipeline)
    returned = ledger.window_rows("mine", None, WITH_IDS)
    beside = ledger.window_rows("mine", None, WITH_IDS, role="shadow", version="2")
    assert said["version"] == "1"
    assert returned["version"].unique().tolist() == ["1"]
    assert beside["key"].tolist() == returned["key"].tolist()
    assert beside["probability_yes"].tolist() != returned["probability_yes"].tolist()


class Failing:
    """An encoder that fails after a while."""

    def encode(self, *_: Any) -> Any:
        time.sleep(0.3)
        raise RuntimeError("out of order")


def test_a_shadow_that_fails_while_the_server_ends_leaves_the_spool_to_be_delivered(
    tmp_path: Path, model: ServedModel
) -> None:
    shadow: Any = replace(model, encoder=Failing())  # type: ignore[arg-type]
    with client(tmp_path, model, shadow=shadow) as asking:
        assert asking.post(PATH, json={"rows": records(frame(2))}).status_code == 200
    assert deliver(opened(pipeline_file(tmp_path))).new == 2


def test_a_broken_row_has_an_error_by_name_and_rule(asking: TestClient) -> None:
    rows = records(frame(3))
    rows[1]["flag"] = "perhaps"

    answer = asking.post(PATH, json={"rows": rows})

    assert answer.status_code == 200
    assert [e["rule"] for e in answer.json()["rows"][1]["errors"]] == ["kind"]
    assert answer.json()["rows"][1]["errors"][0]["column"] == "flag"
    assert "prediction" in answer.json()["rows"][2]


def test_a_request_without_a_row_that_can_be_answered_is_422(
    tmp_path: Path, asking: TestClient
) -> None:
    answer = asking.post(PATH, json={"rows": [{}]})

    assert answer.status_code == 422
    assert answer.json()["refused"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[1]", 400), (b'{"rows": []}', 400), (b'{"rows": 3}', 400),
        (b'{"rows": [3]}', 400), (b'{"rows": [], "columns": {}}', 400), (b"\xff\xfe", 400),
        (b'{"columns": {"a": [1], "b": []}}', 400), (b'{"columns": {}}', 400),
        (b'{"rows": ' + b"[" * 2000 + b"]" * 2000 + b"}", 400), (b'{"rows": [NaN]}', 400),
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_says_what_to_send(
    asking: TestClient, body: bytes, status: int
) -> None:
    answer = asking.post(PATH, content=body, headers={"content-type": "application/json"})

    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"kind", "message", "remedy"}
    assert answer.json()["error"]["remedy"]


def test_only_json_is_taken(asking: TestClient) -> None:
    assert (
        asking.post(PATH, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    )


def test_a_body_or_a_request_that_is_too_large_is_refused_before_it_is_read(
    tmp_path: Path, model: ServedModel
) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while read < 10_000_000:
            read += 1000
            yield b" " * 1000

    with client(tmp_path, model, Limits(rows=2, body_bytes=50_000)) as asking:
        rows = asking.post(PATH, json={"rows": records(frame(3))})
        stated = asking.post(
            PATH, content=b"{}",
            headers={"content-type": "application/json", "content-length": "1000000000"},
        )  # fmt: skip
        streamed = asking.post(
            PATH, content=endless(), headers={"content-type": "application/json"}
        )

    assert [a.status_code for a in (rows, stated, streamed)] == [413, 413, 413]


def test_without_a_champion_the_server_says_how_to_get_one(tmp_path: Path) -> None:
    with client(tmp_path, None) as asking:
        answer = asking.post(PATH, json={"rows": records(frame(1))})
        assert (asking.get("/health").status_code, asking.get("/ready").status_code) == (200, 503)

    assert answer.status_code == 503
    assert not spool_folder(pipeline_file(tmp_path)).exists()


def test_an_unknown_pipeline_is_404_with_those_that_are_served(asking: TestClient) -> None:
    answer = asking.post("/pipelines/other/predict", json={"rows": [{}]})

    assert answer.status_code == 404
    assert "mine" in answer.json()["error"]["remedy"]


def test_an_answer_that_cannot_be_recorded_is_not_given_and_the_server_is_not_ready_meanwhile(
    tmp_path: Path, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    body = {"rows": records(frame(1))}
    with client(tmp_path, model, Limits(check_seconds=0.05)) as asking:
        with monkeypatch.context() as patch:
            patch.setattr(Spool, "check", full)
            _awaited(asking, 503)
            assert "No space left" in asking.get("/ready").json()["missing"]["mine"]
            patch.setattr(spool.os, "write", full)
            answer = asking.post(PATH, json=body)
        _awaited(asking, 200)
        assert asking.post(PATH, json=body).status_code == 200

    assert answer.status_code == 503
    assert answer.json()["error"]["kind"] == "infrastructure"


def _awaited(asking: TestClient, status: int) -> None:
    until = time.monotonic() + 30
    while asking.get("/ready").status_code != status:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_metrics_count_requests_rows_and_broken_rules(asking: TestClient) -> None:
    asking.post(PATH, json={"rows": [*records(frame(2)), {}]})

    text = asking.get("/metrics").text

    assert 'keepfit_rows_total{outcome="answered",pipeline="mine"} 2.0' in text
    assert 'keepfit_rows_total{outcome="refused",pipeline="mine"} 1.0' in text
    assert 'keepfit_champion{pipeline="mine",version="1"} 1.0' in text


def test_openapi_is_made_from_the_signature(asking: TestClient) -> None:
    described = asking.get("/openapi.json").json()

    schema = described["paths"][PATH]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    row = schema["oneOf"][0]["properties"]["rows"]["items"]
    assert row["properties"]["flag"]["type"] == ["boolean", "null"]
    assert row["properties"]["moment"]["format"] == "date-time"
    assert "dep delay" in row["required"]
    assert "no" not in row["required"]


def test_the_id_of_a_request_is_the_clients_unless_it_is_hostile(asking: TestClient) -> None:
    body = {"rows": records(frame(1))}
    own = asking.post(PATH, json=body, headers={"x-request-id": "a-1"})
    hostile = asking.post(PATH, json=body, headers={"x-request-id": "a b<script>"})

    assert own.headers["x-request-id"] == own.json()["request_id"] == "a-1"
    assert hostile.json()["request_id"].isalnum()


def test_beyond_the_rate_a_client_is_told_when_to_ask_again(
    tmp_path: Path, model: ServedModel
) -> None:
    with client(tmp_path, model, Limits(rate=1.0)) as asking:
        found = [asking.post(PATH, json={"rows": records(frame(1))}).status_code for _ in range(4)]

    assert found[:2] == [200, 200]
    assert found[-1] == 429


def test_a_bucket_fills_again() -> None:
    limit = RateLimit(1000.0)

    assert limit.seconds_to_wait("a") == 0.0
    assert RateLimit(None).seconds_to_wait("a") == 0.0


def test_beyond_loopback_a_token_is_needed() -> None:
    with pytest.raises(UsageError):
        token_for("192.0.2.1", {})
    with pytest.raises(UsageError):
        token_for("127.0.0.1", {"KEEPFIT_SERVE_TOKEN": "short"})
    assert token_for("192.0.2.1", {"KEEPFIT_SERVE_TOKEN": "x" * 32}) == "x" * 32


@pytest.mark.parametrize(
    ("header", "status"),
    [("Bearer " + "t" * 32, 200), ("Bearer wrong", 401), ("Basic " + "t" * 32, 401), ("", 401)],
)
def test_without_the_token_nothing_but_health_is_answered(
    asking: TestClient, header: str, status: int
) -> None:
    app = BearerAuthentication(asking.app, "t" * 32, OPEN_PATHS)
    behind = TestClient(app)
    headers = {"authorization": header} if header else {}

    answers: list[Any] = [
        behind.get(path, headers=headers).status_code
        for path in ("/metrics", "/openapi.json", "/pipelines/mine")
    ]

    assert answers == [status] * 3
    assert behind.get("/health").status_code == 200


def test_on_loopback_another_account_or_a_page_of_another_site_gets_nothing(
    asking: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = TestClient(guarded(asking.app, 4290, None), base_url="http://127.0.0.1:4290")
    body = json.dumps({"rows": records(frame(1))})
    headers = {"content-type": "application/json"}

    account = behind.post(PATH, content=body, headers=headers)
    monkeypatch.setattr("deploy.web.request_guard.is_of_this_user", lambda _: True)
    own = behind.post(PATH, content=body, headers=headers)
    other = behind.post(PATH, content=body, headers={**headers, "origin": "https://evil.example"})
    rebound = behind.post(PATH, content=body, headers={**headers, "host": "evil.example"})

    assert [a.status_code for a in (account, own, other, rebound)] == [403, 200, 403, 400]


@pytest.mark.parametrize(("method", "path"), [("GET", "/pipelines/mine/predict"), ("POST", "/no")])
def test_an_address_that_is_not_served_is_answered_as_every_error_is(
    tmp_path: Path, model: ServedModel, method: str, path: str
) -> None:
    with client(tmp_path, model) as asking:
        answered = asking.request(method, path)

    assert answered.status_code == (405 if method == "GET" else 404)
    assert answered.json()["error"]["kind"] == "usage"
    assert path in answered.json()["error"]["message"]


def test_every_route_is_decided_with_a_token_and_without(asking: TestClient) -> None:
    routes = {route.path for route in asking.app.routes}  # type: ignore[attr-defined]
    assert routes == {
        "/pipelines/{name}/predict", "/pipelines/{name}", "/health", "/ready", "/metrics",
        "/openapi.json",
    }  # fmt: skip
    other_account = TestClient(guarded(asking.app, 4290, None), base_url="http://127.0.0.1:4290")
    nobody = TestClient(guarded(asking.app, 4290, "t" * 32), base_url="http://127.0.0.1:4290")

    for path in routes:
        for method in ("GET", "POST", "DELETE"):
            refused = other_account.request(method, path).status_code == 403
            assert refused is ((method, path) != ("GET", "/health")), (method, path)
            assert (nobody.request(method, path).status_code == 401) is (path not in OPEN_PATHS)
