"""The environment that commands make for themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.base.runtime.environment import keep_prefect_in, mode_beside, turn_telemetry_off
from tasks.orchestration.prefect_api import configured_api


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


@pytest.mark.parametrize(
    ("folder_mode", "umask", "mode"),
    [(0o755, "22", 0o644), (0o700, "22", 0o600), (0o755, "77", 0o600), (0o777, "2", 0o664)],
)
def test_a_file_that_a_person_names_is_as_open_as_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder_mode: int, umask: str, mode: int
) -> None:
    monkeypatch.setenv("KEEPFIT_UMASK", umask)
    tmp_path.chmod(folder_mode)

    assert mode_beside(tmp_path) == mode


def test_the_active_profile_of_a_person_still_names_the_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    profiles = tmp_path / ".prefect" / "profiles.toml"
    profiles.parent.mkdir()
    profiles.write_text('active = "x"\n[profiles.x]\nPREFECT_API_URL = "http://h/api"\n')
    environ: dict[str, str] = {}
    stack = {"PREFECT_HOME": "/stated"}

    keep_prefect_in(tmp_path / "state", environ)
    keep_prefect_in(tmp_path / "state", stack)

    assert configured_api(environ) == "http://h/api"
    assert configured_api(stack) is None
