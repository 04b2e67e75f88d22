"""The only way to a terminal: everything printed is made safe for it first."""

from __future__ import annotations

import logging
import sys

import click

from tasks.base.text.terminal import visible


def echo(text: str, *, err: bool = False) -> None:
    """Print a line on stdout or stderr; end where its reader, such as `head`, wants no more."""
    try:
        click.echo(visible(text), err=err)
    except BrokenPipeError:
        raise SystemExit(1) from None  # as rich ends


def write(text: str) -> None:
    """Print a line on stderr at once."""
    sys.stderr.write(f"{visible(text)}\n")
    sys.stderr.flush()


class _SafeFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def make_logs_safe() -> None:
    """Escape log records that Python prints to stderr as well."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_SafeFormatter())
