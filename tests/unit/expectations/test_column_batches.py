"""A table checked in parts gets the same results as a table checked whole."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from expectations import column_batches as parts
from expectations.check import check_frame
from expectations.contract import Contract
from expectations.inference import infer_contract

KINDS = {
    "id": "identifier", "when": "datetime", "a": "numeric", "b": "numeric", "c": "categorical",
    "y": "boolean",
}  # fmt: skip


def table(rows: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": pd.Series([f"r{i}" for i in range(rows)], dtype="str"),
            "when": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(rows), unit="h"),
            "a": rng.normal(5, 1, rows),
            "b": rng.integers(0, 9, rows),
            "c": pd.Series(rng.choice(["x", "y"], rows), dtype="str"),
            "y": rng.random(rows) > 0.5,
        }
    )


def whole_contract(frame: pd.DataFrame) -> Contract:
    return infer_contract(frame, KINDS, name="t", target="y", time_column="when", id_columns=["id"])


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "CELLS_AT_ONCE", 1_200)


def plain(outcome: parts.CheckOutcome) -> list[tuple[object, ...]]:
    return sorted(
        (str(r.column), r.rule, r.severity, r.passed, r.failed_rows, r.observed, r.sample)
        for r in outcome.results
    )


def test_the_inferred_contract_is_the_same() -> None:
    frame = table()

    inferred = parts.infer_in_parts(
        lambda names: frame[list(names)], list(frame), len(frame), KINDS, name="t", target="y",
        time_column="when", id_columns=["id"],
    )  # fmt: skip

    assert inferred == whole_contract(frame)
    assert list(inferred.columns) == list(frame)


def test_each_column_is_read_once_for_an_inferred_contract() -> None:
    frame = table()
    seen: list[str] = []

    def read(names: Sequence[str]) -> pd.DataFrame:
        seen.extend(names)
        return frame[list(names)]

    parts.infer_in_parts(
        read, list(frame), len(frame), KINDS, name="t", target="y", time_column="when",
        id_columns=["id"],
    )  # fmt: skip
    assert sorted(seen) == sorted(frame)


_LONGER = [pytest.param(f, marks=pytest.mark.slow) for f in ("missing", "extra", "turned", "nulls")]


@pytest.mark.parametrize("fault", ["none", "range", "twice", *_LONGER])
def test_the_results_are_the_same(fault: str) -> None:
    contract = Contract.model_validate(
        {
            **whole_contract(table()).to_dict(),
            "rules": [{"sql": "a > 0 AND b < 100", "name": "sane"}],
        }
    )
    frame = spoilt(table(), fault)

    in_parts = parts.check_in_parts(
        lambda names: frame[list(names)], frame.head(0), len(frame), contract, kinds=KINDS
    )

    whole = check_frame(frame, contract, kinds=KINDS)
    assert plain(in_parts) == plain(whole)
    assert in_parts.passed == whole.passed
    assert in_parts.passed == (fault in {"none", "extra", "turned"})


def spoilt(frame: pd.DataFrame, fault: str) -> pd.DataFrame:
    if fault == "missing":
        return frame.drop(columns="b")
    if fault == "extra":
        return frame.assign(new=1)
    if fault == "turned":
        return frame[list(reversed(frame.columns))]
    if fault == "nulls":
        return frame.assign(a=np.nan)
    if fault == "range":
        return frame.assign(a=frame["a"] * 1000)
    if fault == "twice":
        return frame.assign(id=pd.Series(["same"] * len(frame), dtype="str"))
    return frame


def test_what_an_earlier_part_left_is_gone_before_the_next_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame, left, alive = table(), [], []

    def checked(part: pd.DataFrame, contract: Contract, **given: object) -> parts.CheckOutcome:
        made = Knot()
        made.itself, made.held = made, part
        left.append(weakref.ref(made))
        return check_frame(part, contract, **given)  # type: ignore[arg-type]

    def read(names: Sequence[str]) -> pd.DataFrame:
        alive.append(sum(one() is not None for one in left[1:]))
        return frame[list(names)]

    contract = whole_contract(frame)
    monkeypatch.setattr(parts, "check_frame", checked)
    gc.disable()
    try:
        parts.check_in_parts(read, frame.head(0), len(frame), contract, kinds=KINDS)
    finally:
        gc.enable()

    assert len(alive) > 2
    assert not any(alive)


class Knot:
    """Refers to itself, as what Great Expectations makes does."""

    itself: Knot
    held: pd.DataFrame
