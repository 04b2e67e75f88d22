"""A self-contained HTML page of what a check found: no scripts, no network, every name escaped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import jinja2

from expectations.contract import Contract
from expectations.results import CheckOutcome, CheckResult


@dataclass(frozen=True)
class Line:
    """One column of the table, or the table itself, with everything found of it."""

    name: str
    kind: str
    results: tuple[CheckResult, ...]

    @property
    def state(self) -> str:
        """The gravest finding: ``error``, ``warning`` or ``ok``."""
        broken = {result.severity for result in self.results if not result.passed}
        return "error" if "error" in broken else "warning" if broken else "ok"


def render_page(outcome: CheckOutcome, contract: Contract, *, title: str) -> str:
    """Return the page as HTML text."""
    # Names of columns and values are hostile: all are escaped, and the page's own policy forbids
    # scripts and anything from elsewhere.
    source = resources.files("expectations").joinpath("page.html.j2").read_text("utf-8")
    # Newlines after blocks are dropped so that a wide table stays a small file.
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
    )
    broken = [*outcome.errors, *outcome.warnings]
    return environment.from_string(source).render(
        title=title,
        verdict=say_verdict(outcome),
        state="error" if outcome.errors else "warning" if outcome.warnings else "ok",
        outcome=outcome,
        contract=contract,
        digest=contract.digest(),
        broken=broken,
        holding=len(outcome.results) - len(broken),
        lines=list(_lines(outcome, contract)),
    )


def _printable(value: object) -> object:
    """Return a text without marks that turn or hide what stands beside it."""
    if type(value) is not str or value.isprintable():
        return value
    return "".join(mark if mark.isprintable() or mark == "\n" else "␣" for mark in value)


def say_verdict(outcome: CheckOutcome) -> str:
    """Return the outcome in one sentence.

    >>> say_verdict(CheckOutcome(True, (), 3, 0.0))
    'The table keeps its contract.'
    """
    errors, warnings = len(outcome.errors), len(outcome.warnings)
    noted = f"{warnings:,} warning" + ("" if warnings == 1 else "s")
    if errors:
        rules = f"{errors:,} rule" + ("" if errors == 1 else "s")
        return f"The table breaks {rules} of its contract" + (
            f", with {noted} besides." if warnings else "."
        )
    return f"The table keeps its contract{f', with {noted}' if warnings else ''}."


def _lines(outcome: CheckOutcome, contract: Contract) -> Iterator[Line]:
    found: dict[str | None, list[CheckResult]] = {}
    for result in outcome.results:
        known = result.column if result.column in contract.columns else None
        found.setdefault(known, []).append(result)
    if found.get(None):
        yield Line("The whole table", "", tuple(found[None]))
    for name, rule in contract.columns.items():
        yield Line(name, rule.kind, tuple(found.get(name, ())))
