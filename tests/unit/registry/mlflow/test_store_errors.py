from __future__ import annotations

import errno
import sqlite3
import warnings

import pytest
import sqlalchemy.exc

from tasks.base.errors import EvidenceError, InfrastructureError, KeepfitError, TransientError
from tasks.base.text.redaction import without_credentials
from tasks.registry.mlflow.store_errors import guarded, translated


def mlflow_error(message: str, code: str) -> Exception:
    from mlflow.exceptions import MlflowException
    from mlflow.protos import databricks_pb2

    return MlflowException(message, error_code=getattr(databricks_pb2, code))


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("database is locked"),
        sqlalchemy.exc.OperationalError("INSERT", {}, Exception("database is locked")),
        sqlalchemy.exc.OperationalError("", {}, Exception("server closed the connection")),
        mlflow_error("(sqlite3.OperationalError) database is locked", "TEMPORARILY_UNAVAILABLE"),
        mlflow_error("API request to http://x failed: Max retries exceeded", "INTERNAL_ERROR"),
    ],
)
def test_what_may_work_on_the_next_try_is_transient(error: Exception) -> None:
    assert isinstance(translated(error), TransientError)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        PermissionError(errno.EACCES, "no", "/x"),
        sqlite3.OperationalError("disk I/O error"),
        mlflow_error("out-of-date database schema", "INTERNAL_ERROR"),
    ],
)
def test_what_will_not_is_infrastructure(error: Exception) -> None:
    said = translated(error)
    assert isinstance(said, InfrastructureError)
    assert not isinstance(said, TransientError)
    assert said.remedy


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        sqlite3.OperationalError("disk I/O error"),
        mlflow_error("(sqlite3.OperationalError) database or disk is full", "INTERNAL_ERROR"),
    ],
)
def test_a_full_disk_is_called_so_whoever_reports_it(error: Exception) -> None:
    said = translated(error)
    assert said is not None
    assert "full" in said.message
    assert "space" in said.remedy


def test_the_line_that_names_the_cause_is_said() -> None:
    words = "(raised as a result of x)\n(y) database is locked\n[SQL: INSERT x]"
    error = mlflow_error(words, "INTERNAL_ERROR")
    said = str(translated(error))
    assert "(y) database is locked" in said
    assert "INSERT" not in said


def test_mistakes_in_the_code_stay_what_they_are() -> None:
    assert translated(KeyError("x")) is None
    assert translated(sqlalchemy.exc.SAWarning("x")) is None

    @guarded
    def wrong() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        wrong()


def test_keepfits_own_errors_pass_through() -> None:
    @guarded
    def refuse() -> None:
        raise EvidenceError("absent")

    with pytest.raises(EvidenceError, match="absent"):
        refuse()


def test_no_password_is_in_a_message() -> None:
    error = mlflow_error("cannot reach postgresql://me:s3cret@db:5432/x", "INTERNAL_ERROR")
    said = translated(error)
    assert isinstance(said, KeepfitError)
    assert "s3cret" not in str(said)
    assert without_credentials("http://a:b@h/x?y=z") == "http://h/x?y=z"


def test_warnings_are_not_faults_of_a_store() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert translated(sqlalchemy.exc.SADeprecationWarning("old")) is None
