"""Documentation pages shipped with the package, and links to them."""

from __future__ import annotations

from importlib.metadata import metadata
from importlib.util import find_spec
from pathlib import Path

from rich.markdown import Markdown

from flows.terminal.safe_console import results_console
from tasks.base.errors import UsageError
from tasks.base.pipeline_file import nearest


def pages() -> dict[str, Path]:
    """Return the file of each page by its name: a checkout's own, or the installed package's."""
    package = find_spec("keepfit")
    places = (Path(__file__).parents[2], Path((package and package.origin) or "").parent)
    folder = next((p / "docs" for p in places if (p / "docs" / "index.md").is_file()), None)
    return {} if folder is None else {page.stem: page for page in sorted(folder.rglob("*.md"))}


def page_text(name: str) -> str:
    """Return the text of a page; raises UsageError when there is no such page."""
    known = pages()
    if name not in known:
        raise UsageError(
            f"There is no page {name!r}. {nearest(name, known, len(known))}",
            "`keepfit docs` shows the first.",
        )
    return known[name].read_text(encoding="utf-8")


def show_page(name: str) -> None:
    """Print a page."""
    results_console().print(Markdown(page_text(name)))


def where_explained(name: str) -> str:
    """Return where a page is read: on the site that the package names, else here."""
    stated = (line.partition(", ") for line in metadata("keepfit").get_all("Project-URL") or ())
    site = next((url for label, _, url in stated if label == "Documentation"), None)
    if site is None or name not in pages():
        return f"keepfit docs {name}"
    page = pages()[name]
    folder = "" if page.parent.name == "docs" else f"{page.parent.name}/"
    return f"{site.rstrip('/')}/{folder}{name}.html"
