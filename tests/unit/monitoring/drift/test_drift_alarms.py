"""The simulations of `tests/benchmarks/drift_alarms.py`, few of each."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks import drift_alarms


@pytest.fixture(scope="module")
def flights() -> drift_alarms.Table:
    return drift_alarms.flights()[0]


@pytest.mark.slow
def test_windows_drawn_as_their_reference_rarely_alarm(flights: drift_alarms.Table) -> None:
    assert drift_alarms.permuted(flights, 80) <= 10


@pytest.mark.slow
def test_a_shift_of_three_tenths_of_a_deviation_is_found(flights: drift_alarms.Table) -> None:
    assert drift_alarms.power(flights, 0.3, 26) >= 0.9
    assert float(np.quantile(drift_alarms.gradual(flights, 13), 0.9)) <= 6


@pytest.mark.slow
def test_ordinary_weeks_of_flights_rarely_alarm() -> None:
    held, n, following, m = drift_alarms.ordinary(8, 12)
    assert held <= 2
    assert following <= 2
    assert n == m == 12


@pytest.mark.slow
def test_gross_faults_are_found_in_the_first_window() -> None:
    found = drift_alarms.gross()
    # A column that is mostly null, or mostly one value, in the reference already.
    mostly = {"wind_gust", "visib", "precip"}
    # Time moves these: they are judged by what they do to the predictions, and by the contract.
    moving = {"month", "day"}
    assert all(set(where) <= mostly | moving for _, _, where in found.values())
