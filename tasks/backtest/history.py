"""A pipeline's history cut into windows: rows in time order, and when each label was known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.config import PipelineConfig
from tasks.base.errors import DataError, UsageError
from tasks.base.monitoring_records import Window
from tasks.base.pipeline_file import Pipeline
from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime.libraries import pa, pc, pd
from tasks.base.settings.evaluation import default_metric
from tasks.base.text.durations import format_duration, parse_delay, parse_duration
from tasks.base.training_records import Schema, Snapshot
from tasks.data.column_kinds import build_schema, infer_kinds, target_values
from tasks.data.loading import load_window
from tasks.data.ranking_groups import queries_of
from tasks.data.snapshots import open_table, read_frame, write_snapshot
from tasks.monitoring.windows.window_grid import grid

if TYPE_CHECKING:
    from tasks.metrics.ranking import RankingGroups

Ints = NDArray[np.int64]

FEWEST_WINDOWS = 4
"""Fewest windows to replay: with fewer no policies can be distinguished."""
_FIRST_SHARE = 3
"""The first training has the oldest third of the history where the file states no window."""
_NO_TIME = np.iinfo(np.int64).min
_QUICK_WINDOWS = 12
_QUICK_ROWS = 20_000


@dataclass(frozen=True)
class History:
    """Rows in time order, the windows to replay, and what was known when."""

    snapshot: Snapshot  # its rows are in time order and have a time and a label
    roles: Schema  # which column plays which part, as the rows of the first training show it
    metric: str
    times: Ints  # microseconds since 1970 in UTC, shape (n_rows,)
    y: NDArray[Any]
    # To replay, oldest first; the first training ends where the first of them starts.
    windows: tuple[Window, ...]
    delay: timedelta  # from a row's time until its label is known
    start: datetime  # of the first training's rows
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of the whole history."""
        return len(self.times)

    @property
    def length(self) -> timedelta:
        """Length of a window."""
        return self.windows[0].end - self.windows[0].start

    def place(self, moment: datetime) -> int:
        """Return how many rows lie before `moment`."""
        return int(np.searchsorted(self.times, _micros(moment), side="left"))

    def bounds(self, window: int) -> tuple[int, int]:
        """Return the first row of a window, and the row after its last."""
        found = self.windows[window]
        return self.place(found.start), self.place(found.end)

    def labelled(self, now: datetime) -> int:
        """Return how many rows have a label that is known at `now`."""
        return self.place(now - self.delay)

    def trained(self, now: datetime, span: timedelta | None) -> tuple[int, int]:
        """Return the rows to train on at `now`: labelled, and no older than `span`."""
        first = 0 if span is None else self.place(now - span)
        return first, self.labelled(now)

    def moment(self, row: int) -> datetime:
        """Return the time of a row."""
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(self.times[row]))

    def stamps(self, first: int, last: int) -> NDArray[np.datetime64]:
        """Return times of rows [first, last) in UTC without a zone."""
        return self.times[first:last].astype("datetime64[us]")

    def boundary(self, first: int, last: int, share: float) -> int:
        """Return the first row held out of [first, last): the change of time nearest the share."""
        times = self.times[first:last]
        changes = np.flatnonzero(np.diff(times)) + 1
        if not len(changes):
            return last - 1
        wanted = round(len(times) * (1 - share))
        return first + int(changes[np.argmin(np.abs(changes - wanted))])

    def queries(self, first: int, last: int) -> RankingGroups | None:
        """Return which of rows [first, last) are ranked together; None where nothing is ranked."""
        if self.roles.task != "ranking":
            return None
        rows = np.arange(first, last, dtype=np.int64)
        return queries_of(self.snapshot.path, self.roles, rows)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The features of all rows."""
        return read_frame(self.snapshot.path, columns=list(self.roles.features))


def load_history(
    pipeline: Pipeline,
    folder: Path,
    *,
    every: str | None = None,
    label_delay: str | None = None,
    quick: bool = False,
) -> History:
    """Read the pipeline's source and cut it into windows.

    `folder`: where snapshots are kept; `every`: length of a window; `monitoring.window` when
    absent; `label_delay`: until labels are known; `monitoring.label_delay` when absent; `quick`:
    replay the newest windows only, on evenly drawn rows. Raises UsageError when rows have no time,
    or there are too few windows; DataError when no row has a label.
    """
    config = pipeline.config
    length, delay = lengths_of(pipeline, every, label_delay)
    whole = config.model_copy(
        update={"training": config.training.model_copy(update={"window": None})}
    )
    read = load_window(whole, pipeline.base, folder / "read")
    table = open_table(read.path)
    times = _times(table[config.time_column])
    usable = np.flatnonzero((times != _NO_TIME) & _labelled(table[config.target]))
    if not len(usable):
        raise DataError(
            f"no row of {read.rows:,} has both a time and a label in {config.target!r}.",
            "A backtest compares predictions with labels: load rows whose labels have arrived.",
        )
    order = usable[np.argsort(times[usable], kind="stable")]
    windows, start = _windows(times[order], length, delay, pipeline)
    if quick:
        order, windows, start = _fewer(order, times, windows, start, config)
    stamps, ends = times[order], windows[0].start
    first = order[(stamps >= _micros(start)) & (stamps < _micros(ends - delay))]
    if len(first) < config.monitoring.min_rows:
        raise UsageError(
            f"The first training, at {ends:%Y-%m-%d %H:%M}, has {len(first):,} labelled rows from "
            f"{start:%Y-%m-%d %H:%M} on; {config.monitoring.min_rows:,} are needed.",
            "Load a longer history, or state a longer training.window or a shorter --label-delay.",
        )
    early = table.take(first)
    kinds, _ = infer_kinds(
        early, {**{c: read.kinds[c] for c in (config.target,)}, **config.kinds},
        target=config.target, time_column=config.time_column, id_columns=config.id_columns,
    )  # fmt: skip
    known = write_snapshot(
        early, kinds, folder / "first", time_column=config.time_column, assumptions=()
    )
    roles = build_schema(known, config).running(OwnCode.of(config.hooks, pipeline.base))
    snapshot = write_snapshot(
        table.take(order),
        {c: read.kinds[c] if kind == "constant" else kind for c, kind in kinds.items()},
        folder / "rows",
        time_column=config.time_column,
        assumptions=read.assumptions,
        findings=read.findings,
    )
    target = read_frame(snapshot.path, columns=[config.target])
    y, keep = target_values(target, roles)
    if not keep.all():
        raise DataError(
            f"{int((~keep).sum()):,} labels are of classes that the first training's rows lack.",
            "Start later: state a longer training.window, or remove these rows.",
        )
    left = read.rows - len(usable)
    notes = (f"{left:,} rows without a time or a label are left out",) if left else ()
    return History(
        snapshot=snapshot,
        roles=roles,
        metric=config.metric or default_metric(roles.task),
        times=times[order],
        y=np.asarray(y),
        windows=windows,
        delay=delay,
        start=start,
        notes=notes,
    )


def lengths_of(
    pipeline: Pipeline, every: str | None, label_delay: str | None
) -> tuple[timedelta, timedelta]:
    """Return the length of a window, and how long after its time a row's label is known.

    Raises UsageError when rows have no time, or a length is none.
    """
    if pipeline.config.time_column is None:
        raise UsageError(
            f"{pipeline.path}: a backtest replays rows in time, and the file names no "
            "`time_column`.",
            "Name the column that holds each row's time: `time_column: …`.",
        )
    monitoring = pipeline.config.monitoring
    length = _stated(parse_duration, every, "--every") if every else monitoring.window
    if label_delay is None:
        return length, monitoring.label_delay or timedelta(0)
    return length, _stated(parse_delay, label_delay, "--label-delay")


def _stated(parse: Callable[[str], timedelta], text: str, option: str) -> timedelta:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}.") from None


def _times(column: Any) -> Ints:
    """Return microseconds since 1970, `_NO_TIME` where there is no time."""
    micros = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()).fill_null(_NO_TIME)
    return np.asarray(micros.to_numpy(), dtype=np.int64)


def _labelled(column: Any) -> NDArray[np.bool_]:
    known = column.is_valid()
    if pa.types.is_floating(column.type):
        known = pc.fill_null(pc.is_finite(column), False)
    return np.asarray(known.to_numpy(), dtype=bool)


def _windows(
    times: Ints, length: timedelta, delay: timedelta, pipeline: Pipeline
) -> tuple[tuple[Window, ...], datetime]:
    """Return the windows to replay, those with rows, and where the first training's rows start.

    The first training ends once as many labels are known as a window needs rows.
    """
    stated, needed = pipeline.config.training.window, pipeline.config.monitoring.min_rows
    oldest, newest = (_moment(int(times[place])) for place in (0, -1))
    span = newest - oldest
    first = span / _FIRST_SHARE if stated is None else min(stated, span / 2)
    late = delay and len(times) >= needed
    # Labels known at a moment are of rows before it by more than the delay.
    known = _moment(int(times[needed - 1]) + 1) + delay if late else oldest
    first = max(first, known - oldest)
    cut = grid(oldest + first, newest + timedelta(microseconds=1), length)
    ahead = [w for w in cut if w.start >= max(known, oldest + first - length)]
    found = tuple(w for w in ahead if _rows_in(times, w))
    if len(found) < FEWEST_WINDOWS:
        raise UsageError(
            f"{pipeline.path}: {len(found)} whole windows of {format_duration(length)} follow the "
            "first training, which has the rows of "
            f"{oldest:%Y-%m-%d} to {oldest + first - delay:%Y-%m-%d}; "
            f"a backtest needs {FEWEST_WINDOWS} at least.",
            _shorter(span - first),
        )
    return found, oldest if stated is None else max(oldest, found[0].start - stated)


def _shorter(left: timedelta) -> str:
    """Return the remedy: a length that gives windows enough, with a third more than the fewest."""
    for text in ("4w", "2w", "7d", "1d", "12h", "6h", "1h", "10m", "1m", "1s"):
        if parse_duration(text) * (FEWEST_WINDOWS + 2) <= left:
            return f"Windows of {text} would do: `--every {text}`, in Python `every='{text}'`."
    return "Only a longer history would do."


def _fewer(
    order: Ints,
    times: Ints,
    windows: tuple[Window, ...],
    start: datetime,
    config: PipelineConfig,
) -> tuple[Ints, tuple[Window, ...], datetime]:
    """Return the newest windows with a training's rows before them, and evenly drawn rows."""
    kept = windows[-_QUICK_WINDOWS:]
    span = config.training.window or windows[0].start - start
    begin = max(start, kept[0].start - span)
    stamps = times[order]
    inside = order[(stamps >= _micros(begin)) & (stamps < _micros(kept[-1].end))]
    if len(inside) > _QUICK_ROWS:
        inside = inside[:: -(-len(inside) // _QUICK_ROWS)]
    # A window of few rows may have lost them all.
    return inside, tuple(w for w in kept if _rows_in(times[inside], w)), begin


def _rows_in(times: Ints, window: Window) -> int:
    ends = np.searchsorted(times, [_micros(window.start), _micros(window.end)])
    return int(ends[1] - ends[0])


def _micros(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros)
