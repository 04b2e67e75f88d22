"""Follow calls through the house: how often the way from one function to another changes rooms.

`python -m tests.paths` prints the two ways that a newcomer follows first. Calls are read from the
source: of functions by their imported names, of methods by their own class or by `name.method`
where one class of the house alone has such a method, and of functions named in a string, as worker
processes are asked for them.
"""

from __future__ import annotations

import ast
import heapq
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("deploy", "flows", "tasks", "expectations")
Stations = tuple[str, ...]
RETRAINING: tuple[Stations, ...] = (
    (
        "flows.cli:monitor", "flows.commands:run_monitoring", "flows.monitoring:monitoring",
        "flows.monitoring:_look_at", "tasks.monitor:measure_drift",
        "tasks.monitoring.drift.detector:measure",
    ),
    (
        "flows.monitoring:_look_at", "tasks.monitor:judge_window",
        "tasks.monitoring.performance.realised:assess_window",
    ),
    (
        "flows.monitoring:monitoring", "tasks.monitor:conclude_monitoring",
        "tasks.policy.admission:answer_alarm", "tasks.policy.retraining:decide",
    ),
)  # fmt: skip
"""From the command to the drift test, and from the flow to the labels and to the rule."""
ROW_TO_CHAMPION: tuple[Stations, ...] = (
    (
        "flows.cli:run", "flows.commands:run_training", "flows.training:training",
        "tasks.load:load_window", "tasks.data.loading:load_window",
        "tasks.data.csv.reader:read_csv",
    ),
    ("flows.training:_train", "tasks.validate:check_contract", "expectations.check:check_frame"),
    (
        "flows.training:_train", "tasks.train:fit_candidates",
        "tasks.models.execution.scheduler:Fits", "tasks.models.execution.scheduler:Fits.results",
        "tasks.models.execution.worker_pool:borrowed", "tasks.models.execution.fork_server:perform",
        "tasks.models.validation.candidate_fit:fit_candidate",
    ),
    ("flows.training:_train", "tasks.promote:judge_challenger", "tasks.registry.gate.gate:decide"),
    (
        "flows.training:_train", "tasks.promote:register_challenger",
        "tasks.registry.tracking.training_runs:register_challenger",
        "tasks.registry.mlflow.versions:Versions.register",
    ),
    (
        "tasks.registry.tracking.training_runs:register_challenger",
        "tasks.registry.alias.champion_alias:promote",
    ),
)  # fmt: skip
"""From the command to the file, and from the flow to each step that the row then goes through."""


def package(place: str) -> str:
    """Return the package of a place such as `tasks.data.loading:load`."""
    return place.partition(":")[0].rpartition(".")[0]


@cache
def calls() -> dict[str, frozenset[str]]:
    """Return of each function of the house the functions that it names."""
    trees = {
        file.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): ast.parse(
            file.read_text("utf-8")
        )
        for top in PACKAGES
        for file in (ROOT / top).rglob("*.py")
    }
    defined: dict[str, dict[str, ast.AST]] = {m: dict(_defined(t)) for m, t in trees.items()}
    owners = defaultdict(list)
    for module, functions in defined.items():
        for name in functions:
            if "." in name:
                owners[name.rpartition(".")[2]].append(f"{module}:{name}")
    found: dict[str, frozenset[str]] = {}
    for module, functions in defined.items():
        top = _imported(trees[module], defined, inside=False)
        for name, function in functions.items():
            known = {n: f"{module}:{n}" for n in functions if "." not in n}
            known |= top | _imported(function, defined, inside=True)
            found[f"{module}:{name}"] = frozenset(
                _named(function, name, module, known, defined, owners)
            )
    return found


def _defined(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            methods = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
            yield node.name, ast.Module(list(node.body), [])
            yield from ((f"{node.name}.{name}", method) for name, method in methods.items())
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def _imported(
    tree: ast.AST, defined: dict[str, dict[str, ast.AST]], *, inside: bool
) -> dict[str, str]:
    """Return names to places or modules."""
    body = getattr(tree, "body", [])
    # What a module defers is imported for the type checker.
    body = [*body, *(node for part in body if isinstance(part, ast.If) for node in part.body)]
    nodes = ast.walk(tree) if inside else body
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        if f"{node.module}.{alias.name}" in defined
        else f"{node.module}:{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _named(
    function: ast.AST,
    name: str,
    module: str,
    known: dict[str, str],
    defined: dict[str, dict[str, ast.AST]],
    owners: dict[str, list[str]],
) -> Iterator[str]:
    yield from (f"{module}:{other}" for other in defined[module] if other.startswith(f"{name}."))
    called = {id(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and ":" in known.get(node.id, ""):
            yield known[node.id]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            program = re.search(r"from (\S+) import (\w+)", node.value)
            there, what = program.groups() if program else node.value.partition(":")[::2]
            entered = {what} if what else {"main", "_main"}
            yield from (f"{there}:{name}" for name in entered & defined.get(there, {}).keys())
        elif isinstance(node, ast.Attribute):
            base = known.get(node.value.id, "") if isinstance(node.value, ast.Name) else ""
            if base in defined:
                yield f"{base}:{node.attr}"
            elif isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}:
                yield f"{module}:{name.partition('.')[0]}.{node.attr}"
            elif id(node) in called and len(owners.get(node.attr, ())) == 1:
                yield owners[node.attr][0]


def way(start: str, end: str) -> Stations:
    """Return the way from one function to another with the fewest changes of package.

    Raises
    ------
    LookupError
        When no calls lead there.
    """
    graph, todo, seen = calls(), [(0, 1, (start,))], set()
    while todo:
        changes, length, path = heapq.heappop(todo)
        here = path[-1]
        if here == end:
            return path
        if here in seen:
            continue
        seen.add(here)
        for there in graph.get(here, ()):
            if there in graph and there not in seen:
                turned = changes + (package(there) != package(here))
                heapq.heappush(todo, (turned, length + 1, (*path, there)))
    raise LookupError(f"no calls lead from {start} to {end}")


def changes(path: Stations) -> int:
    """Return how often a way changes packages."""
    return sum(package(a) != package(b) for a, b in pairwise(path))


def ways(legs: tuple[Stations, ...]) -> list[Stations]:
    """Return the way of each leg through all of its stations."""
    return [(leg[0], *(place for a, b in pairwise(leg) for place in way(a, b)[1:])) for leg in legs]


def main() -> None:
    """Print both ways."""
    for title, legs in (
        ("A drifted window, from the command to the rule that retrains", RETRAINING),
        ("A row of a CSV file, from the command to the registered champion", ROW_TO_CHAMPION),
    ):
        found = ways(legs)
        print(f"{title}: {sum(map(changes, found))} changes of package")
        for one in found:
            print("\n".join(f"  {place}" for place in one) + "\n")


if __name__ == "__main__":
    main()
