"""The documentation names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import click

from flows.cli import main
from tasks.base.pipeline_file import pipeline_of
from tasks.base.settings.yaml_document import parse_yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(group: click.Group, prefix: str = "keepfit") -> list[str]:
    found = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += commands(command, f"{prefix} {name}")
        else:
            found.append(f"{prefix} {name}")
    return found


def test_every_command_stands_in_the_readme() -> None:
    missing = [name for name in commands(main) if f"`{name}" not in README]

    assert missing == []


def test_the_pipeline_file_of_the_readme_is_right() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    example = next(block for block in blocks if block.startswith("name:"))

    document = parse_yaml(example, Path("README.md"))
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", example), "postgresql://db/keepfit")
    pipeline = pipeline_of(document, variables, contract_exists=False)

    assert pipeline.config.name == "flights"


def test_every_file_that_the_readme_links_is_there() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)

    assert targets
    assert [t for t in targets if "://" not in t and not (ROOT / t).exists()] == []


def test_every_decision_record_is_numbered_without_gaps() -> None:
    numbers = sorted(int(p.name[:4]) for p in (ROOT / ".github/adr").glob("[0-9]*.md"))

    assert numbers == list(range(1, len(numbers) + 1))
