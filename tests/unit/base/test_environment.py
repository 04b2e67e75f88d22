"""The environment that commands make for themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.base.environment import keep_prefect_in, turn_telemetry_off


@pytest.mark.parametrize(
    ("stated", "then"),
    [
        ("", "127.0.0.1,localhost"),
        ("intern.example", "intern.example,127.0.0.1,localhost"),
        ("localhost", "localhost,127.0.0.1"),
        ("*", "*"),
    ],
)
def test_no_proxy_stands_before_own_servers(stated: str, then: str) -> None:
    environ = {"NO_PROXY": stated}
    keep_prefect_in(Path("state"), environ)

    assert environ["NO_PROXY"] == then
    assert "127.0.0.1" in environ["no_proxy"]


def test_what_a_person_states_of_prefect_stays() -> None:
    environ = {"PREFECT_HOME": "mine"}
    keep_prefect_in(Path("state"), environ)

    assert environ["PREFECT_HOME"] == "mine"


def test_telemetry_is_off_even_where_it_was_turned_on() -> None:
    environ = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "true"}
    turn_telemetry_off(environ)

    assert environ["DO_NOT_TRACK"] == "true"
    assert environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
