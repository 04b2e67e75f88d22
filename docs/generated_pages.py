"""Pages of the site that are made at build, or stand elsewhere in the repository."""

from __future__ import annotations

import json
import os
import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click
from mkdocs.structure.files import File

from flows.cli import main
from tasks.base.key_reference import KeyEntry, explain

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
GALLERY = Path(os.environ.get("KEEPFIT_GALLERY", ROOT / "dist" / "gallery"))
"""Where `docs/gallery.py` keeps the pages of real runs."""
_HERE = {"house.md": ".github/CONTRIBUTING.md", "security.md": "SECURITY.md"}
_LINK_OUT = re.compile(r"\[([^\]]+)\]\((?!https?:|#)[^)]*\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show what leads to other versions where `mike` builds one of several."""
    if "MIKE_DOCS_VERSION" in os.environ:
        config.extra["version"] = {"provider": "mike"}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is generated to the pages of the site."""
    pages = {"reference/keys.md": _keys(), "changelog.md": _text("CHANGELOG.md")}
    pages |= {page: _LINK_OUT.sub(r"\1", _text(source)) for page, source in _HERE.items()}
    records = sorted((ROOT / ".github" / "adr").glob("[0-9]*.md"))
    for record in records:
        pages[f"adr/{record.name}"] = record.read_text(encoding="utf-8")
    listed = "\n".join(f"- [{_title(record)}]({record.name})" for record in records)
    pages["adr/records.md"] = f"{_text('.github/adr/README.md')}\n{listed}\n"
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        pages[f"notebooks/{notebook.stem}.md"] = _page_of(notebook)
    _bring_every_command()
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))
    for name in _gallery_pages():
        files.append(File.generated(config, f"gallery/{name}", abs_src_path=str(GALLERY / name)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Add to the page of the gallery what leads to its pages."""
    return (
        markdown.replace("<!-- pages -->", _gallery())
        if page.file.src_uri == "gallery.md"
        else markdown
    )


def _gallery_pages() -> list[str]:
    return [page.relative_to(GALLERY).as_posix() for page in sorted(GALLERY.rglob("*.html"))]


def _gallery() -> str:
    pages = [name.split("/") for name in _gallery_pages()]
    if not pages:
        return "They are not part of this build: `python -m docs.gallery` makes them.\n"
    links: dict[str, dict[str, list[str]]] = {}
    for _, pipeline, *parts in (p for p in pages if p[0] == "pipelines"):
        room = links.setdefault(pipeline, {}).setdefault(parts[0], [])
        # A window by its first day, which no line break splits: a telephone is narrow.
        begins = (
            parts[1].partition("-")[2].partition("..")[0].replace("-", "\N{NON-BREAKING HYPHEN}")
        )
        name = begins if parts[0] == "monitoring" else str(len(room) + 1)
        room.append(f"[{name}](gallery/pipelines/{'/'.join([pipeline, *parts])})")
    lines = ["| pipeline | reports | backtest | monitored windows, from |", "|---|---|---|---|"]
    for pipeline, rooms in links.items():
        cells = (" · ".join(rooms.get(r, ())) for r in ("reports", "backtest", "monitoring"))
        lines.append(f"| {pipeline} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "[The dashboard](gallery/dashboard/index.html)", ""])


def _bring_every_command() -> None:
    """Make the commands of the layer above, which are loaded when used, known to mkdocs-click."""
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if command is not None:
            main.add_command(command, name)


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _page_of(notebook: Path) -> str:
    """Return a notebook's text and code; what it shows, the person's own kernel shows."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = (("".join(cell["source"]), cell["cell_type"]) for cell in cells)
    return "\n\n".join(
        text if kind == "markdown" else f"```python\n{text}\n```" for text, kind in sources
    )


def _title(record: Path) -> str:
    return record.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


_AS_SOURCE = ("scoring.source.", "monitoring.labels.")


def _keys() -> str:
    lines = [
        "# Keys of the pipeline file\n",
        "Made from the models that check the file; `keepfit config explain KEY` prints the same.\n",
    ]
    sections: dict[str, list[KeyEntry]] = {"At the top": []}
    told = [entry for entry in explain() if not entry.key.startswith(_AS_SOURCE)]
    for name, entries in groupby(told, lambda entry: entry.key.split(".")[0]):
        first, *inner = entries
        sections["At the top"].append(first)
        if inner:
            sections[name] = inner
    for name, inner in sections.items():
        lines += [f"## {name}\n", "| key | takes | default | meaning |", "|---|---|---|---|"]
        lines += [*map(_row, inner), ""]
    return "\n".join(lines)


def _row(entry: KeyEntry) -> str:
    about = f"{entry.about}; keys as of `source`" if f"{entry.key}." in _AS_SOURCE else entry.about
    cells = (f"`{entry.key}`", entry.takes, entry.default, about)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
