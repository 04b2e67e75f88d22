"""Environment of keepfit's pages: everything is escaped, and an absent name is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

# Colours, tables and cards of every page.
_STYLE = Path(__file__).parent / "templates" / "report.css"


def page_environment(templates: Path, *styles: str, **filters: Callable[..., Any]) -> Environment:
    """Return the environment of a folder's templates, with these `styles` beside the shared one."""
    environment = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    texts = (
        path.read_text(encoding="utf-8") for path in (_STYLE, *map(templates.joinpath, styles))
    )
    environment.globals["style"] = Markup("\n".join(texts))  # noqa: S704 - files of this house
    return environment


def filled(environment: Environment, template: str, **values: object) -> str:
    """Return a page: every value in it is escaped, an absent one is an error."""
    page = environment.get_template(template).render(**values)
    # Half of a surrogate pair, as a name from a damaged file may hold, cannot be written.
    return page.encode("utf-8", "replace").decode("utf-8")
