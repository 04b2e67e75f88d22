"""The house's look and escaping for this room's pages."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from tasks.base.text import numbers as figures
from tasks.base.text import phrases
from tasks.base.text.commands import command
from tasks.history.entries import answered, performed
from tasks.policy.gain_sentences import gain_sentence
from tasks.reporting.report.page_environment import page_environment
from tasks.reporting.report.report_rows import code

_TEMPLATES = Path(__file__).parent / "templates"
# Colours, tables and cards are those of a training's report.
_SHARED_STYLE = Path(__file__).parents[1] / "reporting" / "report" / "templates" / "report.css"


def render(template: str, **values: object) -> str:
    """Return a page: every value in it is escaped, an absent one is an error."""
    page = _environment().get_template(template).render(style=_style(), **values)
    # Half of a surrogate pair, as a name from a damaged file may hold, cannot be written.
    return page.encode("utf-8", "replace").decode("utf-8")


@cache
def _style() -> Markup:
    texts = (path.read_text(encoding="utf-8") for path in (_SHARED_STYLE, _TEMPLATES / "page.css"))
    return Markup("\n".join(texts))  # noqa: S704 - files of this house


@cache
def _environment() -> Environment:
    environment = page_environment(_TEMPLATES)
    environment.globals |= {"command": command, "unrecorded": phrases.UNRECORDED}
    environment.filters |= {
        "answered": answered,
        "brief": phrases.brief,
        "code": code,
        "day": phrases.day,
        "harm": phrases.harm_words,
        "elapsed": phrases.elapsed,
        "metric": figures.metric_words,
        "minute": phrases.minute,
        "number": figures.number,
        "performed": performed,
        "gained": gain_sentence,
        "plural": phrases.plural,
        "share": phrases.share,
        "size": figures.size,
        "span": phrases.span,
        "valued": phrases.valued,
    }
    return environment
