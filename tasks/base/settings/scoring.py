"""The sections `scoring`, `contract` and `ledger`: which rows are scored, where predictions go."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, SecretStr, Tag, field_validator

from tasks.base.settings.section import DatabaseUrl, FilesPath, Section, contradiction_at, form_of
from tasks.base.settings.sources import Source


class ParquetSink(Section):
    """One Parquet file."""

    kind: Literal["parquet"]
    path: FilesPath


class CsvSink(Section):
    """One CSV file; cells that a spreadsheet would run are quoted."""

    kind: Literal["csv"]
    path: FilesPath


class SqlSink(Section):
    """A table of predictions; a batch is written whole or not at all."""

    kind: Literal["sql"]
    url: DatabaseUrl = Field(description="SQLAlchemy URL; a secret in it comes from ${ENV}")
    table: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$", description="made where it is absent"
    )


Sink = Annotated[ParquetSink | CsvSink | SqlSink, Field(discriminator="kind")]


class ScoringConfig(Section):
    """Source of new rows and sink of predictions."""

    source: Source | None = Field(None, description="absent: the pipeline's source")
    sink: Sink | None = Field(None, description="absent: a Parquet file in the state folder")
    top_k: int | None = Field(
        None, ge=1, description="ranking: only the best so many of each group are written"
    )
    shadow: Literal["challenger"] | None = Field(
        None,
        description="serving: the newest non-champion version predicts into the ledger too; "
        "the gate judges a refused one once more, on `policy.probation` windows with labels",
    )


class ContractConfig(Section):
    """Contract, and the handling of rows that break it."""

    path: str | None = Field(None, description="absent: inferred, kept in the state folder")
    on_error: Literal["quarantine", "stop"] = Field(
        "quarantine",
        description="scoring: bad rows are kept in a file and the rest is scored, or none is",
    )


ContractSetting = Annotated[
    Annotated[str, Tag("word")] | Annotated[ContractConfig, Tag("section")], Discriminator(form_of)
]


class LedgerConfig(Section):
    """Store of predictions, labels and decisions."""

    url: DatabaseUrl | None = Field(
        None, description="SQLAlchemy URL; absent: SQLite in the state folder"
    )

    @field_validator("url")
    @classmethod
    def _holds_a_ledger(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("sqlite", "postgres")):
            raise contradiction_at((), "a ledger is kept in SQLite or PostgreSQL")
        return url
