"""keepfit from Python: a pipeline whose methods are the commands of the same names."""

from __future__ import annotations

import contextlib
import functools
import html
import shutil
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from flows.cli_actions import explain_row, load_estimator, read_chain, read_health
from flows.commands import run_backtest, run_monitoring, run_scoring, run_training
from flows.notebook import results
from flows.notebook.tables import append_table, read_predictions, write_table
from tasks.base.errors import ContractError, UsageError
from tasks.base.errors import KeepfitError as Error
from tasks.base.pipeline_file import load_pipeline
from tasks.contracts.contract_files import contract_file, known_contract
from tasks.projects.draft import Request, draft_project, pipeline_name

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Error", "Pipeline", "init"]

_ROWS = "data"  # beside the pipeline file: the rows of a table in memory, a file each time

P = ParamSpec("P")
R = TypeVar("R")


class Interrupted(KeyboardInterrupt):
    """A call was interrupted, and what it had started has ended."""

    def __str__(self) -> str:
        return "Interrupted; nothing of it runs any more. Call it again: finished work is reused."

    def _render_traceback_(self) -> list[str]:
        """Return the text that a notebook shows instead of the traceback."""
        return [str(self)]


def _mistake(error: Error) -> list[str]:
    """Return the notebook's text instead of the traceback: the line, the error, its remedy."""
    caller = traceback.extract_tb(error.__traceback__)[-2]
    return [f"line {caller.lineno}: {type(error).__name__}: {error.message}", error.remedy]


def _concise(call: Callable[P, R]) -> Callable[P, R]:
    """Let a mistake point at the line of the caller, and an interruption at nothing."""

    @functools.wraps(call)
    def concise(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except Error as error:
            setattr(error, "_render_traceback_", functools.partial(_mistake, error))  # noqa: B010
            raise error.with_traceback(None) from None
        except KeyboardInterrupt:
            raise Interrupted from None

    return concise


class Pipeline:
    """A pipeline file, driven from Python.

    Every method does what the command of its name does, and raises `keepfit.Error`, with
    ``message`` and ``remedy``, where the command would end with one.

    Parameters
    ----------
    file
        The pipeline file, or its folder; ``./keepfit.yaml`` when absent.

    Attributes
    ----------
    file, contract_file
        Where the pipeline and its contract are.
    name
        As the file states it.
    assumptions
        What `keepfit.init` assumed when it wrote the files, a sentence each; empty otherwise.

    Raises
    ------
    keepfit.Error
        When there is no such file, or it is wrong; names line, key, value and remedy.

    Examples
    --------
    >>> import keepfit
    >>> pipeline = keepfit.Pipeline("flights.yaml")  # doctest: +SKIP
    >>> pipeline.run().leaderboard  # doctest: +SKIP
    """

    @_concise
    def __init__(self, file: str | Path | None = None) -> None:
        loaded = load_pipeline(None if file is None else Path(file))
        self.file: Path = loaded.path.resolve()
        self.name: str = loaded.config.name
        self.contract_file: Path = contract_file(loaded).resolve()
        self.assumptions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"keepfit.Pipeline({str(self.file)!r})"

    def _repr_html_(self) -> str:
        """Show the health of the pipeline, and where its files are."""
        try:
            shown = self.status()._repr_html_()
        except Error as error:
            shown = f"<p>{html.escape(error.message)} {html.escape(error.remedy)}</p>"
        files = {"Pipeline": self.file, "Contract": self.contract_file}
        named = (f"{name}: <code>{html.escape(str(file))}</code>" for name, file in files.items())
        assumed = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.assumptions)
        listed = f"<p>Assumed:</p><ul>{assumed}</ul>" if assumed else ""
        return f"{shown}<p>{'<br>'.join(named)}</p>{listed}"

    @_concise
    def run(self, *, fresh: bool = False, refit: bool = False) -> results.Training:
        """Train once: contract, candidates, gate, registry, report.

        Parameters
        ----------
        fresh
            Recompute everything; reuse nothing.
        refit
            Fit the champion's recipe once on newer rows, without a search.
        """
        return results.Training(run_training(self.file, fresh=fresh, refit=refit))

    @_concise
    def append(self, table: Any) -> Path:
        """Add rows to a table that `keepfit.init` was given in memory, and return their file.

        To `score`, `monitor`, `run` and the running loop they are rows that have arrived.

        Parameters
        ----------
        table
            A DataFrame of pandas or Polars, or an Arrow table.

        Raises
        ------
        keepfit.Error
            When the pipeline reads its rows from elsewhere, or it is no table.
        """
        if str(getattr(load_pipeline(self.file).config.source, "path", "")) != _ROWS:
            raise UsageError(
                f"{self.name} reads its rows from a source of its own, not from {_ROWS}/.",
                f"Add the rows there: `source` in {self.file} says where.",
            )
        return append_table(table, self.file.parent / _ROWS)

    @_concise
    def score(
        self, table: Any = None, *, output: str | Path | None = None, everything: bool = False
    ) -> results.Scoring:
        """Score new rows with the champion.

        Parameters
        ----------
        table
            Rows to score: a DataFrame of pandas or Polars, an Arrow table, or the path of a CSV or
            Parquet file. When absent, those rows of the source that no scoring has seen.
        output
            Where predictions are written, ``.parquet`` or ``.csv``. When absent, those of a table
            in memory are only returned and kept in the ledger; others go to the file's sink.
        everything
            Every row of the source, known or not.
        """
        if table is None or isinstance(table, (str, Path)):
            return self._scored(table, output, everything)
        with tempfile.TemporaryDirectory(prefix="keepfit-") as folder:
            rows = Path(folder) / "rows.parquet"
            write_table(table, rows)
            kept = Path(folder) / "predictions.parquet" if output is None else output
            try:
                return self._scored(rows, kept, everything)
            except ContractError as error:
                error.remedy = f"Fix them and score again. The whole result: {error.page}."
                raise

    def _scored(
        self, source: str | Path | None, output: str | Path | None, everything: bool
    ) -> results.Scoring:
        outcome = run_scoring(
            self.file, input_path=source, output_path=output, everything=everything
        )
        return results.Scoring(outcome, read_predictions(outcome.output))

    @_concise
    def monitor(self, window: str | None = None, *, every: str | None = None) -> results.Monitoring:
        """Look at windows: contract, drift, performance, and the policy's decision.

        Parameters
        ----------
        window
            ``A..B``, dates or times; when absent, every complete window since the last look.
        every
            Cut `window` into windows of this length, such as ``7d``.
        """
        return results.Monitoring(run_monitoring(self.file, window=window, every=every))

    @_concise
    def backtest(
        self,
        *,
        every: str | None = None,
        label_delay: str | None = None,
        quick: bool = False,
        apply: bool = False,
        fresh: bool = False,
    ) -> results.Backtest:
        """Replay the history under several policies and recommend one.

        Parameters
        ----------
        every, label_delay
            Length of a window and time until labels are known, such as ``7d``; the file's when
            absent.
        quick
            The newest windows on sampled rows, in a minute or so.
        apply
            Write the recommended settings into the file.
        fresh
            Fit everything again; reuse nothing.
        """
        outcome = run_backtest(
            self.file, every=every, label_delay=label_delay, quick=quick, apply=apply, fresh=fresh
        )
        return results.Backtest(outcome)

    @_concise
    def status(self) -> results.Status:
        """Return the pipeline's state: champion, health, last and next runs."""
        return results.Status(read_health(self.file)[0])

    @_concise
    def why(self, version: int | str | None = None) -> results.Why:
        """Return the chain of evidence behind a version; the champion's when absent."""
        return results.Why(read_chain(self.file, None if version is None else str(version)))

    @_concise
    def why_row(self, row: str, version: int | str | None = None) -> results.WhyRow:
        """Return each column's contribution to the prediction of the row with this id."""
        found = explain_row(self.file, row, None if version is None else str(version))
        return results.WhyRow(found)

    @_concise
    def champion(self, version: int | str | None = None) -> Any:
        """Return the champion, or another version, as a fitted scikit-learn estimator.

        It is loaded as scoring loads it: its signature is checked before anything of it is read.

        Raises
        ------
        keepfit.Error
            When there is no such version, or it is not what was signed.
        """
        return load_estimator(self.file, None if version is None else str(version))

    @property
    @_concise
    def contract(self) -> results.DataContract:
        """The data contract.

        Raises
        ------
        keepfit.Error
            When there is none yet.
        """
        pipeline = load_pipeline(self.file)
        known = known_contract(pipeline)
        if known is None:
            raise UsageError(f"{self.name} has no contract yet.", "The first training infers one.")
        return results.DataContract(known, str(contract_file(pipeline)))


@_concise
def init(
    data: Any,
    target: str,
    *,
    folder: str | Path | None = None,
    time: str | None = None,
    id_columns: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
) -> Pipeline:
    """Write a working pipeline for a table, and return it; it shows where and what was assumed.

    Parameters
    ----------
    data
        A DataFrame of pandas or Polars, an Arrow table, or the path of a CSV or Parquet file. A
        table in memory is written beside the pipeline file, into ``data/``, to which
        `Pipeline.append` adds the rows that come later.
    target
        Column to predict.
    folder
        Where ``keepfit.yaml`` and the contract are written; a folder named after the target when
        absent. Nothing is overwritten.
    time
        Column with the time of a row's prediction, not when its label became known. The newest
        rows by it are held out, and monitoring has windows.
    id_columns
        Columns that name a row.
    exclude
        Columns that are no features.

    Raises
    ------
    keepfit.Error
        When the folder has a pipeline already, or the table has no such column.
    """
    named = Path(folder) if folder is not None else Path(pipeline_name(target))
    given = isinstance(data, (str, Path))
    beside = named / _ROWS
    if not given:
        _require_unused(beside)
    try:
        if not given:
            append_table(data, beside)
        draft = draft_project(
            Request(
                folder=named,
                data=data if given else beside,
                target=target,
                time_column=time,
                id_columns=_names(id_columns),
                exclude=_names(exclude),
            )
        )
    except BaseException:
        if not given:
            shutil.rmtree(beside, ignore_errors=True)
            with contextlib.suppress(OSError):
                named.rmdir()
        raise
    made = Pipeline(draft.file)
    made.assumptions = draft.assumptions
    return made


def _require_unused(path: Path) -> None:
    if path.exists():
        raise UsageError(
            f"{path} exists and is never overwritten.",
            f"Name another folder, or use what is there: keepfit.Pipeline({str(path.parent)!r})",
        )


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
