"""A registry of one JSON file a model, light enough for many processes at once.

python -m tests.unit.registry.alias.paper FOLDER promote|rollback|race ARGUMENT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tasks.base.errors import EvidenceError
from tasks.base.runtime.files import write_whole
from tasks.base.training_records import ModelVersion
from tasks.registry.alias.champion_alias import VERIFIED, promote, rollback

NAME = "flights"


class Paper:
    """A registry whose alias has no compare-and-set of its own, as MLflow's."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "registry.json"
        if not self.file.exists():
            self.file.write_text(json.dumps({"alias": None, "moves": 0, "tags": {}}))

    @property
    def held(self) -> dict[str, Any]:
        """Everything in it."""
        content: dict[str, Any] = json.loads(self.file.read_text())
        return content

    def add(self, *versions: str) -> None:
        """Put verified versions in."""
        held = self.held
        held["tags"] |= {version: {VERIFIED: "true"} for version in versions}
        write_whole(self.file, json.dumps(held))

    def pointed(self, name: str) -> ModelVersion | None:
        alias = self.held["alias"]
        return None if alias is None else self.found(name, alias)

    def found(self, name: str, version: str) -> ModelVersion | None:
        held = self.held
        if version not in held["tags"]:
            return None
        aliases = ("champion",) if held["alias"] == version else ()
        return ModelVersion(
            name=name, version=version, run_id="r", aliases=aliases, tags=held["tags"][version]
        )

    def require_intact(self, version: ModelVersion) -> None:
        """Refuse nothing: what is here lies in no folder."""

    def tag_version(self, version: ModelVersion, tags: dict[str, str]) -> None:
        held = self.held
        held["tags"][version.version] |= tags
        write_whole(self.file, json.dumps(held))

    def point_alias(self, name: str, version: str | None) -> None:  # noqa: ARG002
        held = self.held
        write_whole(self.file, json.dumps(held | {"alias": version, "moves": held["moves"] + 1}))


def race(paper: Paper, folder: Path, versions: list[str]) -> list[list[str | None]]:
    """Promote each version over the champion of that moment; return what was won over what."""
    won: list[list[str | None]] = []
    for version in versions:
        before = paper.pointed(NAME)
        expected = before.version if before else None
        try:
            promote(paper, folder, NAME, version, expected)
        except EvidenceError:
            continue
        won.append([expected, version])
    return won


def main() -> None:
    """Do one thing to the registry in a folder."""
    folder, what, argument = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    paper = Paper(folder)
    if what == "promote":
        before = paper.pointed(NAME)
        promote(paper, folder, NAME, argument, before.version if before else None)
    elif what == "rollback":
        rollback(paper, folder, NAME, argument)
    else:
        sys.stdout.write(json.dumps(race(paper, folder, json.loads(argument))))


if __name__ == "__main__":
    main()
