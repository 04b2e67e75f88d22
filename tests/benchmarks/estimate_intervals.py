"""How often the interval of an estimate without labels holds what came true.

    KEEPFIT_TABLES=… python -m tests.benchmarks.estimate_intervals --work FOLDER [--windows 20]
        [--names electricity,bike_hourly]

Models are trained and later rows scored by the commands themselves, see
`tests.benchmarks.estimate_tables`; windows are estimated by the function that monitoring calls,
from the reference that it reads. An interval of 95 % should hold 95 % of the windows. The error
is set beside that of saying "as on the holdout"; where the estimate steps aside, a row says so with
that error. Tables marked * were kept aside until the method was finished.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tasks.monitoring.performance.estimation.label_free import estimate
from tasks.monitoring.performance.expected_range import measure
from tasks.monitoring.performance.labelled_predictions import answers_of
from tests.benchmarks.estimate_tables import (
    ASIDE,
    EMPLOYMENT,
    OPEN,
    RATES,
    Scored,
    employment,
    scored,
)


def models(
    tables: Path, work: Path, names: set[str]
) -> Iterator[tuple[str, tuple[str, ...], Scored]]:
    """Yield name, metrics and predictions of every table that is wanted."""
    if not names or EMPLOYMENT in names:
        yield EMPLOYMENT, RATES, employment(tables)
    for table in (*OPEN, *ASIDE):
        if not names or table.name in names:
            yield table.name + "*" * (table in ASIDE), table.metrics, scored(table, tables, work)


def looked_at(model: Scored, metric: str, most: int) -> str:
    """Return a row's numbers: windows, share held, error, that of the holdout, width."""
    shown = model.shifts[0]
    reference = answers_of(model.reference, model.roles, shown.reference)
    before = measure(answers_of(model.holdout, model.roles), model.roles, metric, replicates=0)
    assert before is not None
    held, errors, constant, widths = 0, [], [], []
    step = max(1, len(model.windows) // most)
    for rows, shift in zip(model.windows[::step], model.shifts[::step], strict=True):
        window = answers_of(rows, model.roles, shift.window)
        true = measure(window, model.roles, metric, replicates=0)
        if true is None:
            continue
        constant.append(abs(true.value - before.value))
        told = estimate(window, reference, model.roles, metric, kinds=shown.kinds).value
        if told.value is None or told.low is None or told.high is None:
            continue
        held += told.low <= true.value <= told.high
        errors.append(abs(true.value - told.value))
        widths.append(told.high - told.low)
    if not errors:
        return f"{'':31}{np.mean(constant):12.4g}  steps aside"
    return (
        f"{len(errors):8}{held / len(errors):7.0%}{np.mean(errors):16.4g}"
        f"{np.mean(constant):12.4g}{np.median(widths):9.3g}"
    )


def main() -> None:
    """Print one row a table and metric."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where trained models are kept")
    parser.add_argument("--windows", type=int, default=20, help="about so many of each table")
    parser.add_argument("--names", default="", help="tables; absent: all")
    given = parser.parse_args()
    names = {name for name in given.names.split(",") if name}
    print(
        f"{'table':23}{'metric':10}{'windows':>8}{'held':>7}{'error':>16}"
        f"{'as holdout':>12}{'width':>9}"
    )
    for name, metrics, model in models(Path(os.environ["KEEPFIT_TABLES"]), given.work, names):
        for metric in metrics:
            print(f"{name:23}{metric:10}{looked_at(model, metric, given.windows)}", flush=True)


if __name__ == "__main__":
    main()
