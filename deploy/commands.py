"""The commands of the layer above the flows, found by the CLI as entry points.

Only click and the CLI are imported here; a command imports what it needs.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expectations.engine.lazy_imports import Deferred
from flows.cli import FILE, JSON, answering, answers
from flows.terminal.output import echo
from tasks.base.errors import UsageError
from tasks.base.settings.object_addresses import is_object

if TYPE_CHECKING:
    from deploy.doctor import report as examination
    from deploy.remote import remote_deployment
    from deploy.remote.remote_deployment import Applied
    from deploy.retention import backups
    from deploy.serving import app as serving_app
    from deploy.serving import server as serving
    from deploy.stack import stack
    from deploy.web import page_server
    from deploy.web import session_access as access
    from tasks.base import pipeline_file
else:
    examination = Deferred("deploy.doctor.report")
    remote_deployment = Deferred("deploy.remote.remote_deployment")
    backups = Deferred("deploy.retention.backups")
    serving_app = Deferred("deploy.serving.app")
    serving = Deferred("deploy.serving.server")
    stack = Deferred("deploy.stack.stack")
    access = Deferred("deploy.web.session_access")
    page_server = Deferred("deploy.web.page_server")
    pipeline_file = Deferred("tasks.base.pipeline_file")

_FILES = click.argument("files", nargs=-1, type=click.Path(path_type=Path))
_STATE = click.option(
    "--state", type=click.Path(path_type=Path), help="State folder, in place of FILE's."
)
_PORT = click.IntRange(1, 65535)


@click.command()
@_FILES
@click.option("--prefect-port", type=_PORT, help="Of Prefect's server; a free one when taken.")
@click.option("--mlflow-port", type=_PORT, help="Of MLflow's server; a free one when taken.")
@click.option("--page-port", type=_PORT, help="Of keepfit's page; a free one when taken.")
@click.option("--serve", is_flag=True, help="Serve predictions over HTTP too.")
@click.option("--serve-port", type=_PORT, help="Of predictions; a free one when taken.")
@click.option("--prefect-database", help="PostgreSQL URL without a password; absent: SQLite.")
@click.option("--mlflow-database", help="PostgreSQL URL without a password; absent: SQLite.")
@JSON
@answering
def up(files: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Run the whole loop: servers, schedules, automations, page.

    Listens on loopback only, and lets in nobody but you: a browser by the link that it prints in a
    terminal, or that `keepfit link` prints later. Ctrl-C stops it and leaves nothing behind;
    schedules go on at the next start.
    """
    shown = (sys.stderr if as_json else sys.stdout).isatty()
    sys.exit(stack.up(files, **options, link=shown, out=lambda line: echo(line, err=as_json)))


@click.command()
@FILE
@_STATE
@click.option("--env", "as_variables", is_flag=True, help="For programs: lines that a shell reads.")
@JSON
@answering
def link(
    file: Path | None, state: Path | None, as_variables: bool, as_json: bool
) -> dict[str, Any]:
    """Print an address that lets a browser into the running stack.

    It lets in one browser, once and within an hour.
    With --env variables by which programs of yours, and the commands `prefect` and `mlflow`, use
    it: eval "$(keepfit link --env mine)".
    """
    stack, links = access.running_access(_state(file, state), file)
    address = "" if as_variables else links.new_link(stack.page)
    if not as_json:
        lines = [f"export {name}={shlex.quote(value)}" for name, value in stack.environment.items()]
        echo("\n".join(lines) if as_variables else address)
    return {"link": address, "environment": stack.environment if as_variables else {}}


@click.command()
@_FILES
@click.option("--pool", required=True, help="Work pool that exists.")
@click.option(
    "--kind",
    type=click.Choice(["process", "docker", "kubernetes"]),
    help="What the pool's type must be.",
)
@click.option("--image", help="Image with keepfit in it, for docker and kubernetes.")
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="Seconds within which each pipeline's automation must react to a probe; a worker's job "
    "gets five times as long.",
)
@answers(lambda found: _show_applied(found))
def deploy(files: tuple[Path, ...], **options: Any) -> Applied:
    """Bring the deployments onto a Prefect API and its work pool.

    What is right already is left as it is. Afterwards a probe event shows that an alarm would
    start the training, and a run on a worker, where one is online, that it reaches the same state
    folder, MLflow, ledger and source.
    """
    return remote_deployment.deploy(files, **options, out=lambda line: echo(line, err=True))


def _show_applied(applied: Applied) -> None:
    for one in applied.deployments:
        following = one.next_run.strftime("%a %d %b %H:%M %Z") if one.next_run else "on demand"
        echo(f"{one.name}  {one.change}  next: {following}")
    for name in applied.automations:
        echo(f"automation changed: {name}")
    if not applied.workers:
        echo(
            f"No worker of this pool is online: prefect worker start --pool {applied.pool}\n"
            "Then run `keepfit deploy` again: a worker shows which stores it reaches.",
            err=True,
        )


@click.command()
@FILE
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=4280, show_default=True)
@_STATE
@JSON
@answering
def page(file: Path | None, host: str, port: int, state: Path | None, as_json: bool) -> None:
    """Serve keepfit's page and reports, as `keepfit up` does.

    Until Ctrl-C, for a worker with servers of its own. The state folder is --state,
    KEEPFIT_STATE, or that of the pipeline FILE. With KEEPFIT_PAGE_AUTH=user:password, which must
    be set beyond loopback, the browser asks for it; without, the printed link lets one browser in,
    once and within an hour.
    """
    found = _state(file, state)

    def show(address: str) -> None:
        answer = {"page": address, "state": str(found)}
        echo(json.dumps(answer) if as_json else f"keepfit  {address}")

    page_server.serve_page(found, host, port, out=show)


@click.command()
@_FILES
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=4290, show_default=True)
@click.option(
    "--max-rows", type=click.IntRange(1), default=10_000, show_default=True, help="Of one request."
)
@click.option(
    "--max-bytes",
    type=click.IntRange(1_000),
    default=8_000_000,
    show_default=True,
    help="Of one request's body.",
)
@click.option(
    "--rate", type=click.FloatRange(0.1), help="Requests a second and client; absent: no limit."
)
@JSON
@answering
def serve(
    files: tuple[Path, ...],
    host: str,
    port: int,
    max_rows: int,
    max_bytes: int,
    rate: float | None,
    as_json: bool,
) -> None:
    """Serve predictions of the champions over HTTP until Ctrl-C.

    POST /pipelines/NAME/predict with {"rows": [{…}, …]}; /openapi.json describes it. Every
    predicted row is recorded in the ledger. Beyond loopback KEEPFIT_SERVE_TOKEN must be set.
    """

    def show(address: str) -> None:
        echo(json.dumps({"address": address}) if as_json else f"keepfit  {address}")

    serving.serve(files, host, port, serving_app.Limits(max_rows, max_bytes, rate), out=show)


@click.command()
@_FILES
@click.option("--loop", is_flag=True, help="Also inject drift into the running stack.")
@click.option("--alerts", is_flag=True, help="Also send a test message to the alert channels.")
@JSON
@answering
def doctor(files: tuple[Path, ...], loop: bool, alerts: bool, as_json: bool) -> None:
    """Check the installation, its stores, ports, disk and alerts.

    --loop makes a scratch pipeline in the running stack, lets its rows drift, and asserts alarm →
    event → training → decision → alert; everything of it is removed afterwards. Exit status 1
    when a check failed.
    """
    report = examination.examine(files, loop=loop, alerts=alerts)
    if as_json:
        echo(json.dumps(report.answer(), ensure_ascii=False, allow_nan=False))
    else:
        echo(examination.table(report))
    sys.exit(0 if report.healthy else 1)


@click.command()
@click.argument("target")
@click.argument("file", required=False)
@_STATE
@JSON
@answering
def backup(target: str, file: str | None, state: Path | None, as_json: bool) -> dict[str, Any]:
    """Copy databases and artifacts of a state folder to TARGET.

    TARGET is a new file or object. The state folder is that of the pipeline FILE, of
    ./keepfit.yaml when absent, or --state.
    """
    target, pipeline = _archive_first(target, file)
    found = _state(pipeline, state)
    manifest = backups.backup(found, target)
    if not as_json:
        echo(f"{found} is copied to {target}.")
    return {"state": str(found), "target": target, **manifest.model_dump(mode="json")}


@click.command()
@click.argument("source")
@click.argument("file", required=False)
@_STATE
@click.option("--force", is_flag=True, help="Replace a state that is there; it is kept beside.")
@JSON
@answering
def restore(
    source: str, file: str | None, state: Path | None, force: bool, as_json: bool
) -> dict[str, Any]:
    """Bring back what `keepfit backup` wrote to SOURCE.

    The state folder is that of the pipeline FILE, of ./keepfit.yaml when absent, or --state. One
    that holds something is replaced with --force only.
    """
    source, pipeline = _archive_first(source, file)
    found = _state(pipeline, state)
    restored = backups.restore(source, found, force=force)
    if not as_json:
        echo(f"{found} is as {source} has it.")
        if restored.kept:
            echo(f"What was there is kept in {restored.kept}")
    return {**restored.model_dump(mode="json"), "state": str(found), "source": source}


def _archive_first(archive: str, file: str | None) -> tuple[str, Path | None]:
    """Return archive and pipeline, in whichever order given; UsageError without an archive."""
    if not _is_pipeline(archive):
        return archive, None if file is None else Path(file)
    if file is None or _is_pipeline(file):
        raise UsageError(
            f"{archive} is a pipeline; the file of the backup is missing.",
            f"Name it first, for example backup.tar.gz, then {archive}.",
        )
    return file, Path(archive)


def _is_pipeline(path: str) -> bool:
    return not is_object(path) and (Path(path).is_dir() or path.endswith((".yaml", ".yml")))


def _state(file: Path | None, stated: Path | None) -> Path:
    """Return the state folder that is meant: the option, else that of the pipeline."""
    if stated is None and file is None and os.environ.get("KEEPFIT_STATE"):
        # No pipeline need lie here: the page's process has none.
        stated = Path(os.environ["KEEPFIT_STATE"])
    if stated is not None:
        found = stated.expanduser().resolve()
        pipeline_file.require_trusted_state(found)
        return found
    return pipeline_file.load_pipeline(file, contract_exists=False).state
