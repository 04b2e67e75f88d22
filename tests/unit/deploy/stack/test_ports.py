from __future__ import annotations

import socket

import pytest

from deploy.stack.ports import hold
from tasks.base.errors import UsageError


def test_a_default_that_is_taken_gives_way_to_a_free_port() -> None:
    first = hold(0, None, "Prefect", "--prefect-port")
    second = hold(first.port, None, "Prefect", "--prefect-port")

    assert second.port != first.port
    assert second.instead_of == first.port
    first.listener.close()
    second.listener.close()


def test_a_port_that_was_asked_for_and_is_taken_is_an_error_that_names_it() -> None:
    first = hold(0, None, "Prefect", "--prefect-port")

    with pytest.raises(UsageError, match=f"Port {first.port} for MLflow") as raised:
        hold(5000, first.port, "MLflow", "--mlflow-port")

    assert "--mlflow-port" in raised.value.remedy
    first.listener.close()


def test_a_number_that_is_no_port_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="between 0 and 65535"):
        hold(5000, 70_000, "MLflow", "--mlflow-port")


def test_a_held_port_listens_on_loopback_only_and_is_free_again_at_once() -> None:
    held = hold(0, 0, "MLflow", "--mlflow-port")
    with socket.create_connection(("127.0.0.1", held.port), timeout=5) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"
    assert held.listener.getsockname()[0] == "127.0.0.1"
    held.listener.close()

    again = hold(5000, held.port, "MLflow", "--mlflow-port")

    assert again.port == held.port
    again.listener.close()
