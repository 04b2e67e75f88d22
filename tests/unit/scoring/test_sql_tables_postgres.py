from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from tasks.base.errors import InfrastructureError, TransientError
from tasks.base.settings.scoring import SqlSink
from tasks.scoring.sinks import write_predictions
from tests.postgres import Server, postgres_server

__all__ = ["postgres_server"]
pytestmark = pytest.mark.postgres


def predictions(n: int = 4, batch: str = "d1") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "größe; DROP TABLE": pd.Series(["ü'\"\x00", None] * (n // 2), dtype="str"),
            "time": pd.date_range("2020", periods=n, freq="h", tz="UTC").astype(
                "datetime64[us, UTC]"
            ),
            "prediction": [True, False] * (n // 2),
            "probability_A": np.linspace(0, 1, n),
            "probability_a": [np.nan, np.inf] * (n // 2),
            "batch": pd.Series([batch] * n, dtype="str"),
        }
    )


def sink(server: Server, table: str, password: str | None = None) -> SqlSink:
    return SqlSink(kind="sql", url=SecretStr(server.url(password=password)), table=table)


def stored(server: Server, table: str) -> list[tuple[Any, ...]]:
    engine = sa.create_engine(server.url())
    with engine.connect() as connection:
        rows = connection.execute(sa.text(f'SELECT * FROM "{table}" ORDER BY batch, id')).all()
    engine.dispose()
    return [tuple(row) for row in rows]


def test_a_batch_written_twice_is_there_once(postgres_server: Server, tmp_path: Path) -> None:
    for batch in ("d1", "d2", "d1"):
        said = write_predictions(predictions(batch=batch), sink(postgres_server, "P"), tmp_path)
    assert postgres_server.password not in said
    rows = stored(postgres_server, "P")
    assert [row[-1] for row in rows] == ["d1"] * 4 + ["d2"] * 4
    assert rows[0][1] == "ü'\""
    assert rows[1][1] is None
    assert rows[0][3] is True
    assert (rows[0][5], rows[1][5]) == (None, float("inf"))


def test_writers_of_one_batch_at_once_leave_it_once(
    postgres_server: Server, tmp_path: Path
) -> None:
    def write(_: int) -> None:
        write_predictions(predictions(500), sink(postgres_server, "race"), tmp_path)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert len(stored(postgres_server, "race")) == 500


def test_a_refused_batch_leaves_the_earlier_one(postgres_server: Server, tmp_path: Path) -> None:
    write_predictions(predictions(), sink(postgres_server, "kept"), tmp_path)
    wrong = predictions().assign(id=["a", "b", "c", "d"])
    with pytest.raises(InfrastructureError, match="Nothing of this batch"):
        write_predictions(wrong, sink(postgres_server, "kept"), tmp_path)
    assert len(stored(postgres_server, "kept")) == 4


def test_a_wrong_password_is_not_repeated(postgres_server: Server, tmp_path: Path) -> None:
    with pytest.raises(TransientError) as caught:
        write_predictions(predictions(), sink(postgres_server, "t", "s3cret-pass"), tmp_path)
    assert "s3cret-pass" not in str(caught.value)
