"""The sections `source`: where rows come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, model_validator

from tasks.base.settings.section import DatabaseUrl, FilesPath, Section, contradiction_at

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


def _delimiter(value: str) -> str:
    """Refuse what the parser takes for no delimiter."""
    if not value.isascii() or value in '"\r\n\0':
        raise ValueError("a delimiter is an ASCII character, and no quote or line end")
    return value


class CsvSource(FilesSource):
    """CSV files; absent settings are detected and reported."""

    kind: Literal["csv"]
    path: FilesPath = Field(
        description="file or glob, relative to the pipeline file; or s3://, gs://, abfs://"
    )
    encoding: str | None = Field(None, description="e.g. utf-8, latin-1; absent: detected")
    delimiter: Annotated[str, AfterValidator(_delimiter)] | None = Field(
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

    @model_validator(mode="after")
    def _two_signs(self) -> CsvSource:
        if self.thousands is not None and self.thousands == self.decimal:
            raise contradiction_at(
                "thousands",
                f"`decimal` and `thousands` are both {self.decimal!r}; write two different signs",
            )
        return self


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


def _two(value: Any) -> Any:
    if value is not None and not (isinstance(value, list | tuple) and len(value) == 2):
        raise ValueError("write the first and the last month, such as [1, 6]")
    return value


def _months(value: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= value[0] <= value[1] <= 12:
        raise ValueError("months are 1 to 12, the earlier first")
    return value


class DemoSource(Section):
    """Real data that ships in a package."""

    kind: Literal["demo"]
    name: DemoName
    months: Annotated[tuple[int, int], BeforeValidator(_two), AfterValidator(_months)] | None = (
        Field(None, description="flights only: first and last month, both included")
    )

    @model_validator(mode="after")
    def _of_flights(self) -> DemoSource:
        if self.months is not None and self.name != "flights":
            raise contradiction_at("months", f"`months` is for flights only, not {self.name}")
        return self


Source = Annotated[CsvSource | ParquetSource | SqlSource | DemoSource, Field(discriminator="kind")]
