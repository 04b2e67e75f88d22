"""The documentation names what there is, and what it shows works."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from deploy.doctor.report import Report
from docs import gallery
from expectations.contract import Contract
from flows.cli import main
from tasks.backtest.results import BacktestOutcome
from tasks.base.command_results import Draft, MonitoringOutcome, ScoringOutcome, TrainingOutcome
from tasks.base.key_reference import explain
from tasks.base.pipeline_file import pipeline_of
from tasks.base.settings.yaml_document import parse_yaml
from tasks.base.training_records import Record
from tasks.evaluation.explanation.shap_values import RowExplanation
from tasks.history.overview import PipelineHealth
from tasks.lineage.evidence_chain import Chain
from tasks.metrics import classification, ranking, regression

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
    for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page, text) for page, whole in PAGES.items()
        for found, text in _BLOCK.findall(whole) if found == language
    ]  # fmt: skip


def commands(group: click.Group, prefix: str = "keepfit") -> list[str]:
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found += commands(command, f"{prefix} {name}")
        else:
            found.append(f"{prefix} {name}")
    return found


def test_every_command_stands_in_the_reference() -> None:
    reference = PAGES["docs/reference/commands.md"]
    missing = [name for name in commands(main) if f"`{name}" not in reference]

    assert missing == []


@pytest.mark.parametrize("words", [[], ["config"], ["contract"], ["keys"]])
def test_help_shows_the_sentence_of_every_command_whole(words: list[str]) -> None:
    shown = CliRunner().invoke(main, [*words, "--help"], terminal_width=80).output

    assert "Commands:" in shown
    assert "..." not in shown.partition("Commands:")[2]


def written_commands() -> Iterator[tuple[str, str]]:
    """Yield page and text of each command of keepfit that the documentation shows."""
    for page, text in blocks("sh"):
        lines = text.replace("\\\n", " ").splitlines()
        yield from ((page, line) for line in lines)
    for page, whole in PAGES.items():
        prose = _BLOCK.sub("", whole)
        yield from ((page, " ".join(s.split())) for s in re.findall(r"`(keepfit[^`]*)`", prose))


def calls(line: str) -> Iterator[list[str]]:
    """Yield the words after each ``keepfit`` of a line of shell."""
    for part in re.split(r"&&|\||;|&|\$\(", re.sub(r"(?<!\S)#.*", "", line).replace(")", "")):
        found = re.search(r"(?:^|[/\s\"])keepfit(\s.*|$)", part)
        if found and not part.lstrip().startswith(("docker", "kubectl", "cp ", "#")):
            yield shlex.split(found[1].replace('"', "").replace("'", ""))


def fault(words: list[str]) -> str:
    """Return what is wrong with a call; empty where nothing is."""
    command: click.Command = main
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        name = words.pop(0)
        inner = command.get_command(click.Context(command), name)
        if inner is None:
            return "" if name.isupper() else f"no command {name}"
        command = inner
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    known |= {"--help", "--version"}
    unknown = [w for w in words if w.startswith("--") and w.partition("=")[0] not in known]
    return f"no option {', '.join(unknown)}" if unknown else ""


def test_every_command_and_option_that_is_written_exists() -> None:
    checked = [
        (page, line, fault(words)) for page, line in written_commands() for words in calls(line)
    ]

    assert len(checked) > 80
    assert [one for one in checked if one[2]] == []


def options(name: str) -> set[str]:
    """Return the options of a command, or of all commands of a group."""
    command = main.get_command(click.Context(main), name)
    assert command is not None, name
    inner = command.commands.values() if isinstance(command, click.Group) else [command]
    return {option for one in inner for parameter in one.params for option in parameter.opts}


def test_options_named_beside_a_command_of_the_reference_are_its_own() -> None:
    rows = re.findall(r"^\| (`keepfit [^|]*)\|(.*)\|$", PAGES["docs/reference/commands.md"], re.M)
    wrong = []
    for first, about in rows:
        known = {o for name in re.findall(r"`keepfit (\w+)", first) for o in options(name)}
        wrong += [(first, o) for o in re.findall(r"--[a-z-]+", about) if o not in known]

    assert len(rows) > 20
    assert wrong == []


def _filled(values: str) -> dict[str, str]:
    return dict.fromkeys(re.findall(r"\$\{(\w+)\}", values), "postgresql://db/keepfit")


@pytest.mark.parametrize(("page", "text"), blocks("yaml"))
def test_every_yaml_example_is_valid(page: str, text: str) -> None:
    if re.match(r"(columns|rules):", text):
        Contract.model_validate(parse_yaml("contract: example\n" + text, Path(page)).values)
        return
    missing = [
        line for key, line in (
            ("name", "name: example"), ("target", "target: status"),
            ("source", "source: {kind: demo, name: credit}"),
        ) if not re.search(rf"^{key}:", text, re.M)
    ]  # fmt: skip
    document = parse_yaml("\n".join([*missing, text]), Path(page))

    assert pipeline_of(document, _filled(text), contract_exists=False).config.name


def test_every_share_that_the_readme_states_stands_where_it_is_explained() -> None:
    stated = PAGES["README.md"].partition("## What to expect of it\n")[2].partition("\n## ")[0]
    explained = PAGES["docs/explanation/decisions.md"] + PAGES["docs/how-to/backtest.md"]
    shares = re.findall(r"(?<![\w.])([\d.]+ %)", stated.replace("95 % intervals", ""))

    assert len(shares) > 5
    assert [share for share in shares if share not in explained] == []


def test_every_file_that_the_readme_links_is_there() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", PAGES["README.md"])

    assert targets
    assert [t for t in targets if "://" not in t and not (ROOT / t).exists()] == []


def test_every_file_of_the_repository_that_is_named_is_there() -> None:
    named = {
        (page, name) for page, text in PAGES.items()
        for name in re.findall(r"`((?:tests|deploy|tasks|expectations|flows)/[\w./-]+)`", text)
    }  # fmt: skip

    ours = {"deploy/.env", "deploy/kubernetes/secrets.env"}  # a person's own
    assert len(named) > 10
    assert [one for one in named if one[1] not in ours and not (ROOT / one[1]).exists()] == []


def test_every_key_that_is_named_with_its_section_exists() -> None:
    known = {entry.key for entry in explain()}
    sections = {key.split(".")[0] for key in known if "." in key}
    named = {
        (page, name) for page, text in PAGES.items()
        for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", text)
        if name.split(".")[0] in sections
    }  # fmt: skip

    assert len(named) > 10
    assert [one for one in named if one[1] not in known] == []


def answer_keys(record: type[Record]) -> set[str]:
    """Return the keys of what a record answers with ``--json``."""
    answer = getattr(record, "answer", None)
    tree = ast.parse(textwrap.dedent(inspect.getsource(answer))) if answer else ast.Module([], [])
    returned = next((n.value for n in ast.walk(tree) if isinstance(n, ast.Return)), None)
    if not isinstance(returned, ast.Dict):
        return set(record.model_fields)
    keys = {str(k.value) for k in returned.keys if isinstance(k, ast.Constant)}
    if all(k is not None for k in returned.keys):
        return keys
    module = sys.modules[record.__module__]
    named = (w for w in ast.walk(tree) if isinstance(w, ast.keyword) and w.arg == "include")
    words = (w.value.id for w in named if isinstance(w.value, ast.Name))
    included = [getattr(module, word) for word in words if hasattr(module, word)]
    return keys.union(*(included or [record.model_fields]))


ANSWERS: dict[str, Any] = {
    "run": (TrainingOutcome,),
    "score": (ScoringOutcome,),
    "monitor": (MonitoringOutcome,),
    "backtest": (BacktestOutcome,),
    "status": (PipelineHealth,),
    "why": (Chain, RowExplanation),
    "doctor": (Report,),
    "init": (Draft,),
}


@pytest.mark.parametrize("command", ANSWERS)
def test_the_reference_of_answers_names_every_key_and_no_other(command: str) -> None:
    page = PAGES["docs/reference/answers.md"]
    section = page.partition(f"## keepfit {command}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert named == {key for record in ANSWERS[command] for key in answer_keys(record)}


def test_the_reference_of_metrics_names_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?) \| (?:more|less) \|", PAGES["docs/reference/metrics.md"], re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert named == {*classification.NAMES, *regression.NAMES, *ranking.NAMES}


def test_every_page_stands_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [p.removeprefix("docs/") for p in PAGES if p != "README.md"]

    assert [page for page in pages if page not in navigation] == []


def test_pages_of_the_gallery_are_kept_when_its_tutorial_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(name: str, folder: Path, target: Path) -> list[Path]:
        page = folder / name / ".keepfit" / "pipelines" / name / "reports" / "new.html"
        page.parent.mkdir(parents=True)
        page.write_text(f'<a href="http://127.0.0.1:5000/runs">{name}</a>', encoding="utf-8")
        return gallery.collect(folder / name / ".keepfit", target)

    def failing(_: Path) -> None:
        raise RuntimeError("no verdict in time")

    monkeypatch.setattr(gallery, "bundled", trained)
    monkeypatch.setattr(gallery, "followed", failing)
    old = tmp_path / "pipelines" / gallery.PIPELINES[0] / "reports" / "old.html"
    old.parent.mkdir(parents=True)
    old.touch()

    with pytest.raises(RuntimeError, match="no verdict"):
        gallery.gallery(tmp_path)

    kept = {page.parent.parent.name: page for page in tmp_path.rglob("new.html")}
    assert set(kept) == set(gallery.PIPELINES)
    assert "127.0.0.1" not in kept["credit"].read_text(encoding="utf-8")
    assert not old.exists()


def test_every_decision_record_is_numbered_without_gaps() -> None:
    numbers = sorted(int(p.name[:4]) for p in (ROOT / ".github/adr").glob("[0-9]*.md"))

    assert numbers == list(range(1, len(numbers) + 1))


def test_no_change_stands_in_the_changelog_twice() -> None:
    """Merging by union repeats lines that the other side moved: keep theirs, add yours on top."""
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    changes = [line for line in lines if line.startswith("- ")]

    assert len(changes) > 150
    assert sorted(changes) == sorted(set(changes))
