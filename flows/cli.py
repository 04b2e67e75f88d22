"""The command line: arguments → configuration → one flow.

Only click, the standard library and modules that import nothing else are imported here; whatever
is behind `Deferred` is imported when a command uses it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import EntryPoint, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.shell_completion import get_completion_class

from expectations.engine.lazy_imports import Deferred
from flows.terminal.output import echo, make_logs_safe
from tasks.base.errors import KeepfitError, of_system
from tasks.base.runtime.environment import collect_rarely, return_freed_memory, turn_telemetry_off
from tasks.base.runtime.temporary import drop_temporary, keep_temporary_together
from tasks.base.text.commands import command

if TYPE_CHECKING:
    from flows import cli_actions as actions
    from flows import commands
    from flows.terminal import backtest_results, documentation, loop_results, results
    from tasks.base import key_reference, pipeline_file
    from tasks.base.settings import object_addresses
    from tasks.contracts import snapshot_check
    from tasks.models.execution import plugin_checks
    from tasks.projects import contracts
    from tasks.projects import draft as drafts
    from tasks.registry import version_keys
else:
    actions = Deferred("flows.cli_actions")
    commands = Deferred("flows.commands")
    backtest_results = Deferred("flows.terminal.backtest_results")
    documentation = Deferred("flows.terminal.documentation")
    loop_results = Deferred("flows.terminal.loop_results")
    results = Deferred("flows.terminal.results")
    key_reference = Deferred("tasks.base.key_reference")
    pipeline_file = Deferred("tasks.base.pipeline_file")
    object_addresses = Deferred("tasks.base.settings.object_addresses")
    snapshot_check = Deferred("tasks.contracts.snapshot_check")
    plugin_checks = Deferred("tasks.models.execution.plugin_checks")
    contracts = Deferred("tasks.projects.contracts")
    version_keys = Deferred("tasks.registry.version_keys")
    drafts = Deferred("tasks.projects.draft")

FILE = click.argument("file", required=False, type=click.Path(path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")

_RIGHT = "{file} is right. State: {state}\nNext: {next}"

Command = Callable[..., Any]


def answers(show: Callable[[Any], None]) -> Callable[[Command], Callable[..., None]]:
    """Print a command's result: as text by `show`, or with ``--json`` as JSON."""

    def decorate(command: Command) -> Callable[..., None]:
        @functools.wraps(command)
        def shown(*args: Any, as_json: bool, **kwargs: Any) -> dict[str, Any]:
            found = command(*args, **kwargs)
            if not as_json:
                show(found)
            return found if isinstance(found, dict) else json_of(found)

        return JSON(answering(shown))

    return decorate


def json_of(found: Any) -> dict[str, Any]:
    """Return a command's result in the form of ``--json``."""
    answer: dict[str, Any] = (
        found.answer() if hasattr(found, "answer") else found.model_dump(mode="json")
    )
    return answer


def answering(command: Command) -> Callable[..., None]:
    """Turn what a command returns or raises into output and exit status."""

    @functools.wraps(command)
    def run(*args: Any, as_json: bool = False, **kwargs: Any) -> None:
        collect_rarely()
        keep_temporary_together()
        turn_telemetry_off()
        return_freed_memory()
        make_logs_safe()
        try:
            answer = command(*args, as_json=as_json, **kwargs)
        except KeepfitError as error:
            _fail(error.kind, error.message, error.remedy, error.exit_status, as_json)
        except KeyboardInterrupt:
            _fail(
                "interrupted", "Interrupted.", "Run it again: finished work is reused.", 1, as_json
            )
        except Exception as error:
            if os.environ.get("KEEPFIT_TRACEBACK"):
                raise
            _fail(*_unexpected(error), as_json)
        else:
            if as_json and answer is not None:
                echo(json.dumps(answer, ensure_ascii=False, allow_nan=False, default=str))

    return run


def _unexpected(error: Exception) -> tuple[str, str, str, int]:
    kind = "infrastructure"
    if isinstance(error, MemoryError):
        return kind, "Memory ran out.", "Give it more, or train on fewer rows: training.window.", 1
    if isinstance(error, UnicodeEncodeError):
        return "usage", "A name holds bytes that are no UTF-8 text.", "Give it another name.", 2
    if isinstance(error, OSError) and (known := of_system(error)) is not None:
        return kind, known.message, known.remedy, 1
    return (
        "internal",
        f"{type(error).__name__}: {error}",
        "This looks like a bug of keepfit; KEEPFIT_TRACEBACK=1 shows where it happened.",
        1,
    )


def _fail(kind: str, message: str, remedy: str, status: int, as_json: bool) -> NoReturn:
    if as_json:
        name = "error" if status else "skipped"
        answer = {name: {"kind": kind, "message": message, "remedy": remedy}}
        echo(json.dumps(answer, ensure_ascii=False))
    else:
        echo(f"keepfit: {message}", err=True)
        if remedy:
            echo(remedy, err=True)
    sys.exit(status)


def _added() -> dict[str, EntryPoint]:
    """Return the commands of the layer above, by name; none is imported yet."""
    found = distribution("keepfit").entry_points
    return {entry.name: entry for entry in found if entry.group == "keepfit.commands"}


class _Group(click.Group):
    """A group whose usage errors are printed as JSON with ``--json``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_added()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        entry = None if own is not None else _added().get(cmd_name)
        return own if entry is None else entry.load()

    def main(self, *args: Any, **kwargs: Any) -> Any:
        arguments = list(args[0]) if args and args[0] is not None else sys.argv[1:]
        if "--json" not in arguments:
            return super().main(*args, **kwargs)
        kwargs["standalone_mode"] = False
        try:
            return super().main(*args, **kwargs)
        except click.ClickException as error:
            _fail("usage", error.format_message(), "`keepfit --help` shows how.", 2, True)
        except click.Abort:
            _fail("interrupted", "Interrupted.", "", 1, True)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keepfit", prog_name="keepfit")
def main() -> None:
    """Keep tabular models fit for use.

    From one YAML file and one table: a checked contract, six candidates compared, a challenger
    judged by a gate, a registered champion in MLflow, and a report.

    Start with:  keepfit init demo --demo flights  &&  keepfit run demo
    """


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data", help="CSV or Parquet file, folder, object (s3://…), or a database's URL.")
@click.option("--table", help="Table of the database that --data names.")
@click.option("--query", help="Query on the database that --data names, instead of --table.")
@click.option("--target", help="Column to predict.")
@click.option("--time", "time_column", help="Column with each row's time.")
@click.option("--id", "id_columns", multiple=True, help="Column that names a row; repeatable.")
@click.option("--exclude", multiple=True, help="Column that is no feature; repeatable.")
@click.option(
    "--demo",
    type=click.Choice(
        ["flights", "digits", "diabetes", "breast_cancer", "credit", "parkinsons", "movielens"]
    ),
    help="Bundled real data instead of --data.",
)
@answers(lambda found: results.show_draft(found))
def init(folder: Path, data: str | None, **options: Any) -> Any:
    """Write a pipeline file and its inferred contract into FOLDER.

    Never prompts, never overwrites. Prints what it assumed and where to change it. The
    password of a database's URL is not written; the file names the variable that has to hold it.
    """
    read_as_files = data is None or "://" not in data or object_addresses.is_object(data)
    url = None if read_as_files else data
    file = None if url is not None else data
    return drafts.draft_project(drafts.Request(folder=folder, data=file, url=url, **options))


@main.command()
@FILE
@click.option("--fresh", is_flag=True, help="Recompute everything; reuse nothing.")
@click.option("--refit", is_flag=True, help="Fit the champion's recipe on newer rows; no search.")
@answers(lambda found: results.show_training(found))
def run(file: Path | None, fresh: bool, refit: bool) -> Any:
    """Train once: contract, candidates, gate, registry, report.

    FILE is a pipeline file or its folder; ./keepfit.yaml when absent. Exit status 0 means done (a
    champion kept is done, and a refit without newer rows), 2 a mistake in the file, 3 that the
    data broke its contract.
    With --refit the champion's family, columns and settings are fitted once on newer rows, and
    the gate requires that the result is not worse by more than a margin.
    """
    return commands.run_training(file, fresh=fresh, refit=refit)


@main.command()
@FILE
@click.option("--input", "input_path", help="New rows to score.")
@click.option("--output", "output_path", help=".parquet or .csv")
@click.option("--all", "everything", is_flag=True, help="Every row of the source, known or not.")
@answers(lambda found: results.show_scoring(found))
def score(file: Path | None, **options: Any) -> Any:
    """Score new rows with the champion.

    Without --input those rows of the pipeline's own source are scored that have come since the
    training and the last scoring, as the schedule does; with --all every row. Without --output
    they go to the sink of the file, or to a Parquet file in the state folder.
    """
    return commands.run_scoring(file, **options)


@main.command()
@FILE
@click.option("--window", help="A..B, dates or times; absent: all that have come since.")
@click.option("--every", help="Cut --window into windows of this length, such as 7d.")
@click.option("--check", is_flag=True, help="Exit with status 4 when there is an alarm.")
@answers(lambda found: loop_results.show_monitoring(found))
def monitor(file: Path | None, window: str | None, every: str | None, check: bool) -> Any:
    """Look at windows: contract, drift, performance, policy.

    Without --window every complete window of the scoring source since the last pass, at most
    `monitoring.catch_up` of them, the newest in any case. Exit status 3 means that the newest
    window's rows broke the contract, 4 (only with --check) that a window is an alarm.
    """
    outcome = commands.run_monitoring(file, window=window, every=every)
    if check and (outcome.alarm or any(one.alarm for one in outcome.windows)):
        click.get_current_context().call_on_close(functools.partial(sys.exit, 4))
    return outcome


@main.command()
@FILE
@click.option("--every", help="Length of a window, such as 7d; `monitoring.window` when absent.")
@click.option("--label-delay", help="Until labels are known; `monitoring.label_delay` when absent.")
@click.option(
    "--quick", is_flag=True, help="The newest windows on sampled rows, in a minute or so."
)
@click.option("--apply", is_flag=True, help="Write the recommended settings into FILE.")
@click.option("--fresh", is_flag=True, help="Fit everything again; reuse nothing.")
@answers(lambda found: backtest_results.show_backtest(found))
def backtest(file: Path | None, **options: Any) -> Any:
    """Replay the history under several policies and recommend one.

    The source is cut into windows; each policy trains on what was known then, scores the next
    window, monitors, decides, and goes on, by the functions that production calls. Champion,
    ledger and alerts are not touched. A replay that was stopped goes on where it was.
    """
    return commands.run_backtest(file, **options)


@main.command()
@click.argument("version")
@FILE
@answers(lambda found: loop_results.show_move(found, _stated_file()))
def promote(version: str, file: Path | None) -> Any:
    """Make VERSION the champion by hand. It is recorded like any decision."""
    return actions.promote_by_hand(file, version)


@main.command()
@FILE
@answers(lambda found: loop_results.show_move(found, _stated_file()))
def rollback(file: Path | None) -> Any:
    """Let the former champion score again. It is recorded like any decision."""
    return actions.roll_back_by_hand(file)


def _stated_file() -> Path | None:
    file: Path | None = click.get_current_context().params["file"]
    return file


@main.command()
@click.argument("version", required=False)
@FILE
@click.option("--row", help="Explain the prediction of the row with this id instead.")
@answers(lambda found: _show_reasons(found))
def why(version: str | None, file: Path | None, row: str | None) -> Any:
    """Show the evidence behind VERSION, or behind the champion.

    `keepfit why 3`, `keepfit why 3 FILE`, either order, and `keepfit why FILE` all work. With --row
    it shows which columns contributed to the prediction of one row of the scoring source.
    """
    file, version = _in_order(version, file)
    if row is not None:
        return actions.explain_row(file, row, version)
    return actions.read_chain(file, version)


def _in_order(version: str | None, file: Path | None) -> tuple[Path | None, str | None]:
    """Return file and version, whichever of the two was written first."""
    if version is None or version.removeprefix("v").isdigit():
        return file, version
    return Path(version), None if file is None else str(file)


def _show_reasons(found: Any) -> None:
    show = results.show_row if hasattr(found, "pushes") else loop_results.show_chain
    show(found)


@main.command()
@FILE
@JSON
@answering
def status(file: Path | None, as_json: bool) -> dict[str, Any]:
    """Show champion, health, last and next runs of every pipeline.

    FILE's pipeline comes first, with its last trainings.
    """
    found, health = commands.read_status(file), actions.read_health(file)
    if not as_json:
        loop_results.show_overview(health)
        results.show_trainings(found)
    return {
        **found.model_dump(mode="json"),
        "health": health[0].answer(),
        "pipelines": [one.answer() for one in health],
    }


@main.group()
def contract() -> None:
    """Infer the data contract, check rows, accept changes."""


@contract.command("infer")
@FILE
@click.option("--output", type=click.Path(path_type=Path), help="Where to write; never overwrites.")
@answers(lambda found: results.show_contract(found))
def contract_infer(file: Path | None, output: Path | None) -> Any:
    """Write an editable contract from the training window."""
    return contracts.infer_contract_file(
        pipeline_file.load_pipeline(file, contract_exists=False), output
    )


@contract.command("check")
@FILE
@click.option("--input", "input_path", help="Rows to check.")
@answers(lambda found: results.show_contract_result(found))
def contract_check(file: Path | None, input_path: str | None) -> Any:
    """Check the source, or --input. Exit status 3 when a rule is broken."""
    pipeline = pipeline_file.load_pipeline(file)
    result = contracts.check_contract_file(pipeline, input_path)
    snapshot_check.require_passed(result, file=pipeline.path, rows=input_path or "")
    return result


@contract.command("diff")
@FILE
@click.option("--input", "input_path", help="Rows to compare.")
@answers(lambda found: results.show_contract_diff(found))
def contract_diff(file: Path | None, input_path: str | None) -> Any:
    """Show how the source, or --input, differs, rule by rule."""
    return contracts.diff_contract(pipeline_file.load_pipeline(file), input_path)


@contract.command("accept")
@click.argument("rules", nargs=-1)
@click.option("--input", "input_path", help="Rows to compare.")
@answers(lambda found: results.show_contract_diff(found))
def contract_accept(rules: tuple[str, ...], input_path: str | None) -> Any:
    """Take into the contract what `diff` shows: all, or the RULES named.

    `keepfit contract accept [RULE…] [FILE]`: without a rule all that `diff` proposes.
    """
    file, names = None, rules
    if rules and (rules[-1].endswith((".yaml", ".yml")) or Path(rules[-1]).exists()):
        file, names = Path(rules[-1]), rules[:-1]
    return contracts.accept_rules(pipeline_file.load_pipeline(file), names, input_path)


@main.command()
@click.argument("version")
@click.argument("folder", type=click.Path(path_type=Path))
@FILE
@answers(lambda found: echo("{model} v{version}, as it was signed: {folder}".format(**found)))
def export(version: str, folder: Path, file: Path | None) -> Any:
    """Copy VERSION's files into the new FOLDER. They are compared with its signature."""
    with actions.steered(file) as pipeline:
        return version_keys.copy_version(pipeline, version, folder)


@main.group()
def keys() -> None:
    """Show, trust and rotate the keys that sign versions."""


@keys.command("show")
@JSON
@answering
def keys_show(as_json: bool) -> dict[str, Any]:
    """Show the public key of this host and those that are trusted."""
    found: dict[str, Any] = version_keys.shown_keys()
    if not as_json:
        echo(f"signs by  {found['key'] or 'a key that the first training makes'}")
        echo(f"from      {found['from']}")
        for key in found["trusted"]:
            echo(f"trusted   {key}")
    return found


@keys.command("trust")
@click.argument("key")
@answers(lambda found: echo(f"trusted   {found['trusted']}"))
def keys_trust(key: str) -> Any:
    """Trust another host's public KEY, as `keepfit keys show` prints it."""
    return version_keys.trust_key(key)


@keys.command("distrust")
@click.argument("key")
@JSON
@answering
def keys_distrust(key: str, as_json: bool) -> dict[str, Any]:
    """Trust the public KEY no longer: versions signed by it are refused."""
    found = version_keys.distrust_key(key)
    if not as_json:
        known = found["removed"]
        echo("no longer trusted" if known else "the file of trusted keys does not name it")
    return found


@keys.command("rotate")
@FILE
@answers(lambda found: _show_signed(found))
def keys_rotate(file: Path | None) -> Any:
    """Sign by a new key from now on, and the versions of FILE again."""
    if file is None:
        return version_keys.rotate_key()
    with actions.steered(file) as pipeline:
        return version_keys.rotate_key(pipeline)


@keys.command("sign")
@click.argument("version")
@FILE
@answers(lambda found: _show_signed(found))
def keys_sign(version: str, file: Path | None) -> Any:
    """Sign VERSION, and so accept it as it is stored. `all`: those signed by a trusted key."""
    with actions.steered(file) as pipeline:
        return version_keys.sign_versions(pipeline, version)


def _show_signed(found: dict[str, Any]) -> None:
    echo(f"signs by  {found['key']}")
    if found.get("former"):
        echo(f"former    {found['former']}, trusted until `keepfit keys distrust` of it")
    if found["signed"]:
        echo(f"signed    {', '.join('v' + version for version in found['signed'])}")
    for version, why in found["refused"].items():
        echo(f"refused   v{version}: {why}")


@main.group()
def config() -> None:
    """Check the pipeline file, print its schema, explain a key."""


@config.command("check")
@FILE
@answers(lambda found: echo(_RIGHT.format(**found, next=command("run", file=found["file"]))))
def config_check(file: Path | None) -> Any:
    """Check a pipeline file, reading no data. Exit status 2 when it is wrong."""
    found = pipeline_file.load_pipeline(file)
    plugin_checks.check_hooks(found.config, found.base)
    return {"file": str(found.path), "pipeline": found.config.name, "state": str(found.state)}


@config.command("schema")
@JSON
@answering
def config_schema(as_json: bool) -> None:
    """Print the JSON schema of the pipeline file, for editors."""
    echo(json.dumps(key_reference.schema(), indent=None if as_json else 2))


@config.command("explain")
@click.argument("key", required=False)
@JSON
@answering
def config_explain(key: str | None, as_json: bool) -> dict[str, Any]:
    """Explain KEY (such as training.budget), or all keys, with defaults."""
    entries = key_reference.explain(key)
    if not as_json:
        for entry in entries:
            echo(entry.sentence())
    return {"keys": [entry.model_dump(mode="json") for entry in entries]}


@main.command()
@click.argument("page", default="index")
@JSON
@answering
def docs(page: str, as_json: bool) -> dict[str, Any]:
    """Show a PAGE of the documentation, such as report or alarm."""
    if not as_json:
        documentation.show_page(page)
    return {
        "page": page,
        "pages": list(documentation.pages()),
        "text": documentation.page_text(page),
    }


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion: eval "$(keepfit completion bash)"."""
    source = get_completion_class(shell)
    if source is not None:
        for line in source(main, {}, "keepfit", "_KEEPFIT_COMPLETE").source().splitlines():
            echo(line)


def program() -> NoReturn:
    """Run the command line and leave without taking the interpreter apart."""
    # Freeing the libraries takes a second; all processes have ended, all files are closed by then.
    status = 0
    try:
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - printed as Python would, then the same way out
        traceback.print_exc()
        status = 1
    _leave(status)


def _leave(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    drop_temporary()
    os._exit(status)


if __name__ == "__main__":
    program()
