"""The sections `source`: where rows come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, PrivateAttr, model_validator

from tasks.base.settings.section import DatabaseUrl, FilesPath, Section

DemoName = Literal[
    "flights", "digits", "diabetes", "breast_cancer", "credit", "parkinsons", "movielens"
]  # fmt: skip

DEMO_NAMES: tuple[str, ...] = get_args(DemoName)


class FilesSource(Section):
    """A source of files; some of them may be chosen, as when others are still being written."""

    _chosen: tuple[Path, ...] | None = PrivateAttr(None)
    _copies: Path | None = PrivateAttr(None)

    @property
    def copies(self) -> Path | None:
        """The folder for copies of objects from a store; None where none was stated."""
        return self._copies

    def keep_copies_in(self, state: Path) -> Self:
        """Let copies of objects from a store be kept in a state folder."""
        self._copies = state / "objects"
        return self

    @property
    def chosen(self) -> tuple[Path, ...] | None:
        """The files to read; None where `path` names them."""
        return self._chosen

    def only(self, files: tuple[Path, ...]) -> Self:
        """Return the source with these files only."""
        narrowed = self.model_copy()
        narrowed._chosen = files
        return narrowed


class CsvSource(FilesSource):
    """CSV files; absent settings are detected and reported."""

    kind: Literal["csv"]
    path: FilesPath = Field(
        description="file or glob, relative to the pipeline file; or s3://, gs://, abfs://"
    )
    encoding: str | None = Field(None, description="e.g. utf-8, latin-1; absent: detected")
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="one character; absent: detected"
    )
    skip_rows: int | None = Field(
        None, ge=0, le=1000, description="lines above the header; absent: detected in each file"
    )
    decimal: Literal[".", ","] | None = Field(None, description="absent: detected")
    thousands: Literal[".", ",", " ", "'"] | None = Field(
        None, description="separates thousands; absent: detected"
    )
    null_values: tuple[str, ...] | None = Field(None, description="texts that mean: no value")
    date_formats: dict[str, str] = Field({}, description="column to strptime format")
    max_bytes: int = Field(20_000_000_000, gt=0, description="larger files are refused")


class ParquetSource(FilesSource):
    """Parquet: one file, a glob, or a folder with Hive partitions."""

    kind: Literal["parquet"]
    path: FilesPath
    max_bytes: int = Field(50_000_000_000, gt=0)


class SqlSource(Section):
    """A query on any database that SQLAlchemy reaches."""

    kind: Literal["sql"]
    url: DatabaseUrl = Field(description="SQLAlchemy URL; a secret in it comes from ${ENV}")
    query: str | None = Field(None, description="may bind :start and :end of the window")
    table: str | None = Field(None, description="instead of a query")
    max_rows: int = Field(100_000_000, gt=0, description="more are refused")

    @model_validator(mode="after")
    def _one_of_two(self) -> SqlSource:
        if (self.query is None) == (self.table is None):
            raise ValueError("give either `query` or `table`, not both and not neither")
        return self


class DemoSource(Section):
    """Real data that ships in a package."""

    kind: Literal["demo"]
    name: DemoName
    months: tuple[int, int] | None = Field(
        None, description="flights only: first and last month, both included"
    )


Source = Annotated[CsvSource | ParquetSource | SqlSource | DemoSource, Field(discriminator="kind")]
