"""Libraries that take long to import, here imported when something of them is first used.

So a module may name them at its head, and its importers pay only for what it uses. At the
head of a module they cost nothing as long as it does not use them there: as a base class, a
decorator or in a constant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from expectations.engine.lazy_imports import Deferred

if TYPE_CHECKING:
    import charset_normalizer
    import croniter
    import distributed
    import lightgbm
    import matplotlib as mpl
    import optuna
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as arrow_csv
    import pyarrow.dataset as ds
    import pyarrow.fs as pafs
    import pyarrow.parquet as pq
    import scipy
    import sklearn
    import sqlalchemy as sa
else:
    charset_normalizer = Deferred("charset_normalizer")
    croniter = Deferred("croniter")
    distributed = Deferred("distributed")  # 0.5 s
    lightgbm = Deferred("lightgbm")  # 1.0 s
    mpl = Deferred("matplotlib")  # 0.3 s `matplotlib.figure`
    optuna = Deferred("optuna")  # 0.3 s
    pd = Deferred("pandas")  # 0.3 s
    pa = Deferred("pyarrow")  # 0.1 s
    pc = Deferred("pyarrow.compute")
    arrow_csv = Deferred("pyarrow.csv")
    ds = Deferred("pyarrow.dataset")
    pafs = Deferred("pyarrow.fs")
    pq = Deferred("pyarrow.parquet")
    scipy = Deferred("scipy")  # 0.3 s `scipy.special`, 0.6 s `scipy.stats`
    sklearn = Deferred("sklearn")  # 1.0 s
    sa = Deferred("sqlalchemy")  # 0.15 s

__all__ = [
    "arrow_csv", "charset_normalizer", "croniter", "distributed", "ds", "lightgbm", "mpl",
    "optuna", "pa", "pafs", "pc", "pd", "pq", "sa", "scipy", "sklearn",
]  # fmt: skip
