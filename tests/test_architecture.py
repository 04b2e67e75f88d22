"""What the import contracts cannot say: importing does nothing, and `__init__` files are empty."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

from tests import paths

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "expectations", "deploy")
DOORS = sorted((ROOT / "tasks").glob("[a-z]*.py"))


def test_every_init_file_is_empty() -> None:
    files = [f for package in PACKAGES for f in (ROOT / package).rglob("__init__.py")]

    assert [str(f) for f in files if f.read_text().strip()] == []


@pytest.mark.parametrize("door", DOORS, ids=lambda path: path.stem)
def test_a_door_holds_prefect_tasks_that_stay_short(door: Path) -> None:
    tree = ast.parse(door.read_text(encoding="utf-8"))
    tasks = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any("task" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]

    assert tasks
    for function in tasks:
        assert len(function.body) <= 10, function.name


def test_importing_the_front_door_creates_nothing(tmp_path: Path) -> None:
    code = "import flows.commands, tasks.base.pipeline_file, tasks.orchestration.declarations"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        check=True,
    )

    assert list(tmp_path.iterdir()) == []


MOST_FILES = 12
USUAL_FILES = 8
MOST_CHANGES_TO_RETRAINING = 9
MOST_CHANGES_TO_CHAMPION = 20
"""How often a person who follows the calls changes packages, see `tests.paths`."""
MOST_OPENINGS_IN_ROOMS = 18
"""How often a room opens ledger or registry itself, where a flow or a command could hand it down;
the number may be lowered, never raised."""
MOST_IMPORTS_INSIDE_FUNCTIONS = 41
"""What there still is; the number may be lowered, never raised."""
HEAVY = {
    "alembic", "apprise", "evidently", "great-expectations", "mlflow", "numpy", "pandas", "prefect",
    "scikit-learn",
}  # fmt: skip
"""What takes long to import: whatever else a function needs is imported at the head, or is in a
module of deferred libraries."""


def modules() -> list[Path]:
    return [f for package in PACKAGES for f in sorted((ROOT / package).rglob("*.py"))]


def test_no_folder_holds_more_files_than_a_person_takes_in_at_a_glance() -> None:
    files = Counter(
        file.parent.relative_to(ROOT).as_posix() for file in modules() if file.name != "__init__.py"
    )

    assert {folder: number for folder, number in files.items() if number > MOST_FILES} == {}
    assert median(files.values()) <= USUAL_FILES


@pytest.mark.parametrize(
    ("legs", "most"),
    [
        pytest.param(paths.RETRAINING, MOST_CHANGES_TO_RETRAINING, id="a window to its retraining"),
        pytest.param(paths.ROW_TO_CHAMPION, MOST_CHANGES_TO_CHAMPION, id="a row to the champion"),
    ],
)
def test_the_ways_through_the_house_are_short(legs: tuple[paths.Stations, ...], most: int) -> None:
    assert sum(map(paths.changes, paths.ways(legs))) <= most


def imports_inside_functions(file: Path) -> list[str]:
    """Return the source of each import that stands inside a function of `file`."""
    source = file.read_text("utf-8")
    lines = source.splitlines()
    inside = {
        node.lineno: node.end_lineno
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    return ["\n".join(lines[start - 1 : end]) for start, end in inside.items()]


def test_imports_inside_functions_are_few_and_name_the_heavy_library_they_defer() -> None:
    found = [text for file in modules() for text in imports_inside_functions(file)]

    assert len(found) <= MOST_IMPORTS_INSIDE_FUNCTIONS
    assert {*map(deferred_library, found)} <= HEAVY, "end the line with `# defers mlflow`, say"


def deferred_library(text: str) -> str | None:
    named = re.search(r"  # defers ([\w-]+)$", text, re.MULTILINE)
    return named and named[1]


def test_everything_printed_goes_through_one_door() -> None:
    doors = {"flows/terminal/output.py", "flows/terminal/safe_console.py"}
    # Reports of crashes (of a child, into its log), and tables that become text for `echo`.
    crashes = ("flows/cli.py", "tasks/models/execution/fork_server.py")
    allowed = {name: {"traceback.print_exc"} for name in crashes}
    for table in ("deploy/doctor/report.py", "deploy/prefect/next_runs.py"):
        allowed[table] = {"Console"}
    printing = {"print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write",
                "Console", "traceback.print_exc", "warnings.warn"}  # fmt: skip
    found = {
        f"{name}: {call}"
        for file in modules()
        if (name := file.relative_to(ROOT).as_posix()) not in doors
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and (call := ast.unparse(node.func)) in printing - allowed.get(name, set())
    }

    assert found == set()


UNPICKLING = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "read_pickle", "shelve"}
PICKLED_DEMOS = "tasks/data/sources/demos.py: read_pickle"
"""Files of an installed package, as much a part of it as its modules are."""


def names_in(node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [part for alias in node.names for part in alias.name.split(".")]
        case ast.ImportFrom():
            return [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        case ast.Attribute():
            return [node.attr]
        case ast.Call(func=ast.Name(id="Deferred" | "import_module"), args=[ast.Constant(), *_]):
            return str(ast.literal_eval(node.args[0])).split(".")
        case ast.keyword(arg="allow_pickle") if ast.unparse(node.value) != "False":
            return ["pickle"]
    return []


def unpickling(tree: ast.AST) -> set[str]:
    return {name for node in ast.walk(tree) for name in names_in(node)} & UNPICKLING


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import pickle as p", {"pickle"}),
        ("from joblib import load", {"joblib"}),
        ("from pandas import read_pickle", {"read_pickle"}),
        ("frame = pd.read_pickle(path)", {"read_pickle"}),
        ("sums = Deferred('cloudpickle')", {"cloudpickle"}),
        ("np.load(file, allow_pickle=True)", {"pickle"}),
        ("np.load(file, allow_pickle=False)", set()),
        ("held = {'pickled_model': MODEL_FILE}", set()),
    ],
)
def test_what_reads_pickles_is_recognised(code: str, found: set[str]) -> None:
    assert unpickling(ast.parse(code)) == found


def test_nothing_is_read_from_a_pickle() -> None:
    # Linters do not know which library a deferred one is.
    found = {
        f"{file.relative_to(ROOT).as_posix()}: {name}"
        for file in modules()
        for name in unpickling(ast.parse(file.read_text("utf-8")))
    }

    assert found == {PICKLED_DEMOS}


DEFERRING = {
    "deploy/commands.py",  # A command imports what it runs, as do those of `flows`.
    "expectations/engine/lazy_imports.py",
    "expectations/engine/libraries.py",
    "flows/cli.py",
    "flows/cli_actions.py",
    "flows/commands.py",
    "tasks/base/runtime/libraries.py",
    "tasks/base/settings/yaml_document.py",  # The only module that imports ruamel.yaml.
    "tasks/monitoring/alerts/apprise_channel.py",  # The only module that imports apprise.
    "tasks/orchestration/libraries.py",
}


def test_imports_are_deferred_in_the_modules_of_libraries_and_commands_only() -> None:
    found = {
        file.relative_to(ROOT).as_posix()
        for file in modules()
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Deferred")
    }

    assert found == DEFERRING


def test_rooms_open_ledger_and_registry_ever_less() -> None:
    found = sum(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"ledger_of", "store_of"}
        for file in (ROOT / "tasks").glob("*/**/*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
    )

    assert found <= MOST_OPENINGS_IN_ROOMS


SENTENCES = {
    "message", "sentence", "remedy", "reason", "notes", "assumptions", "observed", "expected",
}  # fmt: skip
READING = {
    "split", "splitlines", "partition", "rpartition", "startswith", "endswith", "removeprefix",
    "removesuffix", "find", "index", "search", "match", "fullmatch", "findall", "finditer",
}  # fmt: skip
SHORTENED = {"deploy/runner/activity_log.py"}
"""A decision in one line of a terminal: its first sentence."""


def reads_a_sentence(node: ast.AST) -> bool:
    """Return whether words for people are searched for a fact, which a field should hold."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        read = [node.func.value, *node.args] if node.func.attr in READING else []
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        read = node.comparators if isinstance(node.left, ast.Constant | ast.Name) else []
    else:
        return False
    return any(isinstance(part, ast.Attribute) and part.attr in SENTENCES for part in read)


def test_no_fact_is_read_back_out_of_a_sentence() -> None:
    found = {
        file.relative_to(ROOT).as_posix()
        for file in modules()
        if any(map(reads_a_sentence, ast.walk(ast.parse(file.read_text("utf-8")))))
    }

    assert found == SHORTENED


TWO_FORMS = {("check", "checker"), ("weight", "weighted"), ("adjusted", "adjustment")}
"""A process that checks; and modules whose names stand in saved models."""


def test_no_two_files_of_a_room_bear_one_word_in_two_forms() -> None:
    forms: dict[tuple[Path, str], set[str]] = {}
    for file in modules():
        for word in file.stem.split("_"):
            single = word.removesuffix("s")
            stem = re.sub("(ing|ed|er|ment|ion|e)$", "", single)
            forms.setdefault((file.parent, stem), set()).add(single)

    assert {tuple(sorted(words)) for words in forms.values() if len(words) > 1} <= TWO_FORMS
